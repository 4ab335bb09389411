//! `/files`: contents of files in and out.
//!
//! Small files are read and written where the request is; longer ones by a
//! thread each, with a bounded queue between it and the connection, so that a
//! slow disk holds up nobody else and memory stays constant.

mod compose;
mod download;
mod metadata;
mod source;
mod target;
mod upload;
mod wanted;
mod writer;

use http::StatusCode;
use wire::query::Query;

use crate::daemon::Daemon;
use crate::fs::path::resolve;
use crate::http::HttpFailure;
use crate::user::User;

pub(crate) use compose::compose;
pub(crate) use download::download;
pub(crate) use upload::upload;

/// The user that a request of this route names in its query.
fn user(daemon: &Daemon, query: &Query) -> Result<User, HttpFailure> {
    named_user(daemon, query.get("username"))
}

fn named_user(daemon: &Daemon, name: Option<&str>) -> Result<User, HttpFailure> {
    daemon.settings.user(name).map_err(|error| {
        let message = format!("error looking up user '{}': {error}", error.0);
        HttpFailure::new(StatusCode::UNAUTHORIZED, message)
    })
}

/// The absolute path of a request's or part's path.
fn absolute(daemon: &Daemon, path: &str, user: &User) -> Result<String, HttpFailure> {
    let workdir = daemon.settings.get().default_workdir.clone();
    resolve(path, user, workdir.as_deref())
        .map_err(|error| HttpFailure::new(StatusCode::BAD_REQUEST, error.to_string()))
}
