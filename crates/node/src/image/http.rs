//! The HTTP side of a registry: bounded answers, deadlines, redirections.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(10);
/// Until an answer begins.
const ANSWER: Duration = Duration::from_mins(1);
/// Until a short answer is read.
const WHOLE: Duration = Duration::from_mins(1);
/// Most redirections of one request.
const MOST_HOPS: usize = 5;

/// No answer came.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// No connection came about.
    #[error("no connection to {0}")]
    Connect(String, #[source] hyper_util::client::legacy::Error),
    /// The connection broke.
    #[error("the connection to {0} broke")]
    Broken(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// It took too long.
    #[error("{0} did not answer in time")]
    Late(String),
    /// The other side wants something that we do not do.
    #[error("{0}")]
    Refused(String),
}

/// A request without its method, which is GET unless a body is given.
#[derive(Debug, Clone, Default)]
pub(super) struct Ask {
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
}

/// Connections to registries.
#[derive(Debug)]
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Hosts that are spoken to without TLS.
    plain: Vec<String>,
}

impl Http {
    pub(super) fn new(plain: Vec<String>) -> std::io::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector), plain })
    }

    /// `https`, unless the host is known to speak without TLS.
    pub(super) fn scheme(&self, host: &str) -> &'static str {
        if self.plain.iter().any(|plain| plain == host) { "http" } else { "https" }
    }

    /// Asks, and follows redirections. Credentials go to the first host only, and
    /// nothing to a host that wants no TLS and is not known for it.
    pub(super) async fn ask(&self, url: &str, mut ask: Ask) -> Result<Response<Incoming>, NoAnswer> {
        let mut uri = parse(url)?;
        for _ in 0..=MOST_HOPS {
            let answer = self.ask_once(&uri, &ask).await?;
            let Some(to) = answer.headers().get(LOCATION).filter(|_| answer.status().is_redirection()) else {
                return Ok(answer);
            };
            let next = join(&uri, to)?;
            if next.authority() != uri.authority() {
                ask.headers.remove(AUTHORIZATION);
            }
            uri = next;
        }
        Err(NoAnswer::Refused(format!("{url} redirects more than {MOST_HOPS} times")))
    }

    async fn ask_once(&self, uri: &Uri, ask: &Ask) -> Result<Response<Incoming>, NoAnswer> {
        let host = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default().to_owned();
        if uri.scheme_str() != Some(self.scheme(&host)) && uri.scheme_str() != Some("https") {
            return Err(NoAnswer::Refused(format!(
                "{host} is to be spoken to without TLS, which images.plain_http does not allow"
            )));
        }
        let method = if ask.body.is_some() { Method::POST } else { Method::GET };
        let mut request = Request::new(Full::new(ask.body.clone().unwrap_or_default()));
        *request.method_mut() = method;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = ask.headers.clone();
        let agent = HeaderValue::from_static(concat!("warren/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        if let Ok(host) = HeaderValue::from_str(&host) {
            request.headers_mut().insert(HOST, host);
        }
        match tokio::time::timeout(ANSWER, self.client.request(request)).await {
            Err(_) => Err(NoAnswer::Late(host)),
            Ok(Err(e)) if e.is_connect() => Err(NoAnswer::Connect(host, e)),
            Ok(Err(e)) => Err(NoAnswer::Broken(host, e.into())),
            Ok(Ok(answer)) => Ok(answer),
        }
    }
}

/// Reads a short answer.
pub(super) async fn whole(answer: Response<Incoming>, most: usize) -> Result<Bytes, NoAnswer> {
    let host = "the registry".to_owned();
    match tokio::time::timeout(WHOLE, Limited::new(answer.into_body(), most).collect()).await {
        Err(_) => Err(NoAnswer::Late(host)),
        Ok(Err(e)) => Err(NoAnswer::Broken(host, e)),
        Ok(Ok(body)) => Ok(body.to_bytes()),
    }
}

fn parse(url: &str) -> Result<Uri, NoAnswer> {
    url.parse().map_err(|_| NoAnswer::Refused(format!("{url:?} is no URL")))
}

/// Where a redirection leads: another URL, or a path on the same host.
fn join(from: &Uri, to: &HeaderValue) -> Result<Uri, NoAnswer> {
    let to = to.to_str().map_err(|_| NoAnswer::Refused("a redirection is no text".to_owned()))?;
    if !to.starts_with('/') || to.starts_with("//") {
        return parse(to);
    }
    let (scheme, authority) = (from.scheme_str().unwrap_or("https"), from.authority());
    parse(&format!("{scheme}://{}{to}", authority.map(http::uri::Authority::as_str).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_is_read_in_both_forms() {
        let from: Uri = "http://a.example:5000/v2/".parse().unwrap();
        let join = |to: &'static str| join(&from, &HeaderValue::from_static(to)).unwrap().to_string();
        assert_eq!(join("/x?y=1"), "http://a.example:5000/x?y=1");
        assert_eq!(join("https://b.example/z"), "https://b.example/z");
    }
}
