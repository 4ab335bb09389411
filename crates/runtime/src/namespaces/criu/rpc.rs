//! One conversation with the tool: a request, its questions in between, its answer.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags};
use rustix::process::Pid;

use super::proto::Message;
use crate::namespaces::launcher::{DEVICES, NOTHING};
use crate::namespaces::orders::StepFailed;
use crate::namespaces::workshop::{CGROUPS, IMAGES, ROOT};

/// Kinds of requests (`criu_req_type`).
const DUMP: u64 = 1;
const RESTORE: u64 = 2;
const NOTIFY: u64 = 6;
const FEATURES: u64 = 9;
const VERSION: u64 = 10;
const PRE_DUMP: u64 = 13;

/// Fields of `criu_req` and `criu_resp`.
const TYPE: u32 = 1;
const OPTIONS: u32 = 2;
const SUCCESS: u32 = 2;
const NOTIFY_SUCCESS: u32 = 3;
const RESTORED: u32 = 4;
const NOTICE: u32 = 5;
const MESSAGE: u32 = 9;

/// Its answers are short.
const LONGEST: usize = 64 * 1024;

/// What a sandbox may have open and deleted, each file; it becomes part of the memory.
const GHOST_LIMIT: u64 = 256 << 20;

/// Where files that are watched are looked for: a watch knows only their numbers.
const WATCHED: [&str; 11] =
    ["/home", "/tmp", "/root", "/run", "/etc", "/srv", "/opt", "/mnt", "/var", "/dev/shm", "/usr"];

/// A moment at which the tool waits for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::namespaces) enum Ask {
    /// Everything is written and everything still stands.
    Written,
    /// The namespaces are made; nobody is in them but this process.
    Namespaces(Pid),
    /// Everybody is back and stands still.
    Restored(Pid),
}

/// A dump of the tree below one process.
#[derive(Debug, Clone)]
pub(in crate::namespaces) struct Dump {
    pub(in crate::namespaces) pid: Pid,
    /// As whom the tool acts; it wants to be told if that is not root.
    pub(in crate::namespaces) owner: u32,
    pub(in crate::namespaces) leave_running: bool,
    /// Mounts that are not the sandbox's own, with the names of what they show.
    pub(in crate::namespaces) external: Vec<(String, String)>,
    /// Among the images: the pages of the last round, of which only what was written
    /// since is written again.
    pub(in crate::namespaces) since: Option<String>,
}

/// How a round takes pages (`criu_pre_dump_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::namespaces) enum Taking {
    /// Into pipes, while the tree stands still shortly; written when it goes on.
    InPipes = 1,
    /// By reading, while it goes on.
    ByReading = 2,
}

/// A round before a dump: the pages that the tree has, or has written since the round
/// before, while it goes on.
#[derive(Debug)]
pub(in crate::namespaces) struct PreDump<'a> {
    pub(in crate::namespaces) tree: &'a Dump,
    /// Among the images: where the pages go.
    pub(in crate::namespaces) to: String,
    /// From there: the pages of the round before.
    pub(in crate::namespaces) since: Option<String>,
    pub(in crate::namespaces) taking: Taking,
}

/// A restore of what is in the room.
#[derive(Debug)]
pub(in crate::namespaces) struct Restore;

/// A request that the tool can carry out.
pub(in crate::namespaces) trait Call {
    /// As a message, with the number of the directory for its log.
    fn request(&self, work_dir: i32) -> Vec<u8>;
}

fn options(images: &str, work_dir: i32) -> Message {
    const NEW_NETWORK: u64 = 0x4000_0000;
    const SKIP: u64 = 3;
    // A negative number takes ten bytes, all of them ones but the last.
    Message::default()
        .with(1, i64::from(-1).cast_unsigned())
        .with_bytes(68, images.as_bytes())
        .with(17, i64::from(work_dir).cast_unsigned())
        .with(5, 1)
        .with(8, 1)
        .with(9, 2)
        .with(12, 1)
        .with(24, 0)
        .with(34, 0)
        .with(38, NEW_NETWORK)
        .with(46, 1)
        .with(64, SKIP)
}

fn request(kind: u64, options: &Message) -> Vec<u8> {
    Message::default().with(TYPE, kind).with_bytes(OPTIONS, &options.to_bytes()).to_bytes()
}

impl Dump {
    /// What a dump and a round before it have in common.
    fn options(&self, images: &str, work_dir: i32) -> Message {
        let mut options = options(images, work_dir)
            .with(2, u64::from(self.pid.as_raw_pid().unsigned_abs()))
            .with(3, u64::from(self.leave_running))
            .with(21, 1)
            .with(67, u64::from(self.owner != 0))
            .with(35, GHOST_LIMIT)
            .with_bytes(10, b"dump.log");
        for path in WATCHED {
            options = options.with_bytes(36, path.as_bytes());
        }
        for (path, name) in &self.external {
            options = options.with_bytes(37, format!("mnt[{path}]:{name}").as_bytes());
        }
        options
    }
}

impl Call for Dump {
    fn request(&self, work_dir: i32) -> Vec<u8> {
        let options = self.options(IMAGES, work_dir);
        request(
            DUMP,
            &match &self.since {
                Some(since) => since_then(options, since),
                None => options,
            },
        )
    }
}

impl Call for PreDump<'_> {
    fn request(&self, work_dir: i32) -> Vec<u8> {
        let options =
            self.tree.options(&format!("{IMAGES}/{}", self.to), work_dir).with(61, self.taking as u64);
        request(
            PRE_DUMP,
            &match &self.since {
                Some(since) => since_then(options, since),
                None => options.with(15, 1),
            },
        )
    }
}

