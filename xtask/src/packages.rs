//! Packages of the system that a verb needs: what is missing is named with its
//! reason, agreed upon, and installed.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::command::{command, exists, run, say};

/// How to find out whether a package is there.
#[derive(Debug, Clone, Copy)]
enum Probe {
    Program(&'static str),
    File(&'static str),
    PythonModule(&'static str),
}

/// One package of Debian or Ubuntu.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Package {
    name: &'static str,
    probe: Probe,
    why: &'static str,
}

/// What a running server needs.
pub(crate) const SERVER: &[Package] = &[
    Package { name: "gcc", probe: Probe::Program("cc"), why: "links the server and the guest" },
    Package {
        name: "libc6-dev",
        probe: Probe::File("/usr/lib/x86_64-linux-gnu/libc.a"),
        why: "the guest daemon is linked statically",
    },
    Package {
        name: "mmdebstrap",
        probe: Probe::Program("mmdebstrap"),
        why: "makes the root of the templates",
    },
    Package {
        name: "debian-archive-keyring",
        probe: Probe::File("/usr/share/keyrings/debian-archive-keyring.gpg"),
        why: "checks the packages that go into the templates",
    },
    Package {
        name: "btrfs-progs",
        probe: Probe::Program("mkfs.btrfs"),
        why: "makes the file system that bounds each sandbox's disk",
    },
    Package {
        name: "nftables",
        probe: Probe::Program("nft"),
        why: "loads the rules of the sandboxes' network",
    },
    Package {
        name: "ca-certificates",
        probe: Probe::File("/etc/ssl/certs/ca-certificates.crt"),
        why: "TLS to the package mirrors",
    },
];

/// What the official clients need.
pub(crate) const CLIENTS: &[Package] = &[
    Package { name: "python3", probe: Probe::Program("python3"), why: "runs the Python SDK" },
    Package {
        name: "python3-venv",
        probe: Probe::PythonModule("ensurepip"),
        why: "keeps the SDKs' packages apart from yours",
    },
];

/// A registry of images, and tools to compare its images with. Tests that want
/// them are skipped where they cannot be installed.
pub(crate) const REGISTRY: &[Package] = &[
    Package {
        name: "docker-registry",
        probe: Probe::Program("docker-registry"),
        why: "serves the images that tests make",
    },
    Package { name: "skopeo", probe: Probe::Program("skopeo"), why: "fetches images for comparison" },
    Package { name: "umoci", probe: Probe::Program("umoci"), why: "unpacks images for comparison" },
    Package { name: "zstd", probe: Probe::Program("zstd"), why: "compresses layers" },
];

/// What measurements stand beside.
pub(crate) const BENCH: &[Package] = &[
    Package { name: "bubblewrap", probe: Probe::Program("bwrap"), why: "a sandbox to compare with" },
    Package { name: "crun", probe: Probe::Program("crun"), why: "a container runtime to compare with" },
];

impl Package {
    /// A package that is there when a program of it is.
    pub(crate) const fn program(name: &'static str, program: &'static str, why: &'static str) -> Self {
        Self { name, probe: Probe::Program(program), why }
    }

    fn is_there(&self) -> bool {
        match self.probe {
            Probe::Program(name) => exists(name),
            Probe::File(path) => Path::new(path).exists(),
            Probe::PythonModule(name) => command("python3")
                .args(["-c", &format!("import {name}")])
                .output()
                .is_ok_and(|output| output.status.success()),
        }
    }
}

/// Installs what is missing of `packages`. Asks first, unless told not to or
/// nobody is there to answer.
pub(crate) fn ensure(packages: &[Package], yes: bool) -> anyhow::Result<()> {
    let missing: Vec<&Package> = packages.iter().filter(|package| !package.is_there()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    say("System packages that are missing:");
    for package in &missing {
        println!("    {:<24} {}", package.name, package.why);
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    if !exists("apt-get") {
        bail!("this system has no apt-get: please install {} yourself and start again", names.join(", "));
    }
    if !yes && std::io::stdin().is_terminal() && !agreed()? {
        bail!("nothing was installed; install {} yourself and start again", names.join(", "));
    }
    install(&names)
}

fn agreed() -> anyhow::Result<bool> {
    print!("Install them now? [Y/n] ");
    std::io::stdout().flush().context("write to the terminal")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("read the answer")?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "" | "y" | "yes"))
}

fn install(names: &[&str]) -> anyhow::Result<()> {
    let apt = |arguments: &[&str]| {
        let mut apt = if rustix::process::geteuid().is_root() {
            command("apt-get")
        } else {
            let mut sudo = command("sudo");
            sudo.arg("apt-get");
            sudo
        };
        apt.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
        apt
    };
    run(&mut apt(&["update", "-qq"]))?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(names);
    run(&mut apt(&arguments)).context("install system packages")
}
