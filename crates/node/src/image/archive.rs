//! Reads a tar archive of strangers, entry by entry, within bounds.
//!
//! The blocks are walked here rather than by the `tar` crate's own iterator,
//! which holds extension records of any size in memory; its parser of headers is
//! used. Old, GNU and PAX forms are understood, sparse files refused.

use std::io::{self, Read};

use tar::{EntryType, Header, PaxExtensions};

/// Size of a block.
const BLOCK: u64 = 512;

/// Longest record that extends a header: attributes, long names.
const MOST_EXTENSION: u64 = 1 << 20;

/// One entry's header; its content follows in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    /// Bytes of content.
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    /// Seconds since 1970.
    pub(super) mtime: i64,
    /// Extended attributes.
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    /// To where.
    Symlink(Vec<u8>),
    /// Of which earlier path.
    Hardlink(Vec<u8>),
    Fifo,
    Device,
}

/// An archive, and how much of its present entry is unread.
#[derive(Debug)]
pub(super) struct Archive<R> {
    from: R,
    content: u64,
    padding: u64,
}

/// Records before a header that change it.
#[derive(Debug, Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<i64>,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl<R: Read> Archive<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, content: 0, padding: 0 }
    }

    /// The next entry; what is unread of the one before is passed over.
    pub(super) fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut extension = Extension::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.entry_size().map_err(|_| broken("a header's size cannot be read"))?;
            match header.entry_type() {
                EntryType::GNULongName => extension.path = Some(self.text(size)?),
                EntryType::GNULongLink => extension.link = Some(self.text(size)?),
                EntryType::XHeader => extension.take(&self.extension(size)?)?,
                // Says something of the whole archive: comments, mostly.
                EntryType::XGlobalHeader => self.begin(size),
                _ => return self.entry(&header, size, extension).map(Some),
            }
        }
    }

    /// Reads content of the present entry.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.content).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.from.read(&mut buffer[..most])?;
        if n == 0 && most > 0 {
            return Err(broken("it ends within an entry"));
        }
        self.content -= n as u64;
        Ok(n)
    }

    fn begin(&mut self, size: u64) {
        self.content = size;
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
    }

    fn skip(&mut self) -> io::Result<()> {
        let left = self.content.saturating_add(self.padding);
        (self.content, self.padding) = (0, 0);
        let skipped = io::copy(&mut self.from.by_ref().take(left), &mut io::sink())?;
        if skipped == left { Ok(()) } else { Err(broken("it ends within an entry")) }
    }

    /// A header, unless the archive ends: with a block of zeros, or just so.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut got = 0;
        while got < block.len() {
            match self.from.read(&mut block[got..])? {
                0 if got == 0 => return Ok(None),
                0 => return Err(broken("it ends within a header")),
                n => got += n,
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum: u32 = block.iter().enumerate().map(|(at, byte)| summand(at, *byte)).sum();
        match header.cksum() {
            Ok(said) if said == sum => Ok(Some(header)),
            _ => Err(broken("a header's sum is wrong")),
        }
    }

    /// The content of an extension record.
    fn extension(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > MOST_EXTENSION {
            return Err(broken("a record that extends a header is longer than 1 MiB"));
        }
        self.begin(size);
        let mut bytes = Vec::new();
        let got = self.from.by_ref().take(size).read_to_end(&mut bytes)?;
        self.content = 0;
        if got as u64 == size { Ok(bytes) } else { Err(broken("it ends within an entry")) }
    }

    fn text(&mut self, size: u64) -> io::Result<Vec<u8>> {
        let mut bytes = self.extension(size)?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        bytes.truncate(end);
        Ok(bytes)
    }

    fn entry(&mut self, header: &Header, size: u64, extension: Extension) -> io::Result<Entry> {
        let old = header.as_old();
        let path = extension.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = extension.link.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
        let kind = kind(header.entry_type(), &path, link.unwrap_or_default())?;
        // Only files have content; some writers give links the size of what they lead to.
        let size = if kind == Kind::File { extension.size.unwrap_or(size) } else { 0 };
        self.begin(size);
        Ok(Entry {
            path,
            kind,
            size,
            mode: given(&old.mode, header.mode())? & 0o7777,
            uid: extension.uid.map_or_else(|| given(&old.uid, header.uid()), Ok)?,
            gid: extension.gid.map_or_else(|| given(&old.gid, header.gid()), Ok)?,
            mtime: extension.mtime.unwrap_or_else(|| {
                header.mtime().ok().and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or(0)
            }),
            attributes: extension.attributes,
        })
    }
}

/// A number of a header; one that is not given is 0, as other readers have it.
fn given<T: Default>(field: &[u8], number: io::Result<T>) -> io::Result<T> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) {
        return Ok(T::default());
    }
    number.map_err(|_| broken("a header's number cannot be read"))
}

/// What a byte adds to a header's sum; those of the sum itself count as blanks.
fn summand(at: usize, byte: u8) -> u32 {
    if (148..156).contains(&at) { 32 } else { u32::from(byte) }
}

