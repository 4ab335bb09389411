//! Spans of traces, which exist only where the operator collects them: their
//! target is enabled by nothing else, and a disabled span costs a comparison.

use tracing::{Instrument as _, Span};

/// Runs a future as a span that ends with it, even where others still hold the
/// span as their parent. Dropping the future drops the work.
pub(crate) async fn traced<T>(span: Span, work: impl Future<Output = T>) -> T {
    let outcome = work.instrument(span.clone()).await;
    span.in_scope(|| tracing::info!(target: "warren_trace", "done"));
    outcome
}
