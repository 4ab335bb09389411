//! Hosts, as their operator asks for them.

use serde::{Deserialize, Serialize};

/// A node: item of `GET /nodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its name.
    pub id: String,
    /// The same; a node has one service here.
    #[serde(rename = "serviceInstanceID")]
    pub service_instance_id: String,
    /// There is one cluster: the zero id.
    #[serde(rename = "clusterID")]
    pub cluster_id: String,
    /// Of the server.
    pub version: String,
    /// What the server was built from; empty where it was not told.
    pub commit: String,
    /// `ready`, or `draining` while the operator lets nothing new onto it, and while it shuts down.
    pub status: String,
    /// Its processor.
    pub machine_info: MachineInfo,
    /// Sandboxes that hold a slot.
    pub sandbox_count: u32,
    /// Of which on their way up.
    pub sandbox_starting_count: u32,
    /// Creates that came to a sandbox since the start of the server,
    pub create_successes: u64,
    /// and those that did not.
    pub create_fails: u64,
    /// What it has and what is taken.
    pub metrics: NodeMetrics,
}

/// Answer of `GET /nodes/{nodeID}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeDetail {
    /// What the list shows, too.
    #[serde(flatten)]
    pub node: Node,
    /// Builds that sandboxes can start from here.
    pub cached_builds: Vec<String>,
}

/// Body of `POST /nodes/{nodeID}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatusChange {
    /// The cluster, where a client names it.
    #[serde(rename = "clusterID", default)]
    pub cluster_id: Option<String>,
    /// `ready` or `draining`.
    pub status: String,
}

/// A processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineInfo {
    /// As the kernel tells it.
    pub cpu_family: String,
    /// As the kernel tells it.
    pub cpu_model: String,
    /// As the kernel tells it.
    pub cpu_model_name: String,
    /// Such as `x86_64`.
    pub cpu_architecture: String,
}

/// What a node has and what is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeMetrics {
    /// Processors promised to sandboxes.
    #[serde(rename = "allocatedCPU")]
    pub allocated_cpu: u32,
    /// How busy the processors are together, 0 to 100.
    pub cpu_percent: u32,
    /// Processors.
    pub cpu_count: u32,
    /// Memory promised to sandboxes.
    pub allocated_memory_bytes: u64,
    /// Memory in use by all programs.
    pub memory_used_bytes: u64,
    /// Memory.
    pub memory_total_bytes: u64,
    /// The file system of sandboxes and templates.
    pub disks: Vec<DiskMetrics>,
}

/// A file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskMetrics {
    /// Where it is mounted.
    pub mount_point: String,
    /// What it is on.
    pub device: String,
    /// Its kind.
    pub filesystem_type: String,
    /// What is taken,
    pub used_bytes: u64,
    /// of this.
    pub total_bytes: u64,
}
