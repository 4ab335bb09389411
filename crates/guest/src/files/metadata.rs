//! What callers attach to files: request headers to extended attributes.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use http::{HeaderMap, StatusCode};
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use wire::files::{METADATA_HEADER_PREFIX, METADATA_XATTR_PREFIX};

use crate::fs::entry;
use crate::http::HttpFailure;

/// The kernel's limit for a name is 255 bytes, our prefix included.
const MAX_KEY: usize = 246;
/// All names and values together; what ext4 is sure to hold.
const MAX_TOTAL: usize = 4096;

/// The metadata that a request carries. The first of equal headers counts.
pub(super) fn of_headers(headers: &HeaderMap) -> Result<BTreeMap<String, String>, HttpFailure> {
    let mut metadata = BTreeMap::new();
    let mut total = 0;
    for name in headers.keys() {
        let Some(key) = name.as_str().strip_prefix(METADATA_HEADER_PREFIX) else { continue };
        let Some(value) = headers.get(name) else { continue };
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(invalid("a key must have 1 to 246 characters"));
        }
        if !value.as_bytes().iter().all(|byte| (0x20..0x7f).contains(byte)) {
            return Err(invalid("values must be printable ASCII"));
        }
        let value = value.to_str().map_err(|_| invalid("values must be printable ASCII"))?;
        total += METADATA_XATTR_PREFIX.len() + key.len() + value.len();
        metadata.insert(key.to_owned(), value.to_owned());
    }
    if total > MAX_TOTAL {
        return Err(invalid("all keys and values together must not exceed 4096 bytes"));
    }
    Ok(metadata)
}

fn invalid(why: &str) -> HttpFailure {
    HttpFailure::new(StatusCode::BAD_REQUEST, format!("invalid metadata: {why}"))
}

/// Makes `metadata` the whole metadata of the file. A file without any is not
/// touched if none is wanted: each attribute written would be an event for watchers.
pub(super) fn replace(
    file: impl AsFd,
    path: &str,
    metadata: &BTreeMap<String, String>,
) -> std::io::Result<()> {
    for key in entry::metadata(path).keys().filter(|key| !metadata.contains_key(*key)) {
        tolerate(rustix::fs::fremovexattr(&file, format!("{METADATA_XATTR_PREFIX}{key}")))?;
    }
    for (key, value) in metadata {
        let name = format!("{METADATA_XATTR_PREFIX}{key}");
        tolerate(rustix::fs::fsetxattr(&file, name, value.as_bytes(), XattrFlags::empty()))?;
    }
    Ok(())
}

/// File systems without attributes have no metadata; that is no failure.
fn tolerate(result: rustix::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(Errno::OPNOTSUPP | Errno::NODATA | Errno::PERM | Errno::NOSYS) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
