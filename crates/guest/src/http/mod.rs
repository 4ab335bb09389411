//! HTTP/1.1: connections, response bodies, and the checks that every request passes.

pub(crate) mod auth;
pub(crate) mod body;
pub(crate) mod cors;
pub(crate) mod date;
pub(crate) mod error;
pub(crate) mod query;
pub(crate) mod server;

pub(crate) use body::Body;
pub(crate) use error::HttpFailure;

/// A response of ours.
pub(crate) type Response = hyper::Response<Body>;
/// A request as hyper hands it over.
pub(crate) type Request = hyper::Request<hyper::body::Incoming>;
