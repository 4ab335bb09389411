//! Trees of the lowest layers of images, from which images with the same base start.
//!
//! A tree is a layer like any other, named by the chain id of the layers in it, and
//! has an entry of the cache for each team that fetched those layers. A team that has
//! none fetches them all the same, and they are hashed: only who can have an image's
//! layers gets what they hold. Their shape is summed when they are kept; what they hold
//! is entered by the first look at everything.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::cache::{Cache, CacheEntry, Pins};
use super::key::Key;
use super::outline::Look;
use super::perform::Performance;
use crate::disk;
use crate::image::{Base, Image, Plan};

/// Changes when layers come to be unpacked in another way.
const VERSION: &[u8] = b"image 1, lowest layers";

/// Trees of one image that are held while it is made.
pub(super) struct Prefixes {
    /// Of its layers, lowest first.
    keys: Vec<Key>,
    /// After how many layers trees are kept.
    wanted: Vec<usize>,
    /// How many layers the tree has that it starts from.
    base: usize,
    pins: Pins,
    /// Images of a team with a common base wait for one another: the next starts
    /// from what the first kept.
    _one_of_this_base: Option<OwnedMutexGuard<()>>,
}

impl Performance<'_> {
    /// What is known of an image's layers, and what is to be kept of them.
    pub(super) async fn plan(&self, image: &Image<'_>) -> (Plan, Prefixes) {
        let shared = &self.handle.shared;
        let trees = shared.options.backend.trees();
        // Without trees nothing can be kept, nor gone on from.
        let chain = trees.as_ref().map(|_| image.chain()).unwrap_or_default();
        let keys: Vec<Key> = chain
            .iter()
            .map(|id| Key::of_parent(&[]).then_bytes(VERSION).then_bytes(id.to_string().as_bytes()))
            .collect();
        let guard = match keys.first() {
            Some(lowest) => {
                let making = shared.cache.making(lowest.then_bytes(self.team().as_bytes()));
                Some(making.lock_owned().await)
            }
            None => None,
        };
        let wanted = if keys.is_empty() { Vec::new() } else { image.worth_keeping() };
        let find = {
            let (cache, keys, team) = (Arc::clone(&shared.cache), keys.clone(), self.team());
            let now = shared.options.clock.now().unix_micros();
            move || find(&cache, &keys, &team, now)
        };
        let (pins, found) = disk::blocking(find).await;
        let path = |depth: usize| shared.options.layers_dir().join(keys[depth - 1].name());
        let keep: BTreeMap<_, _> = wanted.iter().map(|depth| (*depth, path(*depth))).collect();
        let depth = found.as_ref().map_or(0, |found| found.depth);
        let plan = Plan {
            trees,
            had: found.as_ref().map_or(0, |found| found.had),
            base: found.map(|Found { depth, entries, bytes, .. }| Base {
                depth,
                path: path(depth),
                entries,
                bytes,
            }),
            keep,
        };
        (plan, Prefixes { keys, wanted, base: depth, pins, _one_of_this_base: guard })
    }

    /// Enters the trees that an image has on its way, those that were just `kept` and those
    /// that were there. The one that the image shares the most with.
    pub(super) async fn enter_prefixes(
        &self,
        prefixes: Prefixes,
        kept: Vec<usize>,
        image: &str,
    ) -> Result<Option<String>, disk::Error> {
        let shared = Arc::clone(&self.handle.shared);
        let (team_id, image) = (self.team(), image.to_owned());
        let now = shared.options.clock.now().unix_micros();
        let enter = move || {
            let Prefixes { keys, wanted, base, pins, .. } = prefixes;
            let mut there: BTreeMap<usize, String> = BTreeMap::new();
            if base > 0 {
                there.insert(base, keys[base - 1].name());
            }
            for depth in wanted {
                let (key, layer) = (keys[depth - 1], keys[depth - 1].name());
                if kept.contains(&depth) {
                    shared.cache.sums.keep(&layer, Look::Shape)?;
                } else if !shared.cache.sums.is_sound(&layer) {
                    continue;
                }
                let entry = CacheEntry {
                    key: key.then_bytes(team_id.as_bytes()).name(),
                    layer: layer.clone(),
                    team_id: team_id.clone(),
                    title: format!("FROM {image}, its lowest layers up to {depth} of {}", keys.len()),
                    made_at: now,
                    used_at: now,
                    on: there.range(..depth).next_back().map(|(_, layer)| layer.clone()),
                };
                if !shared.cache.path(&entry.key).exists() {
                    shared.cache.put(&entry)?;
                }
                there.insert(depth, layer);
            }
            drop(pins);
            Ok(there.pop_last().map(|(_, layer)| layer))
        };
        disk::blocking(enter).await
    }

    fn team(&self) -> String {
        self.order.team_id.to_string()
    }
}

/// The largest tree that is known.
struct Found {
    /// Of so many layers.
    depth: usize,
    /// So many of them the team has fetched before.
    had: usize,
    entries: u64,
    bytes: u64,
}

/// Looks for an image's trees, and holds them. Blocks on files.
fn find(cache: &Arc<Cache>, keys: &[Key], team: &str, now: i64) -> (Pins, Option<Found>) {
    let mut pins = Pins::new(cache);
    for key in keys {
        pins.hold(&key.name());
    }
    let depth = (1..=keys.len()).rev().find(|depth| cache.sums.is_sound(&keys[depth - 1].name()));
    let found = depth.and_then(|depth| {
        // What cannot be weighed cannot be held to the bounds of an image.
        let weight = cache.sums.weigh(&keys[depth - 1].name())?;
        let is_own = |depth: &usize| pins.find(keys[depth - 1].then_bytes(team.as_bytes()), now).is_some();
        let had = (1..=depth).rev().find(is_own).unwrap_or(0);
        Some(Found { depth, had, entries: weight.entries, bytes: weight.bytes })
    });
    (pins, found)
}
