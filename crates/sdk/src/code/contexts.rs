//! Contexts of the interpreter: each has its own state, language and directory.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use wire::control::INTERPRETER_PORT;
use wire::execute::CreateContext;

pub use wire::execute::Context;

use crate::Error;
use crate::api::{json, parse};
use crate::http::escape;
use crate::rpc::Target;

/// The contexts of one sandbox.
#[derive(Debug, Clone, Copy)]
pub struct Contexts<'s> {
    pub(crate) target: &'s Arc<Target>,
}

impl Contexts<'_> {
    /// Makes one, of Python in the home directory unless told otherwise.
    pub async fn create(&self, language: Option<&str>, cwd: Option<&str>) -> Result<Context, Error> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let request = CreateContext { language: owned(language), cwd: owned(cwd) };
        parse(&self.call(Method::POST, "", json(&request)?).await?)
    }

    /// All of them, the default ones first.
    pub async fn list(&self) -> Result<Vec<Context>, Error> {
        parse(&self.call(Method::GET, "", Bytes::new()).await?)
    }

    /// Forgets the state of one.
    pub async fn restart(&self, context_id: &str) -> Result<(), Error> {
        let path = format!("/{}/restart", escape(context_id));
        self.call(Method::POST, &path, Bytes::new()).await.map(drop)
    }

    /// Ends one.
    pub async fn remove(&self, context_id: &str) -> Result<(), Error> {
        self.call(Method::DELETE, &format!("/{}", escape(context_id)), Bytes::new()).await.map(drop)
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Error> {
        let mut headers = self.target.headers(INTERPRETER_PORT);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let url = format!("{}/contexts{path}", self.target.url(INTERPRETER_PORT));
        let config = &self.target.config;
        config.http.call(method, &url, headers, body, config.request_timeout).await
    }
}
