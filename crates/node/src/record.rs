//! What the disk knows of one sandbox: enough to adopt it or to remove it.
//!
//! The record is written before the first act on the host and removed after the
//! last, so whatever exists on the host has a record.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::{AtTimeout, ByteSize, EndCause, GenerationId, Policy, Resources, SandboxId, Slot, Timestamp};
use runtime::MachineSpec;
use serde::{Deserialize, Serialize};

use crate::build::Start;
use crate::disk;
use crate::nouns::Purpose;
use crate::template::{self, Template};

/// The version that this server writes and the newest that it reads.
const FORMAT: u32 = 1;
/// Name of the record in the sandbox's directory.
pub(crate) const FILE: &str = "sandbox.json";

/// The record, with its secrets: never printed.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    format: u32,
    pub(crate) sandbox_id: String,
    pub(crate) template_id: String,
    pub(crate) build_id: String,
    pub(crate) slot: u32,
    pub(crate) layers: Vec<PathBuf>,
    cpu_count: u32,
    memory_bytes: u64,
    disk_bytes: u64,
    pub(crate) env_vars: BTreeMap<String, String>,
    pub(crate) access_token: Option<String>,
    pub(crate) default_user: Option<String>,
    pub(crate) default_workdir: Option<String>,
    pub(crate) interpreter: bool,
    #[serde(default)]
    pub(crate) start: Start,
    pub(crate) wait_for_interpreter: bool,
    timeout_micros: u64,
    created_at: i64,
    /// Absent until the guest answered.
    started_at: Option<i64>,
    deadline: i64,
    pub(crate) envd_version: String,
    /// Why it is being removed, from the moment that this was decided.
    ending: Option<String>,
    /// A step of a template build.
    #[serde(default)]
    building: bool,
    #[serde(default)]
    by_itself: ByItself,
    /// Present from the decision to pause it until it is usable again.
    #[serde(default)]
    pause: Option<Pause>,
    /// States with memory that it came from or that were written of it, the youngest
    /// first: what it has in common with them need not be stored again. They may be gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    kin: Vec<GenerationName>,
}

/// A sandbox has use for its youngest kin that stands; older ones are for when that goes.
const MOST_KIN: usize = 4;

/// What happens to it by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct ByItself {
    /// Its timeout pauses it.
    pause_at_timeout: bool,
    /// That pause keeps its memory.
    #[serde(default)]
    pause_keeps_memory: bool,
    /// Traffic wakes it.
    wakes_by_traffic: bool,
}

/// What is known of a sandbox that sleeps, or is on its way there or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Pause {
    at: i64,
    /// It holds nothing but its files: no machine, no slot.
    parked: bool,
    /// The generation that it is being written to, until it sleeps on it.
    #[serde(default)]
    to: Option<GenerationName>,
    /// The generation that it sleeps on; without one, its writable layer.
    #[serde(default)]
    on: Option<GenerationName>,
    /// Whether that keeps its memory.
    #[serde(default)]
    keeps_memory: bool,
    /// Its daemon did not answer.
    #[serde(default)]
    unresponsive: bool,
}

/// A generation's id as a number, so that a pause is plain data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GenerationName(GenerationId);

impl Serialize for GenerationName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for GenerationName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// Where the backend keeps what it has of the sandbox of `dir`.
pub(crate) fn machine_dir(dir: &Path) -> PathBuf {
    dir.join("machine")
}

/// Parts of a record that come from the request.
pub(crate) struct New<'a> {
    pub(crate) request: &'a crate::CreateSandbox,
    pub(crate) template: &'a crate::template::Template,
    pub(crate) purpose: Purpose,
    pub(crate) slot: Slot,
    pub(crate) layers: Vec<PathBuf>,
    pub(crate) now: Timestamp,
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It cannot be read.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// A newer server wrote it.
    #[error("its format is {found}, this server reads up to {FORMAT}; start the newer server again")]
    Newer {
        /// The version found.
        found: u32,
    },
    /// It contradicts itself.
    #[error("its {0} is damaged")]
    Damaged(&'static str),
}

/// A sandbox's record that this server cannot use. Its remains stay as they are.
#[derive(Debug)]
pub struct Refused {
    /// Its directory.
    pub dir: PathBuf,
    /// Why, in words.
    pub reason: Unusable,
}

