//! Image files of the tool that are rows of messages, each after its length.

use std::io;

use super::proto::Message;

/// What each image file starts with: two magic numbers.
const MAGIC_LEN: usize = 8;

/// The magic numbers, and all messages.
pub(super) fn all(image: &[u8]) -> io::Result<(&[u8], Vec<Message>)> {
    let (magic, mut rest) = image.split_at_checked(MAGIC_LEN).ok_or_else(broken)?;
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
