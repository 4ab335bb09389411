//! Nodes that the operator has drained. One without a row takes sandboxes.

use model::Timestamp;

use crate::writer::Written as _;
use crate::{Error, Store};

impl Store {
    /// Whether a node is drained.
    pub async fn is_drained(&self, node_id: &str) -> Result<bool, Error> {
        let row = sqlx::query("SELECT 1 FROM drained_nodes WHERE node_id = $1")
            .bind(node_id)
            .fetch_optional(&self.read)
            .await
            .map_err(Error::query("reading whether a node is drained"))?;
        Ok(row.is_some())
    }

    /// Drains a node. Safe twice; the first moment stays.
    pub async fn drain(&self, node_id: &str, at: Timestamp) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO drained_nodes (node_id, drained_at) VALUES ($1, $2) ON CONFLICT (node_id) DO NOTHING",
        )
        .bind(node_id)
        .bind(at.unix_micros())
        .store_by(&self.write)
        .await
        .map_err(Error::query("draining a node"))?;
        Ok(())
    }

    /// Lets a node take sandboxes again. Safe twice.
    pub async fn undrain(&self, node_id: &str) -> Result<(), Error> {
        sqlx::query("DELETE FROM drained_nodes WHERE node_id = $1")
            .bind(node_id)
            .store_by(&self.write)
            .await
            .map_err(Error::query("letting a node take sandboxes again"))?;
        Ok(())
    }
}
