//! Building templates: asking for a build, its files, its start, its status.

use serde::{Deserialize, Serialize};

use super::{Rfc3339, Template};

/// Body of `POST /v3/templates`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TemplateBuildRequest {
    /// `alias`, `alias:tag` or `namespace/alias[:tag]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// An older field for the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Tags beside the name's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_count: Option<u32>,
    /// Memory, in MiB.
    #[serde(rename = "memoryMB", skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u64>,
    /// Free disk, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_free_disk_mb: Option<u64>,
}

/// Answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateBuildRequested {
    /// The template.
    #[serde(rename = "templateID")]
    pub template_id: String,
    /// The build.
    #[serde(rename = "buildID")]
    pub build_id: String,
    /// Whether other teams may start from the template.
    pub public: bool,
    /// Its names with their namespaces.
    pub names: Vec<String>,
    /// Tags that lead to this build once it is ready.
    pub tags: Vec<String>,
    /// Its names without namespaces.
    pub aliases: Vec<String>,
}

/// Answer of `GET /templates/{templateID}/files/{hash}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateFiles {
    /// Whether they are there already.
    pub present: bool,
    /// Where to put them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// Body of `POST /v2/templates/{templateID}/builds/{buildID}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TemplateBuildStart {
    /// An image to start from,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_image: Option<String>,
    /// and what its registry asks for,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_image_registry: Option<ImageRegistry>,
    /// or a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_template: Option<String>,
    /// Take no step from the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force: Option<bool>,
    /// What is done, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<TemplateStep>>,
    /// Runs in each sandbox from its start on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_cmd: Option<String>,
    /// Succeeds when the sandbox is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_cmd: Option<String>,
}

/// What a registry asks for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ImageRegistry {
    /// Any registry.
    Registry {
        /// Account.
        username: String,
        /// Its password or token.
        password: String,
    },
    /// Amazon's.
    Aws {
        /// Access key.
        #[serde(rename = "awsAccessKeyId")]
        access_key_id: String,
        /// Its secret.
        #[serde(rename = "awsSecretAccessKey")]
        secret_access_key: String,
        /// Region.
        #[serde(rename = "awsRegion")]
        region: String,
    },
    /// Google's.
    Gcp {
        /// The key file of a service account.
        #[serde(rename = "serviceAccountJson")]
        service_account: String,
    },
}

/// Without secrets.
impl std::fmt::Debug for ImageRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Registry { .. } => "Registry(…)",
            Self::Aws { .. } => "Aws(…)",
            Self::Gcp { .. } => "Gcp(…)",
        })
    }
}

/// One step of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateStep {
    /// `COPY`, `ADD`, `RUN`, `ENV`, `ARG`, `WORKDIR` or `USER`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What they mean depends on the type.
    #[serde(default)]
    pub args: Vec<String>,
    /// Names the uploaded files of a copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_hash: Option<String>,
    /// Take neither this step nor a later one from the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force: Option<bool>,
}

/// Answer of `GET /templates/{templateID}/builds/{buildID}/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateBuildInfo {
    /// The template.
    #[serde(rename = "templateID")]
    pub template_id: String,
    /// The build.
    #[serde(rename = "buildID")]
    pub build_id: String,
    /// `waiting`, `building`, `ready` or `error`.
    pub status: String,
    /// Always empty; old clients want it.
    pub logs: Vec<String>,
    /// A page of the log.
    pub log_entries: Vec<BuildLogEntry>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<BuildReason>,
}

/// One entry of a build's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildLogEntry {
    /// When.
    pub timestamp: Rfc3339,
    /// The text.
    pub message: String,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// `base`, the number of a step from 1, or `finalize`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
}

/// Why a build failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildReason {
    /// In words.
    pub message: String,
    /// `base`, the number of a step from 1, or `finalize`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What the log says of that step, warnings and worse.
    pub log_entries: Vec<BuildLogEntry>,
}

/// Answer of `GET /templates/{templateID}/builds/{buildID}/logs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildLogs {
    /// A page of the log.
    pub logs: Vec<BuildLogEntry>,
}

/// Body of `POST /templates/tags`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignTags {
    /// `name[:tag]`: the build behind it gets the tags.
    pub target: String,
    /// The tags.
    pub tags: Vec<String>,
}

/// Answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedTags {
    /// The tags.
    pub tags: Vec<String>,
    /// The build that they lead to.
    #[serde(rename = "buildID")]
    pub build_id: String,
}

/// Body of `DELETE /templates/tags`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveTags {
    /// The template, without a tag.
    pub name: String,
    /// The tags.
    pub tags: Vec<String>,
}

/// One item of `GET /templates/{templateID}/tags`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateTag {
    /// The tag.
    pub tag: String,
    /// The build that it leads to.
    #[serde(rename = "buildID")]
    pub build_id: String,
    /// Since when.
    pub created_at: Rfc3339,
}

/// Body of `PATCH /v2/templates/{templateID}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TemplateUpdate {
    /// Whether other teams may start from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
}

/// Answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateUpdated {
    /// The template's names with their namespaces.
    pub names: Vec<String>,
}

/// Answer of `GET /templates/{templateID}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateWithBuilds {
    /// As lists show it.
    #[serde(flatten)]
    pub template: Template,
    /// Its builds, newest first.
    pub builds: Vec<TemplateBuild>,
}

/// One build of a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateBuild {
    /// Its id.
    #[serde(rename = "buildID")]
    pub build_id: String,
    /// `waiting`, `building`, `ready` or `error`.
    pub status: String,
    /// When it was asked for.
    pub created_at: Rfc3339,
    /// When that last changed.
    pub updated_at: Rfc3339,
    /// When it became ready or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Rfc3339>,
    /// Processors.
    pub cpu_count: u32,
    /// Memory, in MiB.
    #[serde(rename = "memoryMB")]
    pub memory_mb: u64,
    /// Disk, in MiB.
    #[serde(rename = "diskSizeMB")]
    pub disk_size_mb: u64,
    /// Version of the daemon inside.
    pub envd_version: String,
}

/// Answer of `POST /v2/templates`, an older way to ask for a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateBuildRequestedV2 {
    /// The template.
    #[serde(rename = "templateID")]
    pub template_id: String,
    /// The build.
    #[serde(rename = "buildID")]
    pub build_id: String,
    /// Whether other teams may start from the template.
    pub public: bool,
    /// Its names without namespaces.
    pub aliases: Vec<String>,
}

/// One item of `GET /template-cache`: a step that later builds find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CachedStep {
    /// Names it.
    pub key: String,
    /// The step in words.
    pub title: String,
    /// What its layer takes on disk.
    pub size_bytes: u64,
    /// When it was done.
    pub created_at: Rfc3339,
    /// When a build last found it.
    pub last_used_at: Rfc3339,
    /// Whether a template, a build under way or a sandbox stands on its layer.
    pub in_use: bool,
}

/// Answer to `POST /template-cache/verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedLayers {
    /// Layers that were read.
    pub layers: usize,
    /// What their files hold.
    pub size_bytes: u64,
    /// Those that are not what they were; they are set aside.
    pub damaged: Vec<DamagedLayer>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DamagedLayer {
    /// Its name.
    pub layer: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Body of `POST /template-cache/gc`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CollectLayers {
    /// Keep steps that a build used within so many hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unused_for_hours: Option<u64>,
}

/// Answer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectedLayers {
    /// Layers that were set aside: nothing finds them any more.
    pub layers: usize,
    /// What their files hold.
    pub size_bytes: u64,
    /// Layers that the server is removing, those of earlier clearings included. An
    /// earlier server does not say.
    #[serde(default)]
    pub removing: usize,
}
