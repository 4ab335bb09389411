//! What a copied subvolume holds without having allocated it.
//!
//! Simple quotas count an extent for the subvolume that allocated it, so a copy
//! starts at nothing. What it took over is written on it, so that its limit can be
//! cut by as much and its usage shown whole.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::error::{Error, at};

/// On the top directory of a subvolume, above everything that a sandbox sees.
const ATTRIBUTE: &str = "user.warren.inherited";

/// Bytes in `base` that are counted elsewhere.
pub(super) fn inherited(base: &Path) -> Result<u64, Error> {
    let mut value = [0; 20];
    match rustix::fs::getxattr(base, ATTRIBUTE, &mut value[..]) {
        Ok(len) => Ok(std::str::from_utf8(&value[..len]).ok().and_then(|n| n.parse().ok()).unwrap_or(0)),
        Err(Errno::NODATA) => Ok(0),
        Err(e) => Err(at("reading an attribute of", base)(e)),
    }
}

/// Notes it.
pub(super) fn set_inherited(base: &Path, bytes: u64) -> Result<(), Error> {
    rustix::fs::setxattr(base, ATTRIBUTE, bytes.to_string().as_bytes(), XattrFlags::empty())
        .map_err(at("writing an attribute of", base))
}

/// What the files below `dir` take, each counted once.
pub(super) fn allocated(dir: &Path) -> Result<u64, Error> {
    let mut seen = HashSet::new();
    let mut waiting = vec![dir.to_owned()];
    let mut bytes = 0;
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).map_err(at("listing", &dir))? {
            let entry = entry.map_err(at("listing", &dir))?;
            // Of the entry itself: links are not followed.
            let meta = entry.metadata().map_err(at("looking at", &dir))?;
            if meta.is_dir() {
                waiting.push(entry.path());
            }
            if meta.nlink() == 1 || meta.is_dir() || seen.insert(meta.ino()) {
                bytes += meta.blocks() * 512;
            }
        }
    }
    Ok(bytes)
}