impl Record {
    pub(crate) fn new(new: New<'_>) -> Self {
        let New { request, template, purpose, slot, layers, now } = new;
        let mut env_vars = template.env.clone();
        env_vars.extend(request.env_vars.clone());
        Self {
            format: FORMAT,
            sandbox_id: request.sandbox_id.to_string(),
            template_id: request.template_id.to_string(),
            build_id: request.build_id.to_string(),
            slot: slot.0,
            layers,
            cpu_count: request.resources.cpu_count,
            memory_bytes: request.resources.memory.as_u64(),
            disk_bytes: request.resources.disk.as_u64(),
            env_vars,
            access_token: request.access_token.clone(),
            default_user: template.default_user.clone(),
            default_workdir: template.default_workdir.clone(),
            interpreter: template.interpreter,
            start: template.start.clone(),
            wait_for_interpreter: template.interpreter && request.wait_for_interpreter,
            timeout_micros: u64::try_from(request.timeout.as_micros()).unwrap_or(u64::MAX),
            created_at: now.unix_micros(),
            started_at: None,
            deadline: (now + request.timeout).unix_micros(),
            envd_version: template.envd_version.clone(),
            ending: None,
            building: purpose == Purpose::Build,
            by_itself: ByItself {
                pause_at_timeout: request.policy.at_timeout != AtTimeout::Kill,
                pause_keeps_memory: request.policy.at_timeout == AtTimeout::PauseMemory,
                wakes_by_traffic: request.policy.wakes_by_traffic,
            },
            pause: None,
            kin: Vec::new(),
        }
    }

