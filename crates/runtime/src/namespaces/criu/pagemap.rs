//! Which pages of two memories are the same: those that were at the same address of
//! the same process and have the same bytes. Pure; reads and writes nothing.

use std::collections::BTreeMap;
use std::io;

use super::entries::{all, broken};
use super::proto::Message;

pub(super) const PAGE_LEN: usize = 4096;
pub(in crate::namespaces) const PAGE: u64 = PAGE_LEN as u64;
/// Pieces that are shared have at least this size: each costs the file system an entry.
pub(super) const SHORTEST: u64 = 64 << 10;

/// `PagemapHead`.
pub(super) const PAGES_ID: u32 = 1;
/// `PagemapEntry`: where it is, how many pages (newer tools count in a field of 64 bits),
/// and where they are stored.
pub(super) const ADDRESS: u32 = 1;
pub(super) const PAGES: u32 = 2;
pub(super) const IN_PARENT: u32 = 3;
pub(super) const FLAGS: u32 = 4;
pub(super) const MANY_PAGES: u32 = 5;
pub(super) const PRESENT: u64 = 4;

/// Pages that lie one after the other, in memory and in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) address: u64,
    /// In bytes.
    pub(super) len: u64,
    /// In the file of the pages.
    pub(super) offset: u64,
}

/// What a process has in its file of pages.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pagemap {
    /// The number of that file.
    pub(super) pages_id: u64,
    /// In the order of the file, without gaps.
    pub(super) extents: Vec<Extent>,
}

/// A piece of the new file: the next `len` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) len: u64,
    /// Where the old file has the same; nowhere: they are copied.
    pub(super) shared: Option<u64>,
}

impl Pagemap {
    pub(super) fn parse(image: &[u8]) -> io::Result<Self> {
        let (_, entries) = all(image)?;
        let (head, entries) = entries.split_first().ok_or_else(broken)?;
        let pages_id = head.number(PAGES_ID).ok_or_else(broken)?;
        let (mut extents, mut offset) = (Vec::new(), 0_u64);
        for entry in entries.iter().filter(|entry| is_stored(entry)) {
            let pages = entry.number(MANY_PAGES).or_else(|| entry.number(PAGES)).ok_or_else(broken)?;
            let len = pages.checked_mul(PAGE).ok_or_else(broken)?;
            let address = entry.number(ADDRESS).ok_or_else(broken)?;
            address.checked_add(len).ok_or_else(broken)?;
            extents.push(Extent { address, len, offset });
            offset = offset.checked_add(len).ok_or_else(broken)?;
        }
        Ok(Self { pages_id, extents })
    }

    /// How long its file of pages is.
    pub(super) fn len(&self) -> u64 {
        self.extents.iter().map(|extent| extent.len).sum()
    }
}

pub(super) fn is_stored(entry: &Message) -> bool {
    match entry.number(FLAGS) {
        Some(flags) => flags & PRESENT != 0,
        None => entry.number(IN_PARENT) != Some(1),
    }
}

/// Divides the new file into pieces that are shared with the old one and pieces that
/// are copied. `equal` is asked of a page at an offset of the new file and one of the old.
pub(super) fn plan(
    old: &[Extent],
    new: &[Extent],
    mut equal: impl FnMut(u64, u64) -> io::Result<bool>,
) -> io::Result<Vec<Run>> {
    let by_address: BTreeMap<u64, Extent> = old.iter().map(|extent| (extent.address, *extent)).collect();
    let mut runs = Vec::new();
    for extent in new {
        for done in (0..extent.len).step_by(PAGE_LEN) {
            let address = extent.address + done;
            let there = by_address.range(..=address).next_back().map(|(_, there)| *there);
            let there = there.filter(|there| address - there.address < there.len);
            let at = there.map(|there| there.offset + (address - there.address));
            let shared = match at {
                Some(at) if equal(extent.offset + done, at)? => Some(at),
                _ => None,
            };
            append(&mut runs, Run { len: PAGE, shared });
        }
    }
    let worth = |run: Run| Run { shared: run.shared.filter(|_| run.len >= SHORTEST), ..run };
    let mut merged = Vec::new();
    runs.into_iter().map(worth).for_each(|run| append(&mut merged, run));
    Ok(merged)
}

/// Adds a piece, to the last one if it goes on there.
fn append(runs: &mut Vec<Run>, run: Run) {
    if let Some(last) = runs.last_mut()
        && last.shared.map(|at| at + last.len) == run.shared
    {
        last.len += run.len;
        return;
    }
    runs.push(run);
}