fn since_then(options: Message, since: &str) -> Message {
    options.with_bytes(14, since.as_bytes()).with(15, 1)
}

impl Call for Restore {
    fn request(&self, work_dir: i32) -> Vec<u8> {
        let mut options = options(IMAGES, work_dir)
            .with_bytes(13, ROOT.as_bytes())
            .with(26, 1)
            .with_bytes(10, b"restore.log")
            .with_bytes(37, format!("mnt[cgroup]:{CGROUPS}").as_bytes());
        for name in DEVICES.iter().map(|(name, ..)| *name).chain([NOTHING]) {
            options = options.with_bytes(37, format!("mnt[{name}]:/dev/{name}").as_bytes());
        }
        request(RESTORE, &options)
    }
}

/// Has the tool carry out a request. `answer` is called at each [`Ask`]; an error
/// of it ends the task. Returns the process that came back, for a restore.
pub(super) fn carry_out(
    socket: &OwnedFd,
    request: &[u8],
    mut answer: impl FnMut(Ask) -> io::Result<()>,
) -> Result<Option<Pid>, Failure> {
    send(socket, request)?;
    let mut refused = None;
    loop {
        let bytes = receive(socket)?;
        if bytes.first() == Some(&b'{') {
            let failed: StepFailed = serde_json::from_slice(&bytes).map_err(io::Error::from)?;
            return Err(Failure::Room(failed));
        }
        let reply = Message::parse(&bytes)?;
        if reply.number(TYPE) != Some(NOTIFY) {
            return finish(&reply, refused);
        }
        let done = ask(&reply).map_or(Ok(()), &mut answer);
        let success = u64::from(done.is_ok());
        refused = refused.or(done.err());
        send(socket, &Message::default().with(TYPE, NOTIFY).with(NOTIFY_SUCCESS, success).to_bytes())?;
    }
}

/// Asks the tool in a room whether this kernel tells which pages were written: it
/// tries that on itself.
pub(super) fn tracks_pages(socket: &OwnedFd) -> Result<bool, Failure> {
    const ASKED: u32 = 5;
    const ANSWER: u32 = 8;
    const OF_PAGES: u32 = 1;
    let asked = Message::default().with(OF_PAGES, 1).to_bytes();
    send(socket, &Message::default().with(TYPE, FEATURES).with_bytes(ASKED, &asked).to_bytes())?;
    let bytes = receive(socket)?;
    if bytes.first() == Some(&b'{') {
        return Err(Failure::Room(serde_json::from_slice(&bytes).map_err(io::Error::from)?));
    }
    let answer = Message::parse(&bytes)?.message(ANSWER).unwrap_or_default();
    Ok(answer.number(OF_PAGES) == Some(1))
}

/// Asks the tool in a room for its version: whether it runs at all, and is none of
/// those that are known not to write TCP sockets down on recent kernels.
pub(super) fn version(socket: &OwnedFd) -> Result<(u64, u64), Failure> {
    const ANSWER: u32 = 10;
    send(socket, &Message::default().with(TYPE, VERSION).to_bytes())?;
    let bytes = receive(socket)?;
    if bytes.first() == Some(&b'{') {
        return Err(Failure::Room(serde_json::from_slice(&bytes).map_err(io::Error::from)?));
    }
    let version = Message::parse(&bytes)?.message(ANSWER).unwrap_or_default();
    Ok((version.number(1).unwrap_or(0), version.number(2).unwrap_or(0)))
}

fn ask(reply: &Message) -> Option<Ask> {
    let notice = reply.message(NOTICE)?;
    let pid = || Pid::from_raw(i32::try_from(notice.number(2)?).ok()?);
    match notice.text(1)?.as_str() {
        "post-dump" => Some(Ask::Written),
        "setup-namespaces" => pid().map(Ask::Namespaces),
        "pre-resume" => pid().map(Ask::Restored),
        _ => None,
    }
}

fn finish(reply: &Message, refused: Option<io::Error>) -> Result<Option<Pid>, Failure> {
    if let Some(error) = refused {
        return Err(Failure::Refused(error));
    }
    if reply.number(SUCCESS) != Some(1) {
        return Err(Failure::Tool(reply.text(MESSAGE).filter(|text| !text.trim().is_empty())));
    }
    let pid = reply.message(RESTORED).and_then(|restored| i32::try_from(restored.number(1)?).ok());
    Ok(pid.and_then(Pid::from_raw))
}

fn send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive(socket: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; LONGEST];
    let (len, _) =
        rustix::io::retry_on_intr(|| rustix::net::recv(socket, &mut bytes[..], RecvFlags::empty()))?;
    if len == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the tool ended without an answer"));
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// Why a task was not carried out.
#[derive(Debug)]
pub(super) enum Failure {
    /// The room for it could not be made, or the program not started.
    Room(StepFailed),
    /// The tool said no, perhaps in one line.
    Tool(Option<String>),
    /// Our own part failed.
    Refused(io::Error),
    /// The conversation broke off.
    Line(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Line(error)
    }
}

/// How long the tree stood still, as the tool counted it.
pub(in crate::namespaces) fn stood_still(work_dir: &Path) -> Option<Duration> {
    let stats = stats(work_dir)?;
    Some(Duration::from_micros(stats.number(1)? + stats.number(2)?))
}

/// How many pages it wrote.
pub(in crate::namespaces) fn pages_written(work_dir: &Path) -> Option<u64> {
    stats(work_dir)?.number(7)
}

fn stats(work_dir: &Path) -> Option<Message> {
    let bytes = std::fs::read(work_dir.join("stats-dump")).ok()?;
    Message::parse(bytes.get(12..)?).ok()?.message(1)
}
