//! Template builds: ask, upload, start, follow.

use axum::Json;
use axum::body::Body as RawBody;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use futures_util::TryStreamExt as _;
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, StatusCode};
use model::{BuildId, TeamId, TemplateId};
use node::build::{FilesHash, LogEntry, LogLevel, LogPage, UploadError};
use serde::Deserialize;
use wire::rest::{
    BuildLogEntry, BuildLogs, BuildReason, TemplateBuildInfo, TemplateBuildRequest, TemplateBuildRequested,
    TemplateBuildRequestedV2, TemplateBuildStart, TemplateFiles,
};

use super::address::Address;
use super::error::Failure;
use super::extract::{Body, Fields};
use super::sandbox::moment;
use super::steps;
use crate::App;
use crate::app::{BuildRequest, BuildStatusView, Caller, Requested, WHOLE_LOG};

/// `POST /v3/templates`.
pub(super) async fn request(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<TemplateBuildRequest>,
) -> Result<(StatusCode, Json<TemplateBuildRequested>), Failure> {
    let made = app.request_build(&caller, parsed(body)?).await?;
    let answer = TemplateBuildRequested {
        template_id: made.template.template_id.to_string(),
        build_id: made.build_id.to_string(),
        public: made.template.public,
        names: vec![made.full_name],
        tags: made.tags,
        aliases: vec![made.alias],
    };
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// `POST /v2/templates`, of older clients.
pub(super) async fn request_v2(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<TemplateBuildRequest>,
) -> Result<(StatusCode, Json<TemplateBuildRequestedV2>), Failure> {
    let made: Requested = app.request_build(&caller, parsed(body)?).await?;
    let answer = TemplateBuildRequestedV2 {
        template_id: made.template.template_id.to_string(),
        build_id: made.build_id.to_string(),
        public: made.template.public,
        aliases: vec![made.alias],
    };
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

fn parsed(body: TemplateBuildRequest) -> Result<BuildRequest, Failure> {
    let name = body.name.or(body.alias).filter(|name| !name.trim().is_empty());
    let name = name.ok_or_else(|| Failure::bad_request("Name is required"))?;
    Ok(BuildRequest {
        name: name.parse().map_err(|e| Failure::bad_request(format!("Invalid template name: {e}")))?,
        tags: body.tags.unwrap_or_default(),
        cpu_count: body.cpu_count,
        memory_mb: body.memory_mb,
        min_free_disk_mb: body.min_free_disk_mb,
    })
}

pub(super) fn template_id(text: &str) -> Result<TemplateId, Failure> {
    text.parse().map_err(|_| Failure::new(StatusCode::NOT_FOUND, format!("template '{text}' not found")))
}

fn build_id(text: &str) -> Result<BuildId, Failure> {
    text.parse().map_err(|_| Failure::bad_request("Invalid build id"))
}

fn files_hash(text: String) -> Result<FilesHash, Failure> {
    FilesHash::try_from(text).map_err(Failure::bad_request)
}

/// `GET /templates/{templateID}/files/{hash}`. The address is given even when the
/// files are there: a client may be told to send them again.
pub(super) async fn files(
    State(app): State<App>,
    caller: Caller,
    Path((template, hash)): Path<(String, String)>,
    address: Result<Address, Failure>,
) -> Result<(StatusCode, Json<TemplateFiles>), Failure> {
    let hash = files_hash(hash)?;
    let (present, place) = app.upload_place(&caller, &template_id(&template)?, &hash).await?;
    let url = format!("{}{place}", address?.0);
    Ok((StatusCode::CREATED, Json(TemplateFiles { present, url: Some(url) })))
}

#[derive(Debug, Deserialize)]
pub(super) struct UploadFields {
    expires: i64,
    token: String,
}

/// `PUT /upload/{teamID}/{hash}`: needs no key, the address is the permission.
pub(super) async fn upload(
    State(app): State<App>,
    Path((team, hash)): Path<(String, String)>,
    fields: Fields<UploadFields>,
    headers: HeaderMap,
    body: RawBody,
) -> impl IntoResponse {
    let received = receive(&app, team, hash, fields.0, &headers, body).await;
    // What is left of a refused body is not read.
    received.map_err(|failure| ([(CONNECTION, HeaderValue::from_static("close"))], failure))
}

async fn receive(
    app: &App,
    team: String,
    hash: String,
    fields: UploadFields,
    headers: &HeaderMap,
    body: RawBody,
) -> Result<StatusCode, Failure> {
    let hash = files_hash(hash)?;
    if !app.may_upload(&team, &hash, fields.expires, &fields.token) {
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            "this address for an upload is wrong or has expired",
        ));
    }
    let team: TeamId = team.parse().map_err(|_| Failure::bad_request("Invalid team ID"))?;
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let expected = length.and_then(|length| length.parse().ok());
    let content = body.into_data_stream().map_err(std::io::Error::other);
    let received = app.receive_files(team, &hash, expected, Box::pin(content)).await;
    received.map(|()| StatusCode::OK).map_err(|error| match &error {
        UploadError::TooLarge(_) => Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
        UploadError::Short { .. } | UploadError::Broken(_) => Failure::bad_request(error.to_string()),
        UploadError::Disk(_) => {
            tracing::error!(error = &error as &dyn std::error::Error, "an upload was not kept");
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the upload could not be kept")
        }
    })
}

