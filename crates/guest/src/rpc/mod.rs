//! The Connect services: which path is which method, and how an error of ours
//! becomes one of theirs.

mod body;
mod call;
mod compression;
mod filesystem;
mod input;
mod process;
mod sink;
mod watch;

use std::rc::Rc;

use http::{Method, StatusCode};
use wire::connect::{Code, Error};

use crate::daemon::Daemon;
use crate::http::{Body, Request, Response, auth};
use crate::settings::UnknownUser;
use crate::user::User;

pub(crate) use watch::Polled;

/// Answers a request of one of the services; `None` if its path is none of theirs.
pub(crate) async fn answer(daemon: &Rc<Daemon>, request: Request) -> Result<Response, Request> {
    let path = request.uri().path();
    let service = [wire::process::SERVICE, wire::filesystem::SERVICE];
    let Some(service) = service.into_iter().find(|service| path.starts_with(*service)) else {
        return Err(request);
    };
    if request.method() != Method::POST {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return Ok(response);
    }
    let caller = Caller { daemon: Rc::clone(daemon), user: user(daemon, &request) };
    let method = path[service.len()..].to_owned();
    if service == wire::process::SERVICE {
        Ok(process::answer(caller, &method, request).await)
    } else {
        Ok(filesystem::answer(caller, &method, request).await)
    }
}

/// Who asks, and whom.
#[derive(Debug, Clone)]
struct Caller {
    daemon: Rc<Daemon>,
    user: Result<User, UnknownUser>,
}

impl Caller {
    fn user(&self) -> Result<User, Error> {
        self.user.clone().map_err(|error| Error::new(Code::Unauthenticated, error.to_string()))
    }
}

fn user(daemon: &Daemon, request: &Request) -> Result<User, UnknownUser> {
    daemon.settings.user(auth::basic_user(request.headers()).as_deref())
}

fn no_such_method(method: &str) -> Response {
    let error = Error::new(Code::Unimplemented, format!("method {method} is not implemented"));
    call::failure(&error)
}
