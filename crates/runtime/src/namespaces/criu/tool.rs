//! The tool as a file on the host.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::rpc::{self, Ask, Call, Failure, carry_out, version};
use crate::namespaces::StepError;
use crate::namespaces::workshop::Room;
use crate::{ErrorKind, namespaces};

/// Where it is within its tree.
const PLACE: &str = "usr/sbin/criu";

/// A CRIU whose abilities are still to be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Criu {
    /// The `usr` that holds it and all it needs.
    usr: PathBuf,
}

impl Criu {
    /// The tool at `path`, which ends in `usr/sbin/criu`.
    pub fn at(path: &Path) -> Result<Self, String> {
        if !path.ends_with(PLACE) {
            return Err(format!("{} does not end in {PLACE}", path.display()));
        }
        let usr = path.ancestors().nth(2).unwrap_or(path).to_owned();
        match fs::metadata(path) {
            Ok(meta) if meta.is_file() => Ok(Self { usr }),
            Ok(_) => Err(format!("{} is no file", path.display())),
            Err(e) => Err(format!("{}: {e}", path.display())),
        }
    }

    /// The first tool among these trees.
    pub fn find(trees: &[PathBuf]) -> Option<Self> {
        trees.iter().find_map(|tree| Self::at(&tree.join(PLACE)).ok())
    }

    /// The program.
    pub fn path(&self) -> PathBuf {
        self.usr.join("sbin/criu")
    }

    pub(in crate::namespaces) fn usr(&self) -> &Path {
        &self.usr
    }
}

/// The oldest version that writes TCP sockets down on recent kernels.
const OLDEST: (u64, u64) = (4, 2);

/// Whether the tool in `room` runs here; if not, why not.
pub(in crate::namespaces) fn check(room: &Room) -> Result<(), String> {
    match version(room.line()) {
        Ok(found) if found >= OLDEST => Ok(()),
        Ok((major, minor)) => {
            Err(format!("its version {major}.{minor} is too old; {}.{} is needed", OLDEST.0, OLDEST.1))
        }
        Err(Failure::Room(failed)) => Err(failed.to_string()),
        Err(Failure::Line(error) | Failure::Refused(error)) => Err(error.to_string()),
        Err(Failure::Tool(said)) => Err(said.unwrap_or_default()),
    }
}

/// Whether this kernel tells which pages were written, as the tool in `room` found.
pub(in crate::namespaces) fn tracks_pages(room: &Room) -> bool {
    rpc::tracks_pages(room.line()).unwrap_or(false)
}

/// Has the tool in `room` carry out `call`, its log going to `work_dir`.
pub(in crate::namespaces) fn run(
    room: &Room,
    call: &impl Call,
    work_dir: &Path,
    answer: impl FnMut(Ask) -> io::Result<()>,
) -> Result<Option<rustix::process::Pid>, StepError> {
    use std::os::fd::AsRawFd;
    let dir = File::open(work_dir)?;
    let done = carry_out(room.line(), &call.request(dir.as_raw_fd()), answer);
    done.map_err(|failure| match failure {
        Failure::Room(failed) => failed.into(),
        Failure::Refused(error) => error.into(),
        Failure::Tool(said) => {
            let said = last_error(work_dir).or(said).unwrap_or_else(|| "no reason given".to_owned());
            StepError::new(ErrorKind::Unsupported, Said(said))
        }
        Failure::Line(error) => match last_error(work_dir) {
            Some(said) => StepError::new(ErrorKind::Unsupported, Said(said)),
            None => namespaces::StepError::new(ErrorKind::Bug, error),
        },
    })
}

#[derive(Debug, thiserror::Error)]
#[error("the checkpoint tool says: {0}")]
struct Said(String);

/// What the tool calls an error and goes on after: a kernel without TUN devices, of
/// which sandboxes have none, and a limit that only `CAP_SYS_RESOURCE` raises.
const HARMLESS: [&str; 2] = ["tun: Unable to create tun", "setup RLIMIT_NOFILE"];

/// The first error in the log: the others follow from it.
fn last_error(work_dir: &Path) -> Option<String> {
    ["dump.log", "restore.log"].iter().find_map(|name| {
        let log = fs::read(work_dir.join(name)).ok()?;
        let text = String::from_utf8_lossy(&log);
        let line = text
            .lines()
            .find(|line| line.contains("Error (") && !HARMLESS.iter().any(|h| line.contains(h)))?;
        let line = line.split_once("): ").map_or(line, |(_, said)| said);
        Some(line.trim().chars().take(300).collect())
    })
}
