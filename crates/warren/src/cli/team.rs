//! `warren team …`: make, list and change teams, and let people in.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use wire::rest::{AdminTeam, NewTeam, TeamChange};

use super::operator::{Access, team};

/// What to do with teams.
#[derive(Debug, Args)]
pub(crate) struct Command {
    #[command(flatten)]
    access: Access,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Make a team and print its id.
    Create {
        /// Its name.
        name: String,
        /// Its namespace in template names; made from the name without.
        #[arg(long)]
        slug: Option<String>,
        /// Sandboxes that it may have at a time; the server's limit without.
        #[arg(long, value_name = "N")]
        max_sandboxes: Option<u64>,
    },
    /// List all teams.
    #[command(visible_alias = "ls")]
    List,
    /// Change a team.
    Set {
        /// Its slug or id.
        team: String,
        /// Its new name.
        #[arg(long)]
        name: Option<String>,
        /// Sandboxes that it may have at a time.
        #[arg(long, value_name = "N")]
        max_sandboxes: Option<u64>,
        /// good, blocked (it may read and remove) or banned.
        #[arg(long)]
        standing: Option<String>,
    },
    /// Let a person into a team, and print an access token for them to log in with.
    AddMember {
        /// Its slug or id.
        team: String,
        /// The person's e-mail address.
        email: String,
    },
}

/// Runs the command.
pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    let admin = command.access.open()?;
    match command.act {
        Act::Create { name, slug, max_sandboxes } => {
            let new = NewTeam { name, slug, max_sandboxes };
            println!("{}", admin.make_team(&new).await.context("make the team")?.team_id);
        }
        Act::List => {
            println!("{:<36}  {:<20}  {:>9}  {:<8}  NAME", "ID", "SLUG", "SANDBOXES", "STANDING");
            admin.teams().await.context("list the teams")?.iter().for_each(show);
        }
        Act::Set { team: wanted, name, max_sandboxes, standing } => {
            let found = team(&admin, &wanted).await?;
            let change = TeamChange { name, max_sandboxes, standing };
            show(&admin.change_team(&found.team_id, &change).await.context("change the team")?);
        }
        Act::AddMember { team: wanted, email } => {
            let found = team(&admin, &wanted).await?;
            let user = admin.add_member(&found.team_id, &email).await.context("let the person in")?;
            let token = admin.make_token(&user.user_id, "warren team add-member").await;
            println!("{}", token.context("make an access token")?.token);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(team: &AdminTeam) {
    let max = team.max_sandboxes.map_or_else(|| "default".to_owned(), |n| n.to_string());
    println!("{:<36}  {:<20}  {max:>9}  {:<8}  {}", team.team_id, team.slug, team.standing, team.name);
}
