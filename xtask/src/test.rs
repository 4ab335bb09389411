//! `cargo xtask test`: what continuous integration runs. First everything that
//! needs no server, then the official clients and the hostile programs against
//! a real one, then a look around for what was left behind.

mod rust;
mod skips;

use crate::server::Access;
use crate::tally::{Skip, Tally};
use crate::{check, criu, packages, simulated, world};

/// Arguments of `test`.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "a switch for each part")]
pub(crate) struct Args {
    /// Leave the checks out.
    #[arg(long)]
    no_check: bool,
    /// Leave the Rust tests out.
    #[arg(long)]
    no_rust: bool,
    /// Leave the tests against a server on simulated machines out.
    #[arg(long)]
    no_simulated: bool,
    /// Leave the tests against a real server out.
    #[arg(long)]
    no_world: bool,
    /// Run the clients' tests alone, against a server that runs already: http://host:port.
    #[arg(long, value_name = "URL", requires = "key")]
    server: Option<String>,
    /// A key of that server.
    #[arg(long)]
    key: Option<String>,
}

/// Runs it all, stops at nothing, closes with the score.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    packages::ensure(packages::CLIENTS, true)?;
    let mut tally = Tally::default();
    if let (Some(url), Some(key)) = (&args.server, &args.key) {
        world::clients(&Access::running(url, key)?, &mut tally);
        return tally.close();
    }
    packages::ensure(packages::SERVER, true)?;
    criu::ensure();
    tally.step("packages of the image tests", || {
        // The suites that want them skip those tests, and count them so.
        Ok(packages::ensure(packages::REGISTRY, true).err().map(|error| Skip(format!("{error:#}"))))
    });
    if !args.no_check {
        check::all(&mut tally, None);
    }
    if !args.no_rust {
        rust::run(&mut tally);
    }
    if !args.no_simulated
        && let Err(error) = simulated::run(&mut tally)
    {
        tally.fail("tests against a simulated server", &format!("{error:#}"));
    }
    if !args.no_world
        && let Err(error) = world::run(&mut tally)
    {
        tally.fail("tests against a real server", &format!("{error:#}"));
    }
    tally.close()
}
