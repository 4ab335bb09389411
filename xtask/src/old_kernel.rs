//! `cargo xtask old-kernel`: the server on Linux 6.1 with systemd, cgroup
//! version 2 and all capabilities, in an emulated machine.
//!
//! The machine is Debian 12 with its cloud kernel; it needs no hardware
//! virtualisation, loses its power once, and takes a few minutes. What is checked stands in
//! `tests/old-kernel/inside.sh`. The templates come ready from this host, because
//! the machine has no network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::command::{self, command, say};
use crate::packages::{self, Package};
use crate::server::{Options, Server};
use crate::tally::{Skip, Tally};
use crate::{build, repo};

/// Arguments of `old-kernel`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Give up after this many minutes.
    #[arg(long, default_value_t = 15)]
    minutes: u64,
    /// Take the templates of this state directory, instead of starting a server
    /// that builds them. A server may be running on it.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

/// What the machine's system is made of.
const SYSTEM: &str = "systemd,systemd-sysv,dbus,linux-image-cloud-amd64,initramfs-tools,busybox-static,btrfs-progs,\
                      nftables,iproute2,ca-certificates,curl,kmod,procps,debootstrap,mmdebstrap";

const FILES: [(&str, &str); 2] = [
    ("inside.sh", "usr/local/bin/inside.sh"),
    ("old-kernel-test.service", "etc/systemd/system/old-kernel-test.service"),
];

/// Builds the machine, runs it, and counts its checks.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut tally = Tally::default();
    if std::env::consts::ARCH != "x86_64" {
        tally.step("old kernel", || Ok(Some(Skip("the emulated machine is x86-64 only".into()))));
        return tally.close();
    }
    packages::ensure(packages::SERVER, true)?;
    packages::ensure(EMULATOR, true)?;
    let warren = build::warren()?;
    let contract = build::test("warren-runtime", "contract")?;
    let work = repo::tools().join("old-kernel");
    fs::create_dir_all(&work).context("make the directory of the machine")?;
    let root = system(&work)?;
    let state = templates(args.state.as_deref(), &warren, &work)?;
    let disks = disks(&work, &root, &state, &[(&warren, "warren"), (&contract, "contract")])?;
    let limit = Duration::from_mins(args.minutes);
    let mut console = boot(&root, &disks, &work, limit)?;
    if console.lines().any(|line| line.trim() == "AGAIN") {
        // The same disks, with what had been written to them when it lost its power.
        console.push_str(&boot(&root, &disks, &work, limit)?);
    }
    count(&console, &mut tally);
    tally.close()
}

const EMULATOR: &[Package] = &[
    Package::program("qemu-system-x86", "qemu-system-x86_64", "emulates the machine"),
    Package::program("e2fsprogs", "mkfs.ext4", "makes the machine's disk"),
];

/// The machine's root directory, made once.
fn system(work: &Path) -> anyhow::Result<PathBuf> {
    let root = work.join("root");
    if root.join("vmlinuz").exists() {
        return Ok(root);
    }
    say("Making the machine's system (once)");
    let draft = work.join("root.draft");
    remove(&draft)?;
    command::run(
        command("mmdebstrap")
            .args(["--quiet", "--variant=minbase"])
            .arg(format!("--include={SYSTEM}"))
            .arg("bookworm")
            .arg(&draft),
    )?;
    for (from, to) in [("boot/vmlinuz-", "vmlinuz"), ("boot/initrd.img-", "initrd.img")] {
        let found = fs::read_dir(draft.join("boot"))
            .context("look for the kernel")?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.starts_with(&draft) && path.to_string_lossy().contains(from))
            .with_context(|| format!("the system has no {from}*"))?;
        let to = draft.join(to);
        // Debian leaves links of these names, which lead nowhere outside of the root.
        let _ = fs::remove_file(&to);
        fs::copy(&found, &to).with_context(|| format!("copy {}", found.display()))?;
    }
    fs::rename(&draft, &root).context("publish the machine's system")?;
    Ok(root)
}

/// A state directory with this host's templates and nothing else.
fn templates(from: Option<&Path>, warren: &Path, work: &Path) -> anyhow::Result<PathBuf> {
    if let Some(from) = from {
        return copy_templates(from, &work.join("state"));
    }
    let from = repo::state();
    let server = Server::start(&Options { warren, state: &from, debug_ports: false, domain: None })?;
    // Before the stop: without sandboxes it unmounts the layers.
    let copied = copy_templates(&from, &work.join("state"));
    server.stop()?;
    copied
}

/// The templates without which a server does not answer: it would build them first.
const TEMPLATES: [&str; 3] = ["base", "code-interpreter-v1", "mcp-gateway"];

/// What a template's record says of it, as far as it matters here.
#[derive(Debug, serde::Deserialize)]
struct Record {
    aliases: Vec<String>,
    client: bool,
    layers: Vec<String>,
    created_at: u64,
}

fn copy_templates(from: &Path, to: &Path) -> anyhow::Result<PathBuf> {
    let layers = from.join("fs/layers");
    anyhow::ensure!(layers.is_dir(), "{} is not there: start a server on it first", layers.display());
    remove(to)?;
    for dir in ["templates", "fs/layers"] {
        fs::create_dir_all(to.join(dir)).context("make a state directory")?;
    }
    for name in TEMPLATES {
        let (record, file) = newest(&from.join("templates"), name)?;
        fs::copy(&file, to.join("templates").join(file.file_name().unwrap_or_default()))
            .with_context(|| format!("copy {}", file.display()))?;
        for layer in record.layers {
            let copy = to.join("fs/layers").join(&layer);
            if !copy.exists() {
                command::run(command("cp").arg("-a").arg(layers.join(&layer)).arg(copy))?;
            }
        }
    }
    Ok(to.to_owned())
}

