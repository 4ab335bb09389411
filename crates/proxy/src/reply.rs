//! The proxy's own answers, word for word what clients match on.
//!
//! JSON for programs, a small page for a person's browser. Every one carries
//! CORS headers: a browser client must be able to read why it failed.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use model::SandboxId;
use serde::Serialize;

use crate::target::BadTarget;

/// Why the proxy answers itself.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Unknown, ended or paused; the text, if any, says when and why it ended.
    NotFound(Option<String>),
    /// It runs, but nothing listens on the port.
    PortClosed,
    /// The port took the connection and gave no answer to the request.
    NoAnswer,
    /// Waking it took too long.
    Transitioning,
    /// It sleeps, and the token that came along does not fit.
    WakeDenied,
    /// It sleeps, and its team has as many running as it may.
    WakeLimit,
    /// More requests at once than one sandbox may have.
    TooMany(usize),
    /// A route of the daemon that is for the control plane alone.
    Internal(String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox_id: Option<&'a str>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_limit: Option<usize>,
    code: u16,
}

impl Refusal {
    /// What each kind is called where it is counted, in the order of [`Self::index`].
    pub(crate) const NAMES: [&'static str; 8] = [
        "not_found",
        "port_closed",
        "no_answer",
        "transitioning",
        "wake_denied",
        "wake_limit",
        "too_many",
        "internal",
    ];

    pub(crate) fn index(&self) -> usize {
        match self {
            Self::NotFound(_) => 0,
            Self::PortClosed => 1,
            Self::NoAnswer => 2,
            Self::Transitioning => 3,
            Self::WakeDenied => 4,
            Self::WakeLimit => 5,
            Self::TooMany(_) => 6,
            Self::Internal(_) => 7,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) | Self::PortClosed | Self::NoAnswer => StatusCode::BAD_GATEWAY,
            Self::Transitioning => StatusCode::CONFLICT,
            Self::WakeDenied => StatusCode::FORBIDDEN,
            Self::TooMany(_) | Self::WakeLimit => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal(_) => StatusCode::NOT_FOUND,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::NotFound(None) => "The sandbox was not found".to_owned(),
            Self::NotFound(Some(why)) => format!("The sandbox was not found: {why}"),
            Self::PortClosed => "The sandbox is running but port is not open".to_owned(),
            Self::NoAnswer => "The sandbox closed the connection before it answered".to_owned(),
            Self::Transitioning => "The sandbox is still transitioning. Try again in a moment.".to_owned(),
            Self::WakeDenied => {
                "This sandbox can't be resumed with the credentials provided. Check your access \
                                 token and try again."
                    .to_owned()
            }
            Self::WakeLimit => "Sandbox limit reached".to_owned(),
            Self::TooMany(limit) => {
                format!("The sandbox has too many concurrent incoming connections (limit: {limit})")
            }
            Self::Internal(_) => "This endpoint is reserved for the E2B control plane and is not reachable \
                                  through the sandbox URL"
                .to_owned(),
        }
    }

    /// The answer to a request for this port of this sandbox.
    pub(crate) fn response(&self, sandbox_id: &SandboxId, port: u16, browser: bool) -> Response<Bytes> {
        let status = self.status();
        let internal = matches!(self, Self::Internal(_));
        let body = Body {
            sandbox_id: (!internal).then_some(sandbox_id.as_str()),
            message: self.message(),
            port: matches!(self, Self::PortClosed | Self::NoAnswer).then_some(port),
            path: if let Self::Internal(path) = self { Some(path) } else { None },
            connection_limit: if let Self::TooMany(limit) = self { Some(*limit) } else { None },
            code: status.as_u16(),
        };
        if browser && !internal {
            return own(status, "text/html; charset=utf-8", page(&body, port).into());
        }
        let json = serde_json::to_vec(&body).unwrap_or_default();
        own(status, "application/json; charset=utf-8", json.into())
    }
}

