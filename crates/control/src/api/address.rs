//! The address at which a client has reached us: it may be a tunnel's. URLs that the
//! client is to call later begin with it.

use axum::extract::FromRequestParts;
use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, Scheme};

use super::error::Failure;

/// Scheme and host.
pub(super) struct Address(pub(super) String);

impl Address {
    /// HTTP/2 names both in the request's target. Of HTTP/1.1 the listener tells whether
    /// it came over TLS; a proxy before us knows better than either.
    pub(super) fn of(parts: &Parts) -> Option<Self> {
        let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let host = parts.uri.authority().map(Authority::as_str).or_else(|| text(HOST.as_str()))?;
        let told = parts.uri.scheme().or_else(|| parts.extensions.get()).map(Scheme::as_str);
        let is_secure = text("x-forwarded-proto").or(told) == Some("https");
        Some(Self(format!("{}://{host}", if is_secure { "https" } else { "http" })))
    }
}

impl<S: Sync> FromRequestParts<S> for Address {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Self::of(parts).ok_or_else(|| Failure::bad_request("the request names no host"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(uri: &str, headers: &[(&str, &str)], over: Option<Scheme>) -> Option<String> {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        if let Some(scheme) = over {
            parts.extensions.insert(scheme);
        }
        Address::of(&parts).map(|address| address.0)
    }

    #[test]
    fn is_what_the_client_used() {
        let host = ("host", "api.example.com:8443");
        let forwarded = ("x-forwarded-proto", "https");
        let (plain, secure) = ("http://api.example.com:8443", "https://api.example.com:8443");
        assert_eq!(seen("/x", &[host], None).as_deref(), Some(plain));
        assert_eq!(seen("/x", &[host], Some(Scheme::HTTP)).as_deref(), Some(plain));
        assert_eq!(seen("/x", &[host], Some(Scheme::HTTPS)).as_deref(), Some(secure));
        assert_eq!(seen("/x", &[host, forwarded], Some(Scheme::HTTP)).as_deref(), Some(secure));
        assert_eq!(seen("https://api.example.com:8443/x", &[], None).as_deref(), Some(secure));
        assert_eq!(seen("/x", &[("x-forwarded-proto", "gopher"), host], None).as_deref(), Some(plain));
        assert_eq!(seen("/x", &[], None), None);
    }
}
