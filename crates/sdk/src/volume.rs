//! Volumes: files that outlive sandboxes, reached from outside and mounted inside.

use std::time::SystemTime;

use bytes::Bytes;
use futures_util::Stream;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use wire::rest::Rfc3339;

use crate::api::{Api, json, parse, segment};
use crate::http::{Payload, answer_error, pieces, query, read_all};
use crate::sandbox::moment;
use crate::{Config, Error, ErrorKind};

/// One volume. Its token is good for a while; connect again for a fresh one.
#[derive(Clone)]
pub struct Volume {
    config: Config,
    told: Told,
}

impl std::fmt::Debug for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volume")
            .field("id", &self.told.volume_id)
            .field("name", &self.told.name)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Deserialize)]
struct Told {
    #[serde(rename = "volumeID")]
    volume_id: String,
    name: String,
    token: String,
    #[serde(default)]
    domain: Option<String>,
}

/// One item of [`Volume::list`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct VolumeInfo {
    /// Its id.
    #[serde(rename = "volumeID")]
    pub volume_id: String,
    /// Its name.
    pub name: String,
}

/// What a path of a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeEntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A link.
    Symlink,
    /// Something else.
    #[serde(other)]
    Unknown,
}

/// What is known of a path of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Stat")]
pub struct VolumeEntry {
    /// Last element of the path.
    pub name: String,
    /// What it is.
    pub kind: VolumeEntryKind,
    /// Its path in the volume.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// When its content last changed.
    pub modified: SystemTime,
    /// Of a link: where it leads.
    pub target: Option<String>,
}

#[derive(Deserialize)]
struct Stat {
    name: String,
    #[serde(rename = "type")]
    kind: VolumeEntryKind,
    path: String,
    size: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: Rfc3339,
    #[serde(default)]
    target: Option<String>,
}

impl From<Stat> for VolumeEntry {
    fn from(stat: Stat) -> Self {
        let Stat { name, kind, path, size, mode, uid, gid, mtime, target } = stat;
        Self { name, kind, path, size, mode, uid, gid, modified: moment(mtime), target }
    }
}

/// Who owns what is made, and what for.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Ownership {
    /// Owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Owning group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Permission bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
}

impl Volume {
    /// Makes an empty volume.
    pub async fn create(config: &Config, name: &str) -> Result<Self, Error> {
        let body = serde_json::json!({ "name": name });
        let told = Api::new(config).post("/volumes", &body).await.map_err(family)?;
        Ok(Self { config: config.clone(), told })
    }

    /// A handle of a volume that exists.
    pub async fn connect(config: &Config, volume_id: &str) -> Result<Self, Error> {
        let path = format!("/volumes/{}", segment(volume_id)?);
        let told = Api::new(config).get(&path).await;
        let told = told.map_err(|e| family(e.refine(ErrorKind::NotFound, ErrorKind::VolumeNotFound)))?;
        Ok(Self { config: config.clone(), told })
    }

    /// All volumes of the key's team.
    pub async fn list(config: &Config) -> Result<Vec<VolumeInfo>, Error> {
        Api::new(config).get("/volumes").await.map_err(family)
    }

    /// Removes a volume and everything in it. `false` if there was none.
    pub async fn destroy(config: &Config, volume_id: &str) -> Result<bool, Error> {
        Api::new(config).delete(&format!("/volumes/{}", segment(volume_id)?)).await.map_err(family)
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.told.volume_id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.told.name
    }

    /// What its content's calls demand as a bearer token.
    pub fn token(&self) -> &str {
        &self.told.token
    }

    /// What is known of a path.
    pub async fn info(&self, path: &str) -> Result<VolumeEntry, Error> {
        parse(&self.call(Method::GET, "path", &[path_of(path)], Payload::none()).await?)
    }

