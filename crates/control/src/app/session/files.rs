//! A session's files: in, out, and what there is.

use axum::body::Body;
use http::StatusCode;
use model::SessionId;
use wire::filesystem::EntryInfo;

use super::Error;
use super::life::Held;
use crate::app::{App, Caller};
use crate::inside::{self, Answer};

impl App {
    /// Writes a file, and the directories above it.
    pub(crate) async fn session_write(&self, held: &Held, path: &str, content: Body) -> Result<(), Error> {
        let written = held.inside().write_file(path, content).await;
        written.map_err(|error| explain(held, path, error))
    }

    /// Opens a file; the answer's body is its content.
    pub(crate) async fn session_read(
        &self,
        caller: &Caller,
        id: &SessionId,
        path: &str,
    ) -> Result<(Held, Answer), Error> {
        check_path(path)?;
        let held = self.session_find(caller, id).await?;
        let answer = held.inside().read_file(path).await.map_err(|error| explain(&held, path, error))?;
        Ok((held, answer))
    }

    /// What is in a directory.
    pub(crate) async fn session_list(
        &self,
        caller: &Caller,
        id: &SessionId,
        path: &str,
    ) -> Result<Vec<EntryInfo>, Error> {
        check_path(path)?;
        let held = self.session_find(caller, id).await?;
        held.inside().list_dir(path).await.map_err(|error| explain(&held, path, error))
    }
}

/// Paths are from the root: a session has no directory of its own to start from.
pub(super) fn check_path(path: &str) -> Result<(), Error> {
    let shown: String = path.chars().take(256).collect();
    if path.is_empty() {
        return Err(Error::Refused("path is empty".to_owned()));
    }
    if !path.starts_with('/') {
        return Err(Error::Refused(format!("path is relative, it must begin with /: {shown}")));
    }
    if path.contains('\0') || path.len() > 4096 {
        return Err(Error::Refused(format!("path is no path: {shown}")));
    }
    Ok(())
}

/// Where a file goes: a directory, and the last element of the name that the
/// client gave, which may have directories of its own machine before it.
pub(crate) fn target(dir: &str, file_name: &str) -> Result<String, Error> {
    check_path(dir)?;
    let name = file_name.rsplit(['/', '\\']).next().unwrap_or_default();
    if matches!(name, "" | "." | "..") || name.contains(char::is_control) || name.len() > 255 {
        return Err(Error::Refused("file: the part's file name is no file name".to_owned()));
    }
    Ok(format!("{}/{name}", dir.trim_end_matches('/')))
}

fn explain(held: &Held, path: &str, error: inside::Error) -> Error {
    match error {
        inside::Error::Refused { status: StatusCode::NOT_FOUND, .. } => Error::NoFile(path.to_owned()),
        inside::Error::Refused { status: StatusCode::BAD_REQUEST, message } => {
            Error::Refused(format!("path {path}: {message}"))
        }
        other => held.end().map_or(Error::Inside(other), Error::Ended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_lands_in_its_directory_whatever_its_name_says() {
        assert_eq!(target("/home/user/upload", "data.json").unwrap(), "/home/user/upload/data.json");
        assert_eq!(target("/tmp/", "../../etc/passwd").unwrap(), "/tmp/passwd");
        assert_eq!(target("/", "C:\\docs\\a b.txt").unwrap(), "/a b.txt");
        for (dir, name) in
            [("tmp", "a"), ("", "a"), ("/tmp", ".."), ("/tmp", ""), ("/tmp", "a/"), ("/t\0", "a")]
        {
            assert!(target(dir, name).is_err(), "{dir:?} {name:?}");
        }
    }
}
