//! Where the pages of a memory are that was written in rounds: each in the newest
//! round that has it. Pure; reads and writes nothing.
//!
//! A map of pages says of a page that it is stored beside the map, or that the round
//! before has it. The last round is the dump itself. What comes of it is one file, in
//! the order of the dump's map, and that map with every page stored.

use std::collections::BTreeMap;
use std::io;

use super::entries::{all, broken, image};
use super::pagemap::{ADDRESS, FLAGS, IN_PARENT, MANY_PAGES, PAGE, PAGES, PAGES_ID, PRESENT, is_stored};
use super::proto::Message;

/// `PagemapEntry`: the round before has it.
const BEFORE: u64 = 1;

/// One round of one process.
#[derive(Debug)]
pub(super) struct Round {
    /// The number of its file of pages.
    pub(super) pages_id: u64,
    /// In the order of the file.
    order: Vec<Span>,
    by_address: BTreeMap<u64, Span>,
}

/// Pages that lie one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    address: u64,
    /// In bytes.
    len: u64,
    /// In the file of this round; nothing if the round before has them.
    at: Option<u64>,
}

/// The next bytes of the one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Of which round, the dump itself being 0 and the last before it 1.
    pub(super) round: usize,
    /// In its file.
    pub(super) at: u64,
    pub(super) len: u64,
}

impl Round {
    pub(super) fn parse(map: &[u8]) -> io::Result<Self> {
        let (_, entries) = all(map)?;
        let (head, entries) = entries.split_first().ok_or_else(broken)?;
        let (mut order, mut end) = (Vec::new(), 0_u64);
        for entry in entries {
            let pages = entry.number(MANY_PAGES).or_else(|| entry.number(PAGES)).ok_or_else(broken)?;
            let len = pages.checked_mul(PAGE).ok_or_else(broken)?;
            let address = entry.number(ADDRESS).ok_or_else(broken)?;
            address.checked_add(len).ok_or_else(broken)?;
            let at = is_stored(entry).then_some(end);
            if at.is_some() {
                end = end.checked_add(len).ok_or_else(broken)?;
            }
            if at.is_some() || is_before(entry) {
                order.push(Span { address, len, at });
            }
        }
        let by_address = order.iter().map(|span| (span.address, *span)).collect();
        Ok(Self { pages_id: head.number(PAGES_ID).ok_or_else(broken)?, order, by_address })
    }

    /// Whether there is nothing to look for in the round before.
    pub(super) fn is_whole(&self) -> bool {
        self.order.iter().all(|span| span.at.is_some())
    }

    fn at(&self, address: u64) -> Option<Span> {
        let (_, span) = self.by_address.range(..=address).next_back()?;
        (address - span.address < span.len).then_some(*span)
    }
}

fn is_before(entry: &Message) -> bool {
    match entry.number(FLAGS) {
        Some(flags) => flags & BEFORE != 0,
        None => entry.number(IN_PARENT) == Some(1),
    }
}

/// Of what the one file is made. `rounds` are the dump and what was before it, the
/// newest first; an error if a page is in none of them.
pub(super) fn pieces(rounds: &[Round]) -> io::Result<Vec<Piece>> {
    let mut made = Vec::new();
    let dump = rounds.first().ok_or_else(broken)?;
    dump.order.iter().try_for_each(|span| find(rounds, 0, span.address, span.len, &mut made))?;
    Ok(made)
}

/// Adds the pages from `address` on as `round` has them, or one before it.
fn find(rounds: &[Round], round: usize, mut address: u64, len: u64, made: &mut Vec<Piece>) -> io::Result<()> {
    let end = address + len;
    let map = rounds.get(round).ok_or_else(broken)?;
    while address < end {
        let span = map.at(address).ok_or_else(broken)?;
        let len = (span.address + span.len).min(end) - address;
        match span.at {
            Some(at) => append(made, Piece { round, at: at + (address - span.address), len }),
            None => find(rounds, round + 1, address, len, made)?,
        }
        address += len;
    }
    Ok(())
}

/// Adds a piece, to the last one if it goes on there.
fn append(made: &mut Vec<Piece>, piece: Piece) {
    if let Some(last) = made.last_mut()
        && last.round == piece.round
        && last.at + last.len == piece.at
    {
        last.len += piece.len;
        return;
    }
    made.push(piece);
}

