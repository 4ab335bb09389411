//! Removes generations that nobody holds, off everybody's path.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::disk;
use crate::error::chain;
use crate::record::Refused;
use crate::shared::Shared;

/// Until what could not be removed is tried again: a step that a kill left behind may
/// still write to it.
const AGAIN: Duration = Duration::from_mins(1);

/// Sweeps now and whenever the bell rings, until the server leaves. While there
/// is a record that cannot be read nothing is swept: it may name any generation.
pub(crate) fn start(shared: &Arc<Shared>, mut rung: mpsc::Receiver<()>, refused: &[Refused]) {
    if !refused.is_empty() {
        tracing::warn!("no generation is removed while there are records that cannot be read");
        return;
    }
    let (shared, leave) = (Arc::clone(shared), shared.tasks.leave().clone());
    let again = Arc::clone(&shared);
    let sweeping = async move {
        let mut told = BTreeSet::new();
        loop {
            let done = sweep(&again, &mut told).await;
            tokio::select! {
                biased;
                () = leave.cancelled() => return,
                () = tokio::time::sleep(AGAIN), if !done => {}
                more = rung.recv() => if more.is_none() { return },
            }
        }
    };
    shared.tasks.spawn(tracing::info_span!("sweep"), sweeping, || async {});
}

/// Says whether nothing is left. Each thing that cannot be removed is told of once.
async fn sweep(shared: &Arc<Shared>, told: &mut BTreeSet<PathBuf>) -> bool {
    let shelf = Arc::clone(&shared.shelf);
    let gone = match disk::blocking(move || shelf.set_aside()).await {
        Ok(gone) => gone,
        Err(e) => {
            tracing::warn!(error = chain(&e), "looking for generations that nobody holds");
            return false;
        }
    };
    let mut done = true;
    for path in gone {
        if let Err(error) = remove(shared, &path).await {
            done = false;
            if told.insert(path.clone()) {
                tracing::warn!(path = %path.display(), error, "a generation is not removed yet");
            }
        }
    }
    done
}

/// The layer first, which only the backend can remove.
async fn remove(shared: &Arc<Shared>, path: &Path) -> Result<(), String> {
    let removed = shared.options.backend.remove_layer(&path.join("layer")).await;
    removed.map_err(|e| chain(&e))?;
    let path = path.to_owned();
    disk::blocking(move || disk::remove_dir(&path)).await.map_err(|e| chain(&e))
}
