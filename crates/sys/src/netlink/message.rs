//! Builds route-netlink messages: fixed headers, attributes, nesting, padding.
//!
//! A [`Batch`] is one send with several messages; the kernel carries them out in
//! order and answers each. Nothing here talks to the kernel.

use std::net::{Ipv4Addr, Ipv6Addr};

const HEADER_LEN: usize = 16;

/// Flags every one of our requests carries: we ask, and we want an answer.
const REQUEST_ACK: u16 = 0x1 | 0x4;
/// Make it when it is not there.
pub(super) const CREATE: u16 = 0x400;
/// Refuse when it is there.
pub(super) const EXCL: u16 = 0x200;
/// Take the place of what is there.
pub(super) const REPLACE: u16 = 0x100;
/// All of a table.
pub(super) const DUMP: u16 = 0x300;

/// What to do when the kernel refuses a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needed {
    /// The whole batch failed.
    Yes,
    /// Go on: an improvement that not every kernel can give.
    IfPossible,
}

/// Several messages, sent together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// What each message does, in order, for the error's text.
    steps: Vec<(&'static str, Needed)>,
}

impl Batch {
    /// Appends a message; `fill` writes what follows the netlink header.
    pub(super) fn push(
        &mut self,
        step: &'static str,
        needed: Needed,
        kind: u16,
        flags: u16,
        fill: impl FnOnce(&mut Body<'_>),
    ) -> &mut Self {
        let start = self.bytes.len();
        let sequence = u32::try_from(self.steps.len()).expect("a batch has a handful of messages");
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(REQUEST_ACK | flags).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        fill(&mut Body(&mut self.bytes));
        let len = u32::try_from(self.bytes.len() - start).expect("a message has a few hundred bytes");
        self.bytes[start..start + 4].copy_from_slice(&len.to_ne_bytes());
        self.steps.push((step, needed));
        self
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn steps(&self) -> &[(&'static str, Needed)] {
        &self.steps
    }
}

/// The part of a message after its netlink header. Everything written through
/// it keeps the four-byte alignment that netlink wants.
#[derive(Debug)]
pub(super) struct Body<'a>(&'a mut Vec<u8>);

impl Body<'_> {
    /// A fixed header of the family (`ifinfomsg`, `rtmsg`, …), already in the kernel's layout.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self.pad()
    }

    /// `ifinfomsg`: which link, by index (0: by name), and which of its flags change to what.
    pub(super) fn link_header(&mut self, index: u32, flags: u32, change: u32) -> &mut Self {
        self.raw(&[0; 4]).raw(&index.to_ne_bytes()).raw(&flags.to_ne_bytes()).raw(&change.to_ne_bytes())
    }

    /// An attribute with plain bytes.
    pub(super) fn attr(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let len = u16::try_from(4 + value.len()).expect("attributes of ours are short");
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.pad()
    }

    /// An attribute with a number in the machine's byte order.
    pub(super) fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// An attribute with a text that ends in a zero byte.
    pub(super) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// An attribute with an IPv4 address.
    pub(super) fn ipv4(&mut self, kind: u16, value: Ipv4Addr) -> &mut Self {
        self.attr(kind, &value.octets())
    }

    /// An attribute with an IPv6 address.
    pub(super) fn ipv6(&mut self, kind: u16, value: Ipv6Addr) -> &mut Self {
        self.attr(kind, &value.octets())
    }

    /// An attribute that holds others.
    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Body<'_>)) -> &mut Self {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        fill(&mut Body(self.0));
        let len = u16::try_from(self.0.len() - start).expect("attributes of ours are short");
        self.0[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        self.pad()
    }

    fn pad(&mut self) -> &mut Self {
        while !self.0.len().is_multiple_of(4) {
            self.0.push(0);
        }
        self
    }
}

/// One message of an answer.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) kind: u16,
    pub(super) sequence: u32,
    pub(super) body: &'a [u8],
}

/// Cuts what the kernel sent into its messages; stops at the first that is cut short.
pub(super) fn answers(mut bytes: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    std::iter::from_fn(move || {
        let len = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let message = bytes.get(HEADER_LEN..len)?;
        let answer = Answer { kind: u16_at(bytes, 4)?, sequence: u32_at(bytes, 8)?, body: message };
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(answer)
    })
}

/// The attributes of a message after its fixed header.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(bytes, 0)?);
        let value = bytes.get(4..len)?;
        let kind = u16_at(bytes, 2)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A number at an offset, when there are enough bytes.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_with_nesting_and_padding() {
        let mut batch = Batch::default();
        batch.push("first", Needed::Yes, 16, CREATE, |b| {
            b.link_header(7, 1, 1).text(3, "wv1").nest(18, |b| {
                b.text(1, "veth").u32(4, 1400);
            });
        });
        batch.push("second", Needed::IfPossible, 24, 0, |b| {
            b.attr(1, &[1]);
        });
        let read: Vec<_> = answers(batch.bytes()).collect();
        assert_eq!(read.iter().map(|m| (m.kind, m.sequence)).collect::<Vec<_>>(), [(16, 0), (24, 1)]);
        let attrs: Vec<_> = attributes(&read[0].body[16..]).collect();
        assert_eq!(attrs[0], (3, &b"wv1\0"[..]));
        let nested: Vec<_> = attributes(attrs[1].1).collect();
        assert_eq!(nested, [(1, &b"veth\0"[..]), (4, &1400u32.to_ne_bytes()[..])]);
        assert_eq!(batch.steps()[1], ("second", Needed::IfPossible));
    }

    #[test]
    fn answers_cut_short_end_the_reading_without_a_panic() {
        let mut batch = Batch::default();
        batch.push("only", Needed::Yes, 16, 0, |b| {
            b.link_header(1, 0, 0).u32(4, 9);
        });
        for cut in 0..batch.bytes().len() {
            assert_eq!(answers(&batch.bytes()[..cut]).count(), 0, "cut at {cut}");
            let _ = attributes(&batch.bytes()[..cut]).count();
        }
    }
}
