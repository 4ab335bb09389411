//! Many things at once, a bounded number at a time.

use futures_util::{StreamExt as _, stream};

/// Runs futures, at most `limit` (at least 1) at a time; the results come in
/// their order. Dropping the future drops those under way and starts no more.
pub async fn run_all<F: Future>(limit: usize, tasks: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    stream::iter(tasks).buffered(limit.max(1)).collect().await
}
