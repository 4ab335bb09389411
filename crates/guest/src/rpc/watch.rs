//! Watching, as a stream or by polling.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tokio::time::sleep;
use wire::connect::{Code, Error};
use wire::filesystem::{Empty, WatchEvent, WatchRequest, WatcherEvents, WatcherId};

use super::Caller;
use super::call::Terms;
use super::filesystem::path;
use super::sink::{Sink, gone};
use crate::watch::{Hub, WatchError, Watcher};

/// Watchers that outlive their request.
#[derive(Debug, Default)]
pub(crate) struct Polled(RefCell<HashMap<String, Rc<Watcher>>>);

/// Ends a stream's watch however the stream ends.
struct Watching<'a> {
    hub: &'a Hub,
    watcher: Rc<Watcher>,
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.hub.close(&self.watcher);
    }
}

/// `WatchDir`.
pub(super) async fn watch_dir(
    caller: Caller,
    request: WatchRequest,
    sink: &mut Sink<WatchEvent>,
    terms: Terms,
) -> Result<(), Error> {
    let watching = Watching { hub: &caller.daemon.watches, watcher: watch(&caller, &request)? };
    sink.send(&WatchEvent::Start(Empty {})).await?;
    loop {
        let events = tokio::select! {
            events = watching.watcher.next() => events?,
            () = sink.closed() => return Err(gone()),
            () = sleep(terms.keepalive) => {
                sink.send(&WatchEvent::Keepalive(Empty {})).await?;
                continue;
            }
        };
        for event in events {
            sink.send(&WatchEvent::Filesystem(Box::new(event))).await?;
        }
    }
}

/// `CreateWatcher`.
pub(super) async fn create_watcher(caller: Caller, request: WatchRequest) -> Result<WatcherId, Error> {
    let most = caller.daemon.options.bounds.watchers;
    if caller.daemon.polled.0.borrow().len() >= most {
        let message = format!("at most {most} watchers are possible: remove some");
        return Err(Error::new(Code::ResourceExhausted, message));
    }
    let watcher = watch(&caller, &request)?;
    let watcher_id = format!("w{}", uuid::Uuid::new_v4().simple());
    caller.daemon.polled.0.borrow_mut().insert(watcher_id.clone(), watcher);
    Ok(WatcherId { watcher_id })
}

/// `GetWatcherEvents`.
pub(super) async fn get_events(caller: Caller, request: WatcherId) -> Result<WatcherEvents, Error> {
    let watcher = caller.daemon.polled.0.borrow().get(&request.watcher_id).cloned();
    let watcher = watcher.ok_or_else(|| unknown(&request.watcher_id))?;
    caller.daemon.watches.drain();
    Ok(WatcherEvents { events: watcher.take()? })
}

/// `RemoveWatcher`.
pub(super) async fn remove_watcher(caller: Caller, request: WatcherId) -> Result<Empty, Error> {
    let watcher = caller.daemon.polled.0.borrow_mut().remove(&request.watcher_id);
    caller.daemon.watches.close(&watcher.ok_or_else(|| unknown(&request.watcher_id))?);
    Ok(Empty {})
}

fn watch(caller: &Caller, request: &WatchRequest) -> Result<Rc<Watcher>, Error> {
    let path = path(caller, &request.path)?;
    let hub = &caller.daemon.watches;
    hub.watch(&path, request.recursive, request.include_entry, request.allow_network_mounts).map_err(
        |error| {
            let code = match &error {
                WatchError::NotFound(_) => Code::NotFound,
                WatchError::NotDirectory(_) | WatchError::Network(_) => Code::InvalidArgument,
                WatchError::TooMany(_) => Code::ResourceExhausted,
                WatchError::Io(_) => Code::Internal,
            };
            Error::new(code, error.to_string())
        },
    )
}

fn unknown(id: &str) -> Error {
    Error::new(Code::NotFound, format!("watcher with id {id} not found"))
}
