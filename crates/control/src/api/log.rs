//! `GET /sandboxes/{id}/logs` and `GET /v2/sandboxes/{id}/logs`.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Map, Value};
use store::LogLine;
use wire::control::LogLevel;
use wire::rest::{Rfc3339, SandboxLog, SandboxLogEntry, SandboxLogs, SandboxLogsV2};

use super::error::Failure;
use super::extract::{Fields, Id};
use crate::App;
use crate::app::{Caller, LogQuery};

const MOST: usize = 1000;
const LONGEST_SEARCH: usize = 256;

#[derive(Debug, Deserialize)]
pub(super) struct V1Fields {
    start: Option<u64>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
pub(super) struct V2Fields {
    cursor: Option<u64>,
    limit: Option<usize>,
    direction: Option<String>,
    level: Option<String>,
    search: Option<String>,
}

/// Oldest first, from a moment on.
pub(super) async fn v1(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    Fields(fields): Fields<V1Fields>,
) -> Result<Json<SandboxLogs>, Failure> {
    let query = LogQuery {
        from: micros(fields.start.unwrap_or(0)),
        until: i64::MAX,
        level: LogLevel::Debug,
        search: None,
        newest_first: false,
        limit: fields.limit.unwrap_or(MOST),
    };
    let lines = app.log(&caller, &id, &query).await?;
    Ok(Json(SandboxLogs {
        logs: lines.iter().map(text).collect(),
        log_entries: lines.into_iter().map(entry).collect(),
    }))
}

/// Pages in both directions.
pub(super) async fn v2(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    Fields(fields): Fields<V2Fields>,
) -> Result<Json<SandboxLogsV2>, Failure> {
    let query = query(fields)?;
    let lines = app.log(&caller, &id, &query).await?;
    Ok(Json(SandboxLogsV2 { logs: lines.into_iter().map(entry).collect() }))
}

fn query(fields: V2Fields) -> Result<LogQuery, Failure> {
    let refused = |text: String| Failure::bad_request(format!("validation error: {text}"));
    let newest_first = match fields.direction.as_deref() {
        None | Some("backward") => true,
        Some("forward") => false,
        Some(_) => return Err(refused("direction must be forward or backward".to_owned())),
    };
    let limit = fields.limit.unwrap_or(MOST);
    if limit > MOST {
        return Err(refused(format!("limit must be 0 to {MOST}")));
    }
    let level = match fields.level {
        None => LogLevel::Debug,
        Some(text) => {
            text.parse().map_err(|()| refused("level must be debug, info, warn or error".to_owned()))?
        }
    };
    if fields.search.as_ref().is_some_and(|search| search.chars().count() > LONGEST_SEARCH) {
        return Err(refused(format!("search has at most {LONGEST_SEARCH} characters")));
    }
    // A cursor is the moment of a line that was seen: backward goes on before it.
    let cursor = fields.cursor.map(micros);
    let (from, until) = if newest_first {
        (i64::MIN, cursor.unwrap_or(i64::MAX))
    } else {
        (cursor.unwrap_or(i64::MIN), i64::MAX)
    };
    Ok(LogQuery { from, until, level, search: fields.search, newest_first, limit })
}

fn micros(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX).saturating_mul(1000)
}

/// The command line parses it and asks for the level without a guard.
fn text(line: &LogLine) -> SandboxLog {
    let mut object = Map::new();
    for (name, value) in &line.fields {
        object.insert(name.clone(), Value::from(value.clone()));
    }
    for (name, value) in [("level", &line.level), ("logger", &line.logger), ("message", &line.message)] {
        object.insert(name.to_owned(), Value::from(value.clone()));
    }
    SandboxLog {
        timestamp: Rfc3339::from_unix_micros(line.at_micros),
        line: Value::Object(object).to_string(),
    }
}

fn entry(line: LogLine) -> SandboxLogEntry {
    let mut fields = line.fields;
    fields.insert("logger".to_owned(), line.logger);
    SandboxLogEntry {
        timestamp: Rfc3339::from_unix_micros(line.at_micros),
        message: line.message,
        level: line.level,
        fields,
    }
}
