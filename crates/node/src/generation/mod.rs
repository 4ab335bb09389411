//! Generations: the state of a sandbox as it was at one moment, never changed again.
//!
//! ```text
//!   <bulk>/generations/.new-<id>   being made: the backend writes, the manifest comes last
//!                 │ one rename
//!                 ▼
//!   <bulk>/generations/<id>        layer · memory (if kept) · manifest.json
//!                 │ nobody holds it any more
//!                 ▼
//!   <bulk>/generations/.gone-<id>  being removed
//! ```
//!
//! Sandboxes that sleep on one and snapshots hold it, by what is written in
//! *their* records; a checkpoint under way holds it in memory. The count is made
//! again from those records at every start, and what nobody holds goes then.

mod known;
mod manifest;
mod shelf;
pub(crate) mod sweep;

pub(crate) use manifest::{Made, Manifest, Unusable};
pub use shelf::Hold;
pub(crate) use shelf::Shelf;

use model::{ByteSize, GenerationId};

/// What is kept of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Keep {
    /// Its files; processes are not part of it.
    Files,
    /// Its files and its processes with their memory.
    Memory,
}

/// How a sandbox is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waking {
    /// With everything that was kept of it.
    Kept,
    /// From its files alone, as after a power cut.
    Reboot,
}

/// A state that was written down, and stays at least as long as this lives.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Which one.
    pub generation: GenerationId,
    /// What it keeps.
    pub keep: Keep,
    /// What it takes on disk beyond what it shares: its memory image.
    pub size: ByteSize,
    /// How long the sandbox stood still for it.
    pub frozen: std::time::Duration,
    /// Keeps it.
    pub hold: Hold,
}
