//! Files inside a sandbox.

mod content;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use wire::control::ENVD_PORT;
use wire::filesystem::{
    Empty, EntryInfo, EntryResponse, FileType, ListDirRequest, ListDirResponse, MoveRequest, PathRequest,
    SERVICE,
};

pub use self::content::{WriteOptions, Written};
pub use self::watch::{FileEvent, FileEventKind, Watch, WatchBuilder};
use crate::http::query;
use crate::rpc::Target;
use crate::{Error, ErrorKind};

/// The files of one sandbox. Relative paths start at the user's home.
#[derive(Debug, Clone, Copy)]
pub struct Files<'s> {
    pub(crate) target: &'s Arc<Target>,
    pub(crate) user: Option<&'s str>,
}

/// What an entry is; a link counts as what it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Something else.
    Other,
}

/// One file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Last element of the path.
    pub name: String,
    /// Its path.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// In bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Type and permissions in letters.
    pub permissions: String,
    /// User's name.
    pub owner: String,
    /// Group's name.
    pub group: String,
    /// Of a link: where it leads.
    pub symlink_target: Option<String>,
    /// When its content last changed.
    pub modified: Option<SystemTime>,
    /// What was attached to it at an upload.
    pub metadata: BTreeMap<String, String>,
}

impl<'s> Files<'s> {
    /// The same files as another user sees them: whose home relative paths start
    /// at, and who owns what is made.
    #[must_use]
    pub fn user(self, user: &'s str) -> Self {
        Self { user: Some(user), ..self }
    }

    /// Entries below a directory, down to `depth` levels (at least 1).
    pub async fn list(&self, path: &str, depth: u32) -> Result<Vec<Entry>, Error> {
        if depth == 0 {
            return Err(Error::invalid("the depth of a list is at least 1"));
        }
        let request = ListDirRequest { path: path.to_owned(), depth };
        let answer: ListDirResponse = self.call("ListDir", &request).await?;
        Ok(answer.entries.into_iter().map(Entry::from).collect())
    }

    /// What is known of an entry.
    pub async fn info(&self, path: &str) -> Result<Entry, Error> {
        let answer: EntryResponse = self.call("Stat", &PathRequest { path: path.to_owned() }).await?;
        entry(answer)
    }

    /// Whether something is there.
    pub async fn exists(&self, path: &str) -> Result<bool, Error> {
        match self.info(path).await {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::FileNotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Makes a directory and those above it. `false` if it was there.
    pub async fn make_dir(&self, path: &str) -> Result<bool, Error> {
        let request = PathRequest { path: path.to_owned() };
        match self.call::<_, EntryResponse>("MakeDir", &request).await {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Moves or renames an entry.
    pub async fn rename(&self, from: &str, to: &str) -> Result<Entry, Error> {
        let request = MoveRequest { source: from.to_owned(), destination: to.to_owned() };
        entry(self.call("Move", &request).await?)
    }

    /// Removes an entry and everything below it; also fine if nothing is there.
    pub async fn remove(&self, path: &str) -> Result<(), Error> {
        self.call::<_, Empty>("Remove", &PathRequest { path: path.to_owned() }).await.map(drop)
    }

    async fn call<Q, A>(&self, method: &str, request: &Q) -> Result<A, Error>
    where
        Q: wire::connect::Message + Sync,
        A: wire::connect::Message,
    {
        self.target.unary(&format!("{SERVICE}{method}"), request, self.user).await.map_err(missing)
    }

    fn url(&self, path: Option<&str>) -> String {
        let pairs = [("path", path.map(str::to_owned)), ("username", self.user.map(str::to_owned))];
        format!("{}/files{}", self.target.url(ENVD_PORT), query(&pairs))
    }
}

fn missing(error: Error) -> Error {
    error.refine(ErrorKind::NotFound, ErrorKind::FileNotFound)
}

fn entry(answer: EntryResponse) -> Result<Entry, Error> {
    answer.entry.map(Entry::from).ok_or_else(|| Error::new(ErrorKind::Sandbox, "the answer holds no entry"))
}

impl From<EntryInfo> for Entry {
    fn from(info: EntryInfo) -> Self {
        Self {
            name: info.name,
            path: info.path,
            kind: match info.file_type {
                FileType::File => EntryKind::File,
                FileType::Directory => EntryKind::Directory,
                FileType::Symlink | FileType::Unspecified => EntryKind::Other,
            },
            size: u64::try_from(info.size).unwrap_or(0),
            mode: info.mode,
            permissions: info.permissions,
            owner: info.owner,
            group: info.group,
            symlink_target: info.symlink_target,
            modified: info.modified_time.and_then(|at| {
                let since = Duration::new(u64::try_from(at.seconds()).ok()?, at.nanoseconds());
                SystemTime::UNIX_EPOCH.checked_add(since)
            }),
            metadata: info.metadata,
        }
    }
}
