//! How the files of two states differ. Of this server alone: E2B's own has no such call.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wire::rest::{self, ChangeKind, ChangedFile};

use super::{Sandbox, SnapshotMode};
use crate::http::query;
use crate::pages::Paginator;
use crate::{Config, Error};

/// A path that differs between two snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where, absolute, byte for byte: whoever works in a sandbox chooses names.
    pub path: PathBuf,
    /// How.
    pub kind: ChangeKind,
    /// What the first snapshot has there.
    pub before: Option<ChangedFile>,
    /// What the second has there.
    pub after: Option<ChangedFile>,
}

impl From<rest::Change> for Change {
    fn from(told: rest::Change) -> Self {
        let rest::Change { path, path_base64, change, before, after } = told;
        let bytes = path_base64.and_then(|text| STANDARD.decode(text).ok());
        let path = bytes.map_or_else(|| path.into(), |bytes| OsString::from_vec(bytes).into());
        Self { path, kind: change, before, after }
    }
}

impl Sandbox {
    /// The paths at which the files of two snapshots differ, page by page: each
    /// directory before what is in it. Kinds, permissions, owners and contents are
    /// compared; times are not.
    pub fn diff_snapshots(config: &Config, from: &str, to: &str) -> Paginator<Change> {
        let pairs = [("from", Some(from.to_owned())), ("to", Some(to.to_owned()))];
        let path = format!("/snapshots/diff{}", query(&pairs));
        Paginator::new::<rest::Change>(config, path, None, None)
    }

    /// What changed in its files since a snapshot, which may also be another
    /// sandbox's. It is kept (files alone) for the comparison and forgotten again;
    /// dropping the future may leave that snapshot behind.
    pub async fn changes_since(&self, snapshot_id: &str) -> Result<Vec<Change>, Error> {
        let now = self.create_snapshot_with(None, SnapshotMode::Filesystem).await?.snapshot_id;
        let changes = Self::diff_snapshots(&self.api.config, snapshot_id, &now).collect().await;
        let forgotten = Self::delete_snapshot(&self.api.config, &now).await;
        let changes = changes?;
        forgotten?;
        Ok(changes)
    }
}
