//! Directories of sandboxes that are gone, kept for the next ones.
//!
//! ```text
//!   <bulk>/spare/<n>       made, or left over; the record is written here
//!          │ one rename            ▲ one rename, then it is emptied
//!          ▼                       │
//!   <bulk>/sandboxes/<id>  sandbox.json · machine/
//! ```
//!
//! A file system is slowest at making and removing files, above all ext4 without a
//! journal: it gives no inode number out again for a minute and more after its removal,
//! and passes over all of those whenever it makes a file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::Timestamp;

use crate::disk;
use crate::error::chain;
use crate::record::{FILE, Record, machine_dir};

/// As many wait; more than this go at once only when many sandboxes end at once.
const MOST: usize = 32;

/// The spare directories of a node.
#[derive(Debug)]
pub(crate) struct Spares {
    dir: PathBuf,
    /// The next name. Those of this server are its own, whatever one before it left.
    names: AtomicU64,
    ready: Mutex<Vec<PathBuf>>,
    /// What could be taken from its sandbox and not yet be removed.
    left: Mutex<Vec<PathBuf>>,
}

impl Spares {
    /// Begins without any: those of a server before this one are removed.
    pub(crate) fn open(dir: PathBuf, now: Timestamp) -> Result<Self, disk::Error> {
        if let Err(error) = disk::remove_dir(&dir) {
            tracing::warn!(
                error = chain(&error),
                "directories of sandboxes that are gone are not removed yet"
            );
        }
        disk::ensure_dir(&dir)?;
        let names = AtomicU64::new(now.unix_micros().unsigned_abs());
        Ok(Self { dir, names, ready: Mutex::default(), left: Mutex::default() })
    }

    /// Makes the directory of a sandbox, with its first record: whole or not at all.
    pub(crate) fn furnish(&self, record: &Record, to: &Path) -> Result<(), disk::Error> {
        let spare = lock(&self.ready).pop();
        let place = match spare {
            Some(spare) if record.amend(&spare).is_ok() => spare,
            unusable => {
                if let Some(spare) = unusable {
                    self.remove(spare);
                }
                self.fresh(record)?
            }
        };
        let made = match fs::rename(&place, to) {
            // Somebody gave the sandboxes a file system of their own.
            Err(e) if e.kind() == io::ErrorKind::CrossesDevices => make(record, to),
            named => named.map_err(disk::error("naming", to)),
        };
        if place.exists() {
            self.remove(place);
        }
        made
    }

    fn fresh(&self, record: &Record) -> Result<PathBuf, disk::Error> {
        let place = self.name();
        let made = disk::ensure_dir(&self.dir).and_then(|()| make(record, &place));
        if made.is_err() {
            self.remove(place.clone());
        }
        made.map(|()| place)
    }

    /// Removes the directory of a sandbox; gone already is well too.
    pub(crate) fn clear(&self, dir: &Path) -> Result<(), disk::Error> {
        let mut unwanted = std::mem::take(&mut *lock(&self.left));
        let has_no_room = disk::has_no_room(&self.dir);
        if has_no_room {
            // Ends make room, for what is written down of them above all.
            unwanted.append(&mut lock(&self.ready));
        }
        for path in unwanted {
            self.remove(path);
        }
        if has_no_room {
            return disk::remove_dir(dir);
        }
        let spare = self.name();
        if lock(&self.ready).len() >= MOST || fs::rename(dir, &spare).is_err() {
            return disk::remove_dir(dir);
        }
        let is_empty = empty(&spare).unwrap_or(false);
        let mut ready = lock(&self.ready);
        if is_empty && ready.len() < MOST {
            ready.push(spare);
        } else {
            drop(ready);
            self.remove(spare);
        }
        Ok(())
    }

    /// Now, or with the next sandbox that goes.
    fn remove(&self, path: PathBuf) {
        if let Err(error) = disk::remove_dir(&path) {
            tracing::warn!(
                error = chain(&error),
                "the directory of a sandbox that is gone is not removed yet"
            );
            lock(&self.left).push(path);
        }
    }

