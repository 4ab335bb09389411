//! What clients, host and guest say to each other, in bytes.
//!
//! A module per boundary; each type mirrors what the other side sends or
//! expects, field for field, and is turned into domain values by its reader.

pub mod connect;
pub mod control;
pub mod execute;
pub mod exposition;
pub mod files;
pub mod filesystem;
pub mod multipart;
pub mod process;
pub mod query;
pub mod rest;
pub mod session;
