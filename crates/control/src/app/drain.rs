//! A node that its operator has drained: what runs there runs on and can be
//! paused, killed and reached; creates, forks, resumes and template builds are
//! refused, until the operator takes it back, over any restart.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::OnceCell;

use super::{App, Error};

/// Whether the node is drained, once the store was asked.
#[derive(Debug, Default)]
pub(super) struct Drained(OnceCell<AtomicBool>);

impl App {
    /// Drains the node, or takes it back. Safe twice.
    pub(crate) async fn set_drained(&self, is_drained: bool) -> Result<(), Error> {
        // Read before it is written, so that a reader under way cannot put the old value back.
        let known = self.drained().await?;
        let node_id = &self.options().node_id;
        if is_drained {
            self.store().drain(node_id, self.options().clock.now()).await?;
        } else {
            self.store().undrain(node_id).await?;
        }
        if known.swap(is_drained, Ordering::Relaxed) != is_drained {
            tracing::info!(%node_id, is_drained, "the operator set the node");
        }
        Ok(())
    }

    /// Whether it is drained now.
    pub(crate) async fn is_drained(&self) -> Result<bool, Error> {
        Ok(self.drained().await?.load(Ordering::Relaxed))
    }

    /// Lets nothing new onto a drained node.
    pub(super) async fn refuse_if_drained(&self) -> Result<(), Error> {
        if self.is_drained().await? { Err(Error::Drained) } else { Ok(()) }
    }

    async fn drained(&self) -> Result<&AtomicBool, Error> {
        let read = async || Ok(AtomicBool::new(self.store().is_drained(&self.options().node_id).await?));
        self.0.drained.0.get_or_try_init(read).await
    }
}