fn kind(of: EntryType, path: &[u8], link: Vec<u8>) -> io::Result<Kind> {
    Ok(match of {
        // The oldest form has no type for directories.
        EntryType::Regular if path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink(link),
        EntryType::Link => Kind::Hardlink(link),
        EntryType::Fifo => Kind::Fifo,
        EntryType::Char | EntryType::Block => Kind::Device,
        EntryType::GNUSparse => return Err(broken("it holds a sparse file, which is not understood")),
        other => {
            return Err(broken(&format!("it holds an entry of the unknown type {:#x}", other.as_byte())));
        }
    })
}

impl Extension {
    fn take(&mut self, record: &[u8]) -> io::Result<()> {
        for pair in PaxExtensions::new(record) {
            let pair = pair.map_err(|_| broken("a record that extends a header cannot be read"))?;
            let value = pair.value_bytes();
            match pair.key_bytes() {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(number(value)?),
                b"uid" => self.uid = Some(number(value)?),
                b"gid" => self.gid = Some(number(value)?),
                b"mtime" => self.mtime = Some(seconds(value)?),
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(broken("it holds a sparse file, which is not understood"));
                }
                key => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        self.attributes.push((name.to_vec(), value.to_vec()));
                    }
                }
            }
        }
        Ok(())
    }
}

fn number(text: &[u8]) -> io::Result<u64> {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| broken("a number in a record that extends a header cannot be read"))
}

/// Whole seconds of a decimal number, which may be negative.
fn seconds(text: &[u8]) -> io::Result<i64> {
    let whole = text.split(|byte| *byte == b'.').next().unwrap_or_default();
    let parsed = std::str::from_utf8(whole).ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| broken("a time in a record that extends a header cannot be read"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every entry with its content.
    fn read(bytes: &[u8]) -> io::Result<Vec<(Entry, Vec<u8>)>> {
        let mut archive = Archive::new(bytes);
        let mut all = Vec::new();
        while let Some(entry) = archive.next()? {
            let mut content = Vec::new();
            let mut buffer = [0; 100];
            loop {
                match archive.read(&mut buffer)? {
                    0 => break,
                    n => content.extend_from_slice(&buffer[..n]),
                }
            }
            assert_eq!(content.len() as u64, entry.size);
            all.push((entry, content));
        }
        Ok(all)
    }

    fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o4755);
            header.set_uid(1000);
            header.set_gid(3_000_000);
            header.set_mtime(1_700_000_000);
            builder.append_data(&mut header, path, &content[..]).unwrap();
        }
        builder.into_inner().unwrap()
    }

    proptest! {
        #[test]
        fn what_another_writer_wrote_is_read_back(
            files in prop::collection::vec(("[a-z]{1,80}(/[a-z]{1,90}){0,3}", prop::collection::vec(any::<u8>(), 0..1500)), 0..6)
        ) {
            let read = read(&archive(&files)).unwrap();
            prop_assert_eq!(read.len(), files.len());
            for ((entry, content), (path, expected)) in read.iter().zip(&files) {
                prop_assert_eq!(&entry.path, path.as_bytes());
                prop_assert_eq!(content, expected);
                prop_assert_eq!((entry.mode, entry.uid, entry.gid), (0o4755, 1000, 3_000_000));
            }
        }

        #[test]
        fn bytes_of_strangers_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            let _ = read(&bytes);
        }

        #[test]
        fn damage_does_no_harm(
            name in "[a-z]{1,200}", at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<prop::sample::Index>()
        ) {
            let mut bytes = archive(&[(name, vec![7; 700])]);
            let at = at.index(bytes.len());
            bytes[at] = to;
            bytes.truncate(cut.index(bytes.len() + 1));
            // A sum that fits again leads past the first check.
            if bytes.len() >= 512 {
                let sum: u32 = bytes[..512].iter().enumerate().map(|(at, byte)| summand(at, *byte)).sum();
                bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
            let _ = read(&bytes);
        }
    }

    #[test]
    fn records_that_extend_headers_are_bounded_and_apply() {
        let mut builder = tar::Builder::new(Vec::new());
        let xattr = ("SCHILY.xattr.user.note", &b"hello"[..]);
        builder
            .append_pax_extensions([("path", &b"long/name"[..]), xattr, ("mtime", &b"-5.25"[..])])
            .unwrap();
        let mut header = Header::new_ustar();
        header.set_size(0);
        header.set_cksum();
        builder.append_data(&mut header, "short", &[][..]).unwrap();
        let all = read(&builder.into_inner().unwrap()).unwrap();
        let entry = &all[0].0;
        assert_eq!((entry.path.as_slice(), entry.mtime), (&b"long/name"[..], -5));
        assert_eq!(entry.attributes, [(b"user.note".to_vec(), b"hello".to_vec())]);

        let mut huge = Header::new_gnu();
        huge.set_entry_type(EntryType::XHeader);
        huge.set_size(MOST_EXTENSION + 1);
        huge.set_cksum();
        assert!(read(huge.as_bytes()).unwrap_err().to_string().contains("1 MiB"));
    }
}
