//! Checkpoints of machines of namespaces: the files by the state file system, the
//! memory by the checkpoint tool, both of one moment.
//!
//! The tool lets the tree stand still, writes it down, and asks us; then the layer
//! is copied and both get their names; only then the tree goes on, or is ended, if
//! who wanted that agrees. So a failure anywhere leaves a tree that goes on, and a
//! success is one of both.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use model::ByteSize;
use rustix::process::Pid;
use tokio::sync::oneshot::Sender;

use super::criu::{self, Ask, Dump};
use super::launcher::{DEVICES, Launcher, NOTHING};
use super::workshop::{self, Furnish, Task};
use super::{Host, StepError, boot, idmap, kill, message, precopy, proc_dir};
use crate::checkpoint::{NotTaken, Target};
use crate::{Checkpointed, ErrorKind, MachineSpec, Standing, Then};

/// The images, in a memory that only its owner may enter: the tool's helpers open
/// them as users of the sandbox that is to be.
pub(super) const IMAGES: &str = "images";

/// Writes down what a machine is. After [`Then::Stop`] it has been told to end,
/// and was never let go in between. Blocks also while it waits for the answer to that.
pub(super) fn write(
    host: &Host,
    spec: &MachineSpec,
    to: &Target,
    then: Then,
) -> Result<Checkpointed, StepError> {
    let done = match &to.memory {
        None => files(host, spec, &to.layer, then),
        Some(memory) => with_memory(host, spec, &to.layer, memory, then),
    };
    if done.is_err() {
        // What is not there is removed as well.
        host.storage.remove_layer(&to.layer)?;
    }
    done
}

fn files(host: &Host, spec: &MachineSpec, layer: &Path, then: Then) -> Result<Checkpointed, StepError> {
    // What is written back now need not be while the machine stands still.
    host.storage.store(&spec.dir)?;
    let began = Instant::now();
    host.cgroups.freeze(&spec.sandbox_id)?;
    let made = host.storage.snapshot(&spec.dir, layer).map_err(StepError::from);
    let made = made.and_then(|()| match then {
        Then::Stop(ask) => {
            wait_for_answer(ask, ByteSize::bytes(0))?;
            end(host, spec)
        }
        Then::Continue => Ok(()),
    });
    host.cgroups.thaw(&spec.sandbox_id)?;
    made?;
    Ok(Checkpointed { frozen: began.elapsed(), ..Checkpointed::default() })
}

/// Asks whether a machine that stands still is to end; an error if it is not.
fn wait_for_answer(ask: Sender<Standing>, memory_bytes: ByteSize) -> io::Result<()> {
    Then::ask(ask, memory_bytes).blocking_recv().map_err(|_| io::Error::other(NotTaken))
}

/// Signals the end to a machine that stands still.
fn end(host: &Host, spec: &MachineSpec) -> Result<(), StepError> {
    match boot::find(host, spec)? {
        Some((process, _)) => Ok(kill(&process.pidfd)?),
        None => Ok(()),
    }
}