/// `POST /v2/templates/{templateID}/builds/{buildID}`.
pub(super) async fn start(
    State(app): State<App>,
    caller: Caller,
    Path((template, build)): Path<(String, String)>,
    headers: HeaderMap,
    Body(body): Body<TemplateBuildStart>,
) -> Result<StatusCode, Failure> {
    steps::check_client(&headers)?;
    let (template, build) = (template_id(&template)?, build_id(&build)?);
    app.start_build(&caller, &template, build, steps::parse(body)?).await?;
    Ok(StatusCode::ACCEPTED)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatusFields {
    #[serde(default)]
    logs_offset: usize,
    limit: Option<usize>,
    level: Option<String>,
}

/// `GET /templates/{templateID}/builds/{buildID}/status`.
pub(super) async fn status(
    State(app): State<App>,
    caller: Caller,
    Path((template, build)): Path<(String, String)>,
    Fields(fields): Fields<StatusFields>,
) -> Result<Json<TemplateBuildInfo>, Failure> {
    let page = LogPage {
        offset: fields.logs_offset,
        limit: checked_limit(fields.limit)?,
        level: level(fields.level.as_deref())?,
    };
    let (template, build) = (template_id(&template)?, build_id(&build)?);
    let view = app.build_status(&caller, &template, build, page).await?;
    Ok(Json(info(view)))
}

fn checked_limit(limit: Option<usize>) -> Result<usize, Failure> {
    match limit {
        Some(limit) if limit > 100 => Err(Failure::bad_request("limit must be at most 100")),
        limit => Ok(limit.unwrap_or(100)),
    }
}

fn level(text: Option<&str>) -> Result<LogLevel, Failure> {
    Ok(match text {
        None | Some("debug" | "") => LogLevel::Debug,
        Some("info") => LogLevel::Info,
        Some("warn") => LogLevel::Warn,
        Some("error") => LogLevel::Error,
        Some(_) => return Err(Failure::bad_request("level must be debug, info, warn or error")),
    })
}

fn info(view: BuildStatusView) -> TemplateBuildInfo {
    let BuildStatusView { state, entries } = view;
    let reason = state.reason.map(|reason| {
        let of_step = |entry: &&LogEntry| entry.step == reason.step && entry.level >= LogLevel::Warn;
        let log_entries = entries.iter().filter(of_step).map(entry).collect();
        BuildReason { message: reason.message, step: reason.step.clone(), log_entries }
    });
    TemplateBuildInfo {
        template_id: state.build.template_id.to_string(),
        build_id: state.build.build_id.to_string(),
        status: state.build.status.to_string(),
        logs: Vec::new(),
        log_entries: entries.iter().map(entry).collect(),
        reason,
    }
}

fn entry(entry: &LogEntry) -> BuildLogEntry {
    let level = match entry.level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    };
    BuildLogEntry {
        timestamp: moment(entry.moment()),
        message: entry.message.clone(),
        level: level.to_owned(),
        step: entry.step.clone(),
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct LogFields {
    /// In milliseconds since 1970.
    cursor: Option<i64>,
    limit: Option<usize>,
    direction: Option<String>,
    level: Option<String>,
    /// Where the lines are kept; here there is one such place.
    source: Option<String>,
}

/// `GET /templates/{templateID}/builds/{buildID}/logs`.
pub(super) async fn logs(
    State(app): State<App>,
    caller: Caller,
    Path((template, build)): Path<(String, String)>,
    Fields(fields): Fields<LogFields>,
) -> Result<Json<BuildLogs>, Failure> {
    let limit = checked_limit(fields.limit)?;
    if !matches!(fields.source.as_deref(), None | Some("" | "temporary" | "persistent")) {
        return Err(Failure::bad_request("source must be temporary or persistent"));
    }
    let page = LogPage { level: level(fields.level.as_deref())?, ..WHOLE_LOG };
    let (template, build) = (template_id(&template)?, build_id(&build)?);
    let entries = app.whole_build_log(&caller, &template, build, page).await?;
    let logs = match fields.direction.as_deref() {
        None | Some("forward") => {
            let after = |entry: &&LogEntry| fields.cursor.is_none_or(|cursor| entry.at / 1000 >= cursor);
            entries.iter().filter(after).take(limit).map(entry).collect()
        }
        Some("backward") => {
            let before = |entry: &&LogEntry| fields.cursor.is_none_or(|cursor| entry.at / 1000 <= cursor);
            entries.iter().rev().filter(before).take(limit).map(entry).collect()
        }
        Some(_) => return Err(Failure::bad_request("direction must be forward or backward")),
    };
    Ok(Json(BuildLogs { logs }))
}

/// `POST /templates/{templateID}/builds/{buildID}/cancel`.
pub(super) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path((template, build)): Path<(String, String)>,
) -> Result<StatusCode, Failure> {
    app.cancel_build(&caller, &template_id(&template)?, build_id(&build)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
