//! Webhooks: who is told, and the telling.
//!
//! ```text
//! due ── posted ──▶ (gone)
//!  │ ▲
//!  │ └── failed: again after 10, 20, 40 s
//!  └──── failed for the fourth time ──▶ kept as undeliverable, with the reason
//! ```
//!
//! A message is delivered at least once: a server that dies between the post and
//! the note of it posts again, under the same delivery id.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use model::{KeyId, TeamId};
use store::{Delivery, Event, EventKind, Undelivered, Webhook};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::target::{self, Guarded};
use super::{App, Caller, Error, random, token};

/// Waits before the second, third and fourth attempt.
const WAITS: [Duration; 3] = [Duration::from_secs(10), Duration::from_secs(20), Duration::from_secs(40)];
/// One attempt.
const LIMIT: Duration = Duration::from_secs(10);
/// Messages under way at a time.
const AT_A_TIME: usize = 16;
const BATCH: i64 = 64;
/// Without a bell, deliveries are looked for so often.
const LOOK: Duration = Duration::from_secs(1);
/// As much of an answer is read, so that its connection can be used again.
const ANSWER: usize = 64 << 10;
const MOST_WEBHOOKS: usize = 50;

type Poster = Client<HttpsConnector<HttpConnector<Guarded>>, Full<Bytes>>;

/// Rings when there may be something to deliver.
#[derive(Debug, Default)]
pub(super) struct Bell(Notify);

/// A webhook as it is wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) name: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) enabled: Option<bool>,
    pub(crate) events: Option<Vec<EventKind>>,
    pub(crate) secret: Option<String>,
}

impl Wanted {
    /// Changes what is given, and refuses what nobody could be told by.
    fn apply(self, webhook: &mut Webhook) -> Result<(), Error> {
        let Self { name, url, enabled, events, secret } = self;
        webhook.name = name.unwrap_or_else(|| std::mem::take(&mut webhook.name));
        webhook.url = url.unwrap_or_else(|| std::mem::take(&mut webhook.url));
        webhook.enabled = enabled.unwrap_or(webhook.enabled);
        webhook.events = events.unwrap_or_else(|| std::mem::take(&mut webhook.events));
        webhook.secret = secret.unwrap_or_else(|| std::mem::take(&mut webhook.secret));
        let refused = |text: &str| Err(Error::Refused(format!("validation error: {text}")));
        if !(1..=128).contains(&webhook.name.trim().chars().count()) {
            return refused("name must have 1 to 128 characters");
        }
        let is_url = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
        if webhook.url.len() > 2048 || !webhook.url.parse::<Uri>().is_ok_and(|uri| is_url(&uri)) {
            return refused("url must be an http or https URL");
        }
        if webhook.events.is_empty() {
            return refused("events must name at least one type");
        }
        if !(1..=512).contains(&webhook.secret.len()) {
            return refused("signatureSecret must have 1 to 512 bytes");
        }
        Ok(())
    }
}

impl App {
    /// Told at once where it can be; a name is judged whenever it is posted to.
    fn check_target(&self, webhook: &Webhook) -> Result<(), Error> {
        let leads_out = webhook.url.parse().is_ok_and(|uri| self.may_post_to(&uri));
        let refused = || Error::Refused(format!("validation error: url is refused: {}", target::REFUSED));
        if leads_out { Ok(()) } else { Err(refused()) }
    }

    /// Makes a webhook.
    pub(crate) async fn make_webhook(&self, caller: &Caller, wanted: Wanted) -> Result<Webhook, Error> {
        let team_id = caller.team.team_id;
        if self.store().webhooks(team_id).await?.len() >= MOST_WEBHOOKS {
            return Err(Error::Refused(format!("a team has at most {MOST_WEBHOOKS} webhooks")));
        }
        let mut webhook = Webhook {
            webhook_id: KeyId::from_random(random()),
            team_id,
            name: String::new(),
            url: String::new(),
            enabled: true,
            events: Vec::new(),
            secret: String::new(),
            created_at: self.options().clock.now(),
        };
        wanted.apply(&mut webhook)?;
        self.check_target(&webhook)?;
        self.store().put_webhook(&webhook).await?;
        Ok(webhook)
    }

