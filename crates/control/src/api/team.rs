//! `GET /teams`: the team behind the key, for the command line's log-in.

use axum::Json;
use axum::extract::State;
use wire::rest::Team;

use super::error::Failure;
use super::extract::AnyKey;
use crate::App;

/// Works where keys are optional; has the form that old clients insist on.
const PLACEHOLDER: &str = "e2b_0000000000000000000000000000000000000000";

pub(super) async fn list(
    State(app): State<App>,
    AnyKey(credentials): AnyKey,
) -> Result<Json<Vec<Team>>, Failure> {
    let team = app.authenticate(&credentials).await?.team;
    Ok(Json(vec![Team {
        team_id: team.team_id.to_string(),
        name: team.name,
        api_key: credentials.api_key.unwrap_or_else(|| PLACEHOLDER.to_owned()),
        is_default: true,
    }]))
}
