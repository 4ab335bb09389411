//! Durable state of the control plane.
//!
//! The only crate that holds SQL. Everything in and out is a domain value;
//! [`Store`] is a cheap handle on one database. It keeps what *should* exist
//! (written before anything is done about it) and what *did*; what exists right
//! now is the node's to say.

mod build;
mod engine;
mod error;
mod idempotency;
mod key;
mod record;
mod row;
mod sandbox;
mod session;
mod tag;
mod team;
mod template;
mod user;

pub use build::{Begun, BuildState, NewBuild, Reason};
pub use engine::Store;
pub use error::{Error, ErrorKind};
pub use idempotency::Claim;
pub use key::{ApiKey, KeyHash, KeyMask, ListedKey};
pub use record::Record;
pub use sandbox::{Intent, Reservation, Sandbox};
pub use session::Session;
pub use tag::{Removal, Tag};
pub use team::{Standing, Team, TeamChange};
pub use template::{Alias, Build, BuildStatus, Resolved, Template, TemplateSummary};
pub use user::{AccessToken, User};
