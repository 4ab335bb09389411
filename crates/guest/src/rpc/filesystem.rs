//! `filesystem.Filesystem`: requests to what `crate::fs` does, and back.

use wire::connect::{Code, Error};
use wire::filesystem::{Empty, EntryResponse, ListDirRequest, ListDirResponse, MoveRequest, PathRequest};

use super::call::{invalid, server_stream, unary};
use super::{Caller, no_such_method, watch};
use crate::fs::path::resolve;
use crate::fs::{list, ops};
use crate::http::{Request, Response};

/// Answers a call of this service.
pub(super) async fn answer(caller: Caller, method: &str, request: Request) -> Response {
    match method {
        "Stat" => unary(caller, request, stat).await,
        "ListDir" => unary(caller, request, list_dir).await,
        "MakeDir" => unary(caller, request, make_dir).await,
        "Move" => unary(caller, request, rename).await,
        "Remove" => unary(caller, request, remove).await,
        "WatchDir" => server_stream(caller, request, watch::watch_dir).await,
        "CreateWatcher" => unary(caller, request, watch::create_watcher).await,
        "GetWatcherEvents" => unary(caller, request, watch::get_events).await,
        "RemoveWatcher" => unary(caller, request, watch::remove_watcher).await,
        _ => no_such_method(method),
    }
}

async fn stat(caller: Caller, request: PathRequest) -> Result<EntryResponse, Error> {
    ops::stat(&path(&caller, &request.path)?).map(answer_entry)
}

async fn list_dir(caller: Caller, request: ListDirRequest) -> Result<ListDirResponse, Error> {
    let path = path(&caller, &request.path)?;
    let depth = request.depth.max(1);
    let most = caller.daemon.options.bounds.entries;
    let entries = blocking(move || list::list(&path, depth, most)).await?;
    Ok(ListDirResponse { entries })
}

async fn make_dir(caller: Caller, request: PathRequest) -> Result<EntryResponse, Error> {
    ops::make_dir(&path(&caller, &request.path)?, &caller.user()?).map(answer_entry)
}

async fn rename(caller: Caller, request: MoveRequest) -> Result<EntryResponse, Error> {
    let (source, destination) = (path(&caller, &request.source)?, path(&caller, &request.destination)?);
    ops::rename(&source, &destination, &caller.user()?).map(answer_entry)
}

async fn remove(caller: Caller, request: PathRequest) -> Result<Empty, Error> {
    let path = path(&caller, &request.path)?;
    blocking(move || ops::remove(&path)).await?;
    Ok(Empty {})
}

/// The absolute path of a request.
pub(super) fn path(caller: &Caller, path: &str) -> Result<String, Error> {
    let workdir = caller.daemon.settings.get().default_workdir.clone();
    resolve(path, &caller.user()?, workdir.as_deref()).map_err(invalid)
}

fn answer_entry(entry: wire::filesystem::EntryInfo) -> EntryResponse {
    EntryResponse { entry: Some(entry) }
}

/// Work that may take long, on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::new(Code::Internal, error.to_string())))
}
