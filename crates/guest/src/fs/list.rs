//! Listing a directory to some depth.

use std::fs;
use std::io;

use wire::connect::{Code, Error};
use wire::filesystem::EntryInfo;

use super::entry::entry;
use crate::user::Names;

/// Entries below `path`, directories before their content, each directory in
/// lexical order, down to `depth` levels. Links inside are not followed; what
/// vanishes meanwhile is skipped. Beyond `most` entries the answer would not fit
/// the daemon's memory.
pub(crate) fn list(path: &str, depth: u32, most: usize) -> Result<Vec<EntryInfo>, Error> {
    let about = fs::metadata(path).map_err(|error| refusal(path, &error))?;
    if !about.is_dir() {
        return Err(Error::new(Code::InvalidArgument, format!("path is not a directory: {path}")));
    }
    let names = Names::read();
    let mut entries = Vec::new();
    // Directories still to be walked, the next one last, each with its content in reverse.
    let mut open = vec![(1, children(path)?)];
    while let Some((level, rest)) = open.last_mut() {
        let level = *level;
        let Some(child) = rest.pop() else {
            open.pop();
            continue;
        };
        let found = match entry(&child, &names) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(refusal(&child, &error)),
        };
        if entries.len() >= most {
            let message = format!("more than {most} entries: list a smaller depth");
            return Err(Error::new(Code::ResourceExhausted, message));
        }
        if level < depth && found.permissions.starts_with('d') {
            open.push((level + 1, vanished_is_empty(children(&child))?));
        }
        entries.push(found);
    }
    Ok(entries)
}

/// Paths of a directory's content, last first.
fn children(path: &str) -> Result<Vec<String>, Error> {
    let read = || -> io::Result<Vec<String>> {
        let parent = path.trim_end_matches('/');
        let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<String>>>()?;
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names.into_iter().map(|name| format!("{parent}/{name}")).collect())
    };
    read().map_err(|error| refusal(path, &error))
}

fn vanished_is_empty(children: Result<Vec<String>, Error>) -> Result<Vec<String>, Error> {
    match children {
        Err(error) if error.code == Code::NotFound => Ok(Vec::new()),
        other => other,
    }
}

fn refusal(path: &str, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::new(Code::NotFound, format!("path not found: {path}")),
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            Error::new(Code::FailedPrecondition, format!("too many links: {path}"))
        }
        _ => Error::new(Code::Internal, format!("error reading directory {path}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_before_their_content_and_depth_ends_the_walk() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("b/c/d")).unwrap();
        fs::write(dir.path().join("a"), "").unwrap();
        fs::write(dir.path().join("b/x"), "").unwrap();
        std::os::unix::fs::symlink("..", dir.path().join("b/up")).unwrap();
        let root = dir.path().to_string_lossy().into_owned();
        let told = |depth| -> Vec<String> {
            let entries = list(&root, depth, 99).unwrap();
            entries.iter().map(|e| e.path.strip_prefix(&root).unwrap().to_owned()).collect()
        };
        assert_eq!(told(1), ["/a", "/b"]);
        assert_eq!(told(2), ["/a", "/b", "/b/c", "/b/up", "/b/x"]);
        assert_eq!(told(9), ["/a", "/b", "/b/c", "/b/c/d", "/b/up", "/b/x"]);
        assert_eq!(list("/nope", 1, 99).unwrap_err().code, Code::NotFound);
        assert_eq!(list(&format!("{root}/a"), 1, 99).unwrap_err().code, Code::InvalidArgument);
    }
}