    /// Reads the record of a sandbox's directory and holds it against its name.
    pub(crate) fn read(dir: &Path) -> Result<Self, Unusable> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let path = dir.join(FILE);
        let Format { format } = disk::read_json(&path)?;
        if format > FORMAT {
            return Err(Unusable::Newer { found: format });
        }
        let record: Self = disk::read_json(&path)?;
        if dir.file_name().and_then(|name| name.to_str()) != Some(record.sandbox_id.as_str()) {
            return Err(Unusable::Damaged("sandbox id"));
        }
        record.sandbox_id.parse::<SandboxId>().map_err(|_| Unusable::Damaged("sandbox id"))?;
        record.build_id.parse::<model::BuildId>().map_err(|_| Unusable::Damaged("build id"))?;
        Ok(record)
    }

    /// Whether what stands for a record was there before it, or nothing is: so a loss of
    /// power leaves one that was never written back. What sleeps has one that was.
    pub(crate) fn was_never_stored(dir: &Path) -> bool {
        let bytes = match std::fs::read(dir.join(FILE)) {
            Ok(bytes) => bytes,
            Err(e) => return e.kind() == std::io::ErrorKind::NotFound,
        };
        let text = bytes.iter().filter(|byte| **byte != 0 && !byte.is_ascii_whitespace());
        let text: Vec<u8> = text.copied().collect();
        let of_another = || {
            let record: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
            Some(record.get("sandbox_id")?.as_str() != dir.file_name()?.to_str())
        };
        text.is_empty() || text == b"null" || of_another() == Some(true)
    }

    /// Stands for that of a sandbox that ended with its host: it has a place no more,
    /// and its files are to go.
    pub(crate) fn lost(sandbox_id: &SandboxId, now: Timestamp) -> Self {
        let mut lost = Self {
            format: FORMAT,
            sandbox_id: sandbox_id.to_string(),
            template_id: String::new(),
            build_id: model::BuildId::from_u128(0).to_string(),
            slot: 0,
            layers: Vec::new(),
            cpu_count: 0,
            memory_bytes: 0,
            disk_bytes: 0,
            env_vars: BTreeMap::new(),
            access_token: None,
            default_user: None,
            default_workdir: None,
            interpreter: false,
            start: Start::default(),
            wait_for_interpreter: false,
            timeout_micros: 0,
            created_at: now.unix_micros(),
            started_at: None,
            deadline: now.unix_micros(),
            envd_version: String::new(),
            ending: Some(EndCause::HostLost.to_string()),
            building: false,
            by_itself: ByItself::default(),
            pause: None,
            kin: Vec::new(),
        };
        lost.set_pausing(now);
        lost.set_parked();
        lost
    }

    /// The slot that an unusable record names, so that nobody else gets it.
    pub(crate) fn slot_of_unusable(dir: &Path) -> Option<Slot> {
        let value: serde_json::Value = disk::read_json(&dir.join(FILE)).ok()?;
        value.get("slot")?.as_u64().and_then(|slot| u32::try_from(slot).ok()).map(Slot)
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<(), disk::Error> {
        disk::write_json(&dir.join(FILE), self)
    }

    /// Like [`Self::write`], and a power cut leaves this one or the one before it.
    pub(crate) fn write_whole(&self, dir: &Path) -> Result<(), disk::Error> {
        disk::write_json_whole(&dir.join(FILE), self)
    }

    /// The same over what was written before, for a sandbox that a power cut ends anyway.
    pub(crate) fn amend(&self, dir: &Path) -> Result<(), disk::Error> {
        disk::amend_json(&dir.join(FILE), self)
    }

    /// Like [`Self::write_whole`], and when it answers, a power cut leaves this one.
    pub(crate) fn store(&self, dir: &Path) -> Result<(), disk::Error> {
        self.write_whole(dir)?;
        disk::store(dir)
    }

    pub(crate) fn resources(&self) -> Resources {
        Resources {
            cpu_count: self.cpu_count,
            memory: ByteSize::bytes(self.memory_bytes),
            disk: ByteSize::bytes(self.disk_bytes),
        }
    }

    pub(crate) fn purpose(&self) -> Purpose {
        if self.building { Purpose::Build } else { Purpose::Client }
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_micros(self.timeout_micros)
    }

    pub(crate) fn created_at(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.created_at)
    }

    pub(crate) fn started_at(&self) -> Option<Timestamp> {
        self.started_at.map(Timestamp::from_unix_micros)
    }

    pub(crate) fn deadline(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.deadline)
    }

    pub(crate) fn set_started(&mut self, at: Timestamp) {
        self.started_at = Some(at.unix_micros());
        self.set_deadline(at + self.timeout());
    }

    pub(crate) fn set_deadline(&mut self, deadline: Timestamp) {
        self.deadline = deadline.unix_micros();
    }

    /// What happens to it by itself.
    pub(crate) fn policy(&self) -> Policy {
        let by_itself = self.by_itself;
        let at_timeout = match (by_itself.pause_at_timeout, by_itself.pause_keeps_memory) {
            (false, _) => AtTimeout::Kill,
            (true, false) => AtTimeout::PauseFiles,
            (true, true) => AtTimeout::PauseMemory,
        };
        Policy { at_timeout, wakes_by_traffic: by_itself.wakes_by_traffic }
    }

    /// What its end shows as: a sandbox that sleeps has none but that moment.
    pub(crate) fn shown_deadline(&self) -> Timestamp {
        self.pause.map_or(self.deadline(), |pause| Timestamp::from_unix_micros(pause.at))
    }

    /// Notes the decision to pause it, its writable layer being all that stays.
    pub(crate) fn set_pausing(&mut self, at: Timestamp) {
        self.pause = Some(Pause {
            at: at.unix_micros(),
            parked: false,
            to: None,
            on: None,
            keeps_memory: false,
            unresponsive: false,
        });
    }

    /// Notes the decision to pause it with its memory, which goes to a generation
    /// that is yet to be made. Until it is, it runs.
    pub(crate) fn set_writing(&mut self, at: Timestamp, to: GenerationId, is_healthy: bool) {
        self.set_pausing(at);
        if let Some(pause) = &mut self.pause {
            pause.to = Some(GenerationName(to));
            pause.unresponsive = !is_healthy;
        }
    }

    /// Notes that it is not being paused after all.
    pub(crate) fn set_unpaused(&mut self) {
        self.pause = None;
    }

    /// Notes that all of it is in a generation: what else there is may go.
    pub(crate) fn set_sleeping_on(&mut self, on: GenerationId, keeps_memory: bool) {
        if let Some(pause) = &mut self.pause {
            pause.to = None;
            pause.on = Some(GenerationName(on));
            pause.keeps_memory = keeps_memory;
        }
    }

    /// The generation that it is being written to.
    pub(crate) fn writing_to(&self) -> Option<GenerationId> {
        self.pause?.to.map(|name| name.0)
    }

    /// The states with which it has memory in common, the youngest first.
    pub(crate) fn kin(&self) -> Vec<GenerationId> {
        self.kin.iter().map(|name| name.0).collect()
    }

    /// Adds the youngest; those that are gone make room.
    pub(crate) fn add_kin(&mut self, id: GenerationId, stands: impl Fn(GenerationId) -> bool) {
        self.kin.retain(|name| name.0 != id && stands(name.0));
        self.kin.insert(0, GenerationName(id));
        self.kin.truncate(MOST_KIN);
    }

    /// The generation that it sleeps on.
    pub(crate) fn sleeping_on(&self) -> Option<GenerationId> {
        self.pause?.on.map(|name| name.0)
    }

    /// Whether its memory is kept while it sleeps.
    pub(crate) fn keeps_memory(&self) -> bool {
        self.pause.is_some_and(|pause| pause.keeps_memory)
    }

    /// Whether its daemon did not answer when it was paused.
    pub(crate) fn was_unresponsive(&self) -> bool {
        self.pause.is_some_and(|pause| pause.unresponsive)
    }

    /// The same state as something to start others from.
    pub(crate) fn as_template(&self, generation: GenerationId, at: Timestamp) -> Template {
        let names = self.layers.iter().skip(1).filter_map(|layer| layer.file_name()?.to_str());
        Template {
            format: template::FORMAT,
            build_id: self.build_id.clone(),
            owner: self.template_id.clone(),
            aliases: Vec::new(),
            client: true,
            cpu_count: self.cpu_count,
            memory_bytes: self.memory_bytes,
            disk_bytes: self.disk_bytes,
            envd_version: self.envd_version.clone(),
            layers: names.map(str::to_owned).collect(),
            merged: Vec::new(),
            interpreter: self.interpreter,
            env: self.env_vars.clone(),
            default_user: self.default_user.clone(),
            default_workdir: self.default_workdir.clone(),
            start: self.start.clone(),
            created_at: at.unix_micros(),
            generation: Some(generation.to_string()),
        }
    }

    /// Notes that it holds nothing but its files.
    pub(crate) fn set_parked(&mut self) {
        if let Some(pause) = &mut self.pause {
            pause.parked = true;
        }
    }

    /// Notes that it is being woken in a slot, to live this long.
    pub(crate) fn set_waking(&mut self, slot: Slot, timeout: Duration) {
        self.slot = slot.0;
        self.timeout_micros = u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX);
        if let Some(pause) = &mut self.pause {
            pause.parked = false;
        }
    }

    /// Notes that it is usable again.
    pub(crate) fn set_awake(&mut self, at: Timestamp) {
        self.pause = None;
        self.set_started(at);
    }

    /// Whether it sleeps, or is on its way there or back.
    pub(crate) fn is_asleep(&self) -> bool {
        self.pause.is_some()
    }

    /// Whether it holds nothing but its files.
    pub(crate) fn is_parked(&self) -> bool {
        self.pause.is_some_and(|pause| pause.parked)
    }

    /// Why it is being removed; a cause that only a newer server knows reads as lost.
    pub(crate) fn ending(&self) -> Option<EndCause> {
        self.ending.as_deref().map(|cause| cause.parse().unwrap_or(EndCause::HostLost))
    }

    pub(crate) fn set_ending(&mut self, cause: EndCause) {
        self.ending = Some(cause.to_string());
    }

    /// What the backend is told.
    pub(crate) fn spec(&self, sandbox_id: &SandboxId, dir: &Path) -> MachineSpec {
        MachineSpec {
            sandbox_id: sandbox_id.clone(),
            slot: Slot(self.slot),
            layers: self.layers.clone(),
            dir: machine_dir(dir),
            resources: self.resources(),
            hostname: "e2b.local".to_owned(),
            command: vec![wire::control::GUEST_PATH.to_owned()],
            env: vec![(
                "PATH".to_owned(),
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            )],
        }
    }

    /// What the guest is told.
    pub(crate) fn init(&self, ca_bundle: Option<&str>, output_patience: Duration) -> wire::control::Init {
        wire::control::Init {
            sandbox_id: Some(self.sandbox_id.clone()),
            template_id: Some(self.template_id.clone()),
            env_vars: Some(self.env_vars.clone()),
            access_token: Some(self.access_token.clone().unwrap_or_default()),
            default_user: self.default_user.clone(),
            default_workdir: self.default_workdir.clone(),
            output_patience_ms: u64::try_from(output_patience.as_millis()).ok(),
            limits: Some(wire::control::Limits {
                cpu_count: self.cpu_count,
                memory_bytes: self.memory_bytes,
                disk_bytes: self.disk_bytes,
            }),
            ca_bundle: ca_bundle.map(str::to_owned),
            interpreter: Some(self.interpreter),
            woken: None,
        }
    }
}
