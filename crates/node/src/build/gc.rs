//! What the cache of steps holds, and clearing it: steps can be forgotten, and
//! layers that nothing stands on be removed: they lose their names at once and go in
//! the background.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::{ByteSize, TeamId};

use super::cache::{Cache, CacheEntry};
use super::clearing;
use crate::handle::Handle;
use crate::record::Record;
use crate::shared::Shared;
use crate::{Error, disk};

/// A step that later builds find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedStep {
    /// The step.
    pub entry: CacheEntry,
    /// What its layer takes on disk, besides what it shares with the one it began as.
    pub size: ByteSize,
    /// Whether a template, a build under way or a sandbox stands on its layer.
    pub in_use: bool,
}

/// What a clearing set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Layers.
    pub layers: usize,
    /// What their files hold, as far as it was known.
    pub size: ByteSize,
    /// Layers that are on their way out, those of earlier clearings included.
    pub removing: usize,
}

impl Handle {
    /// The steps that a team's builds find, newest use first.
    pub async fn cached_steps(&self, team_id: TeamId) -> Result<Vec<CachedStep>, Error> {
        let shared = Arc::clone(&self.shared);
        let listed = disk::blocking(move || {
            let used = in_use(&shared)?;
            let dir = shared.options.layers_dir();
            let mut steps: Vec<CachedStep> = entries(&shared.cache, Some(team_id))?
                .into_iter()
                .map(|entry| CachedStep {
                    size: adds(&dir, &entry),
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

    /// Forgets a team's steps that no build used for this long, and sets every layer
    /// aside that then nothing leads to or stands on. Returns when that is done; their
    /// files go in the background.
    pub async fn collect_layers(&self, team_id: TeamId, unused_for: Duration) -> Result<Collected, Error> {
        let shared = Arc::clone(&self.shared);
        let before = (self.shared.options.clock.now() - unused_for).unix_micros();
        let set_aside = disk::blocking(move || {
            let mut collected = Collected::default();
            let mut gone = Vec::new();
            // What was renamed before a failure is on its way out all the same.
            let done = set_aside(&shared, team_id, before, &mut gone, &mut collected);
            let removing = clearing::gone(&shared.options);
            clearing::start(&shared, gone);
            done?;
            Ok(Collected { removing: removing?.len(), ..collected })
        });
        set_aside.await.map_err(cache_error)
    }
}

fn cache_error(source: disk::Error) -> Error {
    Error::Cache { source: source.into() }
}

/// Renames what is to go, under the lock that builds take to find a layer.
fn set_aside(
    shared: &Shared,
    team_id: TeamId,
    before: i64,
    gone: &mut Vec<PathBuf>,
    collected: &mut Collected,
) -> Result<(), disk::Error> {
    let pins = shared.cache.pins();
    let mut used = in_use(shared)?;
    used.extend(pins.keys().cloned());
    let all = entries(&shared.cache, None)?;
    let began: BTreeMap<String, String> =
        all.iter().filter_map(|entry| Some((entry.layer.clone(), entry.on.clone()?))).collect();
    for entry in all {
        let is_old = entry.team_id == team_id.to_string() && entry.used_at < before;
        if is_old && !used.contains(&entry.layer) {
            disk::remove_file(&shared.cache.path(&entry.key))?;
        } else {
            used.insert(entry.layer);
        }
    }
    let dir = shared.options.layers_dir();
    let layers = shared.cache.sums.layers()?;
    let (stay, go): (Vec<String>, Vec<String>) = layers.into_iter().partition(|layer| used.contains(layer));
    collected.size = ByteSize::bytes(freed(&stay, &go, &began, |layer| shared.cache.sums.known_bytes(layer)));
    for name in &go {
        let path = dir.join(name);
        let aside = clearing::aside(&dir, name);
        fs::rename(&path, &aside).map_err(disk::error("naming", &aside))?;
        gone.push(aside);
        // Now, since the next layer of this name may be made before this one is gone.
        shared.cache.sums.forget(name)?;
        collected.layers += 1;
    }
    Ok(())
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
        let Some(record) = read_record(&dir) else { continue };
        let names = record.layers.iter().filter_map(|layer| layer.file_name()?.to_str());
        used.extend(names.map(str::to_owned));
    }
    Ok(used)
}

/// A record that its driver may be writing over just now.
fn read_record(dir: &Path) -> Option<Record> {
    (0..3).find_map(|_| Record::read(dir).map_err(|_| std::thread::sleep(Duration::from_millis(1))).ok())
}

/// Every entry, or a team's. One that cannot be read leads nowhere.
fn entries(cache: &Cache, team_id: Option<TeamId>) -> Result<Vec<CacheEntry>, disk::Error> {
    let team_id = team_id.map(|team| team.to_string());
    let read = |path: PathBuf| disk::read_json::<CacheEntry>(&path).ok();
    let all = disk::list_dir(cache.dir())?.into_iter().filter_map(read);
    Ok(all.filter(|entry| team_id.as_ref().is_none_or(|team| entry.team_id == *team)).collect())
}

/// What the files of layers that go hold and none that stays: some began as a copy of
/// another and share with it what that held.
fn freed(
    stay: &[String],
    go: &[String],
    began: &BTreeMap<String, String>,
    bytes: impl Fn(&str) -> u64,
) -> u64 {
    let mut shared = BTreeSet::new();
    for layer in stay {
        let mut next = began.get(layer);
        // What is known is known with everything below it.
        while let Some(below) = next.filter(|below| shared.insert(*below)) {
            next = began.get(below);
        }
    }
    let adds = |layer: &String| match began.get(layer) {
        _ if shared.contains(layer) => 0,
        Some(below) => bytes(layer).saturating_sub(bytes(below)),
        None => bytes(layer),
    };
    go.iter().map(adds).fold(0, u64::saturating_add)
}

/// What an entry's layer takes on disk besides the one that it began as a copy of.
fn adds(layers_dir: &Path, entry: &CacheEntry) -> ByteSize {
    let whole = size_of(&layers_dir.join(&entry.layer)).as_u64();
    let below = entry.on.as_ref().map_or(0, |below| size_of(&layers_dir.join(below)).as_u64());
    ByteSize::bytes(whole.saturating_sub(below))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_layers_share_is_freed_with_the_last_of_them() {
        let names = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        // Two images, 40 and 50, on a tree of 30, on a tree of 10.
        let began = [("a", "30"), ("b", "30"), ("30", "10")];
        let began = began.map(|(layer, below)| (layer.to_owned(), below.to_owned())).into();
        let bytes = |layer: &str| match layer {
            "a" => 40,
            "b" => 50,
            tree => tree.parse().unwrap(),
        };
        let freed = |stay: &str, go: &str| freed(&names(stay), &names(go), &began, bytes);
        assert_eq!(freed("", "a b 30 10"), 10 + 20 + 10 + 20);
        assert_eq!(freed("a 30 10", "b"), 20);
        assert_eq!(freed("a", "b 30 10"), 20, "what the other shares stays");
        assert_eq!(freed("30", "a b 10"), 30);
        assert_eq!(freed("a b 30 10", ""), 0);
    }
}
