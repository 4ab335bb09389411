//! What sandboxes and teams used over time: numbers in a pair of files per name.

use std::io;
use std::path::Path;

use model::{ByteSize, Resources, SandboxId, TeamId, Timestamp};

use crate::files::Files;

/// Size at which a file is full: a day of samples every five seconds fits.
const FULL: u64 = 2 << 20;

/// What a sandbox used at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageSample {
    /// When.
    pub at: Timestamp,
    /// Of all its processors together, in hundredths of a percent.
    pub cpu_hundredths: u32,
    /// Memory in use, page cache included.
    pub memory: ByteSize,
    /// Page cache within `memory`.
    pub memory_cache: ByteSize,
    /// Writable disk in use.
    pub disk: ByteSize,
    /// What it may use.
    pub resources: Resources,
}

/// What a team had at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TeamSample {
    /// When.
    pub at: Timestamp,
    /// Sandboxes that ran.
    pub concurrent: u32,
    /// Sandboxes that were started since the sample before.
    pub started: u32,
    /// How long ago that was, in milliseconds.
    pub span_ms: u32,
}

/// All samples. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Samples(Files);

const USAGE_LEN: usize = 56;
const TEAM_LEN: usize = 20;

impl Samples {
    /// Opens the directory, which is made if need be.
    pub fn open(dir: &Path) -> io::Result<Self> {
        Files::open(dir, FULL).map(Self)
    }

    /// Adds samples of a sandbox. Never waits.
    pub fn append(&self, sandbox: &SandboxId, samples: &[UsageSample]) {
        self.0.append(sandbox.as_str(), samples.iter().flat_map(UsageSample::write).collect());
    }

    /// The samples that are kept of a sandbox, oldest first.
    pub async fn read(&self, sandbox: &SandboxId) -> Vec<UsageSample> {
        let bytes = self.0.read(sandbox.as_str()).await;
        ascending(bytes.chunks_exact(USAGE_LEN).map(UsageSample::read), |sample| sample.at)
    }

    /// Adds a sample of a team. Never waits.
    pub fn append_team(&self, team: TeamId, sample: &TeamSample) {
        self.0.append(&team.to_string(), sample.write());
    }

    /// The samples that are kept of a team, oldest first.
    pub async fn read_team(&self, team: TeamId) -> Vec<TeamSample> {
        let bytes = self.0.read(&team.to_string()).await;
        ascending(bytes.chunks_exact(TEAM_LEN).map(TeamSample::read), |sample| sample.at)
    }

    /// Drops what was not added to since a moment; answers how many files.
    pub async fn sweep(&self, before: Timestamp) -> u64 {
        self.0.sweep(before).await
    }
}

/// A write that a crash cut off shifts what comes after it: what is no later
/// than the sample before is none.
fn ascending<T>(samples: impl Iterator<Item = T>, at: impl Fn(&T) -> Timestamp) -> Vec<T> {
    let mut kept: Vec<T> = Vec::new();
    for sample in samples {
        if kept.last().is_none_or(|last| at(last) < at(&sample)) {
            kept.push(sample);
        }
    }
    kept
}

fn number<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[from..from + N]);
    part
}

impl UsageSample {
    fn write(&self) -> Vec<u8> {
        let mut bytes = self.at.unix_micros().to_le_bytes().to_vec();
        bytes.extend(self.cpu_hundredths.to_le_bytes());
        bytes.extend(self.resources.cpu_count.to_le_bytes());
        for size in [self.memory, self.memory_cache, self.disk, self.resources.memory, self.resources.disk] {
            bytes.extend(size.as_u64().to_le_bytes());
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Self {
        let size = |from| ByteSize::bytes(u64::from_le_bytes(number(bytes, from)));
        Self {
            at: Timestamp::from_unix_micros(i64::from_le_bytes(number(bytes, 0))),
            cpu_hundredths: u32::from_le_bytes(number(bytes, 8)),
            memory: size(16),
            memory_cache: size(24),
            disk: size(32),
            resources: Resources {
                cpu_count: u32::from_le_bytes(number(bytes, 12)),
                memory: size(40),
                disk: size(48),
            },
        }
    }
}

impl TeamSample {
    fn write(&self) -> Vec<u8> {
        let mut bytes = self.at.unix_micros().to_le_bytes().to_vec();
        for count in [self.concurrent, self.started, self.span_ms] {
            bytes.extend(count.to_le_bytes());
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Self {
        Self {
            at: Timestamp::from_unix_micros(i64::from_le_bytes(number(bytes, 0))),
            concurrent: u32::from_le_bytes(number(bytes, 8)),
            started: u32::from_le_bytes(number(bytes, 12)),
            span_ms: u32::from_le_bytes(number(bytes, 16)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn samples_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let samples = Samples::open(dir.path()).unwrap();
        let (id, team) = ("i1".parse().unwrap(), TeamId::from_u128(1));
        let usage = |n: i64| UsageSample {
            at: Timestamp::from_unix_micros(n),
            cpu_hundredths: 7,
            memory: ByteSize::mib(1),
            memory_cache: ByteSize::mib(2),
            disk: ByteSize::mib(3),
            resources: Resources::DEFAULT,
        };
        samples.append(&id, &[usage(1), usage(2)]);
        samples.append(&id, &[usage(3)]);
        assert_eq!(samples.read(&id).await, [usage(1), usage(2), usage(3)]);
        let sample = TeamSample { at: Timestamp::from_unix_micros(5), concurrent: 1, started: 2, span_ms: 3 };
        samples.append_team(team, &sample);
        assert_eq!(samples.read_team(team).await, [sample]);
        assert_eq!(samples.read_team(TeamId::from_u128(2)).await, []);
    }
}
