//! One repository of a registry: its manifests and blobs, with whatever it asks
//! of those who read.

use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RANGE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;

use super::aws;
use super::challenge::{Challenge, form};
use super::http::{Ask, Http, NoAnswer, whole};
use super::manifest::{self, Blob, Config, Document, Manifest};
use super::reference::{Digest, Reference, Version};
use super::{Credentials, Error, ImageOptions};

/// A manifest or an index.
const MOST_MANIFEST: usize = 4 << 20;
/// A configuration.
const MOST_CONFIG: usize = 8 << 20;
/// A token, or an error.
const MOST_ANSWER: usize = 256 << 10;

/// Where Docker's images are.
const DOCKER: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// A repository at one of the places where it can be had.
#[derive(Debug)]
pub(super) struct Registry<'a> {
    http: &'a Http,
    options: &'a ImageOptions,
    reference: &'a Reference,
    /// Not at a mirror: they are the registry's own.
    credentials: Option<&'a Credentials>,
    base: String,
    authorization: Mutex<Option<HeaderValue>>,
    /// In microseconds since 1970; signatures have a time.
    now: i64,
}

/// An image as the registry describes it.
#[derive(Debug, Clone)]
pub(super) struct Described {
    pub(super) digest: Digest,
    pub(super) manifest: Manifest,
    pub(super) config: Config,
}

/// The places where an image may be, best first: mirrors, then its own registry.
pub(super) fn places<'a>(
    http: &'a Http,
    options: &'a ImageOptions,
    reference: &'a Reference,
    credentials: Option<&'a Credentials>,
    now: i64,
) -> Vec<Registry<'a>> {
    let mirrors = options.mirrors.get(&reference.registry).into_iter().flatten();
    let mirrors = mirrors.map(|url| (url.trim_end_matches('/').to_owned(), None));
    let host = if reference.registry == DOCKER.0 { DOCKER.1 } else { &reference.registry };
    let own = (format!("{}://{host}", http.scheme(host)), credentials);
    let registry = |(base, credentials)| Registry {
        http,
        options,
        reference,
        credentials,
        base,
        authorization: Mutex::default(),
        now,
    };
    mirrors.chain([own]).map(registry).collect()
}

