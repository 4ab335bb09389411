//! Builds a template from a recipe: each step becomes a read-only layer.
//!
//! A step's layer is named by the hash of the layers below it, of its own text
//! and of the files it copies; a layer that is there already is taken. Steps run
//! in sandboxes of the layers so far, through the same driver and guest as any
//! other; only the bootstrap of a distribution runs on the host. A layer gets its
//! name in one rename when it is complete, so a build that was killed goes on
//! where it was; what it left half-done is removed when the node opens.

mod act;
mod bootstrap;
mod cache;
pub(crate) mod call;
pub(crate) mod clearing;
mod context;
mod copy;
mod files;
mod flatten;
mod gc;
mod images;
mod jobs;
mod key;
mod log;
mod order;
mod outline;
mod perform;
mod place;
mod prefix;
pub(crate) mod ready;
mod recipe;
mod source;
mod step;
mod sums;
mod tail;
pub(crate) mod verify;
mod workshop;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::BuildId;
use tokio::sync::mpsc;

use crate::handle::Handle;
use crate::template::{FORMAT, Template};
use crate::{NodeOptions, TemplateBuild, disk};

pub(crate) use cache::Cache;
pub use cache::CacheEntry;
pub use files::UploadError;
pub use gc::{CachedStep, Collected};
pub use jobs::BuildProgress;
pub(crate) use jobs::Jobs;
pub use log::{LogEntry, LogLevel, LogPage};
pub use order::{BuildOrder, FilesHash, Instruction, MOST_STEPS, OrderStep, Source, Start};
pub use perform::BuildFailure;
pub use recipe::{InvalidRecipe, Recipe};
pub use step::StepFailure;
pub use sums::Damaged;
pub use tail::Tail;
pub use verify::Verified;

use cache::Pins;
use key::Key;
use outline::Look;
use step::Step;

/// What happens during a build. States are never lost; lines are, when nobody
/// reads them fast enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildEvent {
    /// The template's name.
    pub template: String,
    /// Which step, from 1.
    pub step: usize,
    /// Of how many.
    pub of: usize,
    /// The step in words.
    pub title: String,
    /// What happened.
    pub progress: Progress,
}

/// What happened to a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It began.
    Started,
    /// It printed a line.
    Line(String),
    /// Its layer was there already.
    Cached,
    /// Its layer is there now.
    Done,
}

/// Why a template was not built. The layers of earlier steps stay.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The recipe cannot be followed.
    #[error(transparent)]
    Recipe(#[from] InvalidRecipe),
    /// The template it starts from is not on this node.
    #[error("the recipe starts from {0:?}, which is not built on this node")]
    NoParent(String),
    /// A step failed.
    #[error("step {step} of {of} of template {template} ({title})")]
    Step {
        /// The template's name.
        template: String,
        /// Which step, from 1.
        step: usize,
        /// Of how many.
        of: usize,
        /// The step in words.
        title: String,
        /// The cause.
        #[source]
        source: Box<StepFailure>,
    },
    /// A file operation of the node failed.
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

/// One run of a recipe.
struct Run<'a> {
    handle: &'a Handle,
    recipe: &'a Recipe,
    events: mpsc::Sender<BuildEvent>,
    of: usize,
}

impl Handle {
    /// Builds the template of a recipe's directory (`recipe.toml` and the files
    /// it copies), unless this very build is ready already. One build at a time.
    ///
    /// Dropping the future stops the build; another call goes on where it was.
    pub async fn ensure_template(
        &self,
        dir: &Path,
        events: mpsc::Sender<BuildEvent>,
    ) -> Result<TemplateBuild, BuildError> {
        let _one_at_a_time = self.shared.building.lock().await;
        let dir = dir.to_owned();
        let recipe = disk::blocking(move || Recipe::read(&dir)).await?;
        let parent = match recipe.parent() {
            None => None,
            Some(name) => Some(
                self.shared.templates.newest(name).ok_or_else(|| BuildError::NoParent(name.to_owned()))?,
            ),
        };
        let of = recipe.steps.len();
        let run = Run { handle: self, recipe: &recipe, events, of };
        let mut pins = Pins::new(&self.shared.cache);
        let (key, layers) = run.layers(parent.as_deref(), &mut pins).await?;
        run.publish(key, layers).await
    }
}

