//! Image files of the tool that are rows of messages, each after its length.

use std::fs;
use std::io;
use std::path::Path;

use super::proto::Message;

/// What a sandbox has many of makes its image long, and the server holds several times as
/// much while it reads one: a million open files, or as many stretches of memory.
const MOST: u64 = 64 << 20;

/// What each image file starts with: two magic numbers.
const MAGIC_LEN: usize = 8;

/// The bytes of an image.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let len = fs::metadata(path)?.len();
    if len > MOST {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (has, most) = (len >> 20, MOST >> 20);
        let text = format!("it has too many open files or stretches of memory ({name}: {has} of {most} MiB)");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    fs::read(path)
}

/// The magic numbers, and all messages.
pub(super) fn all(image: &[u8]) -> io::Result<(&[u8], Vec<Message>)> {
    all_after(MAGIC_LEN, image)
}

/// The same of an image with other magic numbers.
pub(super) fn all_after(magic_len: usize, image: &[u8]) -> io::Result<(&[u8], Vec<Message>)> {
    let (magic, mut rest) = image.split_at_checked(magic_len).ok_or_else(broken)?;
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (entry, next) = piece(rest)?;
        entries.push(Message::parse(entry)?);
        rest = next;
    }
    Ok((magic, entries))
}

/// The first message; whatever follows it is not looked at.
pub(super) fn first(image: &[u8]) -> io::Result<Message> {
    let rest = image.get(MAGIC_LEN..).ok_or_else(broken)?;
    Message::parse(piece(rest)?.0)
}

/// An image of these.
pub(super) fn image(magic: &[u8], entries: &[Message]) -> io::Result<Vec<u8>> {
    let mut out = magic.to_vec();
    for entry in entries {
        let bytes = entry.to_bytes();
        out.extend(u32::try_from(bytes.len()).map_err(|_| broken())?.to_le_bytes());
        out.extend(bytes);
    }
    Ok(out)
}

fn piece(bytes: &[u8]) -> io::Result<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk().ok_or_else(broken)?;
    rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(broken)
}

pub(super) fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an image of the checkpoint tool is broken")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("files.img");
        let file = fs::File::create(&path).unwrap();
        file.set_len(MOST).unwrap();
        assert_eq!(read(&path).unwrap().len() as u64, MOST);
        file.set_len(MOST + 1).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("files.img"));
    }

    #[test]
    fn what_is_no_such_image_is_refused() {
        let entry = Message::default().with(1, 300).with_bytes(2, b"text");
        let whole = image(&[7; MAGIC_LEN], &[entry.clone(), entry.clone()]).unwrap();
        assert_eq!(all(&whole).unwrap(), (&[7; MAGIC_LEN][..], vec![entry.clone(), entry.clone()]));
        assert_eq!(first(&whole).unwrap(), entry);
        let middle = (whole.len() - MAGIC_LEN) / 2 + MAGIC_LEN;
        for cut in (0..whole.len()).filter(|cut| ![MAGIC_LEN, middle].contains(cut)) {
            assert!(all(&whole[..cut]).is_err(), "cut at {cut}");
        }
    }
}
