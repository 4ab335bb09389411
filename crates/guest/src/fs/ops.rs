//! Making directories, moving and removing.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::Path;

use wire::connect::{Code, Error};
use wire::filesystem::EntryInfo;

use super::entry::entry;
use crate::user::{Names, User};

/// What is at `path`.
pub(crate) fn stat(path: &str) -> Result<EntryInfo, Error> {
    entry(path, &Names::read()).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::new(Code::NotFound, format!("file not found: {path}")),
        _ => internal("error getting file info", path, &error),
    })
}

/// Makes a directory and its missing parents, all of them the user's.
pub(crate) fn make_dir(path: &str, user: &User) -> Result<EntryInfo, Error> {
    match fs::metadata(path) {
        Ok(about) if about.is_dir() => {
            return Err(Error::new(Code::AlreadyExists, format!("directory already exists: {path}")));
        }
        Ok(_) => {
            let message = format!("path already exists but it is not a directory: {path}");
            return Err(Error::new(Code::InvalidArgument, message));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(internal("error getting file info", path, &error)),
    }
    ensure_dir(Path::new(path), user).map_err(|error| internal("error creating directory", path, &error))?;
    stat(path)
}

/// Moves `source` to `destination`, whose missing parents are made first.
pub(crate) fn rename(source: &str, destination: &str, user: &User) -> Result<EntryInfo, Error> {
    ensure_parents(Path::new(destination), user)
        .map_err(|error| internal("error creating directory", destination, &error))?;
    fs::rename(source, destination).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::new(Code::NotFound, format!("source file not found: {source}")),
        _ => internal("error renaming", source, &error),
    })?;
    stat(destination)
}

/// Removes `path` and everything below it; what is not there is removed already.
pub(crate) fn remove(path: &str) -> Result<(), Error> {
    let removed = match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(internal("error removing file or directory", path, &error))
        }
        _ => Ok(()),
    }
}

/// Makes the directories above `path` that are missing, owned by the user.
pub(crate) fn ensure_parents(path: &Path, user: &User) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| ensure_dir(parent, user))
}

/// From the top down; existing ones stay as they are.
fn ensure_dir(path: &Path, user: &User) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(about) if about.is_dir() => return Ok(()),
        Ok(_) => return Err(io::Error::from_raw_os_error(rustix::io::Errno::NOTDIR.raw_os_error())),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) => {}
    }
    ensure_parents(path, user)?;
    match fs::DirBuilder::new().mode(0o755).create(path) {
        Ok(()) => chown(path, Some(user.uid), Some(user.gid)),
        // Somebody else was faster; unless it is a link that leads nowhere.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

fn internal(what: &str, path: &str, error: &io::Error) -> Error {
    Error::new(Code::Internal, format!("{what}: {path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn make_move_and_remove() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let user = User {
            name: "u".into(),
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            home: "/".into(),
        };
        assert_eq!(make_dir(&at("a/b"), &user).unwrap().path, at("a/b"));
        assert_eq!(make_dir(&at("a/b"), &user).unwrap_err().code, Code::AlreadyExists);
        fs::write(at("f"), "").unwrap();
        assert_eq!(make_dir(&at("f"), &user).unwrap_err().code, Code::InvalidArgument);
        assert_eq!(make_dir(&at("f/x"), &user).unwrap_err().code, Code::Internal);
        assert_eq!(rename(&at("f"), &at("new/g"), &user).unwrap().name, "g");
        assert_eq!(rename(&at("f"), &at("new/h"), &user).unwrap_err().code, Code::NotFound);
        assert_eq!(rename(&at("a"), &at("new"), &user).unwrap_err().code, Code::Internal);
        remove(&at("new")).unwrap();
        remove(&at("new")).unwrap();
        assert_eq!(stat(&at("new")).unwrap_err().code, Code::NotFound);
    }
}
