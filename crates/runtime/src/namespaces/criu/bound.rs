//! Unix sockets that are bound to a file on the sandbox's disk.
//!
//! The tool compares the numbers of such a file with those that the kernel has for
//! the socket. On an overlay they differ, so it takes the file for one that was
//! removed, and removes it after the restore: nobody could connect any more. So
//! where the file is there, the images say so.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::process::Pid;

use super::entries::{all, image, read};
use super::proto::{Message, Value};
use crate::namespaces::proc_dir;

/// `FileEntry`: what it is as a Unix socket.
const SOCKET: u32 = 16;
/// `UnixSkEntry`.
const INODE: u32 = 2;
const NAME: u32 = 11;
const DIRECTORY: u32 = 14;
const REMOVED: u32 = 15;

/// Notes in the images which files of sockets are there. The tree below `pid` stands still.
pub(in crate::namespaces) fn keep_bound(images: &Path, pid: Pid) -> io::Result<()> {
    let root = rustix::fs::open(
        proc_dir(pid).join("root"),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let path = images.join("files.img");
    let bytes = read(&path)?;
    let (magic, files) = all(&bytes)?;
    match kept(files, |name| is_socket(&root, name))? {
        Some(files) => fs::write(&path, image(magic, &files)?),
        None => Ok(()),
    }
}

/// Looked up by the kernel, as whoever is inside would: no link leads out.
fn is_socket(root: &OwnedFd, name: &[u8]) -> bool {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat2(root.as_fd(), name, flags, Mode::empty(), ResolveFlags::IN_ROOT);
    let found = opened.and_then(|file| rustix::fs::statat(&file, "", AtFlags::EMPTY_PATH));
    found.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket)
}

/// The same files with the marks taken off; `None` if there are none to take off.
fn kept(mut files: Vec<Message>, is_socket: impl Fn(&[u8]) -> bool) -> io::Result<Option<Vec<Message>>> {
    // Of several that had one name, the newest has it now: numbers of sockets grow.
    let mut newest: BTreeMap<Vec<u8>, (u64, usize)> = BTreeMap::new();
    for (at, file) in files.iter().enumerate() {
        let Some(socket) = file.message(SOCKET) else { continue };
        if let (Some(name), Some(inode)) = (path_of(&socket), socket.number(INODE)) {
            let known = newest.entry(name).or_insert((inode, at));
            *known = (*known).max((inode, at));
        }
    }
    let mut changed = false;
    for (name, (_, at)) in newest {
        let removed = files[at].message(SOCKET).is_some_and(|socket| socket.number(REMOVED) == Some(1));
        if !removed || !is_socket(&name) {
            continue;
        }
        for (field, value) in &mut files[at].0 {
            if let Value::Bytes(socket) = value
                && *field == SOCKET
            {
                let mut parsed = Message::parse(socket)?;
                parsed.0.retain(|(field, _)| *field != REMOVED);
                *socket = parsed.to_bytes();
                changed = true;
            }
        }
    }
    Ok(changed.then_some(files))
}

/// The path that a socket is bound to; none for those without a file.
fn path_of(socket: &Message) -> Option<Vec<u8>> {
    let name = socket.get(NAME)?.bytes()?;
    let name = name.split(|byte| *byte == 0).next().filter(|name| !name.is_empty())?;
    match socket.get(DIRECTORY).and_then(Value::bytes) {
        Some(directory) if !name.starts_with(b"/") => {
            let directory = directory.strip_suffix(b"\0").unwrap_or(directory);
            Some([directory, b"/", name].concat())
        }
        _ => Some(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(inode: u64, name: &[u8], removed: bool) -> Message {
        let socket = Message::default().with(1, inode).with(INODE, inode).with_bytes(NAME, name);
        let socket = if removed { socket.with(REMOVED, 1) } else { socket };
        Message::default().with(1, 5).with_bytes(SOCKET, &socket.with(16, 10).to_bytes())
    }

    #[test]
    fn the_newest_socket_of_a_file_that_is_there_keeps_it() {
        let files = vec![
            socket(7, b"/tmp/there\0", true),
            socket(9, b"/tmp/there\0", true),
            socket(8, b"/tmp/gone\0", true),
            socket(6, b"\0abstract", true),
            socket(5, b"/run/there\0", false),
            Message::default().with(1, 1).with_bytes(3, b"\x08\x01"),
        ];
        let mut wanted = files.clone();
        wanted[1] = socket(9, b"/tmp/there\0", false);
        let is_there = |name: &[u8]| name.ends_with(b"there");
        assert_eq!(kept(files.clone(), is_there).unwrap(), Some(wanted));
        assert_eq!(kept(files, |_| false).unwrap(), None);
    }
}