/// Bytes that a plan shares.
pub(super) fn shared(runs: &[Run]) -> u64 {
    runs.iter().filter(|run| run.shared.is_some()).map(|run| run.len).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::entries::image;
    use super::*;

    /// Extents in the order of the file from gaps and lengths in pages, and what each page has.
    fn memory() -> impl Strategy<Value = (Vec<Extent>, Vec<u8>)> {
        let piece = (0..20_u64, 1..60_u64, proptest::collection::vec(0..40_u8, 60));
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| {
            let (mut extents, mut bytes, mut address) = (Vec::new(), Vec::new(), 0x1000);
            for (gap, pages, odd) in pieces {
                address += gap * PAGE;
                extents.push(Extent { address, len: pages * PAGE, offset: bytes.len() as u64 * PAGE });
                // Mostly what everybody has there, so that memories have much in common.
                bytes.extend(
                    odd.into_iter().take(usize::try_from(pages).unwrap()).map(|odd| odd.saturating_sub(38)),
                );
                address += pages * PAGE;
            }
            (extents, bytes)
        })
    }

    fn address_of(extents: &[Extent], offset: u64) -> u64 {
        let there = extents.iter().find(|e| (e.offset..e.offset + e.len).contains(&offset)).unwrap();
        there.address + (offset - there.offset)
    }

    proptest! {
        #[test]
        fn the_pieces_make_the_new_file(
            (old, was) in memory(),
            (new, is) in memory(),
        ) {
            let page = |bytes: &[u8], at: u64| bytes[usize::try_from(at / PAGE).unwrap()];
            let runs = plan(&old, &new, |a, b| Ok(page(&is, a) == page(&was, b))).unwrap();
            let mut made = Vec::new();
            for run in &runs {
                let at = made.len() as u64 * PAGE;
                prop_assert!(run.len > 0 && run.len.is_multiple_of(PAGE));
                for done in (0..run.len).step_by(PAGE_LEN) {
                    match run.shared {
                        None => made.push(page(&is, at + done)),
                        Some(from) => {
                            prop_assert_eq!(address_of(&old, from + done), address_of(&new, at + done));
                            made.push(page(&was, from + done));
                        }
                    }
                }
                prop_assert!(run.shared.is_none() || run.len >= SHORTEST);
            }
            prop_assert_eq!(made, is);
            for two in runs.windows(2) {
                prop_assert!(two[0].shared.is_some() || two[1].shared.is_some(), "one copy, not two");
            }
        }

        #[test]
        fn a_memory_shares_all_its_long_pieces_with_itself((extents, bytes) in memory()) {
            let runs = plan(&extents, &extents, |a, b| Ok(a == b)).unwrap();
            prop_assert_eq!(runs.iter().map(|run| run.len).sum::<u64>(), bytes.len() as u64 * PAGE);
            if bytes.len() as u64 * PAGE >= SHORTEST {
                // One file, in one order, from one beginning: one piece.
                prop_assert_eq!(runs, [Run { len: bytes.len() as u64 * PAGE, shared: Some(0) }]);
            }
        }

        #[test]
        fn whatever_an_image_holds_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Pagemap::parse(&bytes);
        }
    }

    #[test]
    fn only_what_is_stored_has_a_place_in_the_file() {
        let entry = |address: u64, pages: u64| Message::default().with(ADDRESS, address).with(PAGES, pages);
        let entries = [
            Message::default().with(PAGES_ID, 3),
            entry(0x1000, 2).with(FLAGS, PRESENT),
            entry(0x9000, 7).with(FLAGS, 1),
            entry(0xa000, 7).with(IN_PARENT, 1),
            entry(0xf000, 1),
            entry(0x20000, 0).with(MANY_PAGES, 4).with(FLAGS, PRESENT | 2),
        ];
        let map = Pagemap::parse(&image(&[0; 8], &entries).unwrap()).unwrap();
        let extent = |address, pages, at| Extent { address, len: pages * PAGE, offset: at * PAGE };
        assert_eq!(map.extents, [extent(0x1000, 2, 0), extent(0xf000, 1, 2), extent(0x20000, 4, 3)]);
        assert_eq!((map.pages_id, map.len()), (3, 7 * PAGE));
        let endless = [Message::default().with(PAGES_ID, 3), entry(0x1000, u64::MAX)];
        assert!(Pagemap::parse(&image(&[0; 8], &endless).unwrap()).is_err());
    }
}