/// The record of a template of this server's own that was made last. A state directory
/// in use has many more templates and older ones than fit on a small disk.
fn newest(dir: &Path, name: &str) -> anyhow::Result<(Record, PathBuf)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry.context("list the templates")?.path();
        if path.extension().is_some_and(|kind| kind == "json") {
            let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            let record: Record = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
            found.push((record, path));
        }
    }
    found.retain(|(record, _)| !record.client && record.aliases.iter().any(|alias| alias == name));
    let newest = found.into_iter().max_by_key(|(record, _)| record.created_at);
    newest.with_context(|| format!("{} has no template {name}", dir.display()))
}

/// The machine's two disks: its system, and its state directory.
fn disks(work: &Path, root: &Path, state: &Path, programs: &[(&Path, &str)]) -> anyhow::Result<[PathBuf; 2]> {
    say("Making the machine's disks");
    for (from, to) in FILES {
        fs::copy(repo::root().join("tests/old-kernel").join(from), root.join(to))
            .with_context(|| format!("copy {from}"))?;
    }
    for (program, name) in programs {
        fs::copy(program, root.join("usr/local/bin").join(name)).with_context(|| format!("copy {name}"))?;
    }
    let tool = root.join("var/lib/criu");
    remove(&tool)?;
    crate::criu::ensure();
    if let Some(usr) = crate::criu::usr() {
        // Beside the state directory the server looks for it.
        fs::create_dir_all(&tool).context("make the checkpoint tool's directory")?;
        command::run(command("cp").arg("-a").arg(usr).arg(tool.join("usr")))?;
    }
    // The test installs it; what an earlier version of this left would be another's.
    remove(&root.join("etc/systemd/system/warren.service"))?;
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants).context("make the directory of enabled units")?;
    let link = wants.join("old-kernel-test.service");
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink("../old-kernel-test.service", link).context("enable the test")?;
    let disks = [work.join("system.img"), work.join("state.img")];
    for disk in &disks {
        remove(disk)?;
        fs::File::create(disk).and_then(|file| file.set_len(8 << 30)).context("make a disk")?;
    }
    command::run(command("mkfs.ext4").args(["-q", "-d"]).arg(root).arg(&disks[0]))?;
    command::run(command("mkfs.btrfs").args(["-q", "--rootdir"]).arg(state).arg(&disks[1]))?;
    Ok(disks)
}

/// The machine's kernel parameters. A login on the console would hang up on the
/// test, which writes there; on a busy host the emulated timer looks dead to the
/// kernel's check of it.
const KERNEL: &str = "root=/dev/vda rw console=ttyS0 panic=-1 quiet no_timer_check \
                      systemd.mask=serial-getty@ttyS0.service";

/// Runs the machine to its power-off and returns what its console showed.
fn boot(root: &Path, disks: &[PathBuf; 2], work: &Path, limit: Duration) -> anyhow::Result<String> {
    say("Running the machine (emulated: some minutes)");
    let log = work.join("console.log");
    let console = fs::File::create(&log).context("make the console's log")?;
    let mut emulator = command("qemu-system-x86_64");
    emulator.args(["-M", "pc", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "4096"]);
    emulator.args(["-nographic", "-no-reboot", "-nic", "none"]);
    emulator.arg("-kernel").arg(root.join("vmlinuz")).arg("-initrd").arg(root.join("initrd.img"));
    emulator.args(["-append", KERNEL]);
    for disk in disks {
        emulator.arg("-drive").arg(format!("file={},format=raw,if=virtio,cache=unsafe", disk.display()));
    }
    let mut machine = emulator
        .stdin(Stdio::null())
        .stderr(console.try_clone().context("share the log")?)
        .stdout(console)
        .spawn()
        .context("start the emulator")?;
    let start = std::time::Instant::now();
    while machine.try_wait().context("watch the emulator")?.is_none() {
        if start.elapsed() > limit {
            let _ = machine.kill();
            let _ = machine.wait();
            bail!("the machine ran longer than {limit:?}; its console is in {}", log.display());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    fs::read(&log).map(|text| String::from_utf8_lossy(&text).into_owned()).context("read the console's log")
}

fn count(console: &str, tally: &mut Tally) {
    for line in console.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("PASS ") {
            println!("    passed: {name}");
            tally.add(name, 1, 0, 0);
        } else if let Some(reason) = line.strip_prefix("SKIP ") {
            println!("    skipped: {reason}");
            tally.add("old kernel", 0, 0, 1);
        } else if let Some(failure) = line.strip_prefix("FAIL ") {
            tally.fail("old kernel", failure);
        } else if line.starts_with("kernel ") {
            println!("    {line}");
        }
    }
    if !console.lines().any(|line| line.trim() == "DONE") {
        tally.fail(
            "old kernel",
            &format!("the run did not end:\n{}", crate::command::last_lines(console, 40)),
        );
    }
}

fn remove(path: &Path) -> anyhow::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
