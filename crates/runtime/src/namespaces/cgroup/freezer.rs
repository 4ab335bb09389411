//! The switch that lets a group stand still, on either version.

use std::path::PathBuf;

use super::Error;
use super::file::{self, write};

/// The group of one machine in the hierarchy that can freeze it.
#[derive(Debug)]
pub(super) struct Freezer {
    pub(super) dir: PathBuf,
    pub(super) version: u8,
}

impl Freezer {
    pub(super) fn order(&self, freeze: bool) -> Result<(), Error> {
        match self.version {
            2 => write(&self.dir.join("cgroup.freeze"), if freeze { "1" } else { "0" }),
            _ => write(&self.dir.join("freezer.state"), if freeze { "FROZEN" } else { "THAWED" }),
        }
    }

    pub(super) fn is_frozen(&self) -> Result<bool, Error> {
        if self.version == 2 {
            return Ok(file::field(&self.dir.join("cgroup.events"), "frozen") == Some(1));
        }
        // On version 1 asking is what brings late processes to rest.
        Ok(file::read(&self.dir.join("freezer.state"))?.trim() == "FROZEN")
    }
}
