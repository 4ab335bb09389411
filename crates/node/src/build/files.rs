//! Uploaded archives: one file each, by team and by the hash that the client
//! gave its content. Clients of one language produce other bytes for the same
//! hash than those of another, so the hash is a name, not a checksum.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use model::TeamId;
use tokio::io::AsyncWriteExt as _;

use super::order::FilesHash;
use crate::handle::Handle;
use crate::{NodeOptions, disk};

/// Why an upload was not kept.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It is larger than allowed.
    #[error("the archive is larger than {0} bytes")]
    TooLarge(u64),
    /// It broke off, or is shorter than was said.
    #[error("the upload ended after {got} of {expected} bytes")]
    Short {
        /// What came.
        got: u64,
        /// What was said to come.
        expected: u64,
    },
    /// The client's side failed.
    #[error("the upload broke off")]
    Broken(#[source] io::Error),
    /// The host's disk failed.
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

/// The file of an upload.
pub(super) fn path(options: &NodeOptions, team_id: TeamId, hash: &FilesHash) -> PathBuf {
    options.bulk_dir.join("uploads").join(team_id.to_string()).join(hash.as_str())
}

impl Handle {
    /// Whether the team uploaded files of this hash.
    pub async fn has_files(&self, team_id: TeamId, hash: &FilesHash) -> bool {
        let path = path(&self.shared.options, team_id, hash);
        disk::blocking(move || path.is_file()).await
    }

    /// Keeps an upload, in the place of an earlier one of this hash; whole or not
    /// at all. Dropping the future keeps nothing.
    pub async fn receive_files(
        &self,
        team_id: TeamId,
        hash: &FilesHash,
        expected: Option<u64>,
        content: impl Stream<Item = io::Result<Bytes>> + Send,
    ) -> Result<(), UploadError> {
        let to = path(&self.shared.options, team_id, hash);
        let aside = to.with_file_name(format!(".{}", uuid::Uuid::new_v4()));
        let dir = to.parent().unwrap_or(&to).to_owned();
        disk::blocking(move || disk::ensure_dir(&dir)).await?;
        let guard = Aside(aside.clone());
        let got = write(&aside, content, self.shared.options.limits.upload_bytes).await?;
        if let Some(expected) = expected.filter(|expected| *expected != got) {
            return Err(UploadError::Short { got, expected });
        }
        tokio::fs::rename(&aside, &to).await.map_err(disk::error("naming", &to))?;
        drop(guard);
        Ok(())
    }
}

async fn write(
    path: &Path,
    content: impl Stream<Item = io::Result<Bytes>> + Send,
    most: u64,
) -> Result<u64, UploadError> {
    let failed = || disk::error("writing", path);
    let mut file = tokio::fs::File::create(path).await.map_err(failed())?;
    let mut content = std::pin::pin!(content);
    let mut got = 0;
    while let Some(piece) = content.next().await {
        let piece = piece.map_err(UploadError::Broken)?;
        got += piece.len() as u64;
        if got > most {
            return Err(UploadError::TooLarge(most));
        }
        file.write_all(&piece).await.map_err(failed())?;
    }
    file.flush().await.map_err(failed())?;
    Ok(got)
}

/// Removes an upload that came to nothing.
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        // Renamed already, or never made.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Removes what uploads under way at a kill left. Blocks on files.
pub(crate) fn clean(options: &NodeOptions) -> Result<(), disk::Error> {
    let dir = options.bulk_dir.join("uploads");
    disk::ensure_dir(&dir)?;
    for team in disk::list_dir(&dir)? {
        for file in disk::list_dir(&team)? {
            if file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
                disk::remove_file(&file)?;
            }
        }
    }
    Ok(())
}