/// The plain-text answer to a request that means a sandbox but names none.
pub(crate) fn bad_target(error: BadTarget) -> Response<Bytes> {
    own(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", error.to_string().into())
}

/// The answer to a signed URL that no running sandbox signed.
pub(crate) fn unsigned() -> Response<Bytes> {
    let status = StatusCode::UNAUTHORIZED;
    let body = Bytes::from_static(b"{\"code\":401,\"message\":\"invalid signature\"}\n");
    own(status, "application/json; charset=utf-8", body)
}

/// A plain-text answer of the listener itself.
pub(crate) fn text(status: StatusCode, message: &'static str) -> Response<Bytes> {
    own(status, "text/plain; charset=utf-8", Bytes::from_static(message.as_bytes()))
}

fn own(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    for name in
        ["access-control-allow-origin", "access-control-allow-methods", "access-control-allow-headers"]
    {
        headers.insert(name, HeaderValue::from_static("*"));
    }
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    response
}

/// Nothing a stranger wrote stands in the page but the id, whose characters are
/// letters and digits, and the end record's own words, which are escaped.
fn page(body: &Body<'_>, port: u16) -> String {
    let message = body.message.replace('&', "&amp;").replace('<', "&lt;");
    let id = body.sandbox_id.unwrap_or_default();
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{code}</title></head>\
         <body style=\"font-family:sans-serif;margin:4rem auto;max-width:40rem\"><h1>{message}</h1>\
         <p>Sandbox <code>{id}</code>, port <code>{port}</code>.</p></body></html>\n",
        code = body.code,
    )
}

/// Whether a person's browser is navigating here.
pub(crate) fn is_browser(headers: &HeaderMap) -> bool {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let agent = value(USER_AGENT.as_str()).to_ascii_lowercase();
    let mode = value("sec-fetch-mode");
    ["mozilla", "chrome", "safari", "firefox", "edge", "opera", "msie"]
        .iter()
        .any(|name| agent.contains(name))
        && !value(ACCEPT.as_str()).contains("application/json")
        && (mode.is_empty() || mode == "navigate")
        && !value("x-requested-with").eq_ignore_ascii_case("xmlhttprequest")
}

#[cfg(test)]
mod tests {
    use super::{Refusal, is_browser};

    fn check(refusal: &Refusal, status: u16, json: &str) {
        let response = refusal.response(&"iabc".parse().unwrap(), 8000, false);
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        assert_eq!(std::str::from_utf8(response.body()).unwrap(), json);
    }

    #[test]
    fn bodies_are_the_contract_s() {
        check(
            &Refusal::NotFound(None),
            502,
            r#"{"sandboxId":"iabc","message":"The sandbox was not found","code":502}"#,
        );
        check(
            &Refusal::PortClosed,
            502,
            r#"{"sandboxId":"iabc","message":"The sandbox is running but port is not open","port":8000,"code":502}"#,
        );
        check(
            &Refusal::TooMany(3),
            429,
            r#"{"sandboxId":"iabc","message":"The sandbox has too many concurrent incoming connections (limit: 3)","connectionLimit":3,"code":429}"#,
        );
        check(
            &Refusal::Internal("/init".to_owned()),
            404,
            r#"{"message":"This endpoint is reserved for the E2B control plane and is not reachable through the sandbox URL","path":"/init","code":404}"#,
        );
    }

    #[test]
    fn only_navigation_gets_a_page() {
        let mut headers = http::HeaderMap::new();
        assert!(!is_browser(&headers));
        headers.insert("user-agent", "Mozilla/5.0".parse().unwrap());
        assert!(is_browser(&headers));
        headers.insert("sec-fetch-mode", "cors".parse().unwrap());
        assert!(!is_browser(&headers));
        let page = Refusal::NotFound(Some("<b>".to_owned())).response(&"iabc".parse().unwrap(), 1, true);
        assert!(std::str::from_utf8(page.body()).unwrap().contains("was not found: &lt;b>"));
    }
}
