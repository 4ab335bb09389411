//! How the files of two snapshots differ.

use model::TemplateRef;
use node::{DiffError, DiffPage, DiffRequest};

use super::{App, Caller, Error};

impl App {
    /// One page of the paths that differ between two snapshots of the caller's.
    pub(crate) async fn diff(
        &self,
        caller: &Caller,
        from: &TemplateRef,
        to: &TemplateRef,
        page: DiffRequest,
    ) -> Result<DiffPage, Error> {
        let first = self.snapshot_of(caller, from).await?.build.build_id;
        let second = self.snapshot_of(caller, to).await?.build.build_id;
        let compared = self.node().diff(first, second, page).await;
        compared.map_err(|error| match error {
            // The directory is the sandbox's doing, and nothing of ours failed.
            node::Error::Incomparable(
                refused @ (DiffError::TooManyNames { .. } | DiffError::TooDeep { .. }),
            ) => Error::Refused(format!("the snapshots cannot be compared: {refused}")),
            // Deleted between its row and its files.
            node::Error::UnknownBuild(build) => {
                let id = if build == first { from } else { to }.to_string();
                Error::NoSuch { what: "snapshot", id }
            }
            other => Error::of_node(other),
        })
    }
}
