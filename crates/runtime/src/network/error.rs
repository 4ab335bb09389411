//! What can go wrong with the network of sandboxes.

use std::io;

use model::Slot;

use super::plan::Range;
use crate::ErrorKind;

/// A step failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options contradict themselves or the host.
    #[error("the network {0} has no room for sandboxes; it needs at least 24 and at most 8 leading bits")]
    Range(Range),
    /// The host uses these addresses itself.
    #[error("the network {range} of sandboxes overlaps the host's route to {route}; configure another one")]
    Taken {
        /// Of the sandboxes.
        range: Range,
        /// Of the host.
        route: Range,
    },
    /// A name of the options would not survive in a rule.
    #[error("{0:?} is no usable name: lower-case letters and digits, at most 7 of them")]
    Name(String),
    /// More sandboxes than addresses.
    #[error("slot {0} has no address in the configured network")]
    NoAddress(Slot),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] sys::netlink::Error),
    /// A program that loads rules failed.
    #[error("{program} failed: {message}")]
    Program {
        /// Its name.
        program: &'static str,
        /// What it said.
        message: String,
    },
    /// The name service could not start, or a setting could not be read.
    #[error("{step}")]
    Step {
        /// The step in words.
        step: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// What it means for the caller.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoAddress(_) => ErrorKind::Exhausted,
            Self::Kernel(e) if e.is_exists() || e.is_not_found() => ErrorKind::Bug,
            Self::Step { .. } => ErrorKind::Bug,
            _ => ErrorKind::Unsupported,
        }
    }

    pub(super) fn step(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Step { step, source }
    }
}
