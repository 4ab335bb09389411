//! Files inside a sandbox.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use wire::control::ENVD_PORT;
use wire::filesystem::{
    Empty, EntryInfo, EntryResponse, FileType, ListDirRequest, ListDirResponse, MoveRequest, PathRequest,
    SERVICE,
};

use crate::http::escape;
use crate::rpc::Target;
use crate::{Error, ErrorKind};

/// The files of one sandbox. Relative paths start at the user's home.
#[derive(Debug, Clone, Copy)]
pub struct Files<'s> {
    pub(crate) target: &'s Target,
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
}

impl Files<'_> {
    /// Reads a file as text; bytes that are not UTF-8 are replaced.
    pub async fn read(&self, path: &str) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.read_bytes(path).await?).into_owned())
    }

    /// Reads a file, at most 64 MiB.
    pub async fn read_bytes(&self, path: &str) -> Result<Bytes, Error> {
        let headers = self.target.headers(ENVD_PORT);
        self.target.http.call(Method::GET, &self.url(path), headers, Bytes::new()).await.map_err(missing)
    }

    /// Writes a file, and the directories above it; replaces what was there.
    pub async fn write(&self, path: &str, data: impl Into<Bytes>) -> Result<(), Error> {
        let mut headers = self.target.headers(ENVD_PORT);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        self.target.http.call(Method::POST, &self.url(path), headers, data.into()).await.map(drop)
    }

    /// Entries below a directory, down to `depth` levels (at least 1).
    pub async fn list(&self, path: &str, depth: u32) -> Result<Vec<Entry>, Error> {
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
        match self.target.unary_or_exists::<_, EntryResponse>(&format!("{SERVICE}MakeDir"), &request).await? {
            Some(_) => Ok(true),
            None => Ok(false),
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

    async fn call<Q, A>(self, method: &str, request: &Q) -> Result<A, Error>
    where
        Q: wire::connect::Message + Sync,
        A: wire::connect::Message,
    {
        self.target.unary(&format!("{SERVICE}{method}"), request, None).await.map_err(missing)
    }

    fn url(self, path: &str) -> String {
        format!("{}/files?path={}", self.target.url(ENVD_PORT), escape(path))
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
        }
    }
}
