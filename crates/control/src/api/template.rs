//! `GET /templates` and `GET /templates/aliases/{alias}`.

use axum::Json;
use axum::extract::{Path, State};
use model::TemplateRef;
use serde::Deserialize;
use store::{Alias, TemplateSummary};
use wire::rest::{Template, TemplateAlias};

use super::error::Failure;
use super::extract::Fields;
use super::sandbox::moment;
use crate::App;
use crate::app::Caller;

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
    Path(text): Path<String>,
) -> Result<Json<TemplateAlias>, Failure> {
    let wanted: TemplateRef =
        text.parse().map_err(|e| Failure::bad_request(format!("Invalid template reference: {e}")))?;
    let found = app.template_alias(&caller, &wanted).await?.template;
    Ok(Json(TemplateAlias { template_id: found.template_id.to_string(), public: found.public }))
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
