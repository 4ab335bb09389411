//! `warren key …`: make, list, rename and revoke API keys.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use super::operator::Access;

/// What to do with API keys.
#[derive(Debug, Args)]
pub(crate) struct Command {
    #[command(flatten)]
    access: Access,
    /// The team: its slug or id.
    #[arg(long, global = true, default_value = "default")]
    team: String,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Make a key and print it; it cannot be shown again.
    Create {
        /// A name to know it by.
        name: String,
    },
    /// List the keys of the team.
    #[command(visible_alias = "ls")]
    List,
    /// Give a key another name.
    Rename {
        /// Its id.
        id: String,
        /// Its new name.
        name: String,
    },
    /// Revoke a key: the next request with it is refused.
    Revoke {
        /// Its id.
        id: String,
    },
}

/// Runs the command.
pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    let admin = command.access.open()?;
    let team = super::operator::team(&admin, &command.team).await?;
    match command.act {
        Act::Create { name } => {
            println!("{}", admin.make_key(&team.team_id, &name).await.context("make the key")?.key);
        }
        Act::List => {
            println!("{:<36}  {:<13}  {:<27}  NAME", "ID", "KEY", "LAST USED");
            for key in admin.keys(&team.team_id).await.context("list the keys")? {
                let used = key.last_used.map_or_else(|| "never".to_owned(), |at| at.to_string());
                let mask = &key.mask;
                let shown =
                    format!("{}{}…{}", mask.prefix, mask.masked_value_prefix, mask.masked_value_suffix);
                println!("{:<36}  {shown:<13}  {used:<27}  {}", key.id, key.name);
            }
        }
        Act::Rename { id, name } => {
            admin.rename_key(&team.team_id, &id, &name).await.context("rename the key")?;
        }
        Act::Revoke { id } => admin.revoke_key(&team.team_id, &id).await.context("revoke the key")?,
    }
    Ok(ExitCode::SUCCESS)
}
