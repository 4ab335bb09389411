//! What the checkpoint tool takes by itself: one process of the host that sleeps,
//! written down and brought back, with nothing of a sandbox around it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::measure::Series;
use crate::command::{capture, command};
use crate::{criu, repo};

/// Writing one down, which goes on.
pub(super) const DUMP: &str = "floor: the checkpoint tool writes `sleep` down";
/// Bringing it back.
pub(super) const RESTORE: &str = "floor: the checkpoint tool brings `sleep` back";

/// Both, in a mount namespace with a `/run` of its own: there the tool keeps what it
/// found out about the kernel, as it does in a server's room. The first of each finds out.
const LOOP: &str = r#"
set -e
mount -t tmpfs tmpfs /run
cd "$2"
# What this shell inherited may be of another mount namespace, which the tool refuses.
for fd in /proc/self/fd/*; do fd=${fd##*/}; [ $fd -le 2 ] || [ $fd = 255 ] || eval "exec $fd>&-"; done
one() { began=$(date +%s%N); "$CRIU" "$@" -v0 -o log 2>/dev/null; ended=$(date +%s%N); took=$((ended - began)); }
for round in $(seq 0 "$1"); do
    rm -rf images; mkdir images
    setsid sleep 1000 </dev/null >/dev/null 2>&1 & pid=$!
    until [ "$(cat /proc/$pid/comm)" = sleep ]; do :; done
    one dump -t $pid -D images --leave-running; dump=$took
    kill -9 $pid; wait $pid 2>/dev/null || true
    one restore -d -D images
    kill -9 $pid; while [ -d /proc/$pid ]; do sleep 0.01; done
    [ "$round" = 0 ] || echo $dump $took
done
"#;

/// Adds both rows; none where there is no tool.
pub(super) fn measure(rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let Some(tool) = criu::usr() else {
        println!("    no checkpoint tool: its floors are not measured");
        return Ok(());
    };
    let place = repo::tools().join("tool");
    std::fs::create_dir_all(&place).context("make a place for images")?;
    let criu = wrapper(&tool, &place)?;
    let mut shell = command("unshare");
    shell.args(["--mount", "--propagation", "private", "bash", "-c", LOOP, "bash"]);
    let told = capture(shell.arg(rounds.to_string()).arg(&place).env("CRIU", criu))?;
    let (mut dump, mut restore) = (Series::ms(DUMP), Series::ms(RESTORE));
    for line in told.lines() {
        let (there, back) = line.split_once(' ').context("read the tool's times")?;
        dump.push(Duration::from_nanos(there.parse().context("read a time")?));
        restore.push(Duration::from_nanos(back.parse().context("read a time")?));
    }
    rows.extend([dump, restore]);
    Ok(())
}

/// Runs the tool of a tree with the tree's own libraries.
fn wrapper(usr: &Path, place: &Path) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let path = place.join("criu");
    let usr = usr.display();
    let text = format!(
        "#!/bin/sh\nexec {usr}/lib64/ld-linux-x86-64.so.2 --library-path {usr}/lib/x86_64-linux-gnu {usr}/sbin/criu \"$@\"\n"
    );
    std::fs::write(&path, text).context("write a wrapper of the tool")?;
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).context("make it a program")?;
    Ok(path)
}
