//! Headers that belong to one hop of the way and are not carried on.

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Version, request, response};

const HOP_BY_HOP: [HeaderName; 5] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
    TRANSFER_ENCODING,
];

/// Whether the client asks to leave HTTP for another protocol.
pub(crate) fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE) && tokens(headers).any(|token| token.eq_ignore_ascii_case("upgrade"))
}

/// Prepares a request head for the sandbox. An upgrade keeps its two headers.
pub(crate) fn to_sandbox(head: &mut request::Parts, upgrade: bool) {
    let protocol = head.headers.get(UPGRADE).cloned().filter(|_| upgrade);
    let trailers = head.headers.get(TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    // Two framings of one body are how requests are smuggled; the body's own wins.
    if head.headers.contains_key(TRANSFER_ENCODING) {
        head.headers.remove(CONTENT_LENGTH);
    }
    strip(&mut head.headers);
    head.headers.remove(TE);
    if trailers {
        head.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = protocol {
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(UPGRADE, protocol);
    }
    if let Some(authority) = head.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.insert(HOST, host);
    }
    join_cookies(&mut head.headers);
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = path.parse().unwrap_or_default();
    head.version = Version::HTTP_11;
}

/// Prepares a response head for the client.
pub(crate) fn to_client(head: &mut response::Parts, upgrade: bool) {
    let protocol = head.headers.get(UPGRADE).cloned().filter(|_| upgrade);
    if head.headers.contains_key(TRANSFER_ENCODING) {
        head.headers.remove(CONTENT_LENGTH);
    }
    strip(&mut head.headers);
    if let Some(protocol) = protocol {
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(UPGRADE, protocol);
    }
    head.version = Version::HTTP_11;
}

fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = tokens(headers)
            .filter_map(|token| HeaderName::try_from(token).ok())
            // A client must not strip what routing and framing rest on.
            .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
            .collect();
        headers.remove(CONNECTION);
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove(UPGRADE);
}

/// HTTP/2 may send each cookie in a field of its own; in HTTP/1.1 there is one.
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() < 2 {
        return;
    }
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// The words of every `Connection` header.
fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};

    use super::{to_client, to_sandbox, wants_upgrade};

    #[test]
    fn what_connection_names_stays_behind() {
        let request = Request::get("http://8000-iabc.test:3000/a?b=c")
            .header("host", "other")
            .header("connection", "keep-alive, X-Secret, Content-Length")
            .header("x-secret", "1")
            .header("content-length", "0")
            .header("te", "Trailers")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("proxy-authorization", "x")
            .header("x-kept", "1");
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        assert!(!wants_upgrade(&head.headers));
        to_sandbox(&mut head, false);
        assert_eq!(head.uri, "/a?b=c");
        let mut names: Vec<&str> = head.headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "cookie", "host", "te", "x-kept"]);
        assert_eq!(head.headers["host"], "8000-iabc.test:3000");
        assert_eq!(head.headers["cookie"], "a=1; b=2");
    }

    #[test]
    fn an_upgrade_keeps_its_protocol() {
        let request = Request::get("/ws").header("connection", "Upgrade").header("upgrade", "websocket");
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        assert!(wants_upgrade(&head.headers));
        to_sandbox(&mut head, true);
        assert_eq!(head.headers["upgrade"], "websocket");
        let response =
            Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
        let (mut head, ()) = response.body(()).unwrap().into_parts();
        to_client(&mut head, true);
        assert_eq!(head.headers["connection"], "upgrade");
    }
}
