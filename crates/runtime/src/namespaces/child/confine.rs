//! Who the first process is and what it may: user ids, limits, capabilities,
//! system calls.

use std::fs::OpenOptions;

use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};

use crate::namespaces::filter;
use crate::namespaces::orders::{Step, StepFailed};

/// What root inside keeps: enough for `apt`, `sudo`, servers on low ports and
/// debuggers. Nothing with which to mount, configure networks or reach the kernel.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SYS_PTRACE);

/// More open files than this no program asks for; some size tables by it.
const OPEN_FILES: u64 = 1 << 20;

/// Takes the ids that the server has mapped. Until then the process is an
/// unmapped user; after it, root inside and nobody outside.
pub(super) fn become_root() -> Result<(), StepFailed> {
    rustix::process::setsid().step("starting a session")?;
    rustix::thread::set_thread_groups(&[]).step("leaving the host's groups")?;
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).step("becoming the root group")?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).step("becoming root")
}

/// Replaces the three standard streams by the sandbox's own `/dev/null`.
pub(super) fn standard_streams() -> Result<(), StepFailed> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").step("opening /dev/null")?;
    rustix::stdio::dup2_stdin(&null).step("replacing standard input")?;
    rustix::stdio::dup2_stdout(&null).step("replacing standard output")?;
    rustix::stdio::dup2_stderr(&null).step("replacing standard error")
}

/// Sets resource limits; they only ever go down, which needs no capability.
pub(super) fn limits() -> Result<(), StepFailed> {
    let hard = rustix::process::getrlimit(Resource::Nofile).maximum;
    let files = Some(hard.map_or(OPEN_FILES, |hard| hard.min(OPEN_FILES)));
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: files, maximum: files })
        .step("limiting open files")?;
    let none = Rlimit { current: Some(0), maximum: rustix::process::getrlimit(Resource::Core).maximum };
    rustix::process::setrlimit(Resource::Core, none).step("switching core files off")
}

/// No program can ever get more than `KEPT` back.
pub(super) fn drop_bounding_capabilities() -> Result<(), StepFailed> {
    rustix::thread::clear_ambient_capability_set().step("clearing ambient capabilities")?;
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if KEPT.contains(capability) {
            continue;
        }
        // The kernel knows fewer than 64 and says so at the first that it does not know.
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Err(rustix::io::Errno::INVAL) => break,
            done => done.step("dropping a capability")?,
        }
    }
    Ok(())
}

/// Needs `CAP_SYS_ADMIN`, therefore comes before the last drop.
pub(super) fn install_filter() -> Result<(), StepFailed> {
    filter::of_sandboxes().install().step("installing the system call filter")
}

/// Keeps `KEPT` and nothing else, from now on and not only after `exec`.
pub(super) fn drop_capabilities() -> Result<(), StepFailed> {
    let sets = CapabilitySets { effective: KEPT, permitted: KEPT, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).step("dropping capabilities")
}
