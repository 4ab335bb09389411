//! The caller's word that a sandbox may begin.
//!
//! A place is booked and the first record written while the caller still writes
//! down that the sandbox is wanted. Nothing else is done before the word comes,
//! and nothing stays if it never does.

use tokio::sync::watch;

/// Gives the word. Dropped without that, it takes the create back.
#[derive(Debug)]
pub struct Approver(watch::Sender<bool>);

/// Waits for the word.
#[derive(Debug, Clone)]
pub struct Approval(watch::Receiver<bool>);

impl Approver {
    /// One, and what waits for it.
    pub fn new() -> (Self, Approval) {
        let (word, awaited) = watch::channel(false);
        (Self(word), Approval(awaited))
    }

    /// The sandbox may begin.
    pub fn approve(self) {
        self.0.send_replace(true);
    }
}

impl Approval {
    /// For a sandbox that nothing has to be written down for.
    pub fn given() -> Self {
        let (approver, approval) = Approver::new();
        approver.approve();
        approval
    }

    /// Waits until the sandbox may begin; `false` if it never will.
    pub async fn is_given(&mut self) -> bool {
        self.0.wait_for(|word| *word).await.is_ok()
    }
}
