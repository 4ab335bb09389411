//! Speaks with the daemon inside over its control socket: `POST /init`,
//! `POST /rest`, `GET /status`, `GET /logs`.
//!
//! The guest is hostile: each call is bounded in time, each answer in size, and
//! what it says is only ever parsed into [`Status`] and [`LogPage`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use runtime::{Dial, DialError};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use wire::control::{Init, LogPage, OomVictim, Status};

use crate::disk;

/// No answer is longer.
const ANSWER_LIMIT: usize = 64 * 1024;
/// But that of its journal.
const LOGS_LIMIT: usize = 512 * 1024;
/// Waits between attempts while the daemon is not up yet; the last repeats.
const RETRY_MICROS: [u64; 6] = [200, 500, 1000, 2000, 5000, 10_000];

/// The daemon did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("connecting to the daemon")]
    Dial(#[from] DialError),
    #[error("exchanging HTTP with the daemon")]
    Http(#[from] hyper::Error),
    #[error("the daemon answered {status}: {text}")]
    Status { status: StatusCode, text: String },
    #[error("the daemon's answer cannot be read: {0}")]
    Answer(String),
    #[error("the daemon did not answer within {0:?}")]
    Timeout(Duration),
}

impl CallError {
    /// Whether the daemon may simply not be up yet.
    fn is_early(&self) -> bool {
        matches!(self, Self::Dial(DialError::Refused(_) | DialError::Io { .. }) | Self::Http(_))
    }
}

/// The daemon of one sandbox.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    dial: Arc<dyn Dial>,
}

impl Guest {
    pub(crate) fn new(dial: Arc<dyn Dial>) -> Self {
        Self { dial }
    }

    /// Tells the daemon what it has to know; waits, within `limit`, until it is
    /// up and has answered. Dropping this future leaves nothing behind.
    pub(crate) async fn init(&self, init: &Init, limit: Duration) -> Result<Status, CallError> {
        let body = serde_json::to_vec(init).map_err(|e| CallError::Answer(e.to_string()))?;
        let body = Bytes::from(body);
        let started = Instant::now();
        let attempts = async {
            let mut waits = RETRY_MICROS.iter().chain(std::iter::repeat(&RETRY_MICROS[5]));
            loop {
                match self.call(Method::POST, "/init", body.clone()).await {
                    Err(e) if e.is_early() => pause(waits.next().copied().unwrap_or_default()).await,
                    result => return result,
                }
            }
        };
        let result = tokio::time::timeout(limit, attempts).await;
        tracing::debug!(elapsed_us = started.elapsed().as_micros(), "init answered");
        result.unwrap_or(Err(CallError::Timeout(limit)))
    }

    /// Waits, within `limit`, until the interpreter's default context is ready.
    pub(crate) async fn interpreter_ready(&self, limit: Duration) -> Result<(), CallError> {
        let attempts = async {
            while self.call(Method::GET, "/status", Bytes::new()).await?.interpreter_ready == Some(false) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(())
        };
        tokio::time::timeout(limit, attempts).await.unwrap_or(Err(CallError::Timeout(limit)))
    }

    /// Whether the daemon answers within `limit`.
    pub(crate) async fn answers(&self, limit: Duration) -> bool {
        let call = self.call(Method::GET, "/status", Bytes::new());
        tokio::time::timeout(limit, call).await.is_ok_and(|answer| answer.is_ok())
    }

    /// Has it end what it can make again, before it is written down. Whether it
    /// answers within `limit`; one of an older server knows no rest, and answers too.
    pub(crate) async fn rests(&self, limit: Duration) -> bool {
        let call = self.call(Method::POST, "/rest", Bytes::new());
        let answer = tokio::time::timeout(limit, call).await;
        answer.is_ok_and(|answer| matches!(answer, Ok(_) | Err(CallError::Status { .. })))
    }

    /// Whom it saw end for want of memory; nobody, if it does not answer within `limit`.
    pub(crate) async fn oom_victims(&self, limit: Duration) -> Vec<OomVictim> {
        let call = self.call(Method::GET, "/status", Bytes::new());
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(status)) => status.oom_victims,
            Ok(Err(_)) | Err(_) => Vec::new(),
        }
    }

    /// The entries of its journal from a number on, within `limit`. A daemon that
    /// keeps none has none.
    pub(crate) async fn logs(&self, from: u64, limit: Duration) -> Result<LogPage, CallError> {
        let path = format!("/logs?from={from}");
        let answer = tokio::time::timeout(limit, self.exchange(Method::GET, &path, Bytes::new(), LOGS_LIMIT));
        match answer.await {
            Ok(Ok((status, _))) if status == StatusCode::NOT_FOUND => Ok(LogPage::default()),
            Ok(Ok((status, body))) => read_answer(status, &body),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(CallError::Timeout(limit)),
        }
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Status, CallError> {
        let (status, body) = self.exchange(method, path, body, ANSWER_LIMIT).await?;
        read_answer(status, &body)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: usize,
    ) -> Result<(StatusCode, Bytes), CallError> {
        let stream = TokioIo::new(self.dial.dial_control().await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, "control")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|e| CallError::Answer(e.to_string()))?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), limit).collect().await;
            let body = body.map_err(|e| CallError::Answer(e.to_string()))?.to_bytes();
            Ok((status, body))
        };
        // Both are driven here, so that nothing runs on when this future is dropped.
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            biased;
            result = exchange.as_mut() => return result,
            ended = connection => ended?,
        }
        // The connection is done and has handed over all it had.
        exchange.await
    }
}

fn read_answer<T: DeserializeOwned + Default>(status: StatusCode, body: &[u8]) -> Result<T, CallError> {
    if !status.is_success() {
        let text = String::from_utf8_lossy(&body[..body.len().min(512)]).into_owned();
        return Err(CallError::Status { status, text });
    }
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|e| CallError::Answer(e.to_string()))
}

/// Waits this long. The runtime's timer counts in milliseconds; shorter waits
/// sleep on a thread, else each of them would cost a whole one.
async fn pause(micros: u64) {
    let wait = Duration::from_micros(micros);
    if wait < Duration::from_millis(2) {
        disk::blocking(move || std::thread::sleep(wait)).await;
    } else {
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use runtime::sim;
    use wire::control;

    // `runtime` does not know `wire`, so what its simulation repeats is compared here.
    #[test]
    fn the_simulated_guest_says_and_listens_as_the_real_one() {
        assert_eq!(sim::ENVD_VERSION, control::ENVD_VERSION);
        assert_eq!(sim::ENVD_PORT, control::ENVD_PORT);
        assert_eq!(sim::INTERPRETER_PORT, control::INTERPRETER_PORT);
    }
}
