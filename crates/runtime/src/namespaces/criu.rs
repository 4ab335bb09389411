//! The checkpoint tool CRIU, as a program that is spoken to.
//!
//! It is found as a file `…/usr/sbin/criu`; the `usr` that holds it is all of the
//! host that it gets to see, so a copy with its own libraries can stand anywhere.
//! It runs in a room of its own (`workshop`), started for one task and gone after it.

mod bound;
mod entries;
mod gather;
mod images;
mod lineage;
mod network;
mod pagemap;
mod proto;
mod removed;
mod rpc;
mod share;
mod tool;

pub(super) use bound::keep_bound;
pub(super) use gather::{forget, gather};
pub(super) use images::move_users;
pub(super) use network::part_network;
pub(super) use pagemap::PAGE;
pub(super) use removed::set_removed_aside;
pub(super) use rpc::{Ask, Dump, PreDump, Restore, Taking, pages_written, stood_still};
pub(super) use share::share;
pub use tool::Criu;
pub(super) use tool::{check, run, tracks_pages};