fn with_memory(
    host: &Host,
    spec: &MachineSpec,
    layer: &Path,
    memory: &Path,
    then: Then,
) -> Result<Checkpointed, StepError> {
    if memory.exists() {
        return Err(io::Error::from(io::ErrorKind::AlreadyExists).into());
    }
    let found = boot::find(host, spec)?;
    let (process, settled) = found.ok_or_else(|| StepError::new(ErrorKind::Bug, Gone))?;
    let staging = Staging::new(memory)?;
    let mut call = Dump {
        pid: process.pid,
        owner: sys::namespace::owner(idmap::namespace(process.pid, "user")?.as_fd())?,
        leave_running: matches!(then, Then::Continue),
        external: external(process.pid)?,
        since: None,
    };
    let mut rounds =
        precopy::write(host, spec, &staging.images(), &Dump { leave_running: true, ..call.clone() });
    call.since = rounds.last().map(str::to_owned);
    let mut ask_first = match then {
        Then::Stop(ask) => Some(ask),
        Then::Continue => None,
    };
    let mut writing = Writing {
        host,
        spec,
        layer,
        memory,
        staging: &staging,
        settled,
        is_written: false,
        memory_bytes: ByteSize::default(),
    };
    let done = match writing.carry_out(&call, &rounds, &mut ask_first) {
        // What cannot be written down after rounds may well be without them.
        Err(error) if call.since.is_some() && !writing.is_written => {
            precopy::say_it_goes_without(&call, &error);
            staging.empty()?;
            (call.since, rounds) = (None, precopy::Rounds::default());
            writing.carry_out(&call, &rounds, &mut ask_first)?
        }
        done => done?,
    };
    // Of one that ended whoever was asked has given the memory another name by now.
    let mut memory_bytes = writing.memory_bytes;
    if call.leave_running {
        // It goes on already; until here the pages of the rounds lay by themselves.
        if let Err(error) = rounds.gather(&memory.join(IMAGES)) {
            remove_memory(memory)?;
            return Err(error.into());
        }
        memory_bytes = size_of(memory)?;
    }
    Ok(Checkpointed {
        memory_bytes,
        frozen: done.frozen + rounds.frozen,
        rounds: rounds.count(),
        written_standing: done.written_standing,
    })
}

/// One dump of a machine with what belongs to the same moment.
struct Writing<'a> {
    host: &'a Host,
    spec: &'a MachineSpec,
    layer: &'a Path,
    memory: &'a Path,
    staging: &'a Staging,
    settled: bool,
    /// Whether the tool came to its end: what fails then is not its fault.
    is_written: bool,
    /// What the memory takes on disk, as it was when whoever was asked could move it.
    memory_bytes: ByteSize,
}

