//! What the server tells of sandboxes.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use wire::rest::{self, ListedSandbox, SandboxDetail, SandboxMetric};

/// Where a sandbox stands.
pub use rest::SandboxState;

/// What the server tells of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxInfo {
    /// Its id.
    pub sandbox_id: String,
    /// The template it is based on.
    pub template_id: String,
    /// The template's first alias.
    pub alias: Option<String>,
    /// Where it stands.
    pub state: SandboxState,
    /// When it became usable.
    pub started_at: SystemTime,
    /// When it will end.
    pub end_at: SystemTime,
    /// Processors.
    pub cpu_count: u32,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// Disk, in MiB.
    pub disk_mib: u64,
    /// The user's own labels.
    pub metadata: BTreeMap<String, String>,
    /// Which barrier holds, where the server tells it.
    pub isolation: Option<String>,
    /// Version of the daemon inside.
    pub envd_version: String,
    /// Volumes in it: path and name.
    pub volume_mounts: BTreeMap<String, String>,
    /// Whether traffic wakes it; told of one sandbox, not in lists.
    pub auto_resume: Option<bool>,
    /// Whether its timeout pauses it; told of one sandbox, not in lists.
    pub pauses_on_timeout: Option<bool>,
    /// As given at its creation; told of one sandbox, not in lists.
    pub allow_internet_access: Option<bool>,
    /// The rules of its network as the API writes them; told of one sandbox, not in lists.
    pub network: Option<Value>,
    /// Base of its host names, where it has its own.
    pub domain: Option<String>,
}

impl From<ListedSandbox> for SandboxInfo {
    fn from(listed: ListedSandbox) -> Self {
        let mounts = listed.volume_mounts.unwrap_or_default();
        Self {
            sandbox_id: listed.sandbox_id,
            template_id: listed.template_id,
            alias: listed.alias,
            state: listed.state,
            started_at: moment(listed.started_at),
            end_at: moment(listed.end_at),
            cpu_count: listed.cpu_count,
            memory_mib: listed.memory_mb,
            disk_mib: listed.disk_size_mb,
            metadata: listed.metadata.unwrap_or_default(),
            isolation: listed.isolation,
            envd_version: listed.envd_version,
            volume_mounts: mounts.into_iter().map(|mount| (mount.path, mount.name)).collect(),
            auto_resume: None,
            pauses_on_timeout: None,
            allow_internet_access: None,
            network: None,
            domain: None,
        }
    }
}

impl From<SandboxDetail> for SandboxInfo {
    fn from(detail: SandboxDetail) -> Self {
        Self {
            auto_resume: detail.lifecycle.map(|lifecycle| lifecycle.auto_resume),
            pauses_on_timeout: detail
                .lifecycle
                .map(|lifecycle| lifecycle.on_timeout == rest::OnTimeout::Pause),
            allow_internet_access: detail.allow_internet_access,
            network: detail.network.and_then(|network| serde_json::to_value(network).ok()),
            domain: detail.domain,
            ..detail.listed.into()
        }
    }
}

/// What a sandbox used at one moment. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metrics {
    /// When.
    pub at: SystemTime,
    /// Processors it may use.
    pub cpu_count: u32,
    /// Use of all of them together, 0 to 100.
    pub cpu_used_pct: f64,
    /// Memory in use, without the page cache.
    pub memory_used: u64,
    /// Memory it may use.
    pub memory_total: u64,
    /// Page cache.
    pub memory_cache: u64,
    /// Disk in use.
    pub disk_used: u64,
    /// Disk it may use.
    pub disk_total: u64,
}

impl From<SandboxMetric> for Metrics {
    fn from(metric: SandboxMetric) -> Self {
        Self {
            at: moment(metric.timestamp),
            cpu_count: metric.cpu_count,
            cpu_used_pct: metric.cpu_used_pct,
            memory_used: metric.mem_used,
            memory_total: metric.mem_total,
            memory_cache: metric.mem_cache,
            disk_used: metric.disk_used,
            disk_total: metric.disk_total,
        }
    }
}

pub(crate) fn moment(at: rest::Rfc3339) -> SystemTime {
    let micros = u64::try_from(at.unix_micros()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
}

/// Seconds since 1970; moments before it count as it.
pub(crate) fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
