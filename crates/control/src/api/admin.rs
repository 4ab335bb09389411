//! `/admin/…`: what the operator does about teams, people and keys.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use model::{KeyId, TeamId, UserId};
use store::{Standing, TeamChange};
use wire::rest::{
    AdminTeam, AdminUser, ApiKey, CancelReport, CreatedAccessToken, CreatedApiKey, KillReport, Named,
    NewTeam, NewUser, RunningCount,
};

use super::account::{created, created_token, listed};
use super::error::Failure;
use super::extract::{Body, Operator, Part, TwoParts};
use super::sandbox::moment;
use crate::App;

type Made<T> = Result<(StatusCode, Json<T>), Failure>;

pub(super) async fn teams(State(app): State<App>, _: Operator) -> Result<Json<Vec<AdminTeam>>, Failure> {
    Ok(Json(app.teams().await?.into_iter().map(team).collect()))
}

pub(super) async fn make_team(
    State(app): State<App>,
    _: Operator,
    Body(new): Body<NewTeam>,
) -> Made<AdminTeam> {
    let made = app.make_team(&new.name, new.slug.as_deref(), new.max_sandboxes).await?;
    Ok((StatusCode::CREATED, Json(team(made))))
}

pub(super) async fn change_team(
    State(app): State<App>,
    _: Operator,
    Part(id): Part<TeamId>,
    Body(change): Body<wire::rest::TeamChange>,
) -> Result<Json<AdminTeam>, Failure> {
    let standing = |text: String| {
        let refused = || Failure::bad_request("validation error: standing must be good, blocked or banned");
        text.parse::<Standing>().map_err(|()| refused())
    };
    let change = TeamChange {
        name: change.name,
        max_sandboxes: change.max_sandboxes.map(Some),
        standing: change.standing.map(standing).transpose()?,
    };
    Ok(Json(team(app.change_team(id, change).await?)))
}

pub(super) async fn keys(
    State(app): State<App>,
    _: Operator,
    Part(id): Part<TeamId>,
) -> Result<Json<Vec<ApiKey>>, Failure> {
    let team = app.team(id).await?;
    Ok(Json(app.keys(team.team_id).await?.into_iter().map(listed).collect()))
}

pub(super) async fn make_key(
    State(app): State<App>,
    _: Operator,
    Part(id): Part<TeamId>,
    Body(named): Body<Named>,
) -> Made<CreatedApiKey> {
    let team = app.team(id).await?;
    Ok((StatusCode::CREATED, Json(created(app.make_key(team.team_id, None, &named.name).await?))))
}

pub(super) async fn revoke_key(
    State(app): State<App>,
    _: Operator,
    TwoParts(team, key): TwoParts<TeamId, KeyId>,
) -> Result<StatusCode, Failure> {
    app.revoke_key(team, key).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn add_member(
    State(app): State<App>,
    _: Operator,
    Part(id): Part<TeamId>,
    Body(new): Body<NewUser>,
) -> Made<AdminUser> {
    Ok((StatusCode::CREATED, Json(user(app.add_member(id, &new.email).await?))))
}

pub(super) async fn kill_sandboxes(
    State(app): State<App>,
    _: Operator,
    Part(id): Part<TeamId>,
) -> Result<Json<KillReport>, Failure> {
    let (killed_count, failed_count) = app.kill_all_of(id).await?;
    Ok(Json(KillReport { killed_count, failed_count }))
}

pub(super) async fn cancel_builds(
    State(app): State<App>,
    _: Operator,
    Part(id): Part<TeamId>,
) -> Result<Json<CancelReport>, Failure> {
    let (cancelled_count, failed_count) = app.cancel_all_of(id).await?;
    Ok(Json(CancelReport { cancelled_count, failed_count }))
}

pub(super) async fn running_counts(
    State(app): State<App>,
    _: Operator,
) -> Result<Json<Vec<RunningCount>>, Failure> {
    let counts = app.running_counts().await?.into_iter();
    let item = |(id, running_count): (TeamId, u64)| RunningCount { team_id: id.to_string(), running_count };
    Ok(Json(counts.map(item).collect()))
}

pub(super) async fn users(State(app): State<App>, _: Operator) -> Result<Json<Vec<AdminUser>>, Failure> {
    Ok(Json(app.users().await?.into_iter().map(user).collect()))
}

pub(super) async fn make_token(
    State(app): State<App>,
    _: Operator,
    Part(id): Part<UserId>,
    Body(named): Body<Named>,
) -> Made<CreatedAccessToken> {
    Ok((StatusCode::CREATED, Json(created_token(app.make_token(id, &named.name).await?))))
}

fn team(team: store::Team) -> AdminTeam {
    AdminTeam {
        team_id: team.team_id.to_string(),
        name: team.name,
        slug: team.slug,
        is_default: team.is_default,
        max_sandboxes: team.max_sandboxes,
        standing: team.standing.as_str().to_owned(),
        created_at: moment(team.created_at),
    }
}

fn user(user: store::User) -> AdminUser {
    AdminUser { user_id: user.user_id.to_string(), email: user.email, created_at: moment(user.created_at) }
}