    /// The webhooks of the caller's team.
    pub(crate) async fn webhooks(&self, caller: &Caller) -> Result<Vec<Webhook>, Error> {
        Ok(self.store().webhooks(caller.team.team_id).await?)
    }

    /// One of them.
    pub(crate) async fn webhook(&self, team_id: TeamId, id: KeyId) -> Result<Webhook, Error> {
        let mut all = self.store().webhooks(team_id).await?.into_iter();
        all.find(|webhook| webhook.webhook_id == id).ok_or_else(|| no_webhook(id))
    }

    /// Changes one of them.
    pub(crate) async fn change_webhook(
        &self,
        caller: &Caller,
        id: KeyId,
        wanted: Wanted,
    ) -> Result<Webhook, Error> {
        let mut webhook = self.webhook(caller.team.team_id, id).await?;
        wanted.apply(&mut webhook)?;
        self.check_target(&webhook)?;
        self.store().put_webhook(&webhook).await?;
        Ok(webhook)
    }

    /// Removes one of them.
    pub(crate) async fn remove_webhook(&self, caller: &Caller, id: KeyId) -> Result<(), Error> {
        let removed = self.store().remove_webhook(caller.team.team_id, id).await?;
        if removed { Ok(()) } else { Err(no_webhook(id)) }
    }

    /// What one of them has not got.
    pub(crate) async fn undelivered(&self, caller: &Caller, id: KeyId) -> Result<Vec<Undelivered>, Error> {
        let webhook = self.webhook(caller.team.team_id, id).await?;
        Ok(self.store().undelivered(webhook.webhook_id).await?)
    }

    /// There may be something to deliver. Without anybody to tell, each create
    /// would have the database asked beside its own work.
    pub(super) fn wake_deliveries(&self) {
        if self.store().may_have_deliveries() {
            self.0.bell.0.notify_one();
        }
    }

    /// Delivers what is due until `stop`.
    pub(super) async fn deliver_until(&self, stop: &CancellationToken) {
        let mut poster = None;
        loop {
            let delivered = stop.run_until_cancelled(self.deliver_due(&mut poster)).await;
            match delivered {
                None => return,
                // There may be more.
                Some(Ok(count)) if count > 0 => continue,
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "deliveries were not made, to be tried again");
                }
            }
            let bell = tokio::time::timeout(LOOK, self.0.bell.0.notified());
            if stop.run_until_cancelled(bell).await.is_none() {
                return;
            }
        }
    }

    async fn deliver_due(&self, poster: &mut Option<Poster>) -> Result<usize, Error> {
        let due = self.store().due_deliveries(self.options().clock.now(), BATCH).await?;
        let count = due.len();
        if count == 0 {
            return Ok(0);
        }
        // Reading the system's authorities takes a while: only where it is of use.
        let poster = match poster {
            Some(poster) => poster,
            None => poster.insert(open(self.options().private_webhooks)?),
        };
        let poster = &*poster;
        let mut work =
            futures_util::stream::iter(due).map(|one| self.deliver(poster, one)).buffer_unordered(AT_A_TIME);
        let mut outcome = Ok(count);
        while let Some(done) = work.next().await {
            outcome = outcome.and_then(|count| done.map(|()| count));
        }
        outcome
    }

    /// Addresses that are named outright; those behind names are judged as they are found.
    fn may_post_to(&self, uri: &Uri) -> bool {
        self.options().private_webhooks || target::literal(uri).is_none_or(target::is_public)
    }

    async fn deliver(&self, poster: &Poster, delivery: Delivery) -> Result<(), Error> {
        let attempt = match message(&delivery) {
            Ok(request) if !self.may_post_to(request.uri()) => Ok(Err(target::REFUSED.to_owned())),
            Ok(request) => tokio::time::timeout(LIMIT, post(poster, request)).await,
            Err(error) => Ok(Err(error.to_string())),
        };
        let error = match attempt {
            Ok(Ok(())) => return Ok(self.store().delivered(&delivery).await?),
            Ok(Err(error)) => error,
            Err(_) => format!("no answer within {} s", LIMIT.as_secs()),
        };
        let wait = usize::try_from(delivery.attempts).ok().and_then(|n| WAITS.get(n));
        let due_at = wait.map(|wait| self.options().clock.now() + *wait);
        let webhook_id = delivery.webhook.webhook_id;
        tracing::debug!(%webhook_id, error, again = due_at.is_some(), "an event was not delivered");
        let error: String = error.chars().take(512).collect();
        Ok(self.store().not_delivered(&delivery, &error, due_at).await?)
    }
}

