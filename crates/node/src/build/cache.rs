//! Which layer a step led to: a small file for each step that was done, by the
//! hash of the layers below it, of its text and of its files.
//!
//! A layer that a build found here is pinned until the build ends, under the
//! same lock that a removal takes: what was found stays.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};

use super::key::Key;
use super::sums::Sums;
use crate::{NodeOptions, disk};

/// A step that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheEntry {
    /// The step's hash.
    pub key: String,
    /// The directory of its layer.
    pub layer: String,
    /// The team whose builds find it.
    pub team_id: String,
    /// The step in words.
    pub title: String,
    /// When it was done, in microseconds since 1970.
    pub made_at: i64,
    /// When a build last found it.
    pub used_at: i64,
    /// The layer that it began as a copy of and shares what it holds with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
}

/// Layers by step, and which of them must stay.
#[derive(Debug)]
pub(crate) struct Cache {
    /// Whether its layers are what they were.
    pub(super) sums: Sums,
    dir: PathBuf,
    layers_dir: PathBuf,
    pins: Mutex<BTreeMap<String, usize>>,
    /// Held while a layer is made, so that it is made once.
    making: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// Layers of a build under way. Dropping it lets go of them.
#[derive(Debug)]
pub(super) struct Pins {
    cache: Arc<Cache>,
    layers: Vec<String>,
}

impl Pins {
    pub(super) fn new(cache: &Arc<Cache>) -> Self {
        Self { cache: Arc::clone(cache), layers: Vec::new() }
    }

    /// Keeps a layer there.
    pub(super) fn hold(&mut self, layer: &str) {
        let cache = Arc::clone(&self.cache);
        self.hold_locked(&mut cache.pins(), layer);
    }

    fn hold_locked(&mut self, pins: &mut BTreeMap<String, usize>, layer: &str) {
        *pins.entry(layer.to_owned()).or_default() += 1;
        self.layers.push(layer.to_owned());
    }

    /// The layer of a step, if it is there; it is held from now on. Blocks on files.
    pub(super) fn find(&mut self, key: Key, now: i64) -> Option<String> {
        let cache = Arc::clone(&self.cache);
        let mut pins = cache.pins();
        let path = cache.path(&key.name());
        let mut entry: CacheEntry = disk::read_json(&path).ok()?;
        if !cache.layers_dir.join(&entry.layer).is_dir() {
            return None;
        }
        self.hold_locked(&mut pins, &entry.layer);
        entry.used_at = now;
        // An old date only makes it go earlier.
        let _ = disk::write_json(&path, &entry);
        Some(entry.layer)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let mut pins = self.cache.pins();
        for layer in &self.layers {
            if let Some(count) = pins.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    pins.remove(layer);
                }
            }
        }
    }
}

impl Cache {
    /// Opens it. Blocks on files.
    pub(crate) fn open(options: &NodeOptions) -> Result<Self, disk::Error> {
        let dir = options.state_dir.join("build-cache");
        disk::ensure_dir(&dir)?;
        let sums = Sums::open(options)?;
        Ok(Self {
            sums,
            dir,
            layers_dir: options.layers_dir(),
            pins: Mutex::default(),
            making: Mutex::default(),
        })
    }

    /// How many builds hold each layer.
    pub(super) fn pins(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.pins.lock().expect("no holder of this lock panics")
    }

    pub(super) fn is_pinned(&self, layer: &str) -> bool {
        self.pins().contains_key(layer)
    }

    /// Where the entries are.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file of an entry.
    pub(super) fn path(&self, key: &str) -> PathBuf {
        self.dir.join(format!("{key}.json"))
    }

    /// Enters what a step led to. Blocks on files.
    pub(super) fn put(&self, entry: &CacheEntry) -> Result<(), disk::Error> {
        disk::write_json(&self.path(&entry.key), entry)
    }

    /// The lock of a layer that is to be made.
    pub(super) fn making(&self, key: Key) -> Arc<tokio::sync::Mutex<()>> {
        let mut making = self.making.lock().expect("no holder of this lock panics");
        // Whoever waits holds a clone; the rest is done.
        making.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(making.entry(key.name()).or_default())
    }
}
