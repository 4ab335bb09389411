//! `warren team …`: make, list and change teams, and let people in.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use wire::rest::{AdminTeam, NewTeam, TeamChange};

use super::form::{Form, print_json, print_lines};
use super::operator::{Access, team};
use super::table::Table;

/// What to do with teams.
#[derive(Debug, Args)]
#[command(after_help = "Example: warren team create research --max-sandboxes 50")]
pub(crate) struct Command {
    #[command(flatten)]
    form: Form,
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
    let form = command.form;
    match command.act {
        Act::Create { name, slug, max_sandboxes } => {
            let new = NewTeam { name, slug, max_sandboxes };
            let made = admin.make_team(&new).await.context("make the team")?;
            if form.json {
                print_json(&made)?;
            } else {
                println!("{}", made.team_id);
            }
        }
        Act::List => show(&admin.teams().await.context("list the teams")?, form)?,
        Act::Set { team: wanted, name, max_sandboxes, standing } => {
            let found = team(&admin, &wanted).await?;
            let change = TeamChange { name, max_sandboxes, standing };
            let changed = admin.change_team(&found.team_id, &change).await.context("change the team")?;
            if form.json {
                print_json(&changed)?;
            } else {
                show(&[changed], form)?;
            }
        }
        Act::AddMember { team: wanted, email } => {
            let found = team(&admin, &wanted).await?;
            let user = admin.add_member(&found.team_id, &email).await.context("let the person in")?;
            let token = admin.make_token(&user.user_id, "warren team add-member").await;
            let token = token.context("make an access token")?;
            if form.json {
                print_json(&token)?;
            } else {
                println!("{}", token.token);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(teams: &[AdminTeam], form: Form) -> Result<()> {
    if form.json {
        return print_json(&teams);
    }
    if form.quiet {
        print_lines(teams.iter().map(|team| &team.slug));
        return Ok(());
    }
    let mut table = Table::new(&["ID", "SLUG", "SANDBOXES", "STANDING", "NAME"]);
    for team in teams {
        let max = team.max_sandboxes.map_or_else(|| "default".to_owned(), |n| n.to_string());
        let (id, slug, standing) = (team.team_id.clone(), team.slug.clone(), team.standing.clone());
        table.row(vec![id, slug, max, standing, team.name.clone()]);
    }
    table.print();
    Ok(())
}
