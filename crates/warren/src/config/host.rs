//! What this machine gives to sandboxes, and the names it has for their things.

use std::path::PathBuf;

use anyhow::{Result, bail};
use model::admission::Overcommit;
use node::DEFAULT_OVERCOMMIT;
use serde::{Deserialize, Serialize};

/// What this machine may give to sandboxes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Node {
    /// Sandboxes at a time, of all teams.
    pub(crate) max_sandboxes: u32,
    /// Memory promised to sandboxes, as a multiple of the machine's.
    pub(crate) memory_overcommit: f64,
    /// Disk promised to sandboxes, as a multiple of the state file system's size.
    pub(crate) disk_overcommit: f64,
    /// How long a process waits for a client that does not read its output, before
    /// that client is cut off.
    pub(crate) output_patience_seconds: u32,
    /// First user id outside; each slot takes the next 65,536.
    pub(crate) first_uid: u32,
    /// The checkpoint tool CRIU, a path that ends in `usr/sbin/criu`, which pauses
    /// with memory need. Unset, it is looked for in `criu` in and beside the state directory,
    /// beside this program and above it, then among the system's programs.
    pub(crate) criu: Option<PathBuf>,
    /// Whether sandboxes of templates with an interpreter or a start command wake from
    /// a state that is kept of such a sandbox, where that is faster than to boot. For
    /// programs that one trusts: such sandboxes share the kernel's allowances per user.
    pub(crate) warm_templates: bool,
    /// Size of the state file system's image where one has to be made, in GiB; 0: 80 % of what is free.
    pub(crate) image_gib: u64,
}

/// The network of sandboxes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Network {
    /// Private range whose addresses sandboxes have.
    pub(crate) range: String,
    /// What the names of the host's network interfaces for sandboxes begin with.
    pub(crate) interface_prefix: String,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            max_sandboxes: 2000,
            memory_overcommit: f64::from(DEFAULT_OVERCOMMIT.memory_percent) / 100.0,
            disk_overcommit: f64::from(DEFAULT_OVERCOMMIT.disk_percent) / 100.0,
            output_patience_seconds: 60,
            first_uid: 1_000_000,
            criu: None,
            warm_templates: false,
            image_gib: 0,
        }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self { range: "10.213.0.0/16".to_owned(), interface_prefix: "wv".to_owned() }
    }
}

impl Node {
    /// What may be promised beyond what is there, as the node takes it.
    pub(crate) fn overcommit(&self) -> Overcommit {
        Overcommit {
            memory_percent: percent(self.memory_overcommit),
            disk_percent: percent(self.disk_overcommit),
        }
    }

    /// Whether sandboxes could run with this.
    pub(super) fn check(&self) -> Result<()> {
        if !(self.memory_overcommit > 0.0 && self.disk_overcommit > 0.0) {
            bail!("node.memory_overcommit and node.disk_overcommit must be above 0");
        }
        if self.output_patience_seconds == 0 {
            bail!("node.output_patience_seconds must be at least 1");
        }
        if self.first_uid < 65_536 {
            bail!("node.first_uid must be at least 65536, or sandboxes would share ids with the host");
        }
        Ok(())
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float cast saturates")]
fn percent(factor: f64) -> u32 {
    (factor * 100.0).round() as u32
}

/// Whether the kernel takes a name that begins with this one: it has a letter first,
/// and leaves room for what follows.
pub(super) fn check_name(key: &str, name: &str) -> Result<()> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    let ordinary = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if !(starts_well && ordinary && name.len() <= 7) {
        bail!("{key} is {name:?}: use a lower-case letter and at most 6 letters or digits more");
    }
    Ok(())
}

/// Isolation as its name.
pub(super) mod isolation {
    use model::Isolation;
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's interface")]
    pub(crate) fn serialize<S: Serializer>(value: &Isolation, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(value.as_str())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Isolation, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_nodes() {
        assert_eq!(Node::default().overcommit(), DEFAULT_OVERCOMMIT);
    }
}
