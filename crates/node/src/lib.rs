//! Owns every sandbox of one host from reservation to removal.
//!
//! [`Handle`] is the only way in: calls go down through it, facts come up as
//! watched observations. One driver task per sandbox mutates it; a restart
//! re-adopts what it finds on disk.

mod approval;
mod boot;
pub mod build;
mod clock;
mod diff;
mod disk;
mod driver;
mod ended;
mod error;
mod faults;
mod generation;
mod guest;
mod handle;
mod hex;
mod host;
pub mod image;
mod ledger;
mod lent;
mod nouns;
mod options;
mod record;
mod restore;
mod room;
mod shared;
mod spares;
mod states;
mod tasks;
mod template;
mod trace;
mod warm;

pub use approval::{Approval, Approver};
pub use clock::{Clock, SystemClock};
pub use diff::{DiffError, DiffPage, DiffRequest, Difference, FileKind, FileState};
pub use disk::Error as DiskError;
pub use error::{Error, ErrorKind};
pub use faults::{Faults, InjectedFault, NoFaults, Point};
pub use generation::{Checkpoint, Hold, Keep, Waking};
pub use handle::{Handle, Sandboxes};
pub use host::{Disk, Host};
pub use lent::LentSlots;
pub use nouns::{CreateSandbox, Ended, Observation, Phase, Reach, TemplateBuild};
pub use options::{DEFAULT_OVERCOMMIT, Limits, NodeOptions, measure_capacity, records_dir};
pub use record::{Refused, Unusable};
pub use restore::OpenError;
pub use room::Room;
pub use runtime::{Connection, DialError};
