//! `GET /sandboxes` and `GET /v2/sandboxes`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderValue;
use model::{TemplateRef, Timestamp};
use serde::Deserialize;
use wire::rest::{ListedSandbox, Rfc3339, metadata};

use super::error::Failure;
use super::extract::Fields;
use super::sandbox::listed;
use crate::App;
use crate::app::{Caller, Key, ListQuery, Listed, Order, PageRequest};

const PAGE_MAX: usize = 100;

#[derive(Debug, Deserialize)]
pub(super) struct V1Fields {
    metadata: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct V2Fields {
    metadata: Option<String>,
    state: Option<String>,
    order: Option<String>,
    started_after: Option<String>,
    template: Option<String>,
    limit: Option<usize>,
    next_token: Option<String>,
}

/// Running ones, newest first, in one piece.
pub(super) async fn v1(
    State(app): State<App>,
    caller: Caller,
    Fields(fields): Fields<V1Fields>,
) -> Result<Json<Vec<ListedSandbox>>, Failure> {
    let query = ListQuery {
        running: true,
        paused: false,
        metadata: metadata_filter(fields.metadata.as_deref())?,
        started_after: None,
        template: None,
    };
    let page = PageRequest { order: Order::NewestFirst, after: None, limit: usize::MAX - 1 };
    let found = app.list(&caller, &query, &page).await?;
    Ok(Json(found.items.into_iter().map(listed).collect()))
}

/// A page of what the filters leave.
pub(super) async fn v2(
    State(app): State<App>,
    caller: Caller,
    Fields(fields): Fields<V2Fields>,
) -> Result<Response, Failure> {
    let page = page(&fields)?;
    let (running, paused) = states(fields.state.as_deref())?;
    let query = ListQuery {
        running,
        paused,
        metadata: metadata_filter(fields.metadata.as_deref())?,
        started_after: fields.started_after.as_deref().map(started_after).transpose()?,
        template: fields.template.as_deref().map(template).transpose()?.map(|template| template.name),
    };
    Ok(paged(app.list(&caller, &query, &page).await?, page.order))
}

fn paged(found: Listed, order: Order) -> Response {
    let items: Vec<ListedSandbox> = found.items.into_iter().map(listed).collect();
    let mut response = Json(items).into_response();
    let headers = response.headers_mut();
    if let Some(next) = found.next.and_then(|key| HeaderValue::from_str(&key.token(order)).ok()) {
        headers.insert("x-next-token", next);
    }
    if let Some(total) = found.total_running {
        headers.insert("x-total-running", HeaderValue::from(total));
    }
    response
}

fn page(fields: &V2Fields) -> Result<PageRequest, Failure> {
    let order = match fields.order.as_deref() {
        None | Some("desc") => Order::NewestFirst,
        Some("asc") => Order::OldestFirst,
        Some(_) => return Err(Failure::bad_request("validation error: order must be asc or desc")),
    };
    let limit = fields.limit.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Failure::bad_request("validation error: limit must be 1 to 100"));
    }
    let token = fields.next_token.as_deref().filter(|token| !token.is_empty());
    let read =
        |token| Key::from_token(token, order).ok_or_else(|| Failure::bad_request("Invalid next token"));
    Ok(PageRequest { order, after: token.map(read).transpose()?, limit })
}

/// Whether running and paused ones are asked for; both by default.
fn states(states: Option<&str>) -> Result<(bool, bool), Failure> {
    let Some(states) = states.filter(|states| !states.is_empty()) else { return Ok((true, true)) };
    let (mut running, mut paused) = (false, false);
    for state in states.split(',') {
        match state {
            "running" => running = true,
            "paused" => paused = true,
            _ => return Err(Failure::bad_request("validation error: state must be running or paused")),
        }
    }
    Ok((running, paused))
}

fn metadata_filter(parameter: Option<&str>) -> Result<BTreeMap<String, String>, Failure> {
    let decoded = parameter.map(metadata::decode).transpose();
    decoded.map(Option::unwrap_or_default).map_err(|_| Failure::bad_request("Error parsing metadata"))
}

fn started_after(text: &str) -> Result<Timestamp, Failure> {
    let invalid = |_| Failure::bad_request("validation error: startedAfter must be an RFC 3339 time");
    let moment: Rfc3339 = text.parse().map_err(invalid)?;
    Ok(Timestamp::from_unix_micros(moment.unix_micros()))
}

fn template(text: &str) -> Result<TemplateRef, Failure> {
    let invalid = || Failure::bad_request(format!("Invalid template: {text}"));
    if text.contains(':') {
        return Err(invalid());
    }
    text.parse().map_err(|_| invalid())
}
