//! `warren key …`: make, list, rename and revoke API keys.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use wire::rest::ApiKey;

use super::form::{Form, print_json, print_lines};
use super::operator::Access;
use super::table::Table;

/// What to do with API keys.
#[derive(Debug, Args)]
#[command(after_help = "Example: warren key create ci --team research")]
pub(crate) struct Command {
    #[command(flatten)]
    form: Form,
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
    let form = command.form;
    match command.act {
        Act::Create { name } => {
            let made = admin.make_key(&team.team_id, &name).await.context("make the key")?;
            if form.json {
                print_json(&made)?;
            } else {
                println!("{}", made.key);
            }
        }
        Act::List => show(&admin.keys(&team.team_id).await.context("list the keys")?, form)?,
        Act::Rename { id, name } => {
            let renamed = admin.rename_key(&team.team_id, &id, &name).await.context("rename the key")?;
            if form.json {
                print_json(&renamed)?;
            }
        }
        Act::Revoke { id } => {
            admin.revoke_key(&team.team_id, &id).await.context("revoke the key")?;
            if form.json {
                print_json(&serde_json::json!({ "id": id, "revoked": true }))?;
            } else if !form.quiet {
                println!("{id} revoked");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(keys: &[ApiKey], form: Form) -> Result<()> {
    if form.json {
        return print_json(&keys);
    }
    if form.quiet {
        print_lines(keys.iter().map(|key| &key.id));
        return Ok(());
    }
    let mut table = Table::new(&["ID", "KEY", "LAST USED", "NAME"]);
    for key in keys {
        let used = key.last_used.map_or_else(|| "never".to_owned(), |at| at.to_string());
        let mask = &key.mask;
        let shown = format!("{}{}…{}", mask.prefix, mask.masked_value_prefix, mask.masked_value_suffix);
        table.row(vec![key.id.clone(), shown, used, key.name.clone()]);
    }
    table.print();
    Ok(())
}
