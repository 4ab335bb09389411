//! Addresses of a sandbox that others can use: host names of ports, and signed
//! URLs of files.

use std::time::{Duration, SystemTime};

use wire::control::ENVD_PORT;
use wire::files::{Operation, signature};

use super::{Sandbox, unix_seconds};
use crate::Error;
use crate::http::query;

impl Sandbox {
    /// Host name of a port, to be reached from outside, without a scheme.
    pub fn host(&self, port: u16) -> String {
        if self.api.config.debug {
            return format!("localhost:{port}");
        }
        format!("{port}-{}.{}", self.id(), self.domain())
    }

    /// Domain below which its ports have host names.
    pub fn domain(&self) -> &str {
        let own = self.target.domain.as_deref().filter(|domain| !domain.is_empty());
        own.unwrap_or(&self.api.config.domain)
    }

    /// URL from which anybody can read a file; a plain `GET`.
    ///
    /// It is signed if the sandbox has a token; then `expires_in` may end it, and
    /// without a token asking for an end is an error.
    pub fn download_url(
        &self,
        path: &str,
        user: Option<&str>,
        expires_in: Option<Duration>,
    ) -> Result<String, Error> {
        self.file_url(path, Operation::Read, user, expires_in)
    }

    /// URL to which anybody can write a file; a `POST` of a form with a part `file`.
    /// Signed as [`Sandbox::download_url`] says.
    pub fn upload_url(
        &self,
        path: &str,
        user: Option<&str>,
        expires_in: Option<Duration>,
    ) -> Result<String, Error> {
        self.file_url(path, Operation::Write, user, expires_in)
    }

    fn file_url(
        &self,
        path: &str,
        operation: Operation,
        user: Option<&str>,
        expires_in: Option<Duration>,
    ) -> Result<String, Error> {
        let token = self.target.access_token.as_deref();
        if token.is_none() && expires_in.is_some() {
            return Err(Error::invalid("only a sandbox with a token can sign a URL that ends"));
        }
        let ends = expires_in.map(|time| unix_seconds(SystemTime::now() + time));
        let ends = ends.and_then(|second| i64::try_from(second).ok());
        let signed = token.map(|token| signature(path, operation, user.unwrap_or_default(), token, ends));
        let pairs = [
            ("path", Some(path.to_owned())),
            ("username", user.map(str::to_owned)),
            ("signature", signed),
            ("signature_expiration", ends.map(|second| second.to_string())),
        ];
        Ok(format!("{}/files{}", self.file_base(), query(&pairs)))
    }

    /// Such a URL carries no headers, so it names the sandbox in its host even
    /// where other requests share one.
    fn file_base(&self) -> String {
        match &self.api.config.sandbox_url {
            Some(url) => url.clone(),
            None if self.api.config.debug => format!("http://localhost:{ENVD_PORT}"),
            None => format!("https://{}", self.host(ENVD_PORT)),
        }
    }
}
