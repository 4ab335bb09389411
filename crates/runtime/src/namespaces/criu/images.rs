//! The one image that differs between machines that wake from the same memory:
//! which user ids outside stand for those inside.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::proto::{Message, Value};

/// What each image file starts with: two magic numbers.
const MAGIC_LEN: usize = 8;
/// `UsernsEntry`: the two maps.
const MAPS: [u32; 2] = [1, 2];
/// `UidGidExtent`: the first id outside.
const OUTER: u32 = 2;

/// The name of the image of the user namespace in a memory, and its content
/// with the ids from `first_id` on in place of the old ones.
pub(in crate::namespaces) fn move_users(memory: &Path, first_id: u32) -> io::Result<(PathBuf, Vec<u8>)> {
    let mut found = None;
    for entry in fs::read_dir(memory)? {
        let name = entry?.file_name();
        if name.to_string_lossy().starts_with("userns-") && found.replace(name).is_some() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more than one user namespace"));
        }
    }
    let name = found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no user namespace"))?;
    let moved = moved(&fs::read(memory.join(&name))?, first_id)?;
    Ok((name.into(), moved))
}

fn moved(image: &[u8], first_id: u32) -> io::Result<Vec<u8>> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "an image of a user namespace is broken");
    let (magic, rest) = image.split_at_checked(MAGIC_LEN).ok_or_else(broken)?;
    let (len, rest) = rest.split_at_checked(4).ok_or_else(broken)?;
    let len = u32::from_le_bytes(len.try_into().map_err(|_| broken())?) as usize;
    let mut entry = Message::parse(rest.get(..len).filter(|_| rest.len() == len).ok_or_else(broken)?)?;
    for (field, value) in &mut entry.0 {
        if let Value::Bytes(extent) = value
            && MAPS.contains(field)
        {
            let mut parsed = Message::parse(extent)?;
            // One extent for each map: ours are made that way.
            parsed.0.retain(|(field, _)| *field != OUTER);
            *extent = parsed.with(OUTER, first_id.into()).to_bytes();
        }
    }
    let bytes = entry.to_bytes();
    let len = u32::try_from(bytes.len()).map_err(|_| broken())?;
    Ok([magic, &len.to_le_bytes(), &bytes].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(first: u64) -> Vec<u8> {
        let extent = Message::default().with(1, 0).with(OUTER, first).with(3, 65_536).to_bytes();
        let entry = Message::default().with_bytes(1, &extent).with_bytes(2, &extent).to_bytes();
        [&[1, 2, 3, 4, 5, 6, 7, 8][..], &u32::try_from(entry.len()).unwrap().to_le_bytes(), &entry].concat()
    }

    fn outer(image: &[u8]) -> Vec<Option<u64>> {
        let entry = Message::parse(&image[12..]).unwrap();
        MAPS.map(|map| entry.message(map).unwrap().number(OUTER)).to_vec()
    }

    #[test]
    fn ids_move_though_numbers_change_their_length() {
        let there = moved(&image(100), 2_100_000_000).unwrap();
        assert_eq!(outer(&there), [Some(2_100_000_000); 2]);
        assert!(there.len() > image(100).len());
        assert_eq!(outer(&moved(&there, 100).unwrap()), [Some(100); 2]);
    }

    #[test]
    fn what_is_no_such_image_is_refused() {
        let whole = image(100);
        for cut in 0..whole.len() {
            assert!(moved(&whole[..cut], 1).is_err(), "cut at {cut}");
        }
    }
}
