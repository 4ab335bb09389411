//! A sandbox at one moment: what a checkpoint leaves, and what comes back from it.
//!
//! A checkpoint has a *layer*, the writable layer as it was, and may have a
//! *memory*, a directory that only its backend reads. Both appear complete or not
//! at all, belong together, and are never written again: any number of machines
//! may start from one. What a sandbox had written lies in the layer's directory
//! [`FILES`], with unshifted ids.

use std::path::{Path, PathBuf};
use std::time::Duration;

use model::ByteSize;
use tokio::sync::oneshot;

/// The directory of a layer that holds the files.
pub const FILES: &str = "upper";

/// Where a checkpoint goes.
#[derive(Debug, Clone, Copy)]
pub struct CheckpointTo<'a> {
    /// The writable layer as it was; a path beside the template layers that does
    /// not exist. Removed with [`crate::Backend::remove_layer`].
    pub layer: &'a Path,
    /// The memory of its processes; a path that does not exist, in a directory
    /// that does. Only its owner may enter what appears there. `None`: files only.
    pub memory: Option<&'a Path>,
}

/// [`CheckpointTo`] that may move to another thread.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) layer: PathBuf,
    pub(crate) memory: Option<PathBuf>,
}

impl From<CheckpointTo<'_>> for Target {
    fn from(to: CheckpointTo<'_>) -> Self {
        Self { layer: to.layer.to_owned(), memory: to.memory.map(Path::to_owned) }
    }
}

/// What becomes of the machine after its checkpoint.
#[derive(Debug)]
pub enum Then {
    /// It ends without having run on, as soon as who holds the other end says so: nothing
    /// happens that the checkpoint does not know. [`Then::stop`] makes both ends.
    Stop(oneshot::Sender<Standing>),
    /// It goes on where it was.
    Continue,
}

impl Then {
    /// A stop, and where to hear that all is written.
    pub fn stop() -> (Self, oneshot::Receiver<Standing>) {
        let (ask, standing) = oneshot::channel();
        (Self::Stop(ask), standing)
    }

    /// Says that all is written. What comes of it says whether the machine is to end.
    pub(crate) fn ask(ask: oneshot::Sender<Standing>, memory_bytes: ByteSize) -> oneshot::Receiver<()> {
        let (end, answer) = oneshot::channel();
        // Where nobody listens, the answer is no.
        let _ = ask.send(Standing { memory_bytes, end });
        answer
    }
}

/// A machine whose checkpoint is written, which stands still until its end is said.
/// Dropped instead, it lets the machine go on, and the checkpoint fails.
#[derive(Debug)]
pub struct Standing {
    /// What its memory takes on disk; nothing for one of files only.
    pub memory_bytes: ByteSize,
    end: oneshot::Sender<()>,
}

impl Standing {
    /// Ends the machine. What was written is the caller's from here on, also if the
    /// checkpoint fails after this.
    pub fn end(self) {
        // Who asked is gone only if the machine is.
        let _ = self.end.send(());
    }
}

/// The answer to [`Then::ask`] was no.
#[derive(Debug, thiserror::Error)]
#[error("what was written was not taken")]
pub(crate) struct NotTaken;

/// A checkpoint was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checkpointed {
    /// What its memory takes on disk; nothing for one of files only.
    pub memory_bytes: ByteSize,
    /// How long the machine stood still, all in all.
    pub frozen: Duration,
    /// How often its memory was written before, while it went on.
    pub rounds: u32,
    /// What of its memory was written while it stood still for the last time.
    pub written_standing: ByteSize,
}
