//! What a shell is told of this program: completions and manual pages.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap_complete::Shell;

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: warren completions bash > /etc/bash_completion.d/warren")]
pub(crate) struct Completions {
    /// For which shell.
    shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: warren man /usr/local/share/man/man1 && man warren-sandbox-connect")]
pub(crate) struct Man {
    /// Where to write the pages; without, the page of `warren` goes to standard output.
    directory: Option<PathBuf>,
}

/// Prints completions.
pub(crate) fn completions(args: &Completions, mut program: clap::Command) -> ExitCode {
    clap_complete::generate(args.shell, &mut program, "warren", &mut io::stdout());
    ExitCode::SUCCESS
}

/// Writes manual pages.
pub(crate) fn man(args: &Man, program: clap::Command) -> Result<ExitCode> {
    match &args.directory {
        None => clap_mangen::Man::new(program).render(&mut io::stdout()).context("write the page")?,
        Some(directory) => {
            fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
            let mut program = program.disable_help_subcommand(true);
            program.build();
            pages(&program, directory)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A page for each command that people see, named as it is called.
fn pages(command: &clap::Command, directory: &Path) -> Result<()> {
    let page = directory.join(format!("{}.1", command.get_display_name().unwrap_or(command.get_name())));
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut text).context("write a page")?;
    fs::write(&page, text).with_context(|| format!("write {}", page.display()))?;
    command.get_subcommands().filter(|one| !one.is_hide_set()).try_for_each(|one| pages(one, directory))
}
