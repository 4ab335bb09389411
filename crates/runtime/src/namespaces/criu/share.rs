//! A memory that shares its pages with an older one on the disk.
//!
//! The file of pages that the tool wrote is replaced by one in which equal pieces are
//! those of the old file (`FICLONERANGE`), before anybody else has seen it. Taking the
//! copies away from the tool's file by the file system's own search would free
//! nothing on btrfs: an extent is freed when no byte of it is used any more.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::entries::read;
use super::pagemap::{PAGE, PAGE_LEN, Pagemap, Run, plan, shared};

/// A smaller file of pages is left as it is, and one of which less than a quarter of
/// this is the same.
const WORTH: u64 = 4 << 20;
pub(super) const PIECE: usize = 1 << 20;
/// The new file until it is complete.
const FRESH: &str = ".sharing";

/// Shares what the memory in `new` has in common with that in `old`, which nobody
/// changes; answers how many bytes that are. On an error the memory is what it was.
pub(in crate::namespaces) fn share(new: &Path, old: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(new)? {
        let name = entry?.file_name();
        let map = name.to_string_lossy();
        if map.starts_with("pagemap-") && map.ends_with(".img") && old.join(&name).exists() {
            bytes += share_one(new, old, &map)?;
        }
    }
    Ok(bytes)
}

fn share_one(new: &Path, old: &Path, map: &str) -> io::Result<u64> {
    let (Some(is), Some(was)) = (Side::open(new, map)?, Side::open(old, map)?) else { return Ok(0) };
    let (mut here, mut there) = (Window::new(&is.pages), Window::new(&was.pages));
    let equal = |a, b| Ok(here.page(a)? == there.page(b)?);
    let runs = plan(&was.map.extents, &is.map.extents, equal)?;
    let common = shared(&runs);
    if common < WORTH / 4 {
        return Ok(0);
    }
    let fresh = Fresh::beside(new, &is.pages)?;
    let made = rewrite(&is.pages, &was.pages, &runs, &fresh.file);
    match made.and_then(|()| fresh.take_the_place_of(&is.name())) {
        Ok(()) => Ok(common),
        Err(error) if is_beyond(&error) => Ok(0),
        Err(error) => Err(error),
    }
}

/// A file of pages that takes the place of another when it is complete, and is
/// removed when that does not come about.
pub(super) struct Fresh {
    pub(super) file: File,
    path: PathBuf,
}

impl Fresh {
    /// A new file in `dir` with the owner and the mode of `old`: the tool's helpers read
    /// it as those for whom the tool wrote it.
    pub(super) fn beside(dir: &Path, old: &File) -> io::Result<Self> {
        let (path, meta) = (dir.join(FRESH), old.metadata()?);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let fresh = Self { file, path };
        fchown(&fresh.file, Some(meta.uid()), Some(meta.gid()))?;
        fresh.file.set_permissions(fs::Permissions::from_mode(meta.mode() & 0o777))?;
        Ok(fresh)
    }

    pub(super) fn take_the_place_of(self, name: &str) -> io::Result<()> {
        fs::rename(&self.path, self.path.with_file_name(name))
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // It has another name after a success.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether a file system cannot do this.
pub(super) fn is_beyond(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    let beyond = [rustix::io::Errno::OPNOTSUPP, rustix::io::Errno::XDEV, rustix::io::Errno::INVAL];
    errno.is_some_and(|errno| beyond.contains(&errno) || errno == rustix::io::Errno::NOTTY)
}

/// The pages of a process in one memory.
struct Side {
    map: Pagemap,
    pages: File,
}

impl Side {
    /// Nothing if it is too small, or not what its map says.
    fn open(dir: &Path, map: &str) -> io::Result<Option<Self>> {
        let map = Pagemap::parse(&read(&dir.join(map))?)?;
        if map.len() < WORTH {
            return Ok(None);
        }
        let pages = File::open(dir.join(format!("pages-{}.img", map.pages_id)))?;
        let fits = pages.metadata()?.len() == map.len();
        Ok(fits.then_some(Self { map, pages }))
    }

    fn name(&self) -> String {
        format!("pages-{}.img", self.map.pages_id)
    }
}

fn rewrite(is: &File, was: &File, runs: &[Run], to: &File) -> io::Result<()> {
    let (mut at, mut buffer) = (0, vec![0; PIECE]);
    for run in runs {
        match run.shared {
            Some(from) => sys::reflink::clone_range((was.as_fd(), from), (to.as_fd(), at), run.len)?,
            None => copy((is, at), (to, at), run.len, &mut buffer)?,
        }
        at += run.len;
    }
    Ok(())
}

pub(super) fn copy(
    (from, mut at): (&File, u64),
    (to, mut to_at): (&File, u64),
    len: u64,
    buffer: &mut [u8],
) -> io::Result<()> {
    let end = at + len;
    while at < end {
        let piece = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
        from.read_exact_at(&mut buffer[..piece], at)?;
        to.write_all_at(&buffer[..piece], to_at)?;
        at += piece as u64;
        to_at += piece as u64;
    }
    Ok(())
}

/// A file that is looked at page by page, read in larger pieces.
struct Window<'a> {
    file: &'a File,
    from: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(file: &'a File) -> Self {
        Self { file, from: 0, bytes: Vec::new() }
    }

    fn page(&mut self, at: u64) -> io::Result<&[u8]> {
        let end = self.from + self.bytes.len() as u64;
        if at < self.from || at + PAGE > end {
            self.from = at;
            self.bytes.resize(PIECE, 0);
            let mut read = 0;
            while read < PIECE {
                match self.file.read_at(&mut self.bytes[read..], at + read as u64)? {
                    0 => break,
                    n => read += n,
                }
            }
            self.bytes.truncate(read);
        }
        let start = usize::try_from(at - self.from).map_err(io::Error::other)?;
        self.bytes.get(start..start + PAGE_LEN).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}