impl Writing<'_> {
    fn carry_out(
        &mut self,
        call: &Dump,
        rounds: &precopy::Rounds,
        ask_first: &mut Option<Sender<Standing>>,
    ) -> Result<Checkpointed, StepError> {
        let Self { host, spec, .. } = *self;
        let work = WorkDir::new(host, spec, "dump")?;
        // While the tool starts, what was written is written back: it need not be while the
        // machine stands still.
        let (room, stored) = std::thread::scope(|scope| {
            let storing = scope.spawn(|| host.storage.store(&spec.dir));
            let room = dump_room(host, call, &self.staging.images());
            (room, storing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let room = room?;
        stored?;
        // Nobody outside may hold an end of a socket inside but of TCP, which can be cut.
        let _quiet = host.controls.quiet(&spec.sandbox_id, call.pid);
        if self.settled {
            // The tool refuses a process above the root of its control group namespace.
            host.cgroups.unsettle(&spec.sandbox_id, call.pid)?;
        }
        let began = Instant::now();
        let done = criu::run(&room, call, &work.path, |ask| match ask {
            Ask::Written => self.written(call.pid, rounds, ask_first.take()),
            Ask::Namespaces(_) | Ask::Restored(_) => Ok(()),
        });
        let frozen = began.elapsed();
        workshop::wait_for_end(&room);
        if self.settled && (done.is_err() || call.leave_running) {
            host.cgroups.settle(&spec.sandbox_id, call.pid)?;
        }
        if let Err(error) = done {
            remove_memory(self.memory)?;
            return Err(work.keep(error));
        }
        let frozen = criu::stood_still(&work.path).unwrap_or(frozen);
        let written_standing = criu::pages_written(&work.path).unwrap_or(0) * criu::PAGE;
        let written_standing = ByteSize::bytes(written_standing);
        Ok(Checkpointed { frozen, written_standing, ..Checkpointed::default() })
    }

    /// Everything stands still, and the tool has written what it has to.
    fn written(
        &mut self,
        pid: Pid,
        rounds: &precopy::Rounds,
        ask_first: Option<Sender<Standing>>,
    ) -> io::Result<()> {
        self.is_written = true;
        let images = self.staging.images();
        criu::keep_bound(&images, pid)?;
        criu::set_removed_aside(&images)?;
        criu::part_network(&images)?;
        self.host.storage.snapshot(&self.spec.dir, self.layer).map_err(io::Error::other)?;
        if ask_first.is_some() {
            // It does not go on after this: what can fail has to come before.
            rounds.gather(&images)?;
        }
        self.memory_bytes = size_of(&self.staging.0)?;
        fs::rename(&self.staging.0, self.memory)?;
        match ask_first {
            Some(ask) => wait_for_answer(ask, self.memory_bytes),
            None => Ok(()),
        }
    }
}

/// Whether the tool works here, as far as it says itself.
pub(super) fn check(launcher: &Launcher, tool: &criu::Criu) -> Result<(), String> {
    let said = |e: StepError| e.source.to_string();
    let nothing = no_images().map_err(|e| e.to_string())?;
    let room = room(launcher, tool, 0, nothing.as_fd(), None).map_err(said)?;
    let answer = criu::check(&room);
    workshop::wait_for_end(&room);
    answer.map_err(|reason| format!("{}: {reason}", tool.path().display()))
}

/// Whether this kernel tells which pages were written, as the tool says.
pub(super) fn tracks_pages(launcher: &Launcher, tool: &criu::Criu) -> bool {
    let Ok(nothing) = no_images() else { return false };
    let Ok(room) = room(launcher, tool, 0, nothing.as_fd(), None) else { return false };
    let answer = criu::tracks_pages(&room);
    workshop::wait_for_end(&room);
    answer
}

/// Any directory: the tool is asked nothing that has images.
fn no_images() -> io::Result<std::os::fd::OwnedFd> {
    idmap::plain(Path::new("/proc"), true)
}

/// A room for the dump of a tree, or a round before it.
pub(super) fn dump_room(host: &Host, call: &Dump, images: &Path) -> Result<workshop::Room, StepError> {
    let images = idmap::plain(images, false)?;
    // The tool walks all connections of the host, twice, for a network namespace that is not its own.
    let network = idmap::namespace(call.pid, "net")?;
    room(&host.launcher, host.criu()?, call.owner, images.as_fd(), Some(network.as_fd()))
}

fn room(
    launcher: &Launcher,
    tool: &criu::Criu,
    user: u32,
    images: BorrowedFd<'_>,
    network: Option<BorrowedFd<'_>>,
) -> Result<workshop::Room, StepError> {
    let programs = idmap::plain(tool.usr(), true)?;
    let room = launcher.room()?;
    let fds: Vec<_> = [programs.as_fd(), images].into_iter().chain(network).collect();
    let task = if network.is_some() { Task::Dump } else { Task::Answer };
    message::send(&room.orders, &Furnish { user, task }, &fds)?;
    Ok(room)
}

/// Mounts of a sandbox that are not its own: the launcher's device nodes and its
/// empty directory, which also cover parts of `/proc`, and the control groups.
fn external(pid: Pid) -> Result<Vec<(String, String)>, StepError> {
    let text = fs::read_to_string(proc_dir(pid).join("mountinfo"))?;
    Ok(text.lines().filter_map(external_mount).collect())
}

/// `36 35 0:30 /dev/null /proc/keys rw - tmpfs warren rw`: nobody inside can make
/// such a mount, so its words are the launcher's and ours.
fn external_mount(line: &str) -> Option<(String, String)> {
    let (left, right) = line.split_once(" - ")?;
    let (mut right, mut left) = (right.split(' '), left.split(' ').skip(3));
    let (kind, source, root, path) = (right.next()?, right.next()?, left.next()?, left.next()?);
    match kind {
        "tmpfs" if source == NOTHING => Some((path.to_owned(), NOTHING.to_owned())),
        "cgroup2" => Some((path.to_owned(), "cgroup".to_owned())),
        "tmpfs" => {
            let name = root.strip_prefix("/dev/")?;
            let known = DEVICES.iter().any(|(device, ..)| *device == name);
            known.then(|| (path.to_owned(), name.to_owned()))
        }
        _ => None,
    }
}

fn size_of(memory: &Path) -> io::Result<ByteSize> {
    let sizes = fs::read_dir(memory.join(IMAGES))?.map(|entry| Ok(entry?.metadata()?.len()));
    sizes.sum::<io::Result<u64>>().map(ByteSize::bytes)
}

fn remove_memory(memory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(memory) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// A memory that has no name yet; what is left of it goes with this value.
struct Staging(PathBuf);

impl Staging {
    fn new(memory: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let name = memory.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut staged = std::ffi::OsString::from(".writing-");
        staged.push(name);
        let path = memory.with_file_name(staged);
        remove_memory(&path)?;
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        fs::create_dir(path.join(IMAGES))?;
        Ok(Self(path))
    }

    fn images(&self) -> PathBuf {
        self.0.join(IMAGES)
    }

    fn empty(&self) -> io::Result<()> {
        remove_memory(&self.images())?;
        fs::create_dir(self.images())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // It is gone after a success.
        let _ = remove_memory(&self.0);
    }
}

/// Where the tool writes its log; removed unless something failed.
pub(super) struct WorkDir {
    pub(super) path: PathBuf,
    kept: bool,
}

impl WorkDir {
    pub(super) fn new(host: &Host, spec: &MachineSpec, act: &str) -> Result<Self, StepError> {
        let all = host.storage.root().join("checkpoint-logs");
        fs::create_dir_all(&all)?;
        forget_oldest(&all)?;
        let path = all.join(format!("{}-{act}", spec.sandbox_id.as_str()));
        remove_memory(&path)?;
        fs::create_dir(&path)?;
        Ok(Self { path, kept: false })
    }

    /// Keeps the log for people to look at, and names it.
    pub(super) fn keep(mut self, error: StepError) -> StepError {
        self.kept = true;
        let logs = self.path.clone();
        tracing::debug!(logs = %logs.display(), error = %error.source, "the checkpoint tool failed");
        error
    }
}

/// Logs of failures that are kept; the oldest go first.
const MOST_LOGS: usize = 32;

fn forget_oldest(all: &Path) -> io::Result<()> {
    let mut dirs = Vec::new();
    for entry in fs::read_dir(all)? {
        let entry = entry?;
        // One that goes meanwhile belongs to a task that ended.
        if let Ok(meta) = entry.metadata() {
            dirs.push((meta.modified()?, entry.path()));
        }
    }
    dirs.sort();
    let surplus = dirs.len().saturating_sub(MOST_LOGS);
    let old = dirs.iter().take(surplus).filter(|(at, _)| at.elapsed().is_ok_and(|age| age > STALE));
    old.map(|(_, path)| path).try_for_each(|path| remove_memory(path))
}

/// What is younger may belong to a task that goes on.
const STALE: Duration = Duration::from_hours(1);

impl Drop for WorkDir {
    fn drop(&mut self) {
        if !self.kept {
            let _ = remove_memory(&self.path);
        }
    }
}

/// Why no memory can be written down.
pub(super) fn no_memory(reason: &str) -> StepError {
    StepError::new(ErrorKind::Unsupported, NoMemory(reason.to_owned()))
}

#[derive(Debug, thiserror::Error)]
#[error("checkpoints with memory are not available on this host: {0}")]
struct NoMemory(String);

#[derive(Debug, thiserror::Error)]
#[error("the machine has ended")]
struct Gone;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_the_launcher_are_found() {
        let found = |line| external_mount(line).map(|(path, name)| format!("{path}={name}"));
        let null = "36 35 0:30 /dev/null /proc/keys rw,nosuid - tmpfs warren rw";
        assert_eq!(found(null).as_deref(), Some("/proc/keys=null"));
        let nothing = "36 35 0:31 / /sys/kernel ro,nosuid - tmpfs nothing ro";
        assert_eq!(found(nothing).as_deref(), Some("/sys/kernel=nothing"));
        let groups = "37 35 0:31 / /sys/fs/cgroup ro - cgroup2 cgroup2 rw";
        assert_eq!(found(groups).as_deref(), Some("/sys/fs/cgroup=cgroup"));
        assert_eq!(found("38 35 0:32 / /run rw - tmpfs none rw"), None);
        assert_eq!(found("39 35 0:32 /warren/proc/stat /proc/stat rw - tmpfs none rw"), None);
    }
}
