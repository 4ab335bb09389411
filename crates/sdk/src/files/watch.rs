//! Changes below a directory, as a stream.

use std::time::Duration;

use futures_util::Stream;
use wire::filesystem::{EventType, SERVICE, WatchEvent, WatchRequest};

use super::{Entry, Files, missing};
use crate::rpc::MessageStream;
use crate::{Error, ErrorKind};

/// What happened to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileEventKind {
    /// It appeared.
    Create,
    /// Its content changed.
    Write,
    /// It was removed.
    Remove,
    /// It was moved away; the name is the old one.
    Rename,
    /// Its attributes changed.
    Chmod,
    /// Something this version does not know.
    Other,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEvent {
    /// Path relative to the watched directory.
    pub name: String,
    /// What happened.
    pub kind: FileEventKind,
    /// The entry, if asked for and still there.
    pub entry: Option<Entry>,
}

impl<'s> Files<'s> {
    /// Watches a directory: `await` the builder; then every later change is seen.
    /// The watch ends after 60 s unless told otherwise.
    pub fn watch(&self, path: &str) -> WatchBuilder<'s> {
        let request = WatchRequest { path: path.to_owned(), ..WatchRequest::default() };
        WatchBuilder { files: *self, request, timeout: Some(crate::commands::DEFAULT_TIMEOUT) }
    }
}

/// A watch to be set up.
#[derive(Debug)]
pub struct WatchBuilder<'s> {
    files: Files<'s>,
    request: WatchRequest,
    timeout: Option<Duration>,
}

impl WatchBuilder<'_> {
    /// Also everything below it.
    #[must_use]
    pub fn recursive(mut self) -> Self {
        self.request.recursive = true;
        self
    }

    /// Attaches the entry to events.
    #[must_use]
    pub fn include_entry(mut self) -> Self {
        self.request.include_entry = true;
        self
    }

    /// Allows file systems on which changes made elsewhere are not seen.
    #[must_use]
    pub fn allow_network_mounts(mut self) -> Self {
        self.request.allow_network_mounts = true;
        self
    }

    /// Ends the watch, with an error, after this time; `None` for never.
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }

    async fn open(self) -> Result<Watch, Error> {
        let (target, user) = (self.files.target, self.files.user);
        let method = format!("{SERVICE}WatchDir");
        let mut stream = target.stream(&method, &self.request, user, self.timeout).await.map_err(missing)?;
        match stream.next::<WatchEvent>().await.map_err(missing)? {
            Some(WatchEvent::Start(_)) => Ok(Watch { stream }),
            other => Err(Error::new(ErrorKind::Sandbox, format!("expected a start event, got {other:?}"))),
        }
    }
}

impl<'s> IntoFuture for WatchBuilder<'s> {
    type Output = Result<Watch, Error>;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Self::Output> + Send + 's>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}

/// A watched directory. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    stream: MessageStream,
}

impl Watch {
    /// The next change; `None` when the server ended the watch. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<FileEvent>, Error> {
        loop {
            match self.stream.next::<WatchEvent>().await? {
                None => return Ok(None),
                Some(WatchEvent::Filesystem(event)) => {
                    let kind = match event.event_type {
                        EventType::Create => FileEventKind::Create,
                        EventType::Write => FileEventKind::Write,
                        EventType::Remove => FileEventKind::Remove,
                        EventType::Rename => FileEventKind::Rename,
                        EventType::Chmod => FileEventKind::Chmod,
                        EventType::Unspecified => FileEventKind::Other,
                    };
                    let entry = event.entry.map(Entry::from);
                    return Ok(Some(FileEvent { name: event.name, kind, entry }));
                }
                Some(_) => {}
            }
        }
    }

    /// The changes as a stream; it ends after an error.
    pub fn into_stream(self) -> impl Stream<Item = Result<FileEvent, Error>> + Send {
        futures_util::stream::try_unfold(self, |mut watch| async move {
            Ok(watch.next().await?.map(|event| (event, watch)))
        })
    }

    /// Ends the watch.
    pub fn stop(self) {}
}
