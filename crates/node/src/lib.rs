//! Owns every sandbox of one host from reservation to removal.
//!
//! [`Handle`] is the only way in: calls go down through it, facts come up as
//! watched observations. One driver task per sandbox mutates it; a restart
//! re-adopts what it finds on disk.

mod handle;

pub use handle::{CreateSandbox, Ended, Error, Observation, Phase, TemplateBuild};
