//! Which memories this server has read, so that a wake need not read them again.
//!
//! Nothing of it is on disk: after a restart each memory is read in full once. Of
//! those who want to know the same at once (the children of a fork) one reads, and
//! the others wait for what it finds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::GenerationId;
use runtime::manifest::Stamp;
use tokio::sync::OwnedMutexGuard;

/// Nothing, or how a memory stood when it was read.
type Place = Arc<tokio::sync::Mutex<Option<Stamp>>>;

/// How each memory stood when it was last read.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<BTreeMap<GenerationId, Place>>);

/// Whoever has it is the only one who reads this memory.
pub(super) type Turn = OwnedMutexGuard<Option<Stamp>>;

impl Known {
    /// Waits until nobody else reads this memory.
    pub(super) async fn turn(&self, id: GenerationId) -> Turn {
        let place = Arc::clone(self.places().entry(id).or_default());
        place.lock_owned().await
    }

    /// Notes of a new memory how it stood when its sums were taken.
    pub(super) fn note(&self, id: GenerationId, stamp: Stamp) {
        self.places().insert(id, Arc::new(tokio::sync::Mutex::new(Some(stamp))));
    }

    /// Forgets what is not to be kept.
    pub(super) fn retain(&self, keep: impl Fn(GenerationId) -> bool) {
        self.places().retain(|id, _| keep(*id));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places().len()
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<GenerationId, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::OwnedFd;

    use rustix::fs::inotify;

    use super::super::shelf::{MEMORY, NEW};
    use super::super::{Manifest, Shelf};
    use super::*;

    /// A shelf with one published generation that keeps a memory of two files, which
    /// another server made; and a watch on who opens them.
    fn with_memory() -> (tempfile::TempDir, Arc<Shelf>, GenerationId, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        let id = GenerationId::from_u128(7);
        let (shelf, _rung) = Shelf::open(dir.path().join("generations")).unwrap();
        let memory = shelf.stage(id).unwrap().join(MEMORY);
        fs::create_dir(&memory).unwrap();
        for name in ["a", "b"] {
            fs::write(memory.join(name), name).unwrap();
        }
        shelf.publish(id, Manifest::sample(id)).unwrap();
        let (shelf, _rung) = Shelf::open(dir.path().join("generations")).unwrap();
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        let events = inotify::WatchFlags::OPEN | inotify::WatchFlags::CLOSE_NOWRITE;
        inotify::add_watch(&watch, shelf.memory(id), events).unwrap();
        (dir, shelf, id, watch)
    }

    /// How often a file was opened since the last call.
    fn opened(watch: &OwnedFd) -> usize {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(watch, &mut buffer);
        let files = std::iter::from_fn(|| events.next().ok().map(|event| event.events()));
        files.filter(|event| *event == inotify::ReadFlags::OPEN).count()
    }

    async fn verify(shelf: &Arc<Shelf>, id: GenerationId) -> Result<(), String> {
        shelf.verify(id, "sim".to_owned()).await.map_err(|e| crate::error::chain(&e))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_memory_is_read_once_however_many_wake_from_it() {
        let (_dir, shelf, id, watch) = with_memory();
        let all: Vec<_> = (0..8)
            .map(|_| {
                let shelf = Arc::clone(&shelf);
                tokio::spawn(async move { verify(&shelf, id).await })
            })
            .collect();
        for one in all {
            one.await.unwrap().unwrap();
        }
        assert_eq!(opened(&watch), 2, "each of the two files once");
        shelf.set_aside().unwrap();
    }

    #[tokio::test]
    async fn what_was_read_is_read_again_when_it_was_touched_and_when_nobody_held_it() {
        let (_dir, shelf, id, watch) = with_memory();
        let _hold = Shelf::hold(&shelf, id);
        verify(&shelf, id).await.unwrap();
        assert_eq!(opened(&watch), 2);
        shelf.set_aside().unwrap();
        verify(&shelf, id).await.unwrap();
        assert_eq!(opened(&watch), 0, "a sweep forgets nothing that is held");
        fs::write(shelf.memory(id).join("a"), "a").unwrap();
        opened(&watch);
        verify(&shelf, id).await.unwrap();
        assert_eq!(opened(&watch), 2, "it was written, with the same bytes");
        fs::write(shelf.memory(id).join("a"), "A").unwrap();
        for _ in 0..2 {
            let damaged = verify(&shelf, id).await.unwrap_err();
            assert!(damaged.ends_with("\"a\" was changed"), "{damaged}");
        }
        fs::write(shelf.memory(id).join("a"), "a").unwrap();
        verify(&shelf, id).await.unwrap();
        fs::write(shelf.memory(id).join("c"), "").unwrap();
        let damaged = verify(&shelf, id).await.unwrap_err();
        assert!(damaged.ends_with("\"c\" does not belong there"), "{damaged}");
        fs::remove_file(shelf.memory(id).join("c")).unwrap();
        fs::remove_file(shelf.memory(id).join("b")).unwrap();
        let damaged = verify(&shelf, id).await.unwrap_err();
        assert!(damaged.ends_with("\"b\" is missing"), "{damaged}");
    }

    #[tokio::test]
    async fn what_this_server_wrote_itself_is_known_until_it_is_gone() {
        let (dir, shelf, id, _watch) = with_memory();
        let made = GenerationId::from_u128(8);
        fs::create_dir(shelf.stage(made).unwrap().join(MEMORY)).unwrap();
        fs::write(dir.path().join("generations").join(format!("{NEW}{made}/{MEMORY}/a")), "a").unwrap();
        shelf.publish(made, Manifest::sample(made)).unwrap();
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&watch, shelf.memory(made), inotify::WatchFlags::OPEN).unwrap();
        verify(&shelf, made).await.unwrap();
        assert_eq!((opened(&watch), shelf.known.len()), (0, 1));
        verify(&shelf, id).await.unwrap();
        let hold = Shelf::hold(&shelf, id);
        shelf.set_aside().unwrap();
        assert_eq!(shelf.known.len(), 1);
        drop(hold);
        shelf.set_aside().unwrap();
        assert_eq!(shelf.known.len(), 0);
    }
}
