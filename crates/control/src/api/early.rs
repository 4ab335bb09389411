//! Answers that come before the request's body was read.
//!
//! A refusal needs no body: a missing key, an unknown route. But HTTP/1.1 can use
//! a connection again only when the whole request has been read, and a server
//! that closes it without saying so breaks the next request of a client with a
//! pool. So the start of every body is taken in first, which for this API is
//! nearly always all of it; where more follows, a refusal says that it closes.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use http::HeaderValue;
use http::header::CONNECTION;
use http_body_util::BodyExt as _;

/// Taken in before the request is looked at; also what a client without a key
/// can make the server hold.
const START: usize = 64 << 10;

/// How long the start may take; then the request goes on with what there is.
const START_TIME: Duration = Duration::from_secs(5);

/// Takes the start of the body in, then lets the request go on.
pub(super) async fn take_start(request: Request, next: Next) -> Response {
    let (parts, mut body) = request.into_parts();
    let mut start = Vec::new();
    let taken = tokio::time::timeout(START_TIME, take(&mut body, &mut start)).await;
    let whole = matches!(taken, Ok(Ok(true)));
    let failure = match taken {
        Ok(Err(error)) => Some(error),
        _ => None,
    };
    let start = stream::iter(start.into_iter().map(Ok)).chain(stream::iter(failure.map(Err)));
    let body = if whole {
        Body::from_stream(start)
    } else {
        Body::from_stream(start.chain(body.into_data_stream()))
    };
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if !whole && response.status().as_u16() >= 400 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Moves up to [`START`] bytes; `true` when that is all.
async fn take(body: &mut Body, start: &mut Vec<Bytes>) -> Result<bool, axum::Error> {
    let mut taken = 0;
    while taken < START {
        let Some(frame) = body.frame().await else { return Ok(true) };
        if let Ok(data) = frame?.into_data() {
            taken += data.len();
            start.push(data);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::middleware::from_fn;
    use axum::routing::post;
    use http::StatusCode;
    use tower::ServiceExt as _;

    async fn answer(len: usize, status: StatusCode) -> (usize, Option<HeaderValue>) {
        let handler = move |body: Bytes| async move { (status, body.len().to_string()) };
        let app = Router::new().route("/", post(handler)).layer(from_fn(take_start));
        let request = http::Request::post("/").body(Body::from(vec![b'x'; len])).unwrap();
        let response = app.oneshot(request).await.unwrap();
        let close = response.headers().get(CONNECTION).cloned();
        let seen = response.into_body().collect().await.unwrap().to_bytes();
        (std::str::from_utf8(&seen).unwrap().parse().unwrap(), close)
    }

    #[tokio::test]
    async fn the_handler_sees_the_whole_body() {
        for len in [0, 1, START - 1, START, START * 3] {
            assert_eq!(answer(len, StatusCode::OK).await, (len, None));
        }
    }

    #[tokio::test]
    async fn a_refusal_closes_only_where_a_rest_may_be_unread() {
        assert_eq!(answer(20, StatusCode::UNAUTHORIZED).await.1, None);
        assert_eq!(
            answer(START * 3, StatusCode::UNAUTHORIZED).await.1,
            Some(HeaderValue::from_static("close"))
        );
    }
}
