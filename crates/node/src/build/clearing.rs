//! Removes layers that were set aside, in the background: hundreds of them take
//! longer than a request may. The log says how far it is; what a server leaves, the
//! next one goes on with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::chain;
use crate::shared::Shared;
use crate::{NodeOptions, disk};

/// What a layer is called from the moment that it is to be removed.
const GONE: &str = ".gone-";

/// Between two lines of the log.
const PACE: Duration = Duration::from_secs(5);

/// A name for a layer that is to be removed. Its own is free from then on, and the
/// next of that name may have to go before this one is gone.
pub(super) fn aside(layers_dir: &Path, layer: &str) -> PathBuf {
    layers_dir.join(format!("{GONE}{}-{layer}", uuid::Uuid::new_v4().simple()))
}

/// Whether a path is that of a layer on its way out.
pub(super) fn is_gone(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(GONE.as_bytes()))
}

/// Layers on their way out. Blocks on files.
pub(super) fn gone(options: &NodeOptions) -> Result<Vec<PathBuf>, disk::Error> {
    let mut gone = disk::list_dir(&options.layers_dir())?;
    gone.retain(|path| is_gone(path));
    Ok(gone)
}

/// Begins to remove them.
pub(super) fn start(shared: &Arc<Shared>, gone: Vec<PathBuf>) {
    if gone.is_empty() {
        return;
    }
    let work = {
        let shared = Arc::clone(shared);
        async move { remove(&shared, &gone).await }
    };
    shared.tasks.spawn(tracing::info_span!("clear layers"), work, || async {});
}

/// Goes on with what an earlier server left. Blocks on files.
pub(crate) fn resume(shared: &Arc<Shared>) -> Result<(), disk::Error> {
    start(shared, gone(&shared.options)?);
    Ok(())
}

async fn remove(shared: &Shared, gone: &[PathBuf]) {
    let of = gone.len();
    let mut told = Instant::now();
    for (removed, path) in gone.iter().enumerate() {
        if shared.tasks.leave().is_cancelled() {
            tracing::info!(removed, of, "the next server goes on with removing layers");
            return;
        }
        if told.elapsed() >= PACE {
            tracing::info!(removed, of, "layers are being removed");
            told = Instant::now();
        }
        if let Err(e) = shared.options.backend.remove_layer(path).await {
            tracing::warn!(path = %path.display(), error = chain(&e), "a layer was not removed; the next start tries again");
        }
    }
    tracing::info!(layers = of, "layers that nothing stands on are removed");
}
