//! What sandboxes used, over time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Rfc3339;

/// One sample; clients demand every field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxMetric {
    /// When it was taken.
    pub timestamp: Rfc3339,
    /// The same in seconds since 1970.
    pub timestamp_unix: i64,
    /// Processors it may use.
    pub cpu_count: u32,
    /// Use of all of them together, 0 to 100.
    pub cpu_used_pct: f64,
    /// Memory in use, in bytes, page cache not counted.
    pub mem_used: u64,
    /// Memory it may use, in bytes.
    pub mem_total: u64,
    /// Page cache, in bytes.
    pub mem_cache: u64,
    /// Disk in use, in bytes.
    pub disk_used: u64,
    /// Disk it may use, in bytes.
    pub disk_total: u64,
}

/// Answer of `GET /sandboxes/metrics`: the latest sample of each.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SandboxesMetrics {
    /// By sandbox id; ids without a sample are left out.
    pub sandboxes: BTreeMap<String, SandboxMetric>,
}

/// One sample of a team.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TeamMetric {
    /// When it was taken.
    pub timestamp: Rfc3339,
    /// The same in seconds since 1970.
    pub timestamp_unix: i64,
    /// Sandboxes that ran.
    pub concurrent_sandboxes: u32,
    /// Sandboxes started a second, since the sample before.
    pub sandbox_start_rate: f64,
}

/// The highest value of one of these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TeamMetricMax {
    /// When it was reached.
    pub timestamp: Rfc3339,
    /// The same in seconds since 1970.
    pub timestamp_unix: i64,
    /// The value.
    pub value: f64,
}
