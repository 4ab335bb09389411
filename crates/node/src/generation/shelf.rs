//! Where generations stand, and how many hold each of them.

use std::collections::BTreeMap;
use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use model::GenerationId;
use runtime::manifest::Stamp;
use tokio::sync::mpsc;

use super::known::Known;
use super::{Manifest, Unusable};
use crate::disk;

pub(super) const NEW: &str = ".new-";
const GONE: &str = ".gone-";
pub(super) const MEMORY: &str = "memory";
/// What is read in the time of one wait for the disk.
const READ_MEANWHILE: u64 = 4 << 20;

/// All generations of a node.
#[derive(Debug)]
pub(crate) struct Shelf {
    dir: PathBuf,
    /// A generation that is not here is held by nobody. Taken away when the server
    /// leaves: whoever lets go then only goes, and nothing is nobody's.
    holders: Mutex<Option<BTreeMap<GenerationId, usize>>>,
    /// Rings when something is to be swept; more rings than one change nothing.
    bell: mpsc::Sender<()>,
    /// Whether names are still given.
    names: Mutex<bool>,
    pub(super) known: Known,
}

/// Keeps a generation from being removed.
#[derive(Debug, Default)]
pub struct Hold(Option<(Arc<Shelf>, GenerationId)>);

impl Clone for Hold {
    fn clone(&self) -> Self {
        self.0.as_ref().map_or_else(Self::default, |(shelf, id)| Shelf::hold(shelf, *id))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some((shelf, id)) = self.0.take() {
            shelf.let_go(id);
        }
    }
}

impl Shelf {
    /// Opens the directory. The receiver tells when [`Self::set_aside`] may find something.
    pub(crate) fn open(dir: PathBuf) -> Result<(Arc<Self>, mpsc::Receiver<()>), disk::Error> {
        disk::ensure_dir(&dir)?;
        let (bell, rung) = mpsc::channel(1);
        Ok((
            Arc::new(Self {
                dir,
                holders: Mutex::new(Some(BTreeMap::new())),
                bell,
                names: Mutex::new(true),
                known: Known::default(),
            }),
            rung,
        ))
    }

    pub(crate) fn hold(shelf: &Arc<Self>, id: GenerationId) -> Hold {
        if let Some(holders) = &mut *shelf.holders() {
            *holders.entry(id).or_default() += 1;
        }
        Hold(Some((Arc::clone(shelf), id)))
    }

