//! HTTP/1.1: connections, response bodies, and the checks that every request passes.

pub(crate) mod auth;
pub(crate) mod body;
pub(crate) mod cors;
pub(crate) mod date;
pub(crate) mod error;
mod request;
pub(crate) mod server;

pub(crate) use body::Body;
pub(crate) use error::HttpFailure;
pub(crate) use request::RequestBody;

/// A response of ours.
pub(crate) type Response = hyper::Response<Body>;
/// A request to be answered.
pub(crate) type Request = hyper::Request<RequestBody>;