/// The map of a dump with every page stored beside it.
pub(super) fn whole(map: &[u8]) -> io::Result<Vec<u8>> {
    let (magic, mut entries) = all(map)?;
    for entry in entries.iter_mut().skip(1).filter(|entry| is_before(entry)) {
        entry.0.retain(|(field, _)| ![FLAGS, IN_PARENT].contains(field));
        *entry = std::mem::take(entry).with(FLAGS, PRESENT);
    }
    image(magic, &entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::pagemap::Pagemap;
    use super::*;

    const FIRST: u64 = 0x1000;

    /// What a round does with each page: it was written since, it is gone, or neither.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Change {
        Written,
        Gone,
        None,
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![2 => Just(Change::Written), 1 => Just(Change::Gone), 5 => Just(Change::None)]
    }

    /// A map in which neighbours of a kind are one entry, and the content of its file.
    struct Made {
        map: Vec<u8>,
        file: Vec<u32>,
    }

    /// The rounds that a tool would make, oldest first, and what the memory is in the end.
    fn make(changes: &[Vec<Change>]) -> (Vec<Made>, BTreeMap<u64, u32>) {
        let (mut memory, mut made) = (BTreeMap::new(), Vec::new());
        let mut stamp = 0;
        for (round, changes) in changes.iter().enumerate() {
            let (mut file, mut entries) = (Vec::new(), Vec::<(u64, u64, bool)>::new());
            for (page, change) in (0_u64..).zip(changes) {
                let address = FIRST + page * PAGE;
                match change {
                    Change::Gone => {
                        memory.remove(&address);
                        continue;
                    }
                    Change::None if !memory.contains_key(&address) => continue,
                    Change::Written => {
                        stamp += 1;
                        memory.insert(address, stamp);
                    }
                    Change::None => {}
                }
                let is_stored = round == 0 || *change == Change::Written;
                if is_stored {
                    file.push(memory[&address]);
                }
                match entries.last_mut() {
                    Some((from, pages, stored))
                        if *stored == is_stored && *from + *pages * PAGE == address =>
                    {
                        *pages += 1;
                    }
                    _ => entries.push((address, 1, is_stored)),
                }
            }
            let head = Message::default().with(PAGES_ID, 7);
            let entries = entries.into_iter().map(|(address, pages, is_stored)| {
                let flags = if is_stored { PRESENT } else { BEFORE };
                Message::default().with(ADDRESS, address).with(MANY_PAGES, pages).with(FLAGS, flags)
            });
            let entries: Vec<_> = std::iter::once(head).chain(entries).collect();
            made.push(Made { map: image(&[0; 8], &entries).unwrap(), file });
        }
        (made, memory)
    }

    proptest! {
        #[test]
        fn every_page_is_what_it_was_when_the_dump_was_made(
            changes in proptest::collection::vec(proptest::collection::vec(change(), 40), 1..5),
        ) {
            let (mut made, memory) = make(&changes);
            made.reverse();
            let rounds: Vec<_> = made.iter().map(|made| Round::parse(&made.map).unwrap()).collect();
            let pieces = pieces(&rounds).unwrap();
            let mut file = Vec::new();
            for piece in &pieces {
                for at in (piece.at..piece.at + piece.len).step_by(usize::try_from(PAGE).unwrap()) {
                    file.push(made[piece.round].file[usize::try_from(at / PAGE).unwrap()]);
                }
            }
            let whole = whole(&made[0].map).unwrap();
            prop_assert!(Round::parse(&whole).unwrap().is_whole());
            let map = Pagemap::parse(&whole).unwrap();
            prop_assert_eq!(map.pages_id, 7);
            let mut found = BTreeMap::new();
            for extent in &map.extents {
                for done in (0..extent.len).step_by(usize::try_from(PAGE).unwrap()) {
                    let at = usize::try_from((extent.offset + done) / PAGE).unwrap();
                    found.insert(extent.address + done, file[at]);
                }
            }
            prop_assert_eq!(found, memory);
            prop_assert_eq!(map.len(), file.len() as u64 * PAGE);
        }

        #[test]
        fn a_page_that_no_round_has_is_an_error(
            changes in proptest::collection::vec(proptest::collection::vec(change(), 20), 2..4),
        ) {
            let (mut made, _) = make(&changes);
            made.reverse();
            let rounds: Vec<_> = made.iter().map(|made| Round::parse(&made.map).unwrap()).collect();
            let needed = pieces(&rounds).unwrap().iter().any(|piece| piece.round + 1 == rounds.len());
            prop_assert_eq!(pieces(&rounds[..rounds.len() - 1]).is_err(), needed);
        }

        #[test]
        fn whatever_a_map_holds_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(round) = Round::parse(&bytes) {
                let _ = pieces(&[round]);
            }
            let _ = whole(&bytes);
        }
    }
}
