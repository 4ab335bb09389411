//! What the server tells a newborn machine, in this order: mount your root,
//! then (cgroups and network are in place) go. What it may say back: a failure.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use sys::netlink::GuestNet;

/// First order. Its descriptors: the layers, topmost first, then the writable
/// layer, each a detached mount that shifts ids.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct MountRoot {
    /// Host name inside.
    pub(super) hostname: String,
    /// Size of `/run` and `/dev/shm`, in bytes.
    pub(super) scratch_bytes: u64,
    /// Files to show instead of the host's: path below `/run/warren/proc`, where
    /// it is seen, and content.
    pub(super) shown: Vec<Shown>,
    /// Path and arguments of the first process.
    pub(super) command: Vec<String>,
    /// Its environment.
    pub(super) env: Vec<(String, String)>,
}

/// One file that stands in for a file of the host's.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Shown {
    /// Its name below `/run/warren/proc`.
    pub(super) name: String,
    /// The path that it covers.
    pub(super) over: String,
    /// Its first content.
    pub(super) content: String,
}

/// Second order: everything outside is in place.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Go {
    /// The interface that waits in its network namespace.
    pub(super) network: Network,
}

/// [`GuestNet`] in a form that can be sent.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Network {
    interface: String,
    address: Ipv4Addr,
    gateway: Ipv4Addr,
    gateway_mac: [u8; 6],
}

impl From<GuestNet> for Network {
    fn from(GuestNet { interface, address, gateway, gateway_mac }: GuestNet) -> Self {
        Self { interface, address, gateway, gateway_mac }
    }
}

impl From<Network> for GuestNet {
    fn from(Network { interface, address, gateway, gateway_mac }: Network) -> Self {
        Self { interface, address, gateway, gateway_mac }
    }
}

/// A step that failed inside, on its way to the log of the host.
#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{step}: {reason}")]
pub(super) struct StepFailed {
    /// The step in words.
    pub(super) step: String,
    /// The kernel's words.
    pub(super) reason: String,
    /// The kernel's number, where there is one.
    pub(super) errno: Option<i32>,
}

/// Names the step that an error belongs to.
pub(super) trait Step<T> {
    /// Adds the name.
    fn step(self, step: &str) -> Result<T, StepFailed>;
}

impl<T, E: Into<std::io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &str) -> Result<T, StepFailed> {
        self.map_err(|e| {
            let e = e.into();
            StepFailed { step: step.to_owned(), reason: e.to_string(), errno: e.raw_os_error() }
        })
    }
}
