//! Templates: lists, one of them, names, publishing, deleting.

use axum::Json;
use axum::extract::{Path, State};
use http::{HeaderMap, HeaderValue, StatusCode};
use model::TemplateRef;
use serde::Deserialize;
use store::{Alias, Build, TemplateSummary};
use wire::rest::{
    DefaultTemplate, Template, TemplateAlias, TemplateBuild, TemplateUpdate, TemplateUpdated,
    TemplateWithBuilds,
};

use super::build::template_id;
use super::error::Failure;
use super::extract::{Fields, MaybeBody};
use super::sandbox::moment;
use super::tag::reference;
use crate::app::Caller;
use crate::{App, Demand};

#[derive(Debug, Deserialize)]
pub(super) struct ListFields {
    #[serde(rename = "teamID")]
    team_id: Option<String>,
}

pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Fields(fields): Fields<ListFields>,
) -> Result<Json<Vec<Template>>, Failure> {
    let own = caller.team.team_id.to_string();
    if fields.team_id.is_some_and(|id| !id.is_empty() && !id.eq_ignore_ascii_case(&own)) {
        return Err(Failure::bad_request("Team ID param mismatch with the API key"));
    }
    let found = app.templates(&caller).await?;
    Ok(Json(found.into_iter().map(template).collect()))
}

pub(super) async fn alias(
    State(app): State<App>,
    caller: Caller,
    Path(parts): Path<Vec<String>>,
) -> Result<Json<TemplateAlias>, Failure> {
    let wanted: TemplateRef = parts
        .join("/")
        .parse()
        .map_err(|e| Failure::bad_request(format!("Invalid template reference: {e}")))?;
    let found = app.template_alias(&caller, &wanted).await?.template;
    Ok(Json(TemplateAlias { template_id: found.template_id.to_string(), public: found.public }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageFields {
    pub(super) limit: Option<usize>,
    pub(super) next_token: Option<String>,
}

/// `GET /v2/templates`: the list in pages.
pub(super) async fn page(
    State(app): State<App>,
    caller: Caller,
    Fields(fields): Fields<PageFields>,
) -> Result<(HeaderMap, Json<Vec<Template>>), Failure> {
    let found = app.templates(&caller).await?;
    let (headers, found) = cut(found, &fields)?;
    Ok((headers, Json(found.into_iter().map(template).collect())))
}

/// A page of what is sorted already. The token is the place where the next begins.
pub(super) fn cut<T>(all: Vec<T>, fields: &PageFields) -> Result<(HeaderMap, Vec<T>), Failure> {
    let limit = fields.limit.unwrap_or(100);
    if !(1..=100).contains(&limit) {
        return Err(Failure::bad_request("limit must be from 1 to 100"));
    }
    let start = match fields.next_token.as_deref() {
        None | Some("") => 0,
        Some(token) => token.parse::<usize>().map_err(|_| Failure::bad_request("Invalid next token"))?,
    };
    let mut headers = HeaderMap::new();
    if all.len() > start.saturating_add(limit) {
        headers.insert("x-next-token", HeaderValue::from(start + limit));
    }
    Ok((headers, all.into_iter().skip(start).take(limit).collect()))
}

/// `GET /default-templates`: those that come with the server.
pub(super) async fn defaults(State(app): State<App>, caller: Caller) -> Result<Json<Vec<Template>>, Failure> {
    let found = app.templates(&caller).await?.into_iter().filter(|found| found.template.team_id.is_none());
    Ok(Json(found.map(template).collect()))
}

/// `POST /default-templates/{name}`: builds one of those that are built on demand.
pub(super) async fn order_default(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<(StatusCode, Json<DefaultTemplate>), Failure> {
    let demand = app.order_default(&caller, &name).await?;
    Ok((StatusCode::ACCEPTED, Json(default_template(name, &demand))))
}

/// `GET /default-templates/{name}`: how far it is.
pub(super) async fn default_progress(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<DefaultTemplate>, Failure> {
    let demand = app.default_progress(&caller, &name).await?;
    Ok(Json(default_template(name, &demand)))
}

fn default_template(name: String, demand: &Demand) -> DefaultTemplate {
    let status = match demand {
        Demand::Idle => "absent",
        Demand::Wanted(_) => "waiting",
        Demand::Building(_) => "building",
        Demand::Ready => "ready",
        Demand::Failed(_) => "error",
    };
    DefaultTemplate { name, status: status.to_owned(), message: demand.told() }
}

/// `GET /templates/{templateID}`: one by its id, with its builds.
pub(super) async fn one(
    State(app): State<App>,
    caller: Caller,
    Path(text): Path<String>,
    Fields(fields): Fields<PageFields>,
) -> Result<(HeaderMap, Json<TemplateWithBuilds>), Failure> {
    let (summary, builds) = app.template_with_builds(&caller, &template_id(&text)?).await?;
    let (headers, builds) = cut(builds, &fields)?;
    let builds = builds.into_iter().map(build).collect();
    Ok((headers, Json(TemplateWithBuilds { template: template(summary), builds })))
}

/// `DELETE /templates/{templateID}`.
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(parts): Path<Vec<String>>,
) -> Result<StatusCode, Failure> {
    app.delete_template(&caller, &reference(&parts.join("/"))?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `PATCH /v2/templates/{templateID}`.
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(text): Path<String>,
    MaybeBody(body): MaybeBody<TemplateUpdate>,
) -> Result<Json<TemplateUpdated>, Failure> {
    let names = app.publish(&caller, &reference(&text)?, body.public).await?;
    Ok(Json(TemplateUpdated { names: names.iter().map(full_name).collect() }))
}

fn build(build: Build) -> TemplateBuild {
    TemplateBuild {
        build_id: build.build_id.to_string(),
        status: build.status.to_string(),
        created_at: moment(build.created_at),
        updated_at: moment(build.finished_at.unwrap_or(build.created_at)),
        finished_at: build.finished_at.map(moment),
        cpu_count: build.resources.cpu_count,
        memory_mb: build.resources.memory.as_mib(),
        disk_size_mb: build.resources.disk.as_mib(),
        envd_version: build.envd_version,
    }
}

fn template(summary: TemplateSummary) -> Template {
    let TemplateSummary { template, aliases, newest_build: build, build_count } = summary;
    Template {
        template_id: template.template_id.to_string(),
        build_id: build.build_id.to_string(),
        cpu_count: build.resources.cpu_count,
        memory_mb: build.resources.memory.as_mib(),
        disk_size_mb: build.resources.disk.as_mib(),
        public: template.public,
        names: aliases.iter().map(full_name).collect(),
        aliases: aliases.into_iter().map(|alias| alias.alias).collect(),
        created_at: moment(template.created_at),
        updated_at: moment(template.updated_at),
        created_by: None,
        last_spawned_at: template.last_spawned_at.map(moment),
        spawn_count: template.spawn_count,
        build_count,
        envd_version: build.envd_version,
        build_status: build.status.to_string(),
    }
}

fn full_name(alias: &Alias) -> String {
    if alias.namespace.is_empty() {
        alias.alias.clone()
    } else {
        format!("{}/{}", alias.namespace, alias.alias)
    }
}
