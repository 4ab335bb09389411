//! The network namespace of a sandbox, in which the tool itself stands for a dump.
//!
//! Of one that is not its own the tool wants to know all connections, and walks the whole
//! table of the host's for them, twice: on a large host a third of the time for which a small
//! sandbox stands still. They are not wanted, as a restore plugs in another network. Of
//! its own it writes nothing; but then it would restore into its own, too, unless
//! the images say that the two are not the same. (Whether it did, whoever plugs the network
//! in looks again.)

use std::fs;
use std::io;
use std::path::Path;

use super::entries::{all_after, broken, image, read};
use super::proto::{Message, Value};

/// The inventory has one magic number, not two.
const MAGIC_LEN: usize = 4;
/// `InventoryEntry`: what the tool itself is in, as a `TaskKobjIdsEntry`.
const OWN: u32 = 3;
const NETWORK: u32 = 6;

/// Lets the images say that the sandbox has a network namespace of its own.
pub(in crate::namespaces) fn part_network(images: &Path) -> io::Result<()> {
    let path = images.join("inventory.img");
    let bytes = read(&path)?;
    let (magic, mut inventory) = all_after(MAGIC_LEN, &bytes)?;
    let [entry] = &mut inventory[..] else { return Err(broken()) };
    part(entry)?;
    fs::write(&path, image(magic, &inventory)?)
}

fn part(inventory: &mut Message) -> io::Result<()> {
    let own = inventory.0.iter_mut().find_map(|(field, value)| match value {
        Value::Bytes(own) if *field == OWN => Some(own),
        _ => None,
    });
    let own = own.ok_or_else(broken)?;
    let mut ids = Message::parse(own)?;
    let network = ids.number(NETWORK).ok_or_else(broken)?;
    ids.0.retain(|(field, _)| *field != NETWORK);
    // The tool counts namespaces from small numbers on.
    *own = ids.with(NETWORK, network | 1 << 30).to_bytes();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_number_of_the_tools_network_changes() {
        let ids = |network: u64| Message::default().with(1, 1).with(5, 3).with(7, 11).with(NETWORK, network);
        let inventory =
            |ids: &Message| Message::default().with(1, 2).with_bytes(OWN, &ids.to_bytes()).with(4, 1);
        let mut parted = inventory(&ids(10));
        part(&mut parted).unwrap();
        assert_eq!(parted, inventory(&ids(10 + (1 << 30))));
    }

    #[test]
    fn an_inventory_without_it_is_refused() {
        assert!(part(&mut Message::default().with(1, 2)).is_err());
        assert!(
            part(&mut Message::default().with_bytes(OWN, &Message::default().with(1, 1).to_bytes())).is_err()
        );
    }
}