fn no_webhook(id: KeyId) -> Error {
    Error::NoSuch { what: "webhook", id: id.to_string() }
}

/// Redirects are not followed: they could lead where nobody meant to post.
fn open(private_too: bool) -> Result<Poster, Error> {
    let tls = HttpsConnectorBuilder::new().with_native_roots().map_err(Error::Authorities)?;
    let mut http = HttpConnector::new_with_resolver(Guarded { private_too });
    http.enforce_http(false);
    Ok(Client::builder(TokioExecutor::new()).build(tls.https_or_http().enable_http1().wrap_connector(http)))
}

fn message(delivery: &Delivery) -> Result<Request<Full<Bytes>>, http::Error> {
    let body = told(&delivery.event, "v2");
    let body = serde_json::to_vec(&body).expect("an event is JSON");
    let id = format!("{}-{}", delivery.event.event_id, delivery.webhook.webhook_id);
    Request::post(&delivery.webhook.url)
        .header("content-type", "application/json")
        .header("user-agent", concat!("warren/", env!("CARGO_PKG_VERSION")))
        .header("e2b-webhook-id", delivery.webhook.webhook_id.to_string())
        .header("e2b-delivery-id", id)
        .header("e2b-signature-version", "v1")
        .header("e2b-signature", signature(&delivery.webhook.secret, &body))
        .body(Full::new(body.into()))
}

/// A plain hash over secret and body, as receivers of the protocol expect.
fn signature(secret: &str, body: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(token::digest(&[secret.as_bytes(), body].concat()))
}

async fn post(poster: &Poster, request: Request<Full<Bytes>>) -> Result<(), String> {
    let response = poster.request(request).await.map_err(|error| {
        let first: &dyn std::error::Error = &error;
        let chain = std::iter::successors(Some(first), |error| error.source());
        chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    })?;
    let status = response.status();
    // An answer that is too long costs its connection, no more.
    let _ = Limited::new(response.into_body(), ANSWER).collect().await;
    if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
}

/// An event in the protocol's words.
pub(crate) fn told(event: &Event, version: &str) -> wire::rest::SandboxEvent {
    wire::rest::SandboxEvent {
        version: version.to_owned(),
        id: event.event_id.to_string(),
        kind: event.kind.as_str().to_owned(),
        event_data: event.data.as_deref().and_then(|json| serde_json::from_str(json).ok()),
        sandbox_build_id: event.build_id.to_string(),
        sandbox_execution_id: event.execution_id.clone(),
        sandbox_id: event.sandbox_id.to_string(),
        sandbox_team_id: event.team_id.to_string(),
        sandbox_template_id: event.template_id.to_string(),
        timestamp: wire::rest::Rfc3339::from_unix_micros(event.happened_at.unix_micros()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_signature_that_receivers_compute() {
        // printf %s 'secret{}' | openssl dgst -sha256 -binary | basenc --base64url
        assert_eq!(signature("secret", b"{}"), include_str!("../../tests/data/signature.txt").trim());
    }
}
