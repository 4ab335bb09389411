//! What the cache of steps holds, and clearing it: steps can be forgotten, and
//! layers that nothing stands on be removed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::{ByteSize, TeamId};

use super::cache::{Cache, CacheEntry};
use crate::handle::Handle;
use crate::record::Record;
use crate::shared::Shared;
use crate::{Error, disk};

/// What a layer is called from the moment that it is to be removed.
const GONE: &str = ".gone-";

/// A step that later builds find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedStep {
    /// The step.
    pub entry: CacheEntry,
    /// What its layer takes on disk.
    pub size: ByteSize,
    /// Whether a template, a build under way or a sandbox stands on its layer.
    pub in_use: bool,
}

/// What a clearing removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Layers.
    pub layers: usize,
    /// What they took on disk.
    pub size: ByteSize,
}

impl Handle {
    /// The steps that a team's builds find, newest use first.
    pub async fn cached_steps(&self, team_id: TeamId) -> Result<Vec<CachedStep>, Error> {
        let shared = Arc::clone(&self.shared);
        let listed = disk::blocking(move || {
            let used = in_use(&shared)?;
            let mut steps: Vec<CachedStep> = entries(&shared.cache, Some(team_id))?
                .into_iter()
                .map(|entry| CachedStep {
                    size: size_of(&shared.options.layers_dir().join(&entry.layer)),
                    in_use: used.contains(&entry.layer) || shared.cache.is_pinned(&entry.layer),
                    entry,
                })
                .collect();
            steps.sort_by_key(|step| std::cmp::Reverse(step.entry.used_at));
            Ok(steps)
        });
        listed.await.map_err(cache_error)
    }

    /// Forgets a step, so that the next build does it again; `false` if there is
    /// none. Its layer goes with the next clearing, if nothing stands on it.
    pub async fn forget_step(&self, team_id: TeamId, key: &str) -> Result<bool, Error> {
        let (shared, key) = (Arc::clone(&self.shared), key.to_owned());
        let forgotten = disk::blocking(move || {
            let found = entries(&shared.cache, Some(team_id))?.into_iter().find(|entry| entry.key == key);
            found.map(|entry| disk::remove_file(&shared.cache.path(&entry.key))).transpose()
        });
        Ok(forgotten.await.map_err(cache_error)?.is_some())
    }

    /// Forgets a team's steps that no build used for this long, and removes every
    /// layer that then nothing leads to or stands on.
    pub async fn collect_layers(&self, team_id: TeamId, unused_for: Duration) -> Result<Collected, Error> {
        // A recipe's layers lead nowhere until its build is done.
        let _no_recipe = self.shared.building.lock().await;
        let shared = Arc::clone(&self.shared);
        let before = (self.shared.options.clock.now() - unused_for).unix_micros();
        let gone = disk::blocking(move || set_aside(&shared, team_id, before)).await.map_err(cache_error)?;
        let mut collected = Collected::default();
        for path in gone {
            let size = disk::blocking({
                let path = path.clone();
                move || size_of(&path)
            })
            .await;
            let removed = self.shared.options.backend.remove_layer(&path).await;
            removed.map_err(|source| Error::Cache { source: source.into() })?;
            if let Some(layer) = path.file_name().and_then(|name| name.to_str()?.strip_prefix(GONE)) {
                let (shared, layer) = (Arc::clone(&self.shared), layer.to_owned());
                disk::blocking(move || shared.cache.sums.forget(&layer)).await.map_err(cache_error)?;
            }
            collected.layers += 1;
            collected.size = ByteSize::bytes(collected.size.as_u64().saturating_add(size.as_u64()));
        }
        Ok(collected)
    }
}

fn cache_error(source: disk::Error) -> Error {
    Error::Cache { source: source.into() }
}

/// Renames what is to go, under the lock that builds take to find a layer.
fn set_aside(shared: &Shared, team_id: TeamId, before: i64) -> Result<Vec<PathBuf>, disk::Error> {
    let pins = shared.cache.pins();
    let mut used = in_use(shared)?;
    used.extend(pins.keys().cloned());
    for entry in entries(&shared.cache, None)? {
        let is_old = entry.team_id == team_id.to_string() && entry.used_at < before;
        if is_old && !used.contains(&entry.layer) {
            disk::remove_file(&shared.cache.path(&entry.key))?;
        } else {
            used.insert(entry.layer);
        }
    }
    let dir = shared.options.layers_dir();
    let mut gone = Vec::new();
    for path in disk::list_dir(&dir)? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if name.starts_with('.') || used.contains(name) {
            continue;
        }
        let aside = dir.join(format!("{GONE}{name}"));
        fs::rename(&path, &aside).map_err(disk::error("naming", &aside))?;
        gone.push(aside);
    }
    Ok(gone)
}

/// Layers that a template or a sandbox stands on.
fn in_use(shared: &Shared) -> Result<BTreeSet<String>, disk::Error> {
    let mut used = shared.templates.layers();
    for id in shared.shelf.list()? {
        // One that is going, or cannot be read, starts nothing.
        used.extend(shared.shelf.manifest(id).map(|manifest| manifest.template.layers).unwrap_or_default());
    }
    for dir in disk::list_dir(&shared.options.sandboxes_dir())? {
        // One that cannot be read stands on what it stood on before: nothing to learn from it.
        let Ok(record) = Record::read(&dir) else { continue };
        let names = record.layers.iter().filter_map(|layer| layer.file_name()?.to_str());
        used.extend(names.map(str::to_owned));
    }
    Ok(used)
}

/// Every entry, or a team's. One that cannot be read leads nowhere.
fn entries(cache: &Cache, team_id: Option<TeamId>) -> Result<Vec<CacheEntry>, disk::Error> {
    let team_id = team_id.map(|team| team.to_string());
    let read = |path: PathBuf| disk::read_json::<CacheEntry>(&path).ok();
    let all = disk::list_dir(cache.dir())?.into_iter().filter_map(read);
    Ok(all.filter(|entry| team_id.as_ref().is_none_or(|team| entry.team_id == *team)).collect())
}

/// What a tree takes on disk; links are not followed.
fn size_of(root: &Path) -> ByteSize {
    let mut waiting = vec![root.to_owned()];
    let mut blocks = 0_u64;
    while let Some(path) = waiting.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        blocks = blocks.saturating_add(metadata.blocks());
        if metadata.is_dir() {
            waiting.extend(disk::list_dir(&path).unwrap_or_default());
        }
    }
    ByteSize::bytes(blocks.saturating_mul(512))
}
