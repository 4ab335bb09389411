//! The daemon's inotify instance: arms watches, reads records, tells watchers.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::task::spawn_local;
use wire::connect::{Code, Error};
use wire::filesystem::{EventType, FilesystemEvent};

use super::tree::{Interest, Tree};
use super::watcher::Watcher;
use crate::bounds::Bounds;
use crate::fs::entry::entry;
use crate::user::Names;

/// Bytes of records that are read at once.
const RECORDS: usize = 16 << 10;
/// Records of one drain: a writer that never rests must not hold the daemon.
const MAX_RECORDS: usize = 4096;

/// What the SDKs are told about.
const MASK: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::ONLYDIR);

/// File systems on which changes made elsewhere are not seen: NFS, CIFS, SMB, SMB2, FUSE.
const NETWORK: [i64; 5] = [0x6969, 0xFF53_4D42, 0x517B, 0xFE53_4D42, 0x6573_5546];

/// A watch was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WatchError {
    /// Nothing there.
    #[error("path {0} not found")]
    NotFound(String),
    /// Not a directory.
    #[error("path {0} not a directory")]
    NotDirectory(String),
    /// A network file system.
    #[error("cannot watch path on network filesystem: {0}")]
    Network(String),
    /// A bound was passed.
    #[error("too many watched directories, at most {0} are possible, and the system may allow fewer")]
    TooMany(usize),
    /// The kernel's refusal.
    #[error("error watching the directory: {0}")]
    Io(#[from] io::Error),
}

/// All watchers of the daemon.
#[derive(Debug)]
pub(crate) struct Hub {
    bounds: Bounds,
    instance: RefCell<Option<Rc<AsyncFd<OwnedFd>>>>,
    tree: RefCell<Tree>,
}

