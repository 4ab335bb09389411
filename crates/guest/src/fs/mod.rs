//! The sandbox's files as the filesystem service and `/files` see them. All of it
//! runs with the daemon's rights; the user only gives a home and an owner.

pub(crate) mod entry;
pub(crate) mod list;
pub(crate) mod ops;
pub(crate) mod path;
#[cfg(test)]
mod path_check;
