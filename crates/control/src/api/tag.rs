//! Tags of templates.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use model::TemplateRef;
use wire::rest::{AssignTags, AssignedTags, RemoveTags, TemplateTag};

use super::error::Failure;
use super::extract::Body;
use super::sandbox::moment;
use crate::App;
use crate::app::Caller;

pub(super) fn reference(text: &str) -> Result<TemplateRef, Failure> {
    text.parse().map_err(|e| Failure::bad_request(format!("Invalid template reference: {e}")))
}

/// `POST /templates/tags`.
pub(super) async fn assign(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<AssignTags>,
) -> Result<(StatusCode, Json<AssignedTags>), Failure> {
    let (tags, build) = app.assign_tags(&caller, &reference(&body.target)?, &body.tags).await?;
    Ok((StatusCode::CREATED, Json(AssignedTags { tags, build_id: build.to_string() })))
}

/// `DELETE /templates/tags`, which has a body.
pub(super) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<RemoveTags>,
) -> Result<StatusCode, Failure> {
    app.remove_tags(&caller, &reference(&body.name)?, &body.tags).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /templates/{templateID}/tags`.
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(parts): Path<Vec<String>>,
) -> Result<Json<Vec<TemplateTag>>, Failure> {
    let tags = app.tags(&caller, &reference(&parts.join("/"))?).await?;
    let shown = tags.into_iter().map(|tag| TemplateTag {
        tag: tag.tag,
        build_id: tag.build_id.to_string(),
        created_at: moment(tag.assigned_at),
    });
    Ok(Json(shown.collect()))
}
