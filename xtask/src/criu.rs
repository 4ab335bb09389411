//! The checkpoint tool CRIU, which pauses with memory need: fetched with its own
//! libraries into `target/criu`, never installed over the system.
//!
//! Releases of distributions have none that works on recent kernels, so it comes
//! from Debian's newest suites, whatever version is there today; whether it works,
//! the server finds out by itself. Where it cannot be had, pauses keep files only.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::command::{capture, command, exists, say};
use crate::repo;

/// What the tool runs, beside itself: it packs small file systems with these.
const PACKAGES: [&str; 4] = ["criu", "tar", "gzip", "dash"];

/// Newest last resort first: what is tested is tried before what is merely new.
const SUITES: [&str; 2] = ["forky", "sid"];

const MIRROR: &str = "http://deb.debian.org/debian";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Fetches the tool unless it is there. Never fails the caller: much works without.
pub(crate) fn ensure() {
    if tree().join("usr/sbin/criu").exists() || Path::new("/usr/sbin/criu").exists() {
        return;
    }
    say("Fetching the checkpoint tool CRIU into target/criu");
    if let Err(error) = fetch() {
        println!("    not there: {error:#}");
        println!("    pauses keep files only; set node.criu where you have it yourself");
    }
}

/// The `usr` of the tree that holds the tool, unless only the system has one.
pub(crate) fn usr() -> Option<PathBuf> {
    Some(tree().join("usr")).filter(|usr| usr.join("sbin/criu").exists())
}

fn tree() -> PathBuf {
    repo::target().join("criu")
}

fn fetch() -> anyhow::Result<()> {
    for program in ["apt-get", "dpkg-deb"] {
        if !exists(program) {
            bail!("this system has no {program}");
        }
    }
    let mut reasons = Vec::new();
    for suite in SUITES {
        match fetch_from(suite) {
            Ok(()) => return Ok(()),
            Err(error) => reasons.push(format!("{suite}: {error:#}")),
        }
    }
    bail!("{}", reasons.join("; "))
}

fn fetch_from(suite: &str) -> anyhow::Result<()> {
    let work = repo::target().join("criu.fetch");
    let fresh = repo::target().join("criu.new");
    for dir in [&work, &fresh] {
        remove(dir)?;
        fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    }
    let apt = Apt::prepare(&work, suite)?;
    apt.run(&["update", "-qq"])?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends", "--download-only"];
    arguments.extend(PACKAGES);
    apt.run(&arguments)?;
    for entry in fs::read_dir(work.join("cache/archives")).context("list the packages")? {
        let package = entry.context("list the packages")?.path();
        if package.extension().is_some_and(|extension| extension == "deb") {
            capture(command("dpkg-deb").arg("-x").arg(&package).arg(&fresh))?;
        }
    }
    for unused in ["usr/share", "etc", "var"] {
        remove(&fresh.join(unused))?;
    }
    remove(&tree())?;
    fs::rename(&fresh, tree()).context("name the tree")?;
    remove(&work)
}

fn remove(dir: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// A package manager with a state of its own, for which nothing is installed: it
/// gathers a package with all that it needs, and checks the signatures.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn prepare(work: &Path, suite: &str) -> anyhow::Result<Self> {
        for dir in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(work.join(dir)).context("make the directories of apt")?;
        }
        fs::write(work.join("status"), "").context("write the list of installed packages")?;
        let source = format!("deb [signed-by={KEYRING}] {MIRROR} {suite} main\n");
        fs::write(work.join("sources.list"), source).context("write the source of packages")?;
        let path = |name: &str| work.join(name).display().to_string();
        let set = [
            ("Dir::Etc::SourceList", path("sources.list")),
            ("Dir::Etc::SourceParts", "/dev/null".to_owned()),
            ("Dir::Etc::Preferences", "/dev/null".to_owned()),
            ("Dir::Etc::PreferencesParts", "/dev/null".to_owned()),
            ("Dir::State", path("state")),
            ("Dir::State::Lists", path("state/lists")),
            ("Dir::State::status", path("status")),
            ("Dir::Cache", path("cache")),
            ("Acquire::Languages", "none".to_owned()),
            // As whoever runs this: the directories are not apt's own user's.
            ("APT::Sandbox::User", String::new()),
            ("Debug::NoLocking", "1".to_owned()),
        ];
        let options = set.into_iter().flat_map(|(name, value)| ["-o".to_owned(), format!("{name}={value}")]);
        Ok(Self { options: options.collect() })
    }

    fn run(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut apt = command("apt-get");
        apt.args(&self.options).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        capture(&mut apt).map(drop)
    }
}
