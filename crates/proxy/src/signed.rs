//! Signed `/files` URLs on the shared host, where nothing names the sandbox.
//!
//! A client whose sandboxes are all behind one URL (`E2B_SANDBOX_URL`) signs
//! `URL/files?path=…&signature=…`. Whoever follows it sends no routing headers.
//! But only one sandbox's token makes that signature, so the signature says
//! which sandbox is meant; its daemon then checks it as it always does.

use http::header::{CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use wire::control::ENVD_PORT;
use wire::files::{Operation, SignedUrl};
use wire::query::Query;

use crate::body::Body;
use crate::client::Traffic;
use crate::forward::Forwarder;
use crate::reply;

/// Whether a request that names no sandbox is for a signed URL. The API has no such path.
pub(crate) fn is_signed<B>(request: &Request<B>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    request.uri().path() == "/files"
        && operation(request.method()).is_some()
        && query.split('&').any(|pair| pair.starts_with("signature="))
}

/// Answers it from the sandbox that signed.
pub(crate) async fn answer<F>(
    forwarder: &Forwarder,
    request: Request<Incoming>,
    traffic: &std::sync::Arc<Traffic>,
) -> Response<Body<F>> {
    let signer = url(&request).and_then(|url| forwarder.resolve.signer(&url));
    let Some(sandbox_id) = signer else {
        // The daemon's own words for a signature that none of them made.
        return reply::unsigned().map(|body| Body::Own(Full::new(body)));
    };
    let mut response = forwarder.answer(request, &sandbox_id, ENVD_PORT, traffic).await;
    // The file comes from inside, but the browser sees it at the API's own
    // origin: a page there must not run scripts with that origin's rights.
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn url<B>(request: &Request<B>) -> Option<SignedUrl> {
    let query = Query::parse(request.uri().query());
    SignedUrl::of(&query, operation(request.method())?).ok()?
}

fn operation(method: &Method) -> Option<Operation> {
    match *method {
        Method::GET => Some(Operation::Read),
        Method::POST => Some(Operation::Write),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_signed_files_are_meant() {
        let is_signed = |method: &str, uri: &str| {
            is_signed(&Request::builder().method(method).uri(uri).body(()).unwrap())
        };
        assert!(is_signed("GET", "/files?path=%2Fx&signature=v1_a"));
        assert!(is_signed("POST", "/files?signature=v1_a&path=%2Fx"));
        assert!(!is_signed("PUT", "/files?signature=v1_a"));
        assert!(!is_signed("GET", "/files?path=signature"));
        assert!(!is_signed("GET", "/files/compose?signature=v1_a"));
        assert!(!is_signed("GET", "/sandboxes?signature=v1_a"));
    }
}
