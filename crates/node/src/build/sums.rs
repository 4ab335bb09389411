//! Whether layers are what they were: their sums were kept when they were made,
//! and are compared before something new stands on a layer, once for each life of
//! this server. A damaged layer is named and set aside: whoever needs it makes it
//! anew, nobody mounts it.
//!
//! ```text
//!   <state>/layer-sums/<layer>.json
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use super::outline::{Look, Outline, outline};
use crate::{NodeOptions, disk};

/// What a damaged layer is called from then on; removed at the next start.
const DAMAGED: &str = ".damaged-";

/// A layer that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Its directory's name.
    pub layer: String,
    /// What is wrong with it.
    pub why: String,
}

/// The sums of all layers.
#[derive(Debug)]
pub(crate) struct Sums {
    dir: PathBuf,
    layers_dir: PathBuf,
    /// Looked at by this server, and sound.
    sound: Mutex<BTreeSet<String>>,
}

impl Sums {
    /// Opens them. Blocks on files.
    pub(crate) fn open(options: &NodeOptions) -> Result<Self, disk::Error> {
        let dir = options.state_dir.join("layer-sums");
        disk::ensure_dir(&dir)?;
        Ok(Self { dir, layers_dir: options.layers_dir(), sound: Mutex::default() })
    }

    /// Keeps the sums of a layer that was made this moment; that of its contents, if they
    /// are not looked at now, by the first look at them. Blocks on files.
    pub(super) fn keep(&self, layer: &str, look: Look) -> Result<(), disk::Error> {
        let path = self.layers_dir.join(layer);
        let found = outline(&path, look).map_err(disk::error("reading the layer", &path))?;
        match found {
            Some(outline) => disk::write_json(&self.path(layer), &outline)?,
            // Nothing to compare it with: it is taken as it is.
            None => disk::remove_file(&self.path(layer))?,
        }
        self.sound().insert(layer.to_owned());
        Ok(())
    }

    /// Forgets a layer that was removed. Blocks on files.
    pub(super) fn forget(&self, layer: &str) -> Result<(), disk::Error> {
        self.sound().remove(layer);
        disk::remove_file(&self.path(layer))
    }

    /// Whether a layer is there and has the shape that it had. One that has not is
    /// named in the log and set aside. Blocks on files.
    pub(super) fn is_sound(&self, layer: &str) -> bool {
        let there = self.layers_dir.join(layer).is_dir();
        if !there || self.sound().contains(layer) {
            return there;
        }
        match self.check(layer, Look::Shape) {
            Ok(_) => true,
            Err(damaged) => {
                self.set_aside(&damaged);
                false
            }
        }
    }

    /// Compares a layer with its sums. One that has none is entered as it is: it
    /// was made by an earlier version, or the server was killed before it wrote
    /// them. Blocks on files.
    pub(super) fn check(&self, layer: &str, look: Look) -> Result<Option<Outline>, Damaged> {
        let damaged = |why: String| Damaged { layer: layer.to_owned(), why };
        let path = self.layers_dir.join(layer);
        let known: Option<Outline> = disk::read_json(&self.path(layer)).ok();
        let look = if known.is_none() { Look::Contents } else { look };
        let found = match outline(&path, look) {
            Ok(found) => found,
            Err(e) if e.kind() == io::ErrorKind::NotFound && !path.exists() => {
                return Err(damaged("it is missing".to_owned()));
            }
            Err(e) => return Err(damaged(format!("it cannot be read: {e}"))),
        };
        match (&found, &known) {
            (Some(found), Some(known)) => {
                compare(found, known).map_err(damaged)?;
                if known.contents.is_none() && found.contents.is_some() {
                    drop(disk::write_json(&self.path(layer), found));
                }
            }
            // A sum that is not kept is made again the next time.
            (Some(found), None) => drop(disk::write_json(&self.path(layer), found)),
            (None, _) => {}
        }
        self.sound().insert(layer.to_owned());
        Ok(found)
    }

    /// How much a layer holds. Blocks on files.
    pub(super) fn weigh(&self, layer: &str) -> Option<Outline> {
        disk::read_json(&self.path(layer)).ok().or_else(|| self.check(layer, Look::Shape).ok().flatten())
    }

    /// What a layer's files hold, if that is known without looking. Blocks on files.
    pub(super) fn known_bytes(&self, layer: &str) -> u64 {
        disk::read_json(&self.path(layer)).map_or(0, |outline: Outline| outline.bytes)
    }

    /// Takes a damaged layer out of reach; what runs on it runs on. Blocks on files.
    pub(super) fn set_aside(&self, damaged: &Damaged) {
        let Damaged { layer, why } = damaged;
        tracing::error!(layer, why, "a layer is damaged; it is set aside and made anew when it is needed");
        self.sound().remove(layer);
        let (from, to) = (self.layers_dir.join(layer), self.aside(layer));
        if let Err(error) = fs::rename(&from, &to)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!(layer, %error, "a damaged layer could not be set aside");
        }
        let _ = disk::remove_file(&self.path(layer));
    }

    fn aside(&self, layer: &str) -> PathBuf {
        let free = |n: &u32| !self.layers_dir.join(format!("{DAMAGED}{n}-{layer}")).exists();
        let n = (0..u32::MAX).find(free).unwrap_or_default();
        self.layers_dir.join(format!("{DAMAGED}{n}-{layer}"))
    }

    fn path(&self, layer: &str) -> PathBuf {
        self.dir.join(format!("{layer}.json"))
    }

    fn sound(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.sound.lock().expect("no holder of this lock panics")
    }

    /// The layers that are there, by name. Blocks on files.
    pub(super) fn layers(&self) -> Result<Vec<String>, disk::Error> {
        let name = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let all = disk::list_dir(Path::new(&self.layers_dir))?;
        Ok(all.iter().filter_map(name).filter(|name| !name.starts_with('.')).collect())
    }
}

fn compare(found: &Outline, known: &Outline) -> Result<(), String> {
    if found.entries != known.entries {
        return Err(format!("it has {} entries and had {}", found.entries, known.entries));
    }
    if found.shape != known.shape {
        return Err("an entry is not what it was".to_owned());
    }
    match (&found.contents, &known.contents) {
        (Some(found), Some(known)) if found != known => {
            Err("a file holds something else than it did".to_owned())
        }
        _ => Ok(()),
    }
}
