//! The barest machine: one clone into every namespace, an overlay on the
//! host's own programs, a change of root, `true`. No limits, no filter, no
//! network, no daemon, nobody to ask for it.

use std::fs;
use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::WaitIdOptions;
use rustix::thread::{Gid, Uid};
use sys::clone::{Cloned, Copy};

/// Ids that nothing else on a host uses.
const MAP: &str = "0 1900000000 65536\n";

/// Runs `true` in one and waits for its end. Only while this program has one thread.
pub(super) fn run(scratch: &Path) -> anyhow::Result<()> {
    let (wait, go) = std::io::pipe().context("make a pipe")?;
    match sys::clone::clone(None).context("clone")? {
        Copy::Child => {
            drop(go);
            let failed = inside(scratch, wait);
            // Nobody else can tell the reason, and nobody hears when this fails too.
            let _ = writeln!(std::io::stderr(), "a bare machine: {failed:?}");
            sys::clone::exit_now(1)
        }
        Copy::Parent(machine) => until_it_ends(&machine, go),
    }
}

fn until_it_ends(machine: &Cloned, mut go: PipeWriter) -> anyhow::Result<()> {
    for file in ["uid_map", "gid_map"] {
        let path = format!("/proc/{}/{file}", machine.pid.as_raw_pid());
        fs::write(path, MAP).context("map the user ids")?;
    }
    go.write_all(b"!").context("let it go on")?;
    let id = rustix::process::WaitId::Pid(machine.pid);
    let end = rustix::process::waitid(id, WaitIdOptions::EXITED).context("wait for its end")?;
    let status = end.and_then(|end| end.exit_status());
    anyhow::ensure!(status == Some(0), "a bare machine ended with {status:?}");
    Ok(())
}

/// The child's life; it comes back only with an error.
fn inside(scratch: &Path, mut wait: PipeReader) -> anyhow::Result<()> {
    wait.read_exact(&mut [0])?;
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).context("setgid")?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).context("setuid")?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).context("make mounts private")?;
    rustix::mount::mount("bare", scratch, "tmpfs", MountFlags::empty(), None).context("mount a tmpfs")?;
    rustix::process::chdir(scratch)?;
    for name in ["upper", "work", "root"] {
        fs::create_dir(name)?;
    }
    // A root needs no more than `/usr` to run a program; what is mounted below `/`
    // would be locked together with it.
    let options = c"lowerdir=/usr,upperdir=upper,workdir=work,userxattr";
    rustix::mount::mount("overlay", "root", "overlay", MountFlags::empty(), options)
        .context("mount the overlay")?;
    rustix::process::chdir("root")?;
    rustix::process::pivot_root(".", ".").context("pivot")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).context("detach the old root")?;
    Err(Command::new("/bin/true").exec().into())
}
