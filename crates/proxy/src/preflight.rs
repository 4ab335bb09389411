//! What a browser asks before a page's request with routing headers.
//!
//! Such a question names headers and carries none, so on a shared host it cannot
//! say which sandbox is meant. The daemon and the interpreter of every sandbox
//! allow every origin and header, and so does the answer that is given here;
//! the request that follows still needs its sandbox's token. The API's own
//! questions never name a routing header and go to the API.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::target::SANDBOX_ID_HEADER;

/// The answer, if a request that names no sandbox asks for one that will.
pub(crate) fn answer(method: &Method, headers: &HeaderMap) -> Option<Response<Bytes>> {
    let wanted = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).filter(|_| method == Method::OPTIONS)?;
    let mut names = wanted.to_str().ok()?.split(',').map(str::trim);
    if !names.any(|name| name.eq_ignore_ascii_case(SANDBOX_ID_HEADER.as_str())) {
        return None;
    }
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let answer = response.headers_mut();
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    let methods = HeaderValue::from_static("HEAD, GET, POST, PUT, PATCH, DELETE");
    answer.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    // A star would not cover `Authorization`, which chooses the user.
    answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &Method, wanted: &'static str) -> Option<String> {
        let wanted = (ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static(wanted));
        let answer = answer(method, &HeaderMap::from_iter([wanted]))?;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        Some(answer.headers()[ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap().to_owned())
    }

    #[test]
    fn a_page_may_send_routing_headers_and_whatever_it_sends_beside_them() {
        let wanted = "authorization,connect-protocol-version,E2b-Sandbox-Id,x-access-token";
        assert_eq!(asked(&Method::OPTIONS, wanted).as_deref(), Some(wanted));
        assert_eq!(asked(&Method::OPTIONS, "e2b-sandbox-id").as_deref(), Some("e2b-sandbox-id"));
    }

    #[test]
    fn other_questions_are_the_api_s() {
        assert_eq!(asked(&Method::OPTIONS, "x-api-key, content-type"), None);
        assert_eq!(asked(&Method::OPTIONS, "x-e2b-sandbox-id"), None);
        assert_eq!(asked(&Method::GET, "e2b-sandbox-id"), None);
        assert!(answer(&Method::OPTIONS, &HeaderMap::new()).is_none());
    }
}
