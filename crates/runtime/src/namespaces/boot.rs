//! The server's half of a start, and finding again what an earlier server started.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, PidfdFlags};
use rustix::rand::GetRandomFlags;

use super::launcher::Newborn;
use super::orders::{Go, MountRoot, Network, StepFailed};
use super::{Host, StepError, has_ended, idmap, kill, kind_of, message, proc_dir, shown};
use crate::storage::WritableLayer;
use crate::{ErrorKind, MachineSpec};

/// A running first process and the way to its ports.
#[derive(Debug)]
pub(super) struct FirstProcess {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) network: OwnedFd,
}

/// `/run` and `/dev/shm` get a quarter of the memory each, which they are charged to.
const SCRATCH_SHARE: u64 = 4;

/// Files below `/etc` that name the sandbox and its way out.
pub(super) const IDENTITY: [&str; 3] = ["hostname", "resolv.conf", "hosts"];

/// Makes the writable layer and puts the files in it that name the sandbox.
pub(super) fn prepare(host: &Host, spec: &MachineSpec) -> Result<(), StepError> {
    let layer = host.storage.create(&spec.dir, spec.resources.disk)?;
    let gateway = host.network.guest_net(spec.slot)?.gateway;
    let etc = layer.upper.join("etc");
    // The layer was made a moment ago, so nothing in it can be a trap.
    std::fs::create_dir(&etc)?;
    let name = &spec.hostname;
    std::fs::write(etc.join("hostname"), format!("{name}\n"))?;
    std::fs::write(etc.join("resolv.conf"), format!("nameserver {gateway}\n"))?;
    let hosts =
        format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t{name}\n");
    std::fs::write(etc.join("hosts"), hosts)?;
    Ok(())
}

/// Clones the first process and leads it to its `exec`.
pub(super) fn boot(host: &Host, spec: &MachineSpec) -> Result<FirstProcess, StepError> {
    let first_id = idmap::first_id_of(host, spec)?;
    let birthplace = host.cgroups.birthplace(&spec.sandbox_id)?;
    let newborn = host.launcher.clone(first_id, birthplace.as_ref().map(AsFd::as_fd))?;
    match lead(host, spec, &newborn, first_id) {
        Ok(network) => Ok(FirstProcess { pid: newborn.pid, pidfd: newborn.pidfd, network }),
        Err(e) => {
            // It would end by itself when `orders` closes; unless it hangs.
            let _ = kill(&newborn.pidfd);
            Err(e)
        }
    }
}

fn lead(host: &Host, spec: &MachineSpec, newborn: &Newborn, first_id: u32) -> Result<OwnedFd, StepError> {
    std::thread::scope(|scope| {
        // Beside the rest: on version 1 this waits some milliseconds for the kernel.
        let entering = std::thread::Builder::new()
            .name("cgroup-enter".to_owned())
            .spawn_scoped(scope, || host.cgroups.enter(&spec.sandbox_id, newborn.pid))?;
        let network = equip(host, spec, newborn, first_id);
        let entered = entering.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (network, go) = network?;
        entered?;
        message::send(&newborn.orders, &go, &[]).map_err(|e| said(newborn, e))?;
        match message::receive::<StepFailed>(&newborn.orders)? {
            Some((failed, _)) => Err(failed.into()),
            // Closed by its exec, or by its death, which the machine will report.
            None => Ok(network),
        }
    })
}

/// Gives the newborn its ids, its mounts and its network.
fn equip(
    host: &Host,
    spec: &MachineSpec,
    newborn: &Newborn,
    first_id: u32,
) -> Result<(OwnedFd, Go), StepError> {
    let users = idmap::namespace(newborn.pid, "user")?;
    let network = idmap::namespace(newborn.pid, "net")?;
    idmap::write_maps(newborn.pid, first_id)?;
    // All that was looked up by number belongs to this process only if it lives still.
    if has_ended(&newborn.pidfd)? {
        return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
    }
    let mut mounts = Vec::with_capacity(spec.layers.len() + 1);
    for layer in &spec.layers {
        mounts.push(idmap::shifted(layer, users.as_fd(), true)?);
    }
    mounts.push(idmap::shifted(&WritableLayer::of(&spec.dir).base, users.as_fd(), false)?);
    let fds: Vec<_> = mounts.iter().map(AsFd::as_fd).collect();
    message::send(&newborn.orders, &order(host, spec)?, &fds)?;
    let guest = host.network.attach(spec.slot, network.as_fd())?;
    Ok((network, Go { network: Network::from(guest) }))
}

fn order(host: &Host, spec: &MachineSpec) -> Result<MountRoot, StepError> {
    let mut random = [0; 16];
    rustix::rand::getrandom(&mut random, GetRandomFlags::empty()).map_err(io::Error::from)?;
    let cpus = spec.resources.cpu_count.min(host.cgroups.cpu_count());
    // A clock before 1970 shows as 1970.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(MountRoot {
        hostname: spec.hostname.clone(),
        scratch_bytes: spec.resources.memory.as_u64() / SCRATCH_SHARE,
        shown: shown::files(spec.resources, cpus, &shown::random_uuid(random), now),
        command: spec.command.clone(),
        env: spec.env.clone(),
    })
}

/// If sending failed, the newborn has ended and may have said why.
fn said(newborn: &Newborn, error: io::Error) -> StepError {
    match message::receive::<StepFailed>(&newborn.orders) {
        Ok(Some((failed, _))) => failed.into(),
        _ => error.into(),
    }
}

impl From<StepFailed> for StepError {
    fn from(failed: StepFailed) -> Self {
        let kind = failed.errno.map_or(ErrorKind::Bug, |n| kind_of(&io::Error::from_raw_os_error(n)));
        Self::new(kind, failed)
    }
}

/// Finds the first process of a machine among the processes of its cgroups, and
/// whether it has settled.
pub(super) fn find(host: &Host, spec: &MachineSpec) -> Result<Option<(FirstProcess, bool)>, StepError> {
    for pid in host.cgroups.processes(&spec.sandbox_id)? {
        if !is_first_inside(pid) {
            continue;
        }
        let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { continue };
        let Ok(network) = idmap::namespace(pid, "net") else { continue };
        // Still the same process, after the handles were taken?
        if is_first_inside(pid) && !has_ended(&pidfd)? {
            let settled = host.cgroups.has_settled(&spec.sandbox_id, pid)?;
            return Ok(Some((FirstProcess { pid, pidfd, network }, settled)));
        }
    }
    Ok(None)
}

/// `NSpid: 4711 1`: number 1 in the innermost namespace.
fn is_first_inside(pid: Pid) -> bool {
    let status = std::fs::read_to_string(proc_dir(pid).join("status")).unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("NSpid:")).is_some_and(|ids| {
        let mut ids = ids.split_whitespace();
        ids.next().is_some() && ids.next_back() == Some("1")
    })
}
