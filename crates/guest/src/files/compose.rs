//! `POST /files/compose`: several files become one.
//!
//! The new file grows beside its destination and takes its place by one rename,
//! so that a failure leaves what stood there, and no reader sees a half of it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use wire::files::WrittenFile;

use super::target::failure;
use super::{absolute, named_user, source};
use crate::daemon::Daemon;
use crate::fs::ops::ensure_parents;
use crate::fs::path::base_name;
use crate::http::error::json;
use crate::http::{HttpFailure, Request, Response};
use crate::user::User;

/// Longest body; room for the paths of the files of one request.
const MAX_BODY: usize = 4 << 20;

#[derive(Debug, Deserialize)]
struct Compose {
    #[serde(default)]
    source_paths: Vec<String>,
    #[serde(default)]
    destination: String,
    username: Option<String>,
}

/// Answers the request.
pub(crate) async fn compose(daemon: &Daemon, request: Request) -> Response {
    match try_compose(daemon, request).await {
        Ok(written) => json(&written),
        Err(failure) => failure.into_response(),
    }
}

async fn try_compose(daemon: &Daemon, request: Request) -> Result<WrittenFile, HttpFailure> {
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
    let body = body.map_err(|error| bad_request(format!("error reading the request: {error}")))?.to_bytes();
    let compose: Compose =
        serde_json::from_slice(&body).map_err(|error| bad_request(format!("invalid body: {error}")))?;
    let user = named_user(daemon, compose.username.as_deref())?;
    if compose.source_paths.is_empty() {
        return Err(bad_request("source_paths must name at least one file"));
    }
    let most = daemon.options.bounds.files;
    if compose.source_paths.len() > most {
        return Err(bad_request(format!("source_paths names more than {most} files")));
    }
    if compose.destination.is_empty() {
        return Err(bad_request("destination is required"));
    }
    let destination = absolute(daemon, &compose.destination, &user)?;
    let sources = compose.source_paths.iter().map(|path| absolute(daemon, path, &user));
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    // Goes on to its end without the client: half of the sources removed would be worse.
    let done = tokio::task::spawn_blocking(move || put_together(&sources, &destination, &user)).await;
    done.unwrap_or_else(|error| {
        Err(HttpFailure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("error composing: {error}")))
    })
}

fn put_together(sources: &[String], destination: &str, user: &User) -> Result<WrittenFile, HttpFailure> {
    let standing = match fs::metadata(destination) {
        Ok(about) if about.is_dir() => {
            return Err(bad_request(format!("destination is a directory: {destination}")));
        }
        Ok(about) => Some((about.dev(), about.ino())),
        Err(_) => None,
    };
    for source in sources {
        let about = fs::metadata(source).map_err(|error| source_failure(source, &error))?;
        if !about.is_file() {
            return Err(bad_request(format!("source is not a regular file: {source}")));
        }
        if source == destination || standing == Some((about.dev(), about.ino())) {
            return Err(bad_request(format!("source is the destination: {source}")));
        }
    }
    ensure_parents(Path::new(destination), user)
        .map_err(|error| failure("error ensuring directories", &error))?;
    let draft = format!("{destination}.e2b-compose.{}.tmp", uuid::Uuid::new_v4());
    let placed = fill(&draft, sources, user)
        .and_then(|()| fs::rename(&draft, destination).map_err(|error| failure("error renaming", &error)));
    if let Err(failed) = placed {
        // It may not even have been made.
        let _ = fs::remove_file(&draft);
        return Err(failed);
    }
    for source in sources {
        match fs::remove_file(source) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failure("error removing a source", &error));
            }
            // A file that was named twice is gone at the second time.
            _ => {}
        }
    }
    let name = base_name(destination).to_owned();
    let path = destination.to_owned();
    Ok(WrittenFile { name, path, file_type: "file".to_owned(), metadata: BTreeMap::new() })
}

fn fill(draft: &str, sources: &[String], user: &User) -> Result<(), HttpFailure> {
    let draft = OpenOptions::new().write(true).create_new(true).mode(0o644).open(draft);
    let mut draft = draft.map_err(|error| failure("error opening file", &error))?;
    fchown(&draft, Some(user.uid), Some(user.gid))
        .map_err(|error| failure("error changing ownership", &error))?;
    for source in sources {
        let mut content = open(source)?;
        io::copy(&mut content, &mut draft).map_err(|error| failure("error writing file", &error))?;
    }
    Ok(())
}

/// What was looked at may have been changed for something else meanwhile.
fn open(path: &str) -> Result<File, HttpFailure> {
    let file = source::open(path).map_err(|error| source_failure(path, &error))?;
    match file.metadata() {
        Ok(about) if about.is_file() => Ok(file),
        Ok(_) => Err(bad_request(format!("source is not a regular file: {path}"))),
        Err(error) => Err(source_failure(path, &error)),
    }
}

fn source_failure(source: &str, error: &io::Error) -> HttpFailure {
    match error.kind() {
        io::ErrorKind::NotFound => {
            HttpFailure::new(StatusCode::NOT_FOUND, format!("source '{source}' does not exist"))
        }
        _ => failure(&format!("error opening source '{source}'"), error),
    }
}

fn bad_request(message: impl Into<String>) -> HttpFailure {
    HttpFailure::new(StatusCode::BAD_REQUEST, message)
}
