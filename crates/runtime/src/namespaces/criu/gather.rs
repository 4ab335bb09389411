//! One memory of what was written in rounds: nothing of the rounds is left, and what
//! there is looks as if it had been written at once.
//!
//! Long pieces become those of the rounds' files on the disk; short ones, and all of
//! them where the file system cannot share, are copied.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use super::entries::read;
use super::lineage::{Piece, Round, pieces, whole};
use super::pagemap::SHORTEST;
use super::share::{Fresh, PIECE, copy, is_beyond};

/// The tool's own link from a dump to the round before.
const BEFORE: &str = "parent";

/// Brings the pages of `rounds` into the images, which nobody has read yet. The rounds
/// lie among the images, the newest first.
pub(in crate::namespaces) fn gather(images: &Path, rounds: &[String]) -> io::Result<()> {
    let mut maps = Vec::new();
    for entry in fs::read_dir(images)? {
        let name = entry?.file_name();
        let is_map = |name: &str| {
            name.strip_prefix("pagemap-").is_some_and(|rest| rest.strip_suffix(".img").is_some())
        };
        maps.extend(name.to_str().filter(|name| is_map(name)).map(str::to_owned));
    }
    maps.iter().try_for_each(|map| gather_one(images, rounds, map))?;
    forget(images, rounds)
}

/// Removes what rounds left; safe where they left nothing.
pub(in crate::namespaces) fn forget(images: &Path, rounds: &[String]) -> io::Result<()> {
    let gone = |done: io::Result<()>| match done {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    };
    gone(fs::remove_file(images.join(BEFORE)))?;
    rounds.iter().try_for_each(|round| gone(fs::remove_dir_all(images.join(round))))
}

fn gather_one(images: &Path, rounds: &[String], name: &str) -> io::Result<()> {
    let path = images.join(name);
    let map = read(&path)?;
    let dump = Round::parse(&map)?;
    if dump.is_whole() {
        return Ok(());
    }
    let pages = format!("pages-{}.img", dump.pages_id);
    let mut files = vec![File::open(images.join(&pages))?];
    let mut maps = vec![dump];
    for round in rounds {
        // A process that was not there yet has no map: nothing before it is looked at.
        let map = match read(&images.join(round).join(name)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => break,
            map => Round::parse(&map?)?,
        };
        files.push(File::open(images.join(round).join(format!("pages-{}.img", map.pages_id)))?);
        maps.push(map);
    }
    let fresh = Fresh::beside(images, &files[0])?;
    put_together(&files, &pieces(&maps)?, &fresh.file)?;
    fresh.take_the_place_of(&pages)?;
    fs::write(&path, whole(&map)?)
}

fn put_together(files: &[File], pieces: &[Piece], to: &File) -> io::Result<()> {
    let (mut end, mut buffer, mut can_share) = (0, vec![0; PIECE], true);
    for piece in pieces {
        let from = files.get(piece.round).ok_or(io::ErrorKind::InvalidData)?;
        let mut shared = false;
        if can_share && piece.len >= SHORTEST {
            match sys::reflink::clone_range((from.as_fd(), piece.at), (to.as_fd(), end), piece.len) {
                Ok(()) => shared = true,
                Err(error) if is_beyond(&error) => can_share = false,
                Err(error) => return Err(error),
            }
        }
        if !shared {
            copy((from, piece.at), (to, end), piece.len, &mut buffer)?;
        }
        end += piece.len;
    }
    Ok(())
}