    /// Whether something is there.
    pub async fn exists(&self, path: &str) -> Result<bool, Error> {
        match self.info(path).await {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::VolumePathNotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Entries below a directory, down to `depth` levels.
    pub async fn list_dir(&self, path: &str, depth: u32) -> Result<Vec<VolumeEntry>, Error> {
        let pairs = [path_of(path), ("depth", Some(depth.to_string()))];
        parse(&self.call(Method::GET, "dir", &pairs, Payload::none()).await?)
    }

    /// Makes a directory; by force also those above it, and fine if it is there.
    pub async fn make_dir(&self, path: &str, owner: Ownership, force: bool) -> Result<VolumeEntry, Error> {
        let pairs = created(path, owner, force);
        parse(&self.call(Method::POST, "dir", &pairs, Payload::none()).await?)
    }

    /// Changes owner and permissions.
    pub async fn update_metadata(&self, path: &str, owner: Ownership) -> Result<VolumeEntry, Error> {
        let body = json(&owner)?.into();
        parse(&self.call(Method::PATCH, "path", &[path_of(path)], body).await?)
    }

    /// Removes an entry and everything below it.
    pub async fn remove(&self, path: &str) -> Result<(), Error> {
        self.call(Method::DELETE, "path", &[path_of(path)], Payload::none()).await.map(drop)
    }

    /// Reads a file, at most 64 MiB.
    pub async fn read_file(&self, path: &str) -> Result<Bytes, Error> {
        self.call(Method::GET, "file", &[path_of(path)], Payload::none()).await
    }

    /// Reads a file of any size piece by piece.
    pub async fn read_file_stream(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + use<>, Error> {
        let url = self.url("file", &[path_of(path)]);
        let time = self.config.request_timeout;
        let sent = self.config.http.send(Method::GET, &url, self.headers()?, Payload::none(), time);
        let response = sent.await?;
        let status = response.status();
        if !status.is_success() {
            return Err(missing(answer_error(status.as_u16(), &read_all(response.into_body()).await?)));
        }
        Ok(pieces(response.into_body(), time))
    }

    /// Writes a file; one that is there only by force.
    pub async fn write_file(
        &self,
        path: &str,
        data: impl Into<Bytes>,
        owner: Ownership,
        force: bool,
    ) -> Result<VolumeEntry, Error> {
        let pairs = created(path, owner, force);
        parse(&self.call(Method::PUT, "file", &pairs, data.into().into()).await?)
    }

    fn url(&self, what: &str, pairs: &[(&str, Option<String>)]) -> String {
        let base = self.config.volume_url(self.told.domain.as_deref());
        format!("{base}/volumecontent/{}/{what}{}", self.told.volume_id, query(pairs))
    }

    fn headers(&self) -> Result<HeaderMap, Error> {
        let wrong = |e| Error::caused(ErrorKind::Volume, "the volume's token is no header value", e);
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", self.told.token)).map_err(wrong)?;
        bearer.set_sensitive(true);
        Ok(HeaderMap::from_iter([(AUTHORIZATION, bearer)]))
    }

    /// Calls about content are never sent twice.
    async fn call(
        &self,
        method: Method,
        what: &str,
        pairs: &[(&str, Option<String>)],
        payload: Payload,
    ) -> Result<Bytes, Error> {
        let mut headers = self.headers()?;
        let kind = if method == Method::PUT { "application/octet-stream" } else { "application/json" };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let (url, time) = (self.url(what, pairs), self.config.request_timeout);
        self.config.http.call(method, &url, headers, payload, time).await.map_err(missing)
    }
}

fn path_of(path: &str) -> (&'static str, Option<String>) {
    ("path", Some(path.to_owned()))
}

fn created(path: &str, owner: Ownership, force: bool) -> [(&'static str, Option<String>); 5] {
    let number = |value: Option<u32>| value.map(|value| value.to_string());
    let force = force.then(|| "true".to_owned());
    let (uid, gid, mode) = (number(owner.uid), number(owner.gid), number(owner.mode));
    [path_of(path), ("uid", uid), ("gid", gid), ("mode", mode), ("force", force)]
}

fn missing(error: Error) -> Error {
    family(error.refine(ErrorKind::NotFound, ErrorKind::VolumePathNotFound))
}

fn family(error: Error) -> Error {
    error.of_family(ErrorKind::Volume)
}
