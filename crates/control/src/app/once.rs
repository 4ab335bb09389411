//! Creates with an idempotency key happen at most once.
//!
//! A key leads to a sandbox id from before the first effect. Asked again, that
//! sandbox tells the outcome: it lives (the same answer), has ended (and says
//! why), or is still starting. A create that failed was undone, so it gives its
//! key back and may be tried again.

use store::Claim;

use super::read::Live;
use super::{App, Error};

/// What makes a create happen once: the client's key and what came with it.
#[derive(Debug, Clone)]
pub(crate) struct Once {
    pub(crate) key: String,
    /// Tells one request from another.
    pub(crate) request: String,
}

/// What a key turned out to be.
pub(super) enum Claimed {
    /// Ours: the create goes on.
    New(Claim),
    /// An earlier create has led to this.
    Earlier(Box<Live>),
}

impl App {
    /// Takes the key into use for a sandbox that is marked as in flight.
    pub(super) async fn claim(&self, once: &Once, row: &store::Sandbox) -> Result<Claimed, Error> {
        let claim = Claim {
            team_id: row.team_id,
            key: once.key.clone(),
            request_hash: super::token::sha256(once.request.as_bytes()),
            sandbox_id: row.sandbox_id.clone(),
            created_at: self.options().clock.now(),
        };
        // Twice at most: the second time after a claim that came to nothing is gone.
        for _ in 0..2 {
            let Some(earlier) = self.store().claim(&claim).await? else { return Ok(Claimed::New(claim)) };
            if earlier.request_hash != claim.request_hash {
                return Err(Error::KeyOfAnotherRequest(once.key.clone()));
            }
            match self.outcome(&earlier).await? {
                Some(live) => return Ok(Claimed::Earlier(Box::new(live))),
                None => self.store().release(&earlier).await?,
            }
        }
        Err(Error::KeyInProgress(once.key.clone()))
    }

    /// What came of an earlier create; `None` if nothing did.
    async fn outcome(&self, earlier: &Claim) -> Result<Option<Live>, Error> {
        let id = &earlier.sandbox_id;
        if self.is_in_flight(id) {
            return Err(Error::KeyInProgress(earlier.key.clone()));
        }
        match self.store().sandbox(id).await? {
            Some(row) if row.intent == store::Intent::Starting => {
                Err(Error::KeyOutcomeUnknown(earlier.key.clone()))
            }
            Some(row) => match self.node().get(id) {
                Some(observation) => Ok(Some(Live { token: self.token_of(&row), row, observation })),
                None => Err(self.gone(id)),
            },
            None => match self.store().record(id).await? {
                Some(record) => Err(Error::SandboxEnded {
                    sandbox_id: id.clone(),
                    cause: record.cause,
                    ended_at: record.ended_at,
                }),
                None => Ok(None),
            },
        }
    }

    /// Gives the key of a failed create back.
    pub(super) async fn unclaim(&self, claim: &Claim) {
        if let Err(error) = self.store().release(claim).await {
            tracing::error!(error = &error as &dyn std::error::Error, "an idempotency key was not released");
        }
    }
}
