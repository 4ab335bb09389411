//! A server of one's own making: answers as a closure says, and keeps what it saw.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use warren_sdk::Config;

/// What came in.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// `POST /path`.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The message of a stream's request.
    pub(crate) fn enveloped(&self) -> Value {
        serde_json::from_slice(&self.body[5..]).unwrap()
    }
}

/// What goes out.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// A status, headers, a body.
    Answer(u16, Vec<(&'static str, String)>, Bytes),
    /// Part of a body; then the connection is cut.
    Cut(Bytes),
    /// The connection is cut after nothing.
    Hangup,
    /// Nothing, ever.
    Silence,
}

pub(crate) fn json(status: u16, body: &Value) -> Reply {
    let headers = vec![("content-type", "application/json".to_owned())];
    Reply::Answer(status, headers, Bytes::from(body.to_string()))
}

pub(crate) fn empty(status: u16) -> Reply {
    Reply::Answer(status, Vec::new(), Bytes::new())
}

/// An error as the control plane writes it.
pub(crate) fn failure(status: u16, message: &str) -> Reply {
    json(status, &serde_json::json!({ "code": status, "message": message }))
}

/// Messages and an end record.
pub(crate) fn stream(messages: &[Value]) -> Reply {
    let mut body = enveloped(messages);
    body.extend_from_slice(b"\x02\0\0\0\x02{}");
    Reply::Answer(200, vec![("content-type", "application/connect+json".to_owned())], body.into())
}

pub(crate) fn enveloped(messages: &[Value]) -> Vec<u8> {
    let mut body = Vec::new();
    for message in messages {
        let text = message.to_string();
        body.push(0);
        body.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
        body.extend_from_slice(text.as_bytes());
    }
    body
}

/// The server. Dropping it closes its port.
pub(crate) struct Mock {
    pub(crate) config: Config,
    seen: Arc<Mutex<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

impl Mock {
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", answer).await
    }

    pub(crate) async fn start_at(
        address: &str,
        answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = loop {
            // A port that was closed just now may take a moment.
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => tokio::task::yield_now().await,
                Err(e) => panic!("{e}"),
            }
        };
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (answer, kept) = (Arc::new(answer), Arc::clone(&seen));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (answer, kept) = (Arc::clone(&answer), Arc::clone(&kept));
                connections.spawn(async move {
                    let service =
                        service_fn(move |request| serve(request, Arc::clone(&answer), Arc::clone(&kept)));
                    // A cut connection is an error here, and wanted.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        });
        Self { config: Config::local(url, "e2b_0000"), seen, _tasks: tasks }
    }

    /// What came in so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The request lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }

    /// The last request to a path that begins so.
    pub(crate) fn last(&self, path: &str) -> Seen {
        self.seen().into_iter().rfind(|seen| seen.path.starts_with(path)).unwrap()
    }
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;

async fn serve(
    request: Request<Incoming>,
    answer: Arc<impl Fn(&Seen) -> Reply>,
    kept: Arc<Mutex<Vec<Seen>>>,
) -> Result<Response<Body>, std::io::Error> {
    let (head, body) = request.into_parts();
    let seen = Seen {
        method: head.method.to_string(),
        path: head.uri.to_string(),
        headers: head.headers,
        body: body.collect().await.map_err(std::io::Error::other)?.to_bytes(),
    };
    let reply = answer(&seen);
    kept.lock().unwrap().push(seen);
    let whole = |bytes| Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync();
    match reply {
        Reply::Answer(status, headers, body) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Ok(response.body(whole(body)).unwrap())
        }
        Reply::Cut(body) => {
            let frames = futures_util::stream::unfold(Some(body), |body| async {
                let Some(body) = body else {
                    // What came before must be on its way first.
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    return Some((Err(std::io::Error::other("cut")), None));
                };
                Some((Ok(hyper::body::Frame::data(body)), None))
            });
            Ok(Response::new(http_body_util::StreamBody::new(frames).boxed_unsync()))
        }
        Reply::Hangup => Err(std::io::Error::other("hang up")),
        Reply::Silence => std::future::pending().await,
    }
}
