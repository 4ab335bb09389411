//! The builds that are ready on this node's disk: `<state>/templates/<build id>.json`.
//!
//! A build names its layers (directories of the state file system, by hash) and
//! what its sandboxes start with. Builds are immutable; a new one is a new file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use model::{BuildId, ByteSize, GenerationId, Resources, Timestamp};
use serde::{Deserialize, Serialize};

use crate::build::Start;
use crate::generation::{Hold, Shelf};
use crate::{TemplateBuild, disk};

/// The version that this server writes and the newest that it reads.
pub(crate) const FORMAT: u32 = 1;

/// A build as it stands on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Template {
    pub(crate) format: u32,
    pub(crate) build_id: String,
    /// The template that it is a build of.
    #[serde(rename = "template_id")]
    pub(crate) owner: String,
    pub(crate) aliases: Vec<String>,
    /// A client ordered it; else it comes with the server.
    #[serde(default)]
    pub(crate) client: bool,
    pub(crate) cpu_count: u32,
    pub(crate) memory_bytes: u64,
    pub(crate) disk_bytes: u64,
    pub(crate) envd_version: String,
    /// Names below the layers' directory, topmost first.
    pub(crate) layers: Vec<String>,
    /// The layers that merged ones among them stand for. They stay for later builds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) merged: Vec<String>,
    pub(crate) interpreter: bool,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) default_user: Option<String>,
    pub(crate) default_workdir: Option<String>,
    /// What runs in each sandbox from its start on.
    #[serde(default)]
    pub(crate) start: Start,
    pub(crate) created_at: i64,
    /// The generation that its sandboxes begin with: it is a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) generation: Option<String>,
}

/// Why a build's file was passed over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error(transparent)]
    Disk(#[from] disk::Error),
    #[error("its format is {0}, this server reads up to {FORMAT}")]
    Newer(u32),
    #[error("its {0} is damaged")]
    Damaged(&'static str),
    #[error("its layer {0} is missing")]
    NoLayer(String),
    #[error("its generation {0} is missing")]
    NoGeneration(GenerationId),
}

impl Template {
    fn read(path: &Path, layers_dir: &Path, shelf: &Shelf) -> Result<(BuildId, Self), Unusable> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = disk::read_json(path)?;
        if format > FORMAT {
            return Err(Unusable::Newer(format));
        }
        let template: Self = disk::read_json(path)?;
        let build_id = template.build_id.parse().map_err(|_| Unusable::Damaged("build id"))?;
        template.described().ok_or(Unusable::Damaged("template id"))?;
        if let Some(id) = template.generation().filter(|id| !shelf.exists(*id)) {
            return Err(Unusable::NoGeneration(id));
        }
        match template.layers.iter().find(|layer| !layers_dir.join(layer).is_dir()) {
            Some(layer) => Err(Unusable::NoLayer(layer.clone())),
            None => Ok((build_id, template)),
        }
    }

    /// What its sandboxes begin with, if it is a snapshot.
    pub(crate) fn generation(&self) -> Option<GenerationId> {
        self.generation.as_deref()?.parse().ok()
    }

    pub(crate) fn resources(&self) -> Resources {
        Resources {
            cpu_count: self.cpu_count,
            memory: ByteSize::bytes(self.memory_bytes),
            disk: ByteSize::bytes(self.disk_bytes),
        }
    }

    /// As the outside sees it; `None` if an id in it is damaged.
    pub(crate) fn described(&self) -> Option<TemplateBuild> {
        Some(TemplateBuild {
            template_id: self.owner.parse().ok()?,
            build_id: self.build_id.parse().ok()?,
            aliases: self.aliases.clone(),
            client: self.client,
            snapshot: self.generation.is_some(),
            resources: self.resources(),
            envd_version: self.envd_version.clone(),
            created_at: Timestamp::from_unix_micros(self.created_at),
        })
    }
}

/// All ready builds, in memory.
#[derive(Debug)]
pub(crate) struct Templates {
    dir: PathBuf,
    shelf: Arc<Shelf>,
    /// Each with the generation that it stands on.
    builds: RwLock<BTreeMap<BuildId, (Arc<Template>, Hold)>>,
}

impl Templates {
    /// Reads the directory. A file that cannot be used is named and passed over.
    pub(crate) fn load(dir: PathBuf, layers_dir: &Path, shelf: &Arc<Shelf>) -> Result<Self, disk::Error> {
        disk::ensure_dir(&dir)?;
        let shelf = Arc::clone(shelf);
        let mut builds = BTreeMap::new();
        let files = disk::list_dir(&dir)?;
        for path in files.iter().filter(|path| path.extension().is_some_and(|ext| ext == "json")) {
            match Template::read(path, layers_dir, &shelf) {
                Ok((build_id, template)) => {
                    let hold = hold(&shelf, &template);
                    builds.insert(build_id, (Arc::new(template), hold));
                }
                Err(e) => {
                    let error = crate::error::chain(&e);
                    tracing::error!(path = %path.display(), error, "a template build cannot be used");
                }
            }
        }
        Ok(Self { dir, shelf, builds: RwLock::new(builds) })
    }

    pub(crate) fn get(&self, build_id: BuildId) -> Option<Arc<Template>> {
        self.read().get(&build_id).map(|(template, _)| Arc::clone(template))
    }

    /// The newest build of a template, by one of its names or its id.
    pub(crate) fn newest(&self, name: &str) -> Option<Arc<Template>> {
        let builds = self.read();
        let named = builds
            .values()
            .map(|(template, _)| template)
            .filter(|t| t.owner == name || t.aliases.iter().any(|a| a == name));
        named.max_by_key(|template| template.created_at).cloned()
    }

    pub(crate) fn list(&self) -> Vec<TemplateBuild> {
        self.read().values().filter_map(|(template, _)| template.described()).collect()
    }

    /// Publishes a build: on disk first, also for a loss of power. Blocks on files.
    pub(crate) fn publish(&self, build_id: BuildId, template: Template) -> Result<(), disk::Error> {
        let file = self.dir.join(format!("{build_id}.json"));
        disk::write_json_whole(&file, &template)?;
        disk::store(&self.dir)?;
        let mut builds = self.builds.write().expect("no holder of this lock panics");
        let hold = hold(&self.shelf, &template);
        builds.insert(build_id, (Arc::new(template), hold));
        Ok(())
    }

    /// Removes a build. Blocks on files.
    pub(crate) fn forget(&self, build_id: BuildId) -> Result<(), disk::Error> {
        self.builds.write().expect("no holder of this lock panics").remove(&build_id);
        disk::remove_file(&self.dir.join(format!("{build_id}.json")))
    }

    /// Names of the layers that some build stands on, or that its own were merged from.
    pub(crate) fn layers(&self) -> BTreeSet<String> {
        let builds = self.read();
        let of = |template: &Template| [&template.layers[..], &template.merged].concat();
        builds.values().flat_map(|(template, _)| of(template)).collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<BuildId, (Arc<Template>, Hold)>> {
        self.builds.read().expect("no holder of this lock panics")
    }
}

fn hold(shelf: &Arc<Shelf>, template: &Template) -> Hold {
    template.generation().map(|id| Shelf::hold(shelf, id)).unwrap_or_default()
}