impl Registry<'_> {
    /// What the reference leads to on this platform.
    pub(super) async fn describe(&self) -> Result<Described, Error> {
        let mut version = self.reference.version.clone();
        // An index leads to a manifest; nothing leads further.
        for _ in 0..2 {
            let bytes = self.document(&format!("manifests/{version}"), MOST_MANIFEST).await?;
            let digest = Digest::of(&bytes);
            if let Version::Digest(wanted) = &version
                && *wanted != digest
            {
                return Err(self.unusable(format!("its manifest hashes to {digest}, not to {wanted}")));
            }
            match Document::parse(&bytes).map_err(|why| self.unusable(why))? {
                Document::Index(next) => version = Version::Digest(next),
                Document::Manifest(manifest) => {
                    let config = self.config(&manifest.config).await?;
                    return Ok(Described { digest, manifest, config });
                }
            }
        }
        Err(self.unusable("its index leads to another index".to_owned()))
    }

    async fn config(&self, blob: &Blob) -> Result<Config, Error> {
        let bytes = self.document(&format!("blobs/{}", blob.digest), MOST_CONFIG).await?;
        if Digest::of(&bytes) != blob.digest {
            return Err(self.unusable(format!("its configuration does not hash to {}", blob.digest)));
        }
        Config::parse(&bytes).map_err(|why| self.unusable(why))
    }

    /// A blob from a byte on: the answer may begin at its first all the same.
    pub(super) async fn blob(&self, digest: &Digest, from: u64) -> Result<Response<Incoming>, Error> {
        let mut headers = HeaderMap::new();
        if from > 0 {
            headers.insert(RANGE, value(&format!("bytes={from}-")));
        }
        self.get(&format!("blobs/{digest}"), headers).await
    }

    pub(super) fn unusable(&self, why: String) -> Error {
        Error::Unusable { image: self.reference.to_string(), why }
    }

    async fn document(&self, path: &str, most: usize) -> Result<Bytes, Error> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(manifest::ACCEPT))]);
        let answer = self.get(path, headers).await?;
        whole(answer, most).await.map_err(|e| self.no_answer(e))
    }

    /// Asks; if it is told to say who it is, says so and asks once more.
    async fn get(&self, path: &str, headers: HeaderMap) -> Result<Response<Incoming>, Error> {
        let url = format!("{}/v2/{}/{path}", self.base, self.reference.repository);
        let known = self.authorization.lock().map(|known| known.clone()).unwrap_or_default();
        let first = known.is_none();
        let answer = self.ask(&url, &headers, known).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return self.judge(answer).await;
        }
        let authorization = self.authorize(answer.headers()).await?;
        if let Ok(mut known) = self.authorization.lock() {
            known.clone_from(&authorization);
        }
        if authorization.is_none() && first {
            return self.judge(answer).await;
        }
        let again = self.ask(&url, &headers, authorization).await?;
        self.judge(again).await
    }

    async fn ask(
        &self,
        url: &str,
        headers: &HeaderMap,
        authorization: Option<HeaderValue>,
    ) -> Result<Response<Incoming>, Error> {
        let mut headers = headers.clone();
        headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
        self.http.ask(url, Ask { headers, body: None }).await.map_err(|e| self.no_answer(e))
    }

    /// What to say to a registry that asks who we are.
    async fn authorize(&self, asked: &HeaderMap) -> Result<Option<HeaderValue>, Error> {
        let mut asked = asked.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenge = asked.find_map(Challenge::parse);
        let basic = self.basic().await?;
        match challenge {
            None => Ok(None),
            Some(Challenge::Basic) => Ok(basic),
            Some(Challenge::Bearer { realm, service, scope }) => {
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.reference.repository));
                let mut url =
                    format!("{realm}{}scope={}", if realm.contains('?') { '&' } else { '?' }, form(&scope));
                if let Some(service) = service {
                    url = format!("{url}&service={}", form(&service));
                }
                self.token(&url, basic).await.map(Some)
            }
        }
    }

    async fn token(&self, url: &str, basic: Option<HeaderValue>) -> Result<HeaderValue, Error> {
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let answer = self.ask(url, &HeaderMap::new(), basic).await?;
        let answer = self.judge(answer).await?;
        let bytes = whole(answer, MOST_ANSWER).await.map_err(|e| self.no_answer(e))?;
        let token = serde_json::from_slice::<Token>(&bytes).ok();
        let token = token.and_then(|token| token.token.or(token.access_token));
        let token = token.ok_or_else(|| self.unusable("its registry gave no token".to_owned()))?;
        Ok(secret(&format!("Bearer {token}")))
    }

    /// User and password, as the first of the two schemes has them.
    async fn basic(&self) -> Result<Option<HeaderValue>, Error> {
        let (user, password) = match self.credentials {
            None => return Ok(None),
            Some(Credentials::Password { username, password }) => (username.clone(), password.clone()),
            Some(Credentials::Gcp { key }) => ("_json_key".to_owned(), key.clone()),
            Some(Credentials::Aws { access_key_id, secret_access_key, region }) => {
                self.aws_password(access_key_id, secret_access_key, region).await?
            }
        };
        Ok(Some(secret(&format!("Basic {}", BASE64.encode(format!("{user}:{password}"))))))
    }

    async fn aws_password(&self, id: &str, key: &str, region: &str) -> Result<(String, String), Error> {
        if !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(self.unusable("its credentials name no region".to_owned()));
        }
        let own = format!("https://api.ecr.{region}.amazonaws.com");
        let base = self.options.aws_endpoint.as_deref().unwrap_or(&own).trim_end_matches('/');
        let host = base.split_once("://").map_or(base, |(_, host)| host);
        let time = jiff::Timestamp::from_microsecond(self.now).unwrap_or_default();
        let time = time.strftime("%Y%m%dT%H%M%SZ").to_string();
        let target = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
        let kind = "application/x-amz-json-1.1";
        let listed =
            [("content-type", kind), ("host", host), ("x-amz-date", &time), ("x-amz-target", target)];
        let call = aws::Call { method: "POST", path: "/", headers: &listed, body: b"{}" };
        let signer =
            aws::Signer { access_key_id: id, secret_access_key: key, region, service: "ecr", time: &time };
        let mut headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static(kind)),
            (AUTHORIZATION, secret(&signer.authorization(&call))),
        ]);
        headers.insert("x-amz-date", value(&time));
        headers.insert("x-amz-target", HeaderValue::from_static(target));
        let ask = Ask { headers, body: Some(Bytes::from_static(b"{}")) };
        let answer = self.http.ask(&format!("{base}/"), ask).await.map_err(|e| self.no_answer(e))?;
        let answer = self.judge(answer).await?;
        let bytes = whole(answer, MOST_ANSWER).await.map_err(|e| self.no_answer(e))?;
        aws::password(&bytes).ok_or_else(|| self.unusable("its registry gave no password".to_owned()))
    }

    /// Turns an answer that is none into an error that says what the registry said.
    async fn judge(&self, answer: Response<Incoming>) -> Result<Response<Incoming>, Error> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let image = self.reference.to_string();
        let said = whole(answer, MOST_ANSWER).await.unwrap_or_default();
        let said = words(&said);
        Err(match status {
            StatusCode::NOT_FOUND => Error::Absent { image, said },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let with =
                    if self.credentials.is_some() { "with these credentials" } else { "without credentials" };
                Error::Denied { image, with, said }
            }
            status => Error::Answered { image, status: status.as_u16(), said },
        })
    }

    fn no_answer(&self, source: NoAnswer) -> Error {
        Error::Unreachable { image: self.reference.to_string(), source }
    }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// A value that no log shows.
fn secret(text: &str) -> HeaderValue {
    let mut value = value(text);
    value.set_sensitive(true);
    value
}

/// The messages of a registry's error, or the beginning of whatever it is.
fn words(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let text = match serde_json::from_slice::<Errors>(body) {
        Ok(said) => {
            let one = |error: &One| format!("{} {}", error.code, error.message).trim().to_owned();
            said.errors.iter().map(one).collect::<Vec<_>>().join("; ")
        }
        Err(_) => String::from_utf8_lossy(body).split_whitespace().collect::<Vec<_>>().join(" "),
    };
    let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    if text.is_empty() { "nothing more".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_registry_says_is_told_in_short() {
        assert_eq!(words(br#"{"errors":[{"code":"DENIED","message":"no"},{"code":"X"}]}"#), "DENIED no; X");
        assert_eq!(words(b"<html>\n  gone </html>"), "<html> gone </html>");
        assert_eq!(words(b""), "nothing more");
        assert_eq!(words("x".repeat(900).as_bytes()).len(), 200);
    }
}
