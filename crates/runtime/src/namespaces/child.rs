//! From clone to exec: a machine's first process puts up its own barriers.
//!
//! Straight-line code in the order of the irrevocable. It runs in a copy of the
//! launcher, single-threaded. A failure is sent to the server, then the process
//! ends, and with it everything it made.

mod confine;
pub(super) mod mounts;
mod root;

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::message;
use super::orders::{Go, MountRoot, Step, StepFailed};

/// Carries out the server's orders and becomes the first process.
pub(super) fn run(orders: &OwnedFd) -> ! {
    let Err(failed) = boot(orders);
    // If even this cannot be said, the server sees the process end.
    let _ = message::send(orders, &failed, &[]);
    sys::clone::exit_now(1)
}

fn boot(orders: &OwnedFd) -> Result<Infallible, StepFailed> {
    let (order, layers) = next::<MountRoot>(orders)?;
    confine::become_root()?;
    root::build(&order, layers)?;
    root::name_host(&order.hostname)?;

    let (go, _) = next::<Go>(orders)?;
    sys::netlink::configure_guest(&go.network.into())
        .map_err(io::Error::other)
        .step("configuring the network inside")?;
    // Only now: the process stands in its cgroups.
    sys::namespace::new_cgroup_namespace().step("making the cgroup namespace")?;
    root::mount_cgroups();

    confine::standard_streams()?;
    confine::limits()?;
    sys::signal::reset_all();
    confine::drop_bounding_capabilities()?;
    confine::install_filter()?;
    confine::drop_capabilities()?;
    // Covers our own end of `orders`, too: its closing tells the server of the exec.
    sys::clone::close_on_exec_from(3).step("closing what the sandbox must not have")?;
    exec(&order)
}

fn next<T: serde::de::DeserializeOwned>(orders: &OwnedFd) -> Result<(T, Vec<OwnedFd>), StepFailed> {
    match message::receive(orders).step("receiving an order")? {
        Some(order) => Ok(order),
        // Nobody is left to hear a reason.
        None => sys::clone::exit_now(1),
    }
}

fn exec(order: &MountRoot) -> Result<Infallible, StepFailed> {
    let Some((program, args)) = order.command.split_first() else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput)).step("reading the command");
    };
    let env = order.env.iter().map(|(name, value)| (name, value));
    let failed = Command::new(program).args(args).env_clear().envs(env).exec();
    Err(failed).step("executing the first process")
}
