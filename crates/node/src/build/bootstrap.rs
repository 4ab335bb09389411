//! A distribution's packages in an empty directory, by a bootstrap tool of the host.

use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::recipe::Bootstrap;
use super::step::StepFailure;
use super::tail::Tail;
use crate::disk;

/// Fills `to`, which appears only when everything went well.
pub(super) async fn make(bootstrap: &Bootstrap, to: &Path, tail: Tail) -> Result<(), StepFailure> {
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let temporary = to.with_file_name(format!(".bootstrap-{name}"));
    let root = temporary.join("root");
    disk::blocking({
        let (temporary, root) = (temporary.clone(), root.clone());
        move || {
            disk::remove_dir(&temporary)?;
            disk::ensure_dir(&root)
        }
    })
    .await?;
    let made = fill(bootstrap, &root, tail).await;
    let to = to.to_owned();
    disk::blocking(move || {
        let made = made.and_then(|()| Ok(std::fs::rename(&root, &to).map_err(disk::error("naming", &to))?));
        disk::remove_dir(&temporary)?;
        made
    })
    .await
}

async fn fill(bootstrap: &Bootstrap, root: &Path, tail: Tail) -> Result<(), StepFailure> {
    match run(mmdebstrap(bootstrap, root), tail).await {
        Err((StepFailure::NoTool, tail)) => {
            run(debootstrap(bootstrap, root), tail).await.map_err(|(failure, _)| failure)
        }
        result => result.map_err(|(failure, _)| failure),
    }
}

fn mmdebstrap(bootstrap: &Bootstrap, root: &Path) -> Command {
    let mut command = Command::new("mmdebstrap");
    command.arg("--mode=root").arg("--format=directory").arg("--skip=output/dev,output/mknod");
    command.arg(format!("--variant={}", bootstrap.variant));
    command.arg(format!("--include={}", bootstrap.packages.join(",")));
    command.arg("--aptopt=Acquire::Languages \"none\"");
    // Later options win, so what is kept comes after what is left out.
    command.args(bootstrap.exclude_paths.iter().map(|path| format!("--dpkgopt=path-exclude={path}")));
    command.args(bootstrap.include_paths.iter().map(|path| format!("--dpkgopt=path-include={path}")));
    command.arg(&bootstrap.suite).arg(root).args(&bootstrap.mirror);
    command
}

/// The older tool leaves nothing out; the template is larger, not different.
fn debootstrap(bootstrap: &Bootstrap, root: &Path) -> Command {
    let mut command = Command::new("debootstrap");
    command.arg(format!("--variant={}", bootstrap.variant));
    command.arg(format!("--include={}", bootstrap.packages.join(",")));
    command.arg(&bootstrap.suite).arg(root).args(&bootstrap.mirror);
    command
}

/// Ends a tool with everything it started, unless it is done.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        // The leader was not waited for yet, so the number is still its group's.
        if let Some(group) = self.0.take() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn run(mut command: Command, mut tail: Tail) -> Result<(), (StepFailure, Tail)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err((StepFailure::NoTool, tail)),
        Err(e) => return Err((StepFailure::Tool(e), tail)),
    };
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let mut group = Group(id.and_then(Pid::from_raw));
    read_both(child.stdout.take(), child.stderr.take(), &mut tail).await;
    let ended = child.wait().await;
    group.0 = None;
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            let failure = StepFailure::Ended { how: status.to_string(), lines: tail.finish() };
            Err((failure, Tail::new(|_| {})))
        }
        Err(e) => Err((StepFailure::Tool(e), tail)),
    }
}

/// Reads both outputs to their ends.
async fn read_both(
    mut out: Option<impl AsyncRead + Unpin>,
    mut err: Option<impl AsyncRead + Unpin>,
    tail: &mut Tail,
) {
    let (mut from_out, mut from_err) = ([0; 4096], [0; 4096]);
    while out.is_some() || err.is_some() {
        tokio::select! {
            n = read(&mut out, &mut from_out) => tail.push(&from_out[..n]),
            n = read(&mut err, &mut from_err) => tail.push(&from_err[..n]),
        }
    }
}

/// Reads a piece; forgets the source at its end. Waits forever without one.
async fn read(source: &mut Option<impl AsyncRead + Unpin>, buffer: &mut [u8]) -> usize {
    let Some(open) = source else { return std::future::pending().await };
    let n = open.read(buffer).await.unwrap_or(0);
    if n == 0 {
        *source = None;
    }
    n
}
