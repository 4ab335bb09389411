//! The nouns and rules of the domain as pure values.
//!
//! Nothing here knows JSON, HTTP, SQL, an async runtime or a clock: every rule
//! is a function from values to values, so each can be tested by itself.

pub mod admission;
mod end;
mod id;
mod isolation;
pub mod lifecycle;
mod policy;
mod resources;
mod session;
mod size;
mod template;
mod time;

pub use end::{EndCause, KilledBy, OomVictim, Peaks, UnknownEndCause};
pub use id::{BuildId, GenerationId, InvalidId, KeyId, SandboxId, Slot, TeamId, TemplateId, UserId};
pub use isolation::{Isolation, UnknownIsolation};
pub use policy::{AtTimeout, Policy};
pub use resources::{InvalidResources, Resources};
pub use session::{BadSessionId, SessionId, SessionKind, SessionLimits};
pub use size::ByteSize;
pub use template::{InvalidTemplateRef, TemplateName, TemplateRef};
pub use time::Timestamp;
