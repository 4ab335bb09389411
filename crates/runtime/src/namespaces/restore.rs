//! Machines that wake from a memory.
//!
//! The tool runs in a room with the sandbox's root, in the sandbox's control
//! groups. It makes the namespaces itself, and asks twice: when they are there and
//! empty, the network is plugged in; when everybody is back and stands still,
//! connections that lead nowhere are cut and the host gets its name.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::process::{Pid, PidfdFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::boot::FirstProcess;
use super::checkpoint::{IMAGES, WorkDir};
use super::criu::{self, Ask, Restore};
use super::orders::StepFailed;
use super::workshop::{self, Furnish, Placed, Room, Sandbox, Task};
use super::{Host, StepError, has_ended, idmap, kill, message};
use crate::storage::WritableLayer;
use crate::{ErrorKind, MachineSpec};

/// Lets the processes of `memory` go on as the machine of `spec`.
pub(super) fn restore(host: &Host, spec: &MachineSpec, memory: &Path) -> Result<FirstProcess, StepError> {
    let work = WorkDir::new(host, spec, "restore")?;
    let room = furnish(host, spec, memory, &work.path)?;
    let came_back = criu::run(&room, &Restore, &work.path, |ask| match ask {
        Ask::Namespaces(pid) => plug(host, spec, pid),
        Ask::Restored(pid) => finish(spec, pid),
        Ask::Written => Ok(()),
    });
    workshop::wait_for_end(&room);
    match came_back.and_then(first_process) {
        Ok(process) => Ok(process),
        Err(error) => {
            // Whatever it made before it failed.
            host.cgroups.kill(&spec.sandbox_id)?;
            Err(work.keep(error))
        }
    }
}

/// A room with the root of the sandbox, standing in its control groups.
fn furnish(host: &Host, spec: &MachineSpec, memory: &Path, work: &Path) -> Result<Room, StepError> {
    let criu = host.criu()?;
    let first_id = idmap::first_id_of(host, spec)?;
    let images = memory.join(IMAGES);
    let (users_image, users) = criu::move_users(&images, first_id)?;
    let covering = work.join("users.img");
    std::fs::write(&covering, users)?;
    let mut mounts =
        vec![idmap::plain(criu.usr(), true)?, idmap::plain(&images, true)?, idmap::plain(&covering, true)?];
    mounts.extend(shifted_layers(host, spec, first_id)?);
    let fds: Vec<_> = mounts.iter().map(AsFd::as_fd).collect();
    let room = host.launcher.room()?;
    let users_image = users_image.to_string_lossy().into_owned();
    message::send(
        &room.orders,
        &Furnish { user: 0, task: Task::Restore(Sandbox { first_id, users_image }) },
        &fds,
    )?;
    match message::receive::<Option<StepFailed>>(&room.orders)? {
        Some((None, _)) => {}
        Some((Some(failed), _)) => return Err(failed.into()),
        None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    }
    host.cgroups.admit(&spec.sandbox_id, room.pid)?;
    message::send(&room.orders, &Placed, &[])?;
    Ok(room)
}

/// Clones of the layers, shifted by a user namespace that is only a map: the one
/// that the processes will live in is not there yet.
fn shifted_layers(host: &Host, spec: &MachineSpec, first_id: u32) -> Result<Vec<OwnedFd>, StepError> {
    let model = host.launcher.clone(first_id, None)?;
    let shift = || -> Result<Vec<OwnedFd>, StepError> {
        let users = idmap::namespace(model.pid, "user")?;
        idmap::write_maps(model.pid, first_id)?;
        if has_ended(&model.pidfd)? {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        }
        let mut mounts = Vec::with_capacity(spec.layers.len() + 1);
        for layer in &spec.layers {
            mounts.push(idmap::shifted(layer, users.as_fd(), true)?);
        }
        mounts.push(idmap::shifted(&WritableLayer::of(&spec.dir).base, users.as_fd(), false)?);
        Ok(mounts)
    };
    let shifted = shift();
    kill(&model.pidfd)?;
    shifted
}

/// Plugs the network in.
fn plug(host: &Host, spec: &MachineSpec, pid: Pid) -> io::Result<()> {
    let network = idmap::namespace(pid, "net")?;
    if idmap::is_own(&network, "net")? {
        return Err(io::Error::other("the checkpoint tool made no network namespace"));
    }
    let guest = host.network.attach(spec.slot, network.as_fd()).map_err(io::Error::other)?;
    let first_id = idmap::first_id_of(host, spec).map_err(|e| io::Error::other(e.source))?;
    inside(&[(&network, LinkNameSpaceType::Network)], move || {
        sys::netlink::configure_guest(&guest).map_err(io::Error::other)?;
        // Sockets come back with the address that they had; what they are connected
        // to is cut before anybody runs.
        std::fs::write(NONLOCAL, "1")?;
        // As a sandbox has it after its boot; a convenience, and in ids outside here.
        let _ = std::fs::write(PING, format!("{first_id} {}", first_id + 65_535));
        Ok(())
    })
}

/// Lets sockets have addresses that are not the sandbox's.
const NONLOCAL: &str = "/proc/sys/net/ipv4/ip_nonlocal_bind";
/// Which groups may send echo requests.
const PING: &str = "/proc/sys/net/ipv4/ping_group_range";

/// The last before everybody goes on.
fn finish(spec: &MachineSpec, pid: Pid) -> io::Result<()> {
    let network = idmap::namespace(pid, "net")?;
    let names = idmap::namespace(pid, "uts")?;
    let hostname = spec.hostname.clone();
    let entered =
        [(&network, LinkNameSpaceType::Network), (&names, LinkNameSpaceType::HostNameAndNISDomainName)];
    inside(&entered, move || {
        std::fs::write(NONLOCAL, "0")?;
        sys::netlink::cut_strays().map_err(io::Error::other)?;
        Ok(rustix::system::sethostname(hostname.as_bytes())?)
    })
}

/// Does something on a thread of its own that stands in these namespaces.
fn inside(
    namespaces: &[(&OwnedFd, LinkNameSpaceType)],
    act: impl FnOnce() -> io::Result<()> + Send,
) -> io::Result<()> {
    std::thread::scope(|scope| {
        let entered =
            std::thread::Builder::new().name("sandbox-inside".to_owned()).spawn_scoped(scope, move || {
                for (namespace, kind) in namespaces {
                    move_into_link_name_space(namespace.as_fd(), Some(*kind))?;
                }
                act()
            })?;
        entered.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn first_process(pid: Option<Pid>) -> Result<FirstProcess, StepError> {
    let pid = pid.ok_or_else(|| StepError::new(ErrorKind::Bug, Nobody))?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from)?;
    let network = idmap::namespace(pid, "net")?;
    if has_ended(&pidfd)? {
        return Err(StepError::new(ErrorKind::Bug, Nobody));
    }
    Ok(FirstProcess { pid, pidfd, network })
}

#[derive(Debug, thiserror::Error)]
#[error("no process came back")]
struct Nobody;
