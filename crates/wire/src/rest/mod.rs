//! The REST API: what clients send to the control plane and what they get.
//!
//! Field for field as E2B's clients have it. Unknown fields of requests are
//! ignored, absent fields of answers are omitted and never `null`. The server
//! reads and the Rust SDK writes the same types, so each goes both ways.

mod account;
mod build;
mod error;
mod event;
mod log;
pub mod metadata;
mod metrics;
mod network;
mod node;
mod record;
mod sandbox;
mod snapshot;
mod team;
mod template;
mod time;

pub use account::{
    AdminTeam, AdminUser, ApiKey, CancelReport, CreatedAccessToken, CreatedApiKey, KeyMask, KillReport,
    Named, NewTeam, NewUser, RunningCount, TeamChange, TeamUser,
};
pub use build::{
    AssignTags, AssignedTags, BuildLogEntry, BuildLogs, BuildReason, CachedStep, CollectLayers,
    CollectedLayers, DamagedLayer, ImageRegistry, RemoveTags, TemplateBuild, TemplateBuildInfo,
    TemplateBuildRequest, TemplateBuildRequested, TemplateBuildRequestedV2, TemplateBuildStart,
    TemplateFiles, TemplateStep, TemplateTag, TemplateUpdate, TemplateUpdated, TemplateWithBuilds,
    VerifiedLayers,
};
pub use error::ErrorBody;
pub use event::{SandboxEvent, Undelivered, Webhook, WebhookSettings};
pub use log::{SandboxLog, SandboxLogEntry, SandboxLogs, SandboxLogsV2};
pub use metrics::{SandboxMetric, SandboxesMetrics, TeamMetric, TeamMetricMax};
pub use network::NetworkConfig;
pub use node::{DiskMetrics, MachineInfo, Node, NodeDetail, NodeMetrics, NodeStatusChange};
pub use record::{OomVictim, SandboxRecord};
pub use sandbox::{
    AutoResume, ConnectRequest, Iam, Lifecycle, ListedSandbox, NewSandbox, OnTimeout, PauseMode,
    PauseRequest, RefreshRequest, ResumeRequest, Sandbox, SandboxDetail, SandboxState, TimeoutRequest,
    VolumeMount,
};
pub use snapshot::{
    Change, ChangeKind, ChangedFile, ChangedFileKind, ForkError, ForkRequest, Forked, NewSnapshot,
    RollbackRequest, Snapshot,
};
pub use team::Team;
pub use template::{DefaultTemplate, Template, TemplateAlias, TemplateCreator};
pub use time::Rfc3339;