    fn let_go(&self, id: GenerationId) {
        let mut holders = self.holders();
        let Some(holders) = &mut *holders else { return };
        if let Some(count) = holders.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                holders.remove(&id);
                self.ring();
            }
        }
    }

    /// From now on nothing is set aside: drivers that leave drop what their sandboxes
    /// sleep on, and that has to be there for the next server.
    pub(crate) fn close(&self) {
        *self.holders() = None;
    }

    /// From now on nothing gets a name: whoever waited for it is gone, and its sandbox
    /// goes on. Waits for one that is being given.
    pub(crate) fn seal(&self) {
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }

    /// Asks for a sweep. One that is asked for already finds this too.
    pub(crate) fn ring(&self) {
        let _ = self.bell.try_send(());
    }

    pub(crate) fn path(&self, id: GenerationId) -> PathBuf {
        self.dir.join(id.to_string())
    }

    pub(crate) fn layer(&self, id: GenerationId) -> PathBuf {
        self.path(id).join("layer")
    }

    pub(crate) fn memory(&self, id: GenerationId) -> PathBuf {
        self.path(id).join(MEMORY)
    }

    /// The memory of a generation that is being put together.
    pub(crate) fn staged_memory(&self, id: GenerationId) -> PathBuf {
        self.dir.join(format!("{NEW}{id}")).join(MEMORY)
    }

    pub(crate) fn exists(&self, id: GenerationId) -> bool {
        self.path(id).is_dir()
    }

    /// Makes the place where a generation is put together.
    pub(crate) fn stage(&self, id: GenerationId) -> Result<PathBuf, disk::Error> {
        let staging = self.dir.join(format!("{NEW}{id}"));
        disk::make_dir(&staging)?;
        Ok(staging)
    }

    /// Names a generation that is complete: its content is on the disk first, then
    /// its name is.
    pub(crate) fn publish(&self, id: GenerationId, manifest: Manifest) -> Result<(), Unusable> {
        let staging = self.dir.join(format!("{NEW}{id}"));
        let stamp = self.write_back(id, manifest, &staging)?;
        let path = self.path(id);
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if !*names {
            return Err(Unusable::Leaving);
        }
        fs::rename(&staging, &path).map_err(disk::error("naming", &path))?;
        drop(names);
        if let Err(error) = self.store_names() {
            // What failed has no name, since whoever finds one goes back to it; and what
            // keeps its name has not failed.
            if fs::rename(&path, &staging).is_ok() {
                return Err(error.into());
            }
        }
        if let Some(stamp) = stamp {
            self.known.note(id, stamp);
        }
        Ok(())
    }

    /// Answers when all names that were given are on the disk.
    pub(crate) fn store_names(&self) -> Result<(), disk::Error> {
        disk::store(&self.dir)
    }

    /// Writes the manifest and waits until it and all that it speaks of are on the disk. A
    /// wait for the disk takes as long as reading some megabytes: the sums of less come
    /// before it, and those of more beside it.
    fn write_back(
        &self,
        id: GenerationId,
        mut manifest: Manifest,
        staging: &Path,
    ) -> Result<Option<Stamp>, Unusable> {
        let memory = self.staged_memory(id);
        if manifest.memory_bytes <= READ_MEANWHILE {
            let stamp = manifest.sum_up(&memory)?;
            manifest.write(staging)?;
            disk::store_all(staging)?;
            return Ok(stamp);
        }
        let (summed, stored) = thread::scope(|scope| {
            let store = || disk::store_all(staging);
            let storing = thread::Builder::new().name("write-back".to_owned()).spawn_scoped(scope, store);
            let summed = manifest.sum_up(&memory);
            // Without a thread for it, it is done now.
            let stored = storing.map_or_else(
                |_| store(),
                |storing| storing.join().unwrap_or_else(|panic| resume_unwind(panic)),
            );
            (summed, stored)
        });
        let stamp = summed?;
        stored?;
        manifest.store(staging)?;
        Ok(stamp)
    }

    /// Answers when the memory of a generation is known to be, to the byte, what was
    /// written, by a backend of this kind. A future that is dropped leaves a read
    /// under way to itself; whoever comes next waits for it.
    pub(crate) async fn verify(self: &Arc<Self>, id: GenerationId, backend: String) -> Result<(), Unusable> {
        let mut turn = self.known.turn(id).await;
        let kept = Arc::clone(self);
        disk::blocking(move || {
            let manifest = kept.manifest(id)?;
            manifest.fits(&backend)?;
            *turn = manifest.verify(&kept.memory(id), turn.take())?;
            Ok(())
        })
        .await
    }

    /// The manifest of a generation that stands.
    pub(crate) fn manifest(&self, id: GenerationId) -> Result<Manifest, Unusable> {
        Manifest::read(&self.path(id), id)
    }

    /// The generations that stand, whether or not anybody holds them.
    pub(crate) fn list(&self) -> Result<Vec<GenerationId>, disk::Error> {
        let paths = disk::list_dir(&self.dir)?;
        Ok(paths.iter().filter_map(|path| name(path)?.parse().ok()).collect())
    }

    /// Renames what nobody holds and answers all that is to be removed: that, what
    /// was being removed, and what was being put together by nobody who lives.
    pub(crate) fn set_aside(&self) -> Result<Vec<PathBuf>, disk::Error> {
        let paths = disk::list_dir(&self.dir)?;
        if let Some(holders) = &*self.holders() {
            self.known.retain(|id| holders.contains_key(&id));
        }
        let mut gone = Vec::new();
        for path in paths {
            let Some(name) = name(&path) else { continue };
            // For one renaming at a time: who starts from a generation waits for it.
            let holders = self.holders();
            let Some(holders) = &*holders else { return Ok(Vec::new()) };
            let id = name.strip_prefix(NEW).unwrap_or(name).parse::<GenerationId>();
            let held = id.is_ok_and(|id| holders.contains_key(&id));
            if held {
                continue;
            }
            if name.starts_with(GONE) {
                gone.push(path);
                continue;
            }
            let aside = self.dir.join(format!("{GONE}{}", name.trim_start_matches('.')));
            fs::rename(&path, &aside).map_err(disk::error("naming", &aside))?;
            gone.push(aside);
        }
        Ok(gone)
    }

    fn holders(&self) -> MutexGuard<'_, Option<BTreeMap<GenerationId, usize>>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_holds_goes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (shelf, mut rung) = Shelf::open(dir.path().join("generations")).unwrap();
        let [kept, dropped, made, lost] = [1, 2, 3, 4].map(GenerationId::from_u128);
        for id in [kept, dropped] {
            fs::create_dir(shelf.path(id)).unwrap();
        }
        for id in [made, lost] {
            shelf.stage(id).unwrap();
        }
        let holds = (Shelf::hold(&shelf, kept), Shelf::hold(&shelf, made));
        let twice = holds.0.clone();
        drop(Shelf::hold(&shelf, dropped));
        assert!(rung.try_recv().is_ok() && rung.try_recv().is_err());
        let gone = shelf.set_aside().unwrap();
        assert_eq!(gone.len(), 2, "{gone:?}");
        assert_eq!(shelf.set_aside().unwrap().len(), 2, "what was being removed is found again");
        assert_eq!(shelf.list().unwrap(), [kept]);
        drop(holds);
        assert_eq!(shelf.set_aside().unwrap().len(), 3, "one holder is left of the first");
        drop(twice);
        assert_eq!(shelf.set_aside().unwrap().len(), 4);
        assert!(shelf.list().unwrap().is_empty());
    }

    #[test]
    fn nothing_gets_a_name_from_a_server_that_has_left() {
        let dir = tempfile::tempdir().unwrap();
        let (shelf, _rung) = Shelf::open(dir.path().join("generations")).unwrap();
        let id = GenerationId::from_u128(1);
        fs::create_dir(shelf.stage(id).unwrap().join(MEMORY)).unwrap();
        shelf.seal();
        assert!(matches!(shelf.publish(id, Manifest::sample(id)), Err(Unusable::Leaving)));
        assert!(!shelf.exists(id));
    }

    #[test]
    fn whoever_leaves_with_the_server_gives_nothing_up() {
        let dir = tempfile::tempdir().unwrap();
        let (shelf, _rung) = Shelf::open(dir.path().join("generations")).unwrap();
        let id = GenerationId::from_u128(1);
        fs::create_dir(shelf.path(id)).unwrap();
        let hold = Shelf::hold(&shelf, id);
        shelf.close();
        drop(hold);
        assert!(shelf.set_aside().unwrap().is_empty());
        assert!(shelf.exists(id));
    }
}
