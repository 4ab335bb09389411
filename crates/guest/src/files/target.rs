//! Opening a file to write an upload into.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, chown, fchown};
use std::path::Path;

use http::StatusCode;
use rustix::io::Errno;

use super::metadata;
use super::source::never_wait;
use crate::fs::ops::ensure_parents;
use crate::http::HttpFailure;
use crate::user::User;

/// Opens `path` for a new content, without waiting for the reader of a pipe. A new file is given to the user after it was
/// made, even if it is theirs already: watchers rely on exactly three events for
/// a small new file, this one the second.
pub(super) fn open(
    path: &str,
    user: &User,
    metadata: &BTreeMap<String, String>,
) -> Result<File, HttpFailure> {
    ensure_parents(Path::new(path), user).map_err(|error| failure("error ensuring directories", &error))?;
    let before = match fs::metadata(path) {
        Ok(about) if about.is_dir() => {
            return Err(HttpFailure::new(StatusCode::BAD_REQUEST, format!("path is a directory: {path}")));
        }
        Ok(about) => Some(about.file_type()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failure("error getting file info", &error)),
    };
    // Devices are the host's own nodes, which nobody in here can be given.
    if before.is_some_and(|kind| !kind.is_char_device() && !kind.is_block_device()) {
        chown(path, Some(user.uid), Some(user.gid))
            .map_err(|error| failure("error changing ownership", &error))?;
    }
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .custom_flags(never_wait())
        .open(path);
    let file = file.map_err(|error| {
        if is_full(&error) {
            let message = format!("not enough inodes available: {error}");
            return HttpFailure::new(StatusCode::INSUFFICIENT_STORAGE, message);
        }
        failure("error opening file", &error)
    })?;
    if before.is_none() {
        fchown(&file, Some(user.uid), Some(user.gid))
            .map_err(|error| failure("error changing ownership", &error))?;
    }
    metadata::replace(&file, path, metadata).map_err(|error| failure("error writing metadata", &error))?;
    Ok(file)
}

/// Whether the disk or the user's share of it is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    [Errno::NOSPC, Errno::DQUOT].iter().any(|full| error.raw_os_error() == Some(full.raw_os_error()))
}

/// An error of the file system as it is told.
pub(super) fn failure(what: &str, error: &io::Error) -> HttpFailure {
    if is_full(error) {
        return HttpFailure::new(StatusCode::INSUFFICIENT_STORAGE, "not enough disk space available");
    }
    HttpFailure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{what}: {error}"))
}
