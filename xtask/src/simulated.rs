//! A server on simulated machines: for what is about the control plane alone,
//! and may be thrown away whatever a test does to it. Needs no root.

pub(crate) mod load;
mod schema;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::server::{Options, Server};
use crate::tally::Tally;
use crate::{build, repo};

/// The build of `base`: a root of one empty layer.
const BUILD: &str = "0ba5e000-0000-4000-8000-000000000001";

/// Simulated machines take nothing of the host, so any number may be promised.
const SETTINGS: &str = "[node]\nmemory_overcommit = 100000.0\ndisk_overcommit = 100000.0\nmax_sandboxes = 20000\n\
     [api]\nmax_sandboxes = 20000\n";

/// A server with a state directory of its own, which goes with it.
#[derive(Debug)]
pub(crate) struct Simulated {
    pub(crate) server: Server,
    state: PathBuf,
}

impl Simulated {
    /// Starts one with the template `base`.
    pub(crate) fn start(warren: &Path) -> anyhow::Result<Self> {
        let state = repo::tools().join("simulated");
        let _: Result<(), std::io::Error> = fs::remove_dir_all(&state);
        for dir in ["templates", "layers/empty"] {
            fs::create_dir_all(state.join(dir)).context("make a state directory")?;
        }
        let template = serde_json::json!({
            "format": 1, "build_id": BUILD, "template_id": "warrenbase0000000000", "aliases": ["base"],
            "cpu_count": 2, "memory_bytes": 1_u64 << 30, "disk_bytes": 1_u64 << 30, "envd_version": "0.6.4",
            "layers": ["empty"], "interpreter": false, "env": {}, "default_user": "user",
            "default_workdir": "/home/user", "created_at": 1
        });
        fs::write(state.join(format!("templates/{BUILD}.json")), template.to_string())
            .context("write the simulated template")?;
        let settings = state.join("server.toml");
        fs::write(&settings, SETTINGS).context("write the server's settings")?;
        let options = Options { warren, state: &state, debug_ports: false, domain: None };
        let arguments: [&OsStr; 4] =
            ["--config".as_ref(), settings.as_os_str(), "--isolation".as_ref(), "sim".as_ref()];
        let server = Server::start_with(&options, &arguments)?;
        Ok(Self { server, state })
    }

    /// Ends it and removes its state.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        self.server.stop()?;
        fs::remove_dir_all(&self.state).context("remove the simulated server's state")
    }
}

/// What every test run includes.
pub(crate) fn run(tally: &mut Tally) -> anyhow::Result<()> {
    let simulated = Simulated::start(&build::warren()?)?;
    tally.step("many lists, reads and timeouts at once", || {
        load::run(&simulated.server, load::SHORT).map(|_| None)
    });
    // Last: it leaves a server on which nothing may be made.
    tally.step("the API document against the server (short)", || {
        schema::run(&simulated.server, schema::SHORT, 1).map(|()| None)
    });
    tally.step("the simulated server stops", || simulated.stop().map(|()| None));
    Ok(())
}

/// The long form.
pub(crate) fn soak(seed: u64) -> anyhow::Result<()> {
    let simulated = Simulated::start(&build::warren()?)?;
    load::run(&simulated.server, load::LONG)?;
    schema::run(&simulated.server, schema::LONG, seed)?;
    simulated.stop()
}
