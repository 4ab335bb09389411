//! What an overlay shows in a directory, from what its layers have there.
//!
//! The rules are the kernel's: the topmost layer that has a name decides what it
//! is; a whiteout takes a name away; directories of one name are merged down to
//! the first that is opaque, or to something else in the way.

use std::collections::BTreeMap;

/// A layer, by its number among those of both sides.
pub(super) type Layer = usize;

/// A name in one layer's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Directory,
    Other,
    /// The name is taken away from layers below.
    Whiteout,
}

/// What one layer has in a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// Layers below do not show through.
    pub(super) opaque: bool,
    pub(super) names: Vec<(Vec<u8>, Entry)>,
}

/// What a side shows under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    /// No directory, and in which layer it lies.
    Other(Layer),
    /// A directory, and the layers whose directories are it, the topmost first.
    Directory(Vec<Layer>),
}

impl Shown {
    /// The layer that says who owns it and what may be done with it.
    pub(super) fn top(&self) -> Option<Layer> {
        match self {
            Self::Other(layer) => Some(*layer),
            Self::Directory(layers) => layers.first().copied(),
        }
    }

    /// The directories that are merged here; none of anything else.
    pub(super) fn directories(&self) -> &[Layer] {
        match self {
            Self::Other(_) => &[],
            Self::Directory(layers) => layers,
        }
    }
}

/// A name while its layers are gone through from above.
#[derive(Debug)]
struct Found {
    shown: Option<Shown>,
    /// Whether a layer below may still add to it.
    open: bool,
}

/// What the directories of these layers show together, the topmost first.
pub(super) fn merge<'a>(
    stack: impl IntoIterator<Item = (Layer, &'a Listing)>,
) -> impl Iterator<Item = (&'a [u8], Shown)> {
    let mut all: BTreeMap<&[u8], Found> = BTreeMap::new();
    for (layer, listing) in stack {
        for (name, entry) in &listing.names {
            match all.get_mut(name.as_slice()) {
                None => {
                    let shown = match entry {
                        Entry::Directory => Some(Shown::Directory(vec![layer])),
                        Entry::Other => Some(Shown::Other(layer)),
                        Entry::Whiteout => None,
                    };
                    all.insert(name, Found { open: *entry == Entry::Directory, shown });
                }
                Some(Found { shown: Some(Shown::Directory(layers)), open: open @ true }) => match entry {
                    Entry::Directory => layers.push(layer),
                    Entry::Other | Entry::Whiteout => *open = false,
                },
                Some(_) => {}
            }
        }
        if listing.opaque {
            break;
        }
    }
    all.into_iter().filter_map(|(name, found)| Some((name, found.shown?)))
}
