//! The small files and directories that control groups consist of.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::Error;

/// One mounted hierarchy.
#[derive(Debug)]
pub(super) struct Mount {
    pub(super) path: PathBuf,
    pub(super) version: u8,
    /// Controllers, on version 1.
    pub(super) options: Vec<String>,
}

/// Every hierarchy that is mounted.
pub(super) fn mounts() -> Result<Vec<Mount>, Error> {
    Ok(read(Path::new("/proc/self/mountinfo"))?.lines().filter_map(mount).collect())
}

/// `36 35 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu`
fn mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut right = right.split(' ');
    let version = match right.next()? {
        "cgroup" => 1,
        "cgroup2" => 2,
        _ => return None,
    };
    let options = right.nth(1)?.split(',').map(str::to_owned).collect();
    Some(Mount { path: left.split(' ').nth(4)?.into(), version, options })
}

pub(super) fn write(path: &Path, value: &str) -> Result<(), Error> {
    fs::write(path, value).map_err(|source| Error::File { act: "writing", path: path.to_owned(), source })
}

pub(super) fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::File { act: "reading", path: path.to_owned(), source })
}

/// A file that holds one number; some are missing on some kernels.
pub(super) fn number(path: &Path) -> Result<u64, Error> {
    Ok(read(path)?.trim().parse().unwrap_or(0))
}

/// The number after a name, in a file of `name number` lines.
pub(super) fn field(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Makes a directory; one that is there already is as good.
pub(super) fn ensure_dir(path: &Path) -> Result<(), Error> {
    match fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done.map_err(|source| Error::File { act: "making", path: path.to_owned(), source }),
    }
}

/// Removes a group; one that is gone already is as good. The kernel may need a
/// moment after the last process.
pub(super) fn remove_dir(path: &Path, give_up: Instant) -> Result<(), Error> {
    loop {
        match fs::remove_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy && Instant::now() < give_up => {
                std::thread::sleep(Duration::from_millis(1));
            }
            done => {
                return done.map_err(|source| Error::File { act: "removing", path: path.to_owned(), source });
            }
        }
    }
}

/// The processes of a group; none if the group is gone.
pub(super) fn processes(dir: &Path) -> Result<Vec<Pid>, Error> {
    match read(&dir.join("cgroup.procs")) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok().and_then(Pid::from_raw)).collect()),
        Err(Error::File { source, .. })
            if matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) =>
        {
            Ok(Vec::new())
        }
        Err(e) => Err(e),
    }
}
