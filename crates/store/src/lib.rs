//! Durable state of the control plane.
//!
//! The only crate that holds SQL. Everything in and out is a domain value;
//! [`Store`] is a cheap handle on one database. It keeps what *should* exist
//! (written before anything is done about it) and what *did*; what exists right
//! now is the node's to say.

mod build;
mod engine;
mod error;
mod event;
mod files;
mod idempotency;
mod key;
mod known;
mod list;
mod log;
mod node;
mod record;
mod row;
mod sample;
mod sandbox;
mod session;
mod snapshot;
mod tag;
mod team;
mod template;
mod user;
mod webhook;
mod writer;

pub use build::{Begun, BuildState, NewBuild, Reason};
pub use engine::Store;
pub use error::{Error, ErrorKind};
pub use event::{Event, EventKind, EventQuery};
pub use idempotency::Claim;
pub use key::{ApiKey, KeyHash, KeyMask, ListedKey};
pub use list::{ListFilter, ListPlace, Placed};
pub use log::{LogLine, Logs, Source};
pub use record::{Ending, Record};
pub use sample::{Samples, TeamSample, UsageSample};
pub use sandbox::{Intent, Reservation, Sandbox};
pub use session::Session;
pub use snapshot::{Kept, NewSnapshot, Snapshot};
pub use tag::{Removal, Tag};
pub use team::{Standing, Team, TeamChange};
pub use template::{Alias, Build, BuildStatus, Resolved, Template, TemplateSummary};
pub use user::{AccessToken, User};
pub use webhook::{Delivery, Undelivered, Webhook};