    fn name(&self) -> PathBuf {
        self.dir.join(self.names.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

fn lock(paths: &Mutex<Vec<PathBuf>>) -> MutexGuard<'_, Vec<PathBuf>> {
    paths.lock().unwrap_or_else(PoisonError::into_inner)
}

fn make(record: &Record, fresh: &Path) -> Result<(), disk::Error> {
    disk::make_dir(fresh)?;
    record.write(fresh)?;
    disk::make_dir(&machine_dir(fresh))
}

/// Leaves nothing of the sandbox; `false` for one that cannot be used again.
fn empty(spare: &Path) -> Result<bool, disk::Error> {
    let (machine, record) = (machine_dir(spare), spare.join(FILE));
    let is_whole = disk::list_dir(spare)? == [machine.clone(), record.clone()];
    if !is_whole || !disk::list_dir(&machine)?.is_empty() {
        return Ok(false);
    }
    // Its variables and token are nobody's business any more.
    disk::amend_json(&record, &())?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> Spares {
        Spares::open(dir.to_owned(), Timestamp::from_unix_micros(1)).unwrap()
    }

    fn record(id: &str) -> Record {
        let record = serde_json::json!({
            "format": 1, "sandbox_id": id, "template_id": "basebasebase",
            "build_id": "0ba5e000-0000-4000-8000-000000000001", "slot": 0, "layers": [],
            "cpu_count": 1, "memory_bytes": 1, "disk_bytes": 1, "env_vars": {"SECRET": "word"},
            "interpreter": false, "wait_for_interpreter": false, "timeout_micros": 1,
            "created_at": 0, "deadline": 1, "envd_version": ""
        });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn a_directory_serves_again_and_tells_nothing_of_who_had_it() {
        let host = tempfile::tempdir().unwrap();
        let sandboxes = host.path().join("sandboxes");
        disk::make_dir(&sandboxes).unwrap();
        let spares = open(&host.path().join("spare"));
        let kept = || disk::list_dir(&host.path().join("spare")).unwrap();
        let [first, second] = ["ifirst", "isecond"].map(|id| (record(id), sandboxes.join(id)));
        spares.furnish(&first.0, &first.1).unwrap();
        let inode = |dir: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(dir.join(FILE)).unwrap());
        let had = inode(&first.1);
        spares.clear(&first.1).unwrap();
        spares.clear(&first.1).unwrap();
        assert!(!first.1.exists());
        let left = fs::read_to_string(kept()[0].join(FILE)).unwrap();
        assert_eq!(left.trim(), "null");
        spares.furnish(&second.0, &second.1).unwrap();
        assert_eq!(inode(&second.1), had);
        assert_eq!(Record::read(&second.1).unwrap().sandbox_id, "isecond");
        assert!(kept().is_empty() && machine_dir(&second.1).is_dir());

        // Somebody tidied up: sandboxes go and come all the same.
        spares.furnish(&first.0, &first.1).unwrap();
        spares.clear(&first.1).unwrap();
        disk::remove_dir(&host.path().join("spare")).unwrap();
        spares.clear(&second.1).unwrap();
        assert!(!second.1.exists());
        spares.furnish(&second.0, &second.1).unwrap();
        assert!(Record::read(&second.1).is_ok());

        // With anything else in it, it goes whole.
        fs::write(machine_dir(&second.1).join("file"), "").unwrap();
        spares.clear(&second.1).unwrap();
        assert!(kept().is_empty() && disk::list_dir(&sandboxes).unwrap().is_empty());
    }

    #[test]
    fn only_so_many_are_kept_and_none_over_a_restart() {
        let host = tempfile::tempdir().unwrap();
        let dir = host.path().join("spare");
        let spares = open(&dir);
        let many: Vec<_> = (0..MOST + 5).map(|n| host.path().join(format!("i{n}"))).collect();
        for to in &many {
            spares.furnish(&record("isome"), to).unwrap();
        }
        for from in &many {
            spares.clear(from).unwrap();
        }
        assert_eq!(disk::list_dir(&dir).unwrap().len(), MOST);
        open(&dir);
        assert!(disk::list_dir(&dir).unwrap().is_empty());
    }
}
