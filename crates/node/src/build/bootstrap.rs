//! A distribution's packages in an empty directory, by a bootstrap tool of the host.
//!
//! The tool starts dozens of programs that write to the state file system. They
//! run in a process namespace of their own whose first process the kernel kills
//! when this server ends, in whatever way: nothing is left that the next server
//! would meet.

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
    if is_installed("mmdebstrap").await? {
        run(mmdebstrap(bootstrap, root), tail).await
    } else if is_installed("debootstrap").await? {
        run(debootstrap(bootstrap, root), tail).await
    } else {
        Err(StepFailure::NoTool)
    }
}

/// Both tools tell their version without doing anything.
async fn is_installed(tool: &str) -> Result<bool, StepFailure> {
    let mut command = Command::new(tool);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status().await {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(StepFailure::Tool(e)),
    }
}

/// A tool that lives no longer than the thread that starts it: the kernel kills
/// `unshare` with that thread, and `unshare` its namespace. Threads that start
/// tools are those of the executor, which live as long as the server.
fn contained(tool: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.arg(tool);
    command
}

fn mmdebstrap(bootstrap: &Bootstrap, root: &Path) -> Command {
    let mut command = contained("mmdebstrap");
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
    let mut command = contained("debootstrap");
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

async fn run(mut command: Command, mut tail: Tail) -> Result<(), StepFailure> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
    let mut child = command.spawn().map_err(StepFailure::Tool)?;
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let mut group = Group(id.and_then(Pid::from_raw));
    read_both(child.stdout.take(), child.stderr.take(), &mut tail).await;
    let ended = child.wait().await;
    group.0 = None;
    let status = ended.map_err(StepFailure::Tool)?;
    if status.success() {
        return Ok(());
    }
    Err(StepFailure::Ended { how: status.to_string(), lines: tail.finish() })
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Whether a process with this argument is there.
    fn is_there(argument: &str) -> bool {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let command_line = |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline"));
        processes.flat_map(command_line).any(|line| line.split(|b| *b == 0).any(|a| a == argument.as_bytes()))
    }

    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_tool_ends_with_its_server_and_takes_everything_along() {
        if !rustix::process::geteuid().is_root() {
            return testkit::skip("a process namespace needs root");
        }
        // A length of sleep that no other process of this machine asks for.
        let mark = format!("86400.{}", std::process::id());
        let (thread_goes, goes) = std::sync::mpsc::channel::<()>();
        let server = std::thread::spawn({
            let script = format!("setsid sleep {mark} & sleep {mark}");
            move || {
                let mut tool = contained("sh").into_std();
                let child = tool.arg("-c").arg(script).spawn().unwrap();
                let _ = goes.recv();
                child
            }
        });
        until(|| is_there(&mark)).await;
        drop(thread_goes);
        let mut child = server.join().unwrap();
        until(|| !is_there(&mark)).await;
        assert!(!child.wait().unwrap().success());
    }

    #[tokio::test]
    async fn a_missing_tool_is_known_before_it_is_run() {
        assert!(is_installed("sh").await.unwrap());
        assert!(!is_installed("no-such-tool-anywhere").await.unwrap());
    }
}
