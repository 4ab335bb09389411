//! The same errand with other tools: a sandbox that runs `true` and is gone.

use std::fs;

use anyhow::Context as _;
use serde_json::json;

use super::measure::Series;
use super::{floor, repo};
use crate::command::{capture, command, exists};

/// Measures those that are there; says which are not and which refuse to run.
pub(super) fn measure(rounds: u32, rows: &mut Vec<Series>) {
    for (name, measured) in [("bubblewrap", bubblewrap(rounds)), ("crun", crun(rounds))] {
        match measured {
            Ok(series) => rows.push(series),
            Err(error) => println!("    SKIPPED: {name}: {error:#}"),
        }
    }
}

fn bubblewrap(rounds: u32) -> anyhow::Result<Series> {
    anyhow::ensure!(exists("bwrap"), "it is not installed");
    let mut series =
        Series::ms("bubblewrap: all namespaces, the host's root read-only, `true`").over(floor::MACHINE);
    for _ in 0..rounds {
        let arguments =
            ["--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "/bin/true"];
        series.time(|| capture(command("bwrap").args(arguments)))?;
    }
    Ok(series)
}

/// Runs a bundle whose root is the host's own, read-only. On a host with mixed
/// cgroups it needs the second hierarchy out of sight.
fn crun(rounds: u32) -> anyhow::Result<Series> {
    anyhow::ensure!(exists("crun"), "it is not installed");
    let bundle = repo::tools().join("crun");
    fs::create_dir_all(bundle.join("root")).context("make the bundle")?;
    let namespaces: Vec<_> =
        ["mount", "pid", "uts", "ipc", "network"].map(|kind| json!({ "type": kind })).into();
    let config = json!({
        "ociVersion": "1.0.0",
        "process": { "terminal": false, "cwd": "/", "args": ["/bin/true"],
                     "env": ["PATH=/usr/bin:/bin"], "user": { "uid": 0, "gid": 0 } },
        "root": { "path": "root", "readonly": true },
        "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
        "linux": { "namespaces": namespaces }
    });
    fs::write(bundle.join("config.json"), config.to_string()).context("write the bundle")?;
    let mut series = Series::ms("crun: a bundle on the host's root, `true`").over(floor::MACHINE);
    for round in 0..rounds {
        let name = format!("warren-bench-{}-{round}", std::process::id());
        let hide = "umount /sys/fs/cgroup/unified 2>/dev/null; mount --bind / root && exec crun run \"$0\"";
        series.time(|| {
            capture(command("unshare").args(["--mount", "sh", "-c", hide, &name]).current_dir(&bundle))
        })?;
    }
    Ok(series)
}
