//! Looks at layers: all of them with what they hold when somebody asks, and those
//! that templates stand on after a server that did not leave in order.

use std::sync::Arc;

use model::ByteSize;

use super::outline::Look;
use super::sums::Damaged;
use crate::handle::Handle;
use crate::shared::Shared;
use crate::{Error, NodeOptions, disk};

/// What a look at the layers found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Layers that were looked at.
    pub layers: usize,
    /// What their files hold.
    pub size: ByteSize,
    /// Those that are not what they were. They are set aside.
    pub damaged: Vec<Damaged>,
}

impl Handle {
    /// Reads every layer and compares it with its sums, one after another; one such
    /// look at a time. Damaged layers are set aside: the builds that need them make
    /// them anew. Dropping the future stops after the layer that is being read.
    pub async fn verify_layers(&self) -> Result<Verified, Error> {
        let _one_at_a_time = self.shared.verifying.lock().await;
        let shared = Arc::clone(&self.shared);
        let listed = disk::blocking(move || shared.cache.sums.layers()).await;
        let mut verified = Verified::default();
        for layer in listed.map_err(|source| Error::Cache { source: source.into() })? {
            let (shared, name) = (Arc::clone(&self.shared), layer.clone());
            let checked = disk::blocking(move || shared.cache.sums.check(&name, Look::Contents)).await;
            match checked {
                Ok(outline) => {
                    let bytes = outline.map_or(0, |outline| outline.bytes);
                    verified.size = ByteSize::bytes(verified.size.as_u64().saturating_add(bytes));
                }
                // It was cleared away meanwhile.
                Err(_) if !self.shared.options.layers_dir().join(&layer).exists() => continue,
                Err(damaged) => {
                    let (shared, found) = (Arc::clone(&self.shared), damaged.clone());
                    disk::blocking(move || shared.cache.sums.set_aside(&found)).await;
                    verified.damaged.push(damaged);
                }
            }
            verified.layers += 1;
        }
        Ok(verified)
    }
}

/// There from the start of a server to its orderly end.
const RUNNING: &str = "layers-in-use";

/// Enters that a server runs; whether the one before it left in order. Blocks on files.
pub(crate) fn enter(options: &NodeOptions) -> Result<bool, disk::Error> {
    let mark = options.state_dir.join(RUNNING);
    let in_order = !mark.exists();
    disk::write_json(&mark, &std::process::id())?;
    Ok(in_order)
}

/// The opposite. Blocks on files.
pub(crate) fn leave(options: &NodeOptions) {
    // Left there, it only makes the next start look once more.
    let _ = disk::remove_file(&options.state_dir.join(RUNNING));
}

/// Looks in the background at the layers that templates stand on.
pub(crate) fn after_a_crash(shared: &Arc<Shared>) {
    let span = tracing::info_span!("verify layers");
    let work = {
        let shared = Arc::clone(shared);
        async move {
            for layer in shared.templates.layers() {
                if shared.tasks.leave().is_cancelled() {
                    return;
                }
                let shared = Arc::clone(&shared);
                disk::blocking(move || shared.cache.sums.is_sound(&layer)).await;
            }
        }
    };
    shared.tasks.spawn(span, work, || async {});
}
