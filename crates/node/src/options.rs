//! Everything that can be set on a node, with its defaults in one place.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::ByteSize;
use model::admission::{Capacity, Overcommit};
use runtime::Backend;

use crate::clock::{Clock, SystemClock};
use crate::faults::{Faults, NoFaults};
use crate::image::ImageOptions;

/// How a node is set up.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// Where small records live: templates, ended sandboxes.
    pub state_dir: PathBuf,
    /// The state file system: sandboxes and template layers. A layer and a
    /// sandbox's directory must be on one file system.
    pub bulk_dir: PathBuf,
    /// The guest's own layer: a directory that holds `usr/lib/warren/guest`.
    pub guest_layer: PathBuf,
    /// What makes machines.
    pub backend: Arc<dyn Backend>,
    /// Extra certificate authorities (PEM) that sandboxes shall trust.
    pub ca_bundle: Option<String>,
    /// What the host has.
    pub capacity: Capacity,
    /// How much more may be promised.
    pub overcommit: Overcommit,
    /// Whether templates that start something are kept as a state of a sandbox that
    /// is ready, from which the next ones wake where that is faster than a boot.
    pub warm: bool,
    /// How long things may take.
    pub limits: Limits,
    /// How images of registries are had.
    pub images: ImageOptions,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// What goes wrong on purpose; nothing outside of tests.
    pub faults: Arc<dyn Faults>,
}

/// Bounds of every wait of a driver, and of what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// One step of a start, and one look for a machine after a restart.
    pub step: Duration,
    /// From the start of the first process to the guest's answer.
    pub guest_answer: Duration,
    /// From that answer to the interpreter's first context, where it is waited for.
    pub interpreter: Duration,
    /// One step of an end.
    pub undo_step: Duration,
    /// Waits between the first attempts to undo; then the sandbox is gone from
    /// view, its slot stays taken, and `undo_again` applies.
    pub undo_retries: [Duration; 3],
    /// Wait between later attempts.
    pub undo_again: Duration,
    /// Writing the state of a sandbox down, or reading it back.
    pub checkpoint: Duration,
    /// Between two readings of what a sandbox uses.
    pub sample: Duration,
    /// Records of ended sandboxes: at most this many,
    pub ended_count: usize,
    /// and none older than this.
    pub ended_age: Duration,
    /// How long a shutdown waits for what is under way.
    pub shutdown: Duration,
    /// Builds that clients ordered: at most this many at a time; others wait.
    pub builds: usize,
    /// A whole build,
    pub build: Duration,
    /// each of its steps,
    pub build_step: Duration,
    /// and its ready command.
    pub build_ready: Duration,
    /// From the launch of a template's start command in a new sandbox to the
    /// success of its ready command.
    pub ready: Duration,
    /// How long a process inside waits for a client that does not read its output.
    pub output_patience: Duration,
    /// One uploaded archive.
    pub upload_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            step: Duration::from_secs(30),
            guest_answer: Duration::from_secs(10),
            interpreter: Duration::from_mins(1),
            undo_step: Duration::from_secs(10),
            undo_retries: [Duration::from_millis(50), Duration::from_millis(300), Duration::from_secs(1)],
            undo_again: Duration::from_secs(30),
            checkpoint: Duration::from_mins(1),
            sample: Duration::from_secs(5),
            ended_count: 10_000,
            ended_age: Duration::from_hours(7 * 24),
            shutdown: Duration::from_secs(15),
            builds: 4,
            build: Duration::from_hours(1),
            build_step: Duration::from_hours(1),
            build_ready: Duration::from_mins(10),
            ready: Duration::from_secs(40),
            output_patience: Duration::from_mins(1),
            upload_bytes: 8 << 30,
        }
    }
}

/// Memory and disk are rarely used up to the limits: four and twenty times what is
/// there may be promised. The kernel's limits hold each sandbox to its own.
pub const DEFAULT_OVERCOMMIT: Overcommit = Overcommit { memory_percent: 400, disk_percent: 2000 };

/// Where in a `bulk_dir` each sandbox that runs or sleeps has its record and its files.
pub fn records_dir(bulk_dir: &Path) -> PathBuf {
    bulk_dir.join("sandboxes")
}

impl NodeOptions {
    /// Options with every default; the bulk lives in the state directory too.
    pub fn new(state_dir: &Path, guest_layer: &Path, backend: Arc<dyn Backend>, capacity: Capacity) -> Self {
        Self {
            state_dir: state_dir.to_owned(),
            bulk_dir: state_dir.to_owned(),
            guest_layer: guest_layer.to_owned(),
            backend,
            ca_bundle: None,
            capacity,
            overcommit: DEFAULT_OVERCOMMIT,
            warm: false,
            limits: Limits::default(),
            images: ImageOptions::default(),
            clock: Arc::new(SystemClock),
            faults: Arc::new(NoFaults),
        }
    }

    /// Where the sandboxes' directories are.
    pub(crate) fn sandboxes_dir(&self) -> PathBuf {
        records_dir(&self.bulk_dir)
    }

    /// Where directories wait for sandboxes to be.
    pub(crate) fn spare_dir(&self) -> PathBuf {
        self.bulk_dir.join("spare")
    }

    /// Where the states of sandboxes are that were written down.
    pub(crate) fn generations_dir(&self) -> PathBuf {
        self.bulk_dir.join("generations")
    }

    /// Where the template layers are.
    pub(crate) fn layers_dir(&self) -> PathBuf {
        self.bulk_dir.join("layers")
    }
}

/// Reads what the host has: all memory that exists, and the whole size of the file
/// system of `dir`, whatever of it is taken.
pub fn measure_capacity(dir: &Path, slots: u32) -> std::io::Result<Capacity> {
    let meminfo = std::fs::read_to_string("/proc/meminfo")?;
    let memory_kib = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok())
        .ok_or_else(|| std::io::Error::other("/proc/meminfo names no MemTotal"))?;
    let stat = rustix::fs::statvfs(dir)?;
    Ok(Capacity {
        memory: ByteSize::bytes(memory_kib.saturating_mul(1024)),
        disk: ByteSize::bytes(stat.f_blocks.saturating_mul(stat.f_frsize)),
        slots,
    })
}
