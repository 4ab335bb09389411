//! How the operator's commands reach the server: by the admin token.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use sdk::Admin;
use wire::rest::AdminTeam;

/// The server is at `E2B_API_URL`, where `warren auth login` stored it, or at `http://localhost:3000`.
#[derive(Debug, Args)]
pub(crate) struct Access {
    /// The file with the admin token, in the server's state directory; the
    /// variable `WARREN_ADMIN_TOKEN` goes before it.
    #[arg(long, global = true, value_name = "FILE", default_value = "/var/lib/warren/admin-token")]
    admin_token_file: PathBuf,
}

impl Access {
    /// Puts the client together.
    pub(super) fn open(&self) -> Result<Admin> {
        Admin::from_env(&super::server::api_url()?, &self.admin_token_file)
            .context("reach the server as its operator")
    }
}

/// The team with this slug or id.
pub(super) async fn team(admin: &Admin, wanted: &str) -> Result<AdminTeam> {
    let teams = admin.teams().await.context("list the teams")?;
    let found = teams.into_iter().find(|team| team.slug == wanted || team.team_id == wanted);
    let Some(found) = found else { bail!("there is no team '{wanted}': see `warren team list`") };
    Ok(found)
}
