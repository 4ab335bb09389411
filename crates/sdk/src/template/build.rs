//! Building: the files are sent, the steps are handed over, the log is followed.

use std::time::{Duration, SystemTime};

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method};
use serde::Deserialize;
use wire::rest::{Rfc3339, TemplateBuildRequest};

use super::{Ready, Template};
use crate::api::{Api, extra_headers};
use crate::http::escape;
use crate::sandbox::moment;
use crate::{Config, Error, ErrorKind};

/// How often a build's state is asked for.
const POLL: Duration = Duration::from_millis(200);
/// Longest upload of one step's files.
const UPLOAD: Duration = Duration::from_hours(1);

/// What a template is called and how large its sandboxes are.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    request: TemplateBuildRequest,
}

impl BuildOptions {
    /// A template of this name, also `name:tag`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { request: TemplateBuildRequest { name: Some(name.into()), ..TemplateBuildRequest::default() } }
    }

    /// Adds a tag under which the build is found.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.request.tags.get_or_insert_default().push(tag.into());
        self
    }

    /// Processors of its sandboxes.
    #[must_use]
    pub fn cpu_count(mut self, count: u32) -> Self {
        self.request.cpu_count = Some(count);
        self
    }

    /// Memory of its sandboxes, in MiB.
    #[must_use]
    pub fn memory_mib(mut self, mib: u64) -> Self {
        self.request.memory_mb = Some(mib);
        self
    }

    /// Disk that is free in a new sandbox, in MiB.
    #[must_use]
    pub fn min_free_disk_mib(mut self, mib: u64) -> Self {
        self.request.min_free_disk_mb = Some(mib);
        self
    }
}

/// One build of a template.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildInfo {
    /// The template's id.
    #[serde(rename = "templateID")]
    pub template_id: String,
    /// The build's id.
    #[serde(rename = "buildID")]
    pub build_id: String,
    /// The template's names.
    #[serde(default)]
    pub names: Vec<String>,
    /// The tags under which the build is found once it is ready.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// How far a build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildStatus {
    /// Not started.
    Waiting,
    /// Under way.
    Building,
    /// Usable.
    Ready,
    /// It failed.
    Error,
}

/// How much a line of the log matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// To find faults.
    Debug,
    /// What happens.
    Info,
    /// Something odd.
    Warn,
    /// A failure.
    Error,
}

/// A line of a build's log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WireEntry")]
pub struct LogEntry {
    /// When.
    pub at: SystemTime,
    /// How much it matters.
    pub level: LogLevel,
    /// The text.
    pub message: String,
    /// `base`, the number of a step, or `finalize`.
    pub step: Option<String>,
}

#[derive(Deserialize)]
struct WireEntry {
    timestamp: Rfc3339,
    level: LogLevel,
    message: String,
    #[serde(default)]
    step: Option<String>,
}

impl std::convert::From<WireEntry> for LogEntry {
    fn from(entry: WireEntry) -> Self {
        let WireEntry { timestamp, level, message, step } = entry;
        Self { at: moment(timestamp), level, message, step }
    }
}

#[derive(Deserialize)]
struct Progress {
    status: BuildStatus,
    #[serde(default, rename = "logEntries")]
    entries: Vec<LogEntry>,
    #[serde(default)]
    reason: Option<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    message: String,
    #[serde(default)]
    step: Option<String>,
}

#[derive(Deserialize)]
struct Upload {
    present: bool,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
}

impl Template {
    /// Builds it and waits until it is ready; `on_log` sees the log as it comes.
    /// Dropping the future leaves the build going on.
    pub async fn build(
        &self,
        config: &Config,
        options: &BuildOptions,
        mut on_log: impl FnMut(&LogEntry) + Send,
    ) -> Result<BuildInfo, Error> {
        let info = self.build_in_background(config, options).await?;
        let api = Api::new(config);
        let mut seen = 0;
        loop {
            let progress = progress(&api, &info, seen).await?;
            progress.entries.iter().for_each(&mut on_log);
            seen += progress.entries.len();
            // The last lines may come after the end: only an empty page is the end of the log.
            match progress.status {
                _ if !progress.entries.is_empty() => {}
                BuildStatus::Ready => return Ok(info),
                BuildStatus::Error => return Err(self.failure(progress.reason)),
                BuildStatus::Waiting | BuildStatus::Building => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// Sends the files, starts the build and returns.
    pub async fn build_in_background(
        &self,
        config: &Config,
        options: &BuildOptions,
    ) -> Result<BuildInfo, Error> {
        let api = Api::new(config);
        let files = self.collect()?;
        let info: BuildInfo = api.post("/v3/templates", &options.request).await.map_err(family)?;
        for collected in files.values() {
            let path = format!("/templates/{}/files/{}", escape(&info.template_id), collected.hash);
            let upload = |e: Error| e.of_family(ErrorKind::FileUpload);
            let place: Upload = api.get(&path).await.map_err(upload)?;
            if let Some(url) = place.url.filter(|_| !place.present || collected.force_upload) {
                let packed = self.pack(collected)?;
                // The address is signed: it gets no key and no headers of ours.
                let mut headers: HeaderMap = extra_headers(&place.headers)?;
                headers.insert(CONTENT_LENGTH, packed.len().into());
                config.http.call(Method::PUT, &url, headers, packed, UPLOAD).await.map_err(upload)?;
            } else if !place.present {
                return Err(Error::new(ErrorKind::FileUpload, "the server told no address to send files to"));
            }
        }
        let definition = self.definition(|at| files.get(&at).map(|files| files.hash.clone()));
        let path = format!("/v2/templates/{}/builds/{}", escape(&info.template_id), escape(&info.build_id));
        api.send_json(Method::POST, &path, &definition).await.map_err(family)?;
        Ok(info)
    }

    /// How far a build is, and the lines of its log after the first `logs_offset`.
    pub async fn build_status(
        config: &Config,
        build: &BuildInfo,
        logs_offset: usize,
    ) -> Result<(BuildStatus, Vec<LogEntry>), Error> {
        let progress = progress(&Api::new(config), build, logs_offset).await?;
        Ok((progress.status, progress.entries))
    }

    /// The failure with the step that failed, where the server names it.
    fn failure(&self, reason: Option<Reason>) -> Error {
        let Some(Reason { message, step }) = reason else {
            return Error::new(ErrorKind::Build, "the build failed");
        };
        let words = match step.as_deref() {
            Some("base") => " (at the base of the template)".to_owned(),
            Some("finalize") => match self.ready.as_ref().map(Ready::line) {
                Some(line) => format!(" (while it waited for `{line}`)"),
                None => " (at the end)".to_owned(),
            },
            Some(number) => {
                let at = number.parse().ok().and_then(|n: usize| n.checked_sub(1));
                match at.and_then(|at| self.steps.get(at)) {
                    Some(step) => format!(" (step {number}: {} {})", step.kind, step.args[0]),
                    None => format!(" (step {number})"),
                }
            }
            None => String::new(),
        };
        Error::new(ErrorKind::Build, format!("{message}{words}"))
    }
}

async fn progress(api: &Api, build: &BuildInfo, offset: usize) -> Result<Progress, Error> {
    let path = format!(
        "/templates/{}/builds/{}/status?logsOffset={offset}&limit=100",
        escape(&build.template_id),
        escape(&build.build_id)
    );
    api.get(&path).await.map_err(family)
}

fn family(error: Error) -> Error {
    error.of_family(ErrorKind::Build)
}
