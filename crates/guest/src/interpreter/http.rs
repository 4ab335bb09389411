//! The service's listener and its routes.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::config::{InterpreterConfig, MAX_BODY, MAX_CONNECTIONS};
use super::context::Context;
use super::contexts::{Contexts, Error};
use super::execute::{Refusal, execute};
use super::language::Language;
use super::lines::LineBody;
use super::{run, validate};

/// How long an idle connection is kept, as the reference does.
const IDLE: Duration = Duration::from_secs(640);

type Body = Either<Full<Bytes>, LineBody>;
type Answer = Response<Body>;

#[derive(Debug)]
struct Service {
    config: Arc<InterpreterConfig>,
    contexts: Arc<Contexts>,
}

/// Serves the interpreter on `listener` and starts the default kernel. Runs until
/// it is dropped: then its connections break, and each kernel goes as soon as what
/// it runs has been interrupted.
pub async fn serve(listener: TcpListener, config: InterpreterConfig) -> io::Result<()> {
    let config = Arc::new(config);
    let contexts = Arc::new(Contexts::new(Arc::clone(&config)));
    config.rest.reach(&contexts.nursery);
    let service = Arc::new(Service { config, contexts: Arc::clone(&contexts) });
    let limit = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut tasks = JoinSet::new();
    tasks.spawn(contexts.boot());
    loop {
        while tasks.try_join_next().is_some() {}
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&limit).acquire_owned().await else { return Ok(()) };
        match listener.accept().await {
            Ok((stream, _)) => drop(tasks.spawn(connection(Arc::clone(&service), stream, permit))),
            // Out of descriptors, or a client that left early: both pass.
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn connection(service: Arc<Service>, stream: TcpStream, _permit: OwnedSemaphorePermit) {
    // Without this each short line waits for the acknowledgement of the one before.
    _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(service.answer(request).await) }
    });
    // An error here is the client's leaving, seen by the execution as well.
    _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

impl Service {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let origin = request.headers().contains_key(header::ORIGIN);
        let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        let mut answer =
            if request.method() == Method::OPTIONS { preflight(asked) } else { self.route(request).await };
        if origin {
            answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
        answer
    }

    async fn route(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (request.method().as_str(), segments.as_slice()) {
            ("GET", ["health"]) => self.health(),
            ("POST", ["execute"]) => self.execute(request).await,
            ("GET", ["contexts"]) => self.list(),
            ("POST", ["contexts"]) => self.create(request).await,
            ("DELETE", ["contexts", id]) => null_or(self.contexts.remove(id).await),
            ("POST", ["contexts", id, "restart"]) => null_or(self.contexts.restart(id).await),
            (_, ["health" | "execute" | "contexts"] | ["contexts", _] | ["contexts", _, "restart"]) => {
                json(StatusCode::METHOD_NOT_ALLOWED, &json!({ "detail": "Method Not Allowed" }))
            }
            _ => json(StatusCode::NOT_FOUND, &json!({ "detail": "Not Found" })),
        }
    }

    fn health(&self) -> Answer {
        if self.contexts.is_ready() {
            json(StatusCode::OK, &json!("OK"))
        } else {
            text(StatusCode::SERVICE_UNAVAILABLE, "the default kernel does not answer yet")
        }
    }

    async fn execute(&self, request: Request<Incoming>) -> Answer {
        let body = match collect(request).await {
            Ok(body) => body,
            Err(answer) => return answer,
        };
        let parsed = match validate::execute(&body) {
            Ok(parsed) => parsed,
            Err(complaints) => return json(StatusCode::UNPROCESSABLE_ENTITY, &complaints.to_json()),
        };
        drop(body);
        match execute(&self.contexts, (self.config.envs)(), parsed) {
            Ok(lines) => Response::new(Either::Right(lines)),
            Err(refusal @ Refusal::Both) => text(StatusCode::BAD_REQUEST, &refusal.to_string()),
            Err(Refusal::Context(error)) => refused(&error),
        }
    }

    fn list(&self) -> Answer {
        let list: Vec<_> = self.contexts.list().iter().map(|context| shown(context)).collect();
        json(StatusCode::OK, &json!(list))
    }

    async fn create(&self, request: Request<Incoming>) -> Answer {
        let body = match collect(request).await {
            Ok(body) => body,
            Err(answer) => return answer,
        };
        let parsed = match validate::create_context(&body) {
            Ok(parsed) => parsed,
            Err(complaints) => return json(StatusCode::UNPROCESSABLE_ENTITY, &complaints.to_json()),
        };
        let language = Language::parse(parsed.language.as_deref());
        match self.contexts.create(language, parsed.cwd.as_deref()).await {
            Ok(context) => json(StatusCode::OK, &json!(shown(&context))),
            Err(error @ Error::NoDirectory) => refused(&error),
            Err(error) => {
                let reason = format!("Failed to create context: {}", reason(&error));
                text(StatusCode::INTERNAL_SERVER_ERROR, &reason)
            }
        }
    }
}

fn shown(context: &Context) -> wire::execute::Context {
    wire::execute::Context {
        id: context.id.clone(),
        language: context.language.as_str().to_owned(),
        cwd: context.cwd.to_string_lossy().into_owned(),
    }
}

/// The whole body, or the answer to one that is too large or breaks off.
async fn collect(request: Request<Incoming>) -> Result<Bytes, Answer> {
    /// A client that stops in the middle of its body is not waited for.
    const PATIENCE: Duration = Duration::from_mins(1);
    let body = Limited::new(request.into_body(), MAX_BODY).collect();
    match tokio::time::timeout(PATIENCE, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let reason = format!("the request's body is larger than {MAX_BODY} bytes");
            Err(text(StatusCode::PAYLOAD_TOO_LARGE, &reason))
        }
        Ok(Err(_)) => Err(text(StatusCode::BAD_REQUEST, "the request's body broke off")),
        Err(_) => Err(text(StatusCode::REQUEST_TIMEOUT, "the request's body did not arrive in time")),
    }
}

fn null_or(result: Result<(), Error>) -> Answer {
    match result {
        Ok(()) => json(StatusCode::OK, &Value::Null),
        Err(error) => refused(&error),
    }
}

fn refused(error: &Error) -> Answer {
    let status = match error {
        Error::NotFound(_) | Error::Removed(_) => StatusCode::NOT_FOUND,
        Error::NoKernel(_) | Error::NoDirectory | Error::Full | Error::Kernel(_) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    text(status, &reason(error))
}

fn reason(error: &Error) -> String {
    match error {
        Error::Kernel(error) => run::chain(error),
        other => other.to_string(),
    }
}

fn preflight(asked: Option<HeaderValue>) -> Answer {
    let mut answer = text(StatusCode::OK, "OK");
    let headers: &mut HeaderMap = answer.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),
    );
    headers
        .insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.unwrap_or_else(|| HeaderValue::from_static("*")));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    answer
}

fn json(status: StatusCode, value: &Value) -> Answer {
    plain(status, "application/json", value.to_string())
}

fn text(status: StatusCode, text: &str) -> Answer {
    plain(status, "text/plain; charset=utf-8", text.to_owned())
}

fn plain(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Either::Left(Full::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
