//! `/api-keys`, `/access-tokens` and `GET /teams`.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use model::KeyId;
use store::ListedKey;
use wire::rest::{ApiKey, CreatedAccessToken, CreatedApiKey, Named, Team, TeamUser};

use super::error::Failure;
use super::extract::{AnyCredentials, Body, Manager, Part, Person};
use super::sandbox::moment;
use crate::App;
use crate::app::{Kind, Made, masked};

/// Works where keys are optional; has the form that old clients insist on.
const PLACEHOLDER: &str = "e2b_0000000000000000000000000000000000000000";

/// For a person, each of their teams with a new key; for a key, its team.
pub(super) async fn teams(
    State(app): State<App>,
    AnyCredentials(credentials): AnyCredentials,
) -> Result<Json<Vec<Team>>, Failure> {
    let caller = app.authenticate(&credentials).await?;
    let Some(user) = caller.user else {
        let is_key = |text: &String| text.starts_with(Kind::ApiKey.prefix());
        let own = credentials.api_key.or(credentials.bearer.filter(is_key));
        return Ok(Json(vec![Team {
            team_id: caller.team.team_id.to_string(),
            name: caller.team.name,
            api_key: own.unwrap_or_else(|| PLACEHOLDER.to_owned()),
            is_default: true,
        }]));
    };
    let teams = app.log_in(&user).await?;
    let item = |(n, (team, api_key)): (usize, (store::Team, String))| Team {
        team_id: team.team_id.to_string(),
        name: team.name,
        api_key,
        is_default: n == 0,
    };
    Ok(Json(teams.into_iter().enumerate().map(item).collect()))
}

pub(super) async fn keys(
    State(app): State<App>,
    Manager(caller): Manager,
) -> Result<Json<Vec<ApiKey>>, Failure> {
    let keys = app.keys(caller.team.team_id).await?;
    Ok(Json(keys.into_iter().map(listed).collect()))
}

pub(super) async fn make_key(
    State(app): State<App>,
    Manager(caller): Manager,
    Body(named): Body<Named>,
) -> Result<(StatusCode, Json<CreatedApiKey>), Failure> {
    let made = app.make_key(caller.team.team_id, caller.user.as_ref(), &named.name).await?;
    Ok((StatusCode::CREATED, Json(created(made))))
}

pub(super) async fn rename_key(
    State(app): State<App>,
    Manager(caller): Manager,
    Part(id): Part<KeyId>,
    Body(named): Body<Named>,
) -> Result<Json<ApiKey>, Failure> {
    Ok(Json(listed(app.rename_key(caller.team.team_id, id, &named.name).await?)))
}

pub(super) async fn revoke_key(
    State(app): State<App>,
    Manager(caller): Manager,
    Part(id): Part<KeyId>,
) -> Result<StatusCode, Failure> {
    app.revoke_key(caller.team.team_id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn make_token(
    State(app): State<App>,
    Person(user): Person,
    Body(named): Body<Named>,
) -> Result<(StatusCode, Json<CreatedAccessToken>), Failure> {
    Ok((StatusCode::CREATED, Json(created_token(app.make_token(user.user_id, &named.name).await?))))
}

pub(super) async fn revoke_token(
    State(app): State<App>,
    Person(user): Person,
    Part(id): Part<KeyId>,
) -> Result<StatusCode, Failure> {
    app.revoke_token(user.user_id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) fn listed(listed: ListedKey) -> ApiKey {
    let ListedKey { key, created_by_email } = listed;
    ApiKey {
        id: key.key_id.to_string(),
        name: key.name,
        mask: masked(Kind::ApiKey, &key.mask),
        created_at: moment(key.created_at),
        created_by: key.created_by.map(|id| TeamUser { id: id.to_string(), email: created_by_email }),
        last_used: key.last_used_at.map(moment),
    }
}

pub(super) fn created(made: Made<ListedKey>) -> CreatedApiKey {
    CreatedApiKey { key: made.secret, listed: listed(made.row) }
}

pub(super) fn created_token(made: Made<store::AccessToken>) -> CreatedAccessToken {
    CreatedAccessToken {
        id: made.row.token_id.to_string(),
        name: made.row.name,
        token: made.secret,
        mask: masked(Kind::AccessToken, &made.row.mask),
        created_at: moment(made.row.created_at),
    }
}