impl Run<'_> {
    /// Makes the layers that are missing; all of them, topmost first. Until the build
    /// is done, nothing else leads to them: they are held.
    async fn layers(
        &self,
        parent: Option<&Template>,
        pins: &mut Pins,
    ) -> Result<(Key, Vec<String>), BuildError> {
        let mut layers = parent.map(|parent| parent.layers.clone()).unwrap_or_default();
        for layer in &layers {
            pins.hold(layer);
        }
        let mut key = Key::of_parent(&layers);
        for (index, step) in self.recipe.steps.iter().enumerate() {
            let failed = |source| BuildError::Step {
                template: self.recipe.name.clone(),
                step: index + 1,
                of: self.of,
                title: step.title(),
                source: Box::new(source),
            };
            key = key.then(step, &self.recipe.dir).await.map_err(|e| failed(e.into()))?;
            let to = self.handle.shared.options.layers_dir().join(key.name());
            pins.hold(&key.name());
            if to.is_dir() {
                self.tell(index, step, Progress::Cached).await;
            } else {
                self.tell(index, step, Progress::Started).await;
                self.make(index, step, &layers, &to).await.map_err(failed)?;
                self.sum(key.name()).await.map_err(|e| failed(e.into()))?;
                self.tell(index, step, Progress::Done).await;
            }
            layers.insert(0, key.name());
        }
        Ok((key, layers))
    }

    /// Keeps what a layer is.
    async fn sum(&self, layer: String) -> Result<(), disk::Error> {
        let shared = Arc::clone(&self.handle.shared);
        disk::blocking(move || shared.cache.sums.keep(&layer, Look::Contents)).await
    }

    async fn tell(&self, index: usize, step: &Step, progress: Progress) {
        // Nobody listens any more: the build goes on.
        let _ = self.events.send(self.event(index, step, progress)).await;
    }

    fn event(&self, index: usize, step: &Step, progress: Progress) -> BuildEvent {
        let template = self.recipe.name.clone();
        BuildEvent { template, step: index + 1, of: self.of, title: step.title(), progress }
    }

    /// Collects the last lines of a step, and passes each on if there is room.
    fn tail(&self, index: usize, step: &Step) -> Tail {
        let (events, event) = (self.events.clone(), self.event(index, step, Progress::Started));
        Tail::new(move |line| {
            let _ =
                events.try_send(BuildEvent { progress: Progress::Line(line.to_owned()), ..event.clone() });
        })
    }

    /// Enters the build: on disk, then in view.
    async fn publish(&self, key: Key, layers: Vec<String>) -> Result<TemplateBuild, BuildError> {
        let recipe = self.recipe;
        let build_id = BuildId::from_random(key.then_bytes(&recipe.description()).first_16());
        let shared = Arc::clone(&self.handle.shared);
        if let Some(ready) = shared.templates.get(build_id) {
            return ready.described().ok_or_else(|| InvalidRecipe::template_id(&recipe.template_id).into());
        }
        let template = Template {
            format: FORMAT,
            build_id: build_id.to_string(),
            owner: recipe.template_id.clone(),
            aliases: recipe.aliases.clone(),
            client: false,
            cpu_count: recipe.resources.cpu_count,
            memory_bytes: recipe.resources.memory.as_u64(),
            disk_bytes: recipe.resources.disk.as_u64(),
            envd_version: wire::control::ENVD_VERSION.to_owned(),
            layers,
            merged: Vec::new(),
            interpreter: recipe.interpreter,
            env: recipe.env.clone(),
            default_user: recipe.default_user.clone(),
            default_workdir: recipe.default_workdir.clone(),
            start: Start::default(),
            created_at: shared.options.clock.now().unix_micros(),
            generation: None,
        };
        let build = template.described().ok_or_else(|| InvalidRecipe::template_id(&recipe.template_id))?;
        disk::blocking({
            let shared = Arc::clone(&shared);
            move || shared.templates.publish(build_id, template)
        })
        .await?;
        shared.next_generation();
        Ok(build)
    }
}

/// Removes what killed uploads left half-done. Blocks on files.
pub(crate) fn clean(options: &NodeOptions) -> Result<(), disk::Error> {
    files::clean(options)
}

/// Removes what killed builds and checks left of layers; what clearings left takes
/// longer, see [`clearing::resume`].
pub(crate) async fn clean_layers(options: &NodeOptions) -> Result<(), disk::Error> {
    let dir = options.layers_dir();
    let listed = disk::blocking({
        let dir = dir.clone();
        move || disk::list_dir(&dir)
    });
    let hidden =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    for path in listed.await?.iter().filter(|path| hidden(path) && !clearing::is_gone(path)) {
        // Some are subvolumes that are closed for writing: only the backend removes them.
        options.backend.remove_layer(path).await.map_err(disk::error("removing", path))?;
    }
    Ok(())
}
