//! A WebSocket, or whatever else a client and a sandbox agreed to upgrade to.

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::client::Traffic;
use crate::upstream::Lease;

/// Copies both ways until both sides finished, one broke, or the sandbox ended;
/// the last resets the client's connection.
pub(crate) async fn carry(client: OnUpgrade, sandbox: OnUpgrade, lease: Lease, traffic: Arc<Traffic>) {
    let ended = lease.upstream.route().ended.clone();
    let copy = async {
        let (client, sandbox) = tokio::try_join!(client, sandbox)?;
        let (mut client, mut sandbox) = (TokioIo::new(client), TokioIo::new(sandbox));
        let copied = tokio::io::copy_bidirectional(&mut client, &mut sandbox).await;
        if copied.is_err() {
            // While `client` still lives: its drop decides how the connection closes.
            traffic.reset_on_drop();
        }
        Ok::<_, hyper::Error>(copied)
    };
    tokio::pin!(copy);
    tokio::select! {
        outcome = &mut copy => tracing::trace!(?outcome, "a tunnel closed"),
        // `copy` holds the client's connection and is dropped after this.
        () = ended.cancelled() => traffic.reset_on_drop(),
    }
}