impl Hub {
    /// No watches yet.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, instance: RefCell::default(), tree: RefCell::default() }
    }

    /// Arms a watch; events from now on are kept for the watcher.
    pub(crate) fn watch(
        self: &Rc<Self>,
        path: &str,
        recursive: bool,
        include_entry: bool,
        allow_network: bool,
    ) -> Result<Rc<Watcher>, WatchError> {
        let about = fs::metadata(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => WatchError::NotFound(path.to_owned()),
            _ => error.into(),
        })?;
        if !about.is_dir() {
            return Err(WatchError::NotDirectory(path.to_owned()));
        }
        if !allow_network && rustix::fs::statfs(path).is_ok_and(|fs| NETWORK.contains(&fs.f_type)) {
            return Err(WatchError::Network(path.to_owned()));
        }
        let instance = self.ensure_instance()?;
        let watcher = Rc::new(Watcher::new(path.to_owned(), recursive, include_entry, self.bounds.events));
        let root = Interest { watcher: Rc::clone(&watcher), relative: String::new() };
        self.arm(&instance, root).inspect_err(|_| self.close(&watcher))?;
        Ok(watcher)
    }

    /// Ends a watch.
    pub(crate) fn close(&self, watcher: &Rc<Watcher>) {
        watcher.closed.set(true);
        let unneeded = self.tree.borrow_mut().drop_below(watcher, "");
        self.disarm(&unneeded);
    }

    /// Hands out every record that the kernel holds now. A poll does this first,
    /// so that it sees what was written just before it.
    pub(crate) fn drain(&self) {
        let Some(instance) = self.instance.borrow().clone() else { return };
        let mut n_records = 0;
        while n_records < MAX_RECORDS {
            match self.read_once(&instance) {
                Ok(n) => n_records += n,
                Err(_) => return,
            }
        }
    }

    fn ensure_instance(self: &Rc<Self>) -> io::Result<Rc<AsyncFd<OwnedFd>>> {
        if let Some(instance) = &*self.instance.borrow() {
            return Ok(Rc::clone(instance));
        }
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd cannot be closed under it")]
        let instance = Rc::new(AsyncFd::new(fd)?);
        *self.instance.borrow_mut() = Some(Rc::clone(&instance));
        spawn_local(run(Rc::clone(self), Rc::clone(&instance)));
        Ok(instance)
    }

    /// Watches a directory, and with a recursive watcher those below it.
    fn arm(&self, instance: &AsyncFd<OwnedFd>, interest: Interest) -> Result<(), WatchError> {
        let mut todo = vec![interest];
        while let Some(interest) = todo.pop() {
            if self.tree.borrow().len() >= self.bounds.watched {
                return Err(WatchError::TooMany(self.bounds.watched));
            }
            let path = interest.path_of("");
            let watch = match inotify::add_watch(instance.get_ref(), path.as_str(), MASK) {
                Ok(watch) => watch,
                Err(Errno::NOSPC) => return Err(WatchError::TooMany(self.bounds.watched)),
                // Gone again, or replaced by something else: nothing to watch below the root.
                Err(Errno::NOENT | Errno::NOTDIR) if !interest.relative.is_empty() => continue,
                Err(errno) => return Err(WatchError::Io(errno.into())),
            };
            self.tree.borrow_mut().add(watch, interest.clone());
            if interest.watcher.recursive {
                todo.extend(subdirectories(&path).map(|name| Interest {
                    watcher: Rc::clone(&interest.watcher),
                    relative: if interest.relative.is_empty() { name } else { interest.name_of(&name) },
                }));
            }
        }
        Ok(())
    }

    fn disarm(&self, watches: &[i32]) {
        if let Some(instance) = &*self.instance.borrow() {
            for watch in watches {
                // The kernel may have dropped it already, with its directory.
                let _ = inotify::remove_watch(instance.get_ref(), *watch);
            }
        }
    }

    /// Reads one buffer of records; `WouldBlock` if there are none.
    fn read_once(&self, instance: &AsyncFd<OwnedFd>) -> io::Result<usize> {
        let mut buffer = [MaybeUninit::uninit(); RECORDS];
        let mut records = inotify::Reader::new(instance.get_ref(), &mut buffer);
        let mut n_records = 0;
        loop {
            let record = records.next()?;
            let name = record.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            self.tell(instance, record.wd(), record.events(), &name);
            n_records += 1;
            if records.is_buffer_empty() {
                return Ok(n_records);
            }
        }
    }

    fn tell(&self, instance: &AsyncFd<OwnedFd>, watch: i32, flags: ReadFlags, name: &str) {
        if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            let error = Error::new(
                Code::Internal,
                "error watching the directory: the kernel's event queue overflowed",
            );
            self.tree.borrow().watchers().iter().for_each(|watcher| watcher.fail(&error));
            return;
        }
        let interests = self.tree.borrow().interests(watch);
        if flags.contains(ReadFlags::IGNORED) {
            self.tree.borrow_mut().forget(watch);
            return;
        }
        for interest in interests {
            let event = interest.name_of(name);
            // A subdirectory tells of itself through its parent already.
            let about_self = name.is_empty() && !interest.relative.is_empty();
            if !about_self {
                event_types(flags)
                    .for_each(|kind| interest.watcher.push(told(&interest, &event, kind, name)));
            }
            if flags.contains(ReadFlags::ISDIR) && !name.is_empty() && interest.watcher.recursive {
                self.follow(instance, &interest, flags, event);
            }
        }
    }

    /// Keeps a recursive watch on a subdirectory that came, went or moved.
    fn follow(&self, instance: &AsyncFd<OwnedFd>, parent: &Interest, flags: ReadFlags, relative: String) {
        if flags.contains(ReadFlags::MOVED_FROM) {
            // If it stays in the tree, the record of its arrival arms it under its new name.
            let unneeded = self.tree.borrow_mut().drop_below(&parent.watcher, &relative);
            self.disarm(&unneeded);
        }
        if flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
            let interest = Interest { watcher: Rc::clone(&parent.watcher), relative };
            if let Err(error) = self.arm(instance, interest) {
                parent.watcher.fail(&Error::new(Code::Internal, error.to_string()));
            }
        }
    }
}

async fn run(hub: Rc<Hub>, instance: Rc<AsyncFd<OwnedFd>>) {
    while let Ok(mut ready) = instance.readable().await {
        hub.drain();
        ready.clear_ready();
        // What came between the last read and the clearing would not wake us again.
        hub.drain();
        tokio::task::yield_now().await;
    }
}

/// What a record means, in the order in which one with several bits is told.
fn event_types(flags: ReadFlags) -> impl Iterator<Item = EventType> {
    let table = [
        (ReadFlags::CREATE | ReadFlags::MOVED_TO, EventType::Create),
        (ReadFlags::MOVED_FROM | ReadFlags::MOVE_SELF, EventType::Rename),
        (ReadFlags::ATTRIB, EventType::Chmod),
        (ReadFlags::MODIFY, EventType::Write),
        (ReadFlags::DELETE | ReadFlags::DELETE_SELF, EventType::Remove),
    ];
    table.into_iter().filter(move |(bits, _)| flags.intersects(*bits)).map(|(_, kind)| kind)
}

fn told(interest: &Interest, name: &str, event_type: EventType, entry_name: &str) -> FilesystemEvent {
    let wants = interest.watcher.include_entry;
    let has = matches!(event_type, EventType::Create | EventType::Write | EventType::Chmod);
    let entry = (wants && has).then(|| entry(&interest.path_of(entry_name), &Names::read()).ok()).flatten();
    FilesystemEvent { name: name.to_owned(), event_type, entry }
}

/// Names of the directories in a directory; links do not count.
fn subdirectories(path: &str) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.file_name().to_string_lossy().into_owned())
}
