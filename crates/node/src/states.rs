//! What the handle does with states that were written down: takes them, keeps them
//! as snapshots, compares them, starts sandboxes from them, and takes sandboxes back to them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::{BuildId, GenerationId, SandboxId, TemplateId};
use tokio_util::sync::CancellationToken;

use crate::diff::{self, DiffPage, DiffRequest, Layers};
use crate::generation::{Checkpoint, Keep, Manifest, Shelf};
use crate::handle::Handle;
use crate::shared::Request;
use crate::template::Template;
use crate::{CreateSandbox, Error, Observation, disk};

/// What is done for one page of a comparison: well under a second of work where the
/// disk is quick, and some tens of megabytes of names.
const BOUNDS: diff::Bounds = diff::Bounds { names: 1 << 18, looks: 1 << 19, bytes: 1 << 28, path: 4000 };

/// What a sandbox begins with that does not begin anew.
pub(crate) struct Beginning {
    pub(crate) state: Checkpoint,
    /// Of its root, the guest's own first, where its processes need the same again.
    pub(crate) layers: Option<Vec<PathBuf>>,
}

impl Beginning {
    fn new(state: Checkpoint, manifest: Manifest) -> Self {
        let layers = (state.keep == Keep::Memory).then_some(manifest.layers);
        Self { state, layers }
    }
}

/// The files of a state.
struct KeptFiles {
    /// What its sandbox wrote.
    written: PathBuf,
    /// When it was kept, in seconds since 1970.
    at: i64,
    /// What that lies on; the first is the guest's own, which is not the user's.
    layers: Vec<PathBuf>,
    _state: Checkpoint,
}

impl KeptFiles {
    fn numbered(&self, all: &mut Layers) -> Result<Vec<usize>, crate::DiffError> {
        let below = self.layers.iter().skip(1).map(|layer| (layer, None));
        let stack = [(&self.written, Some(self.at))].into_iter().chain(below);
        stack.map(|(layer, kept_at)| all.number(layer, kept_at)).collect()
    }
}

impl Handle {
    /// Whether the memory of processes can be kept here; if not, why not.
    pub fn memory_checkpoints(&self) -> Result<(), String> {
        self.shared.options.backend.memory_checkpoints()
    }

    /// Writes the state of a running sandbox down; it goes on. The state stays
    /// while the answer, or a clone of its hold, does. Refused while another one is
    /// asked for or under way, whoever waits for that.
    pub async fn checkpoint(&self, sandbox_id: &SandboxId, keep: Keep) -> Result<Checkpoint, Error> {
        let entry = self.visible(sandbox_id)?;
        let turn = entry.take_turn().ok_or_else(|| Error::Snapshotting(sandbox_id.clone()))?;
        self.ask(sandbox_id, |reply| Request::Checkpoint { keep, turn, reply }).await
    }

    /// Keeps a state as a build: sandboxes start from it until it is forgotten.
    pub async fn keep_checkpoint(
        &self,
        state: &Checkpoint,
        template_id: &TemplateId,
        build_id: BuildId,
    ) -> Result<(), Error> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Build { build_id, source };
        let manifest = self.manifest(state.generation).await.map_err(|e| failed(e.into()))?;
        let owner = template_id.to_string();
        let template = Template { build_id: build_id.to_string(), owner, ..manifest.template };
        let shared = Arc::clone(&self.shared);
        let published = disk::blocking(move || shared.templates.publish(build_id, template));
        published.await.map_err(|e| failed(e.into()))?;
        self.shared.next_generation();
        Ok(())
    }

    /// Takes a sandbox back to a state of it that was kept as a build, to live this
    /// long from there. What it is now is lost.
    pub async fn rollback(
        &self,
        sandbox_id: &SandboxId,
        build_id: BuildId,
        timeout: Duration,
    ) -> Result<Observation, Error> {
        self.visible(sandbox_id)?;
        let none = || Error::NoState(sandbox_id.clone());
        let template = self.shared.templates.get(build_id).ok_or(Error::UnknownBuild(build_id))?;
        let (to, manifest) = self.state(template.generation().ok_or_else(none)?).await?;
        if manifest.source != sandbox_id.as_str() {
            return Err(none());
        }
        self.ask(sandbox_id, |reply| Request::Rollback { to, timeout, reply }).await
    }

    /// One page of how the files of two states differ that were kept as builds. Reads
    /// as much as the sandboxes wrote; dropping this future ends that.
    pub async fn diff(&self, from: BuildId, to: BuildId, request: DiffRequest) -> Result<DiffPage, Error> {
        let (from, to) = (self.kept_files(from).await?, self.kept_files(to).await?);
        let shared = Arc::clone(&self.shared);
        let _turn = shared.comparing.acquire().await.map_err(|_| Error::ShuttingDown)?;
        let left = CancellationToken::new();
        let _leave = left.clone().drop_guard();
        let page = disk::blocking(move || {
            let mut layers = Layers::new(left);
            let sides = [from.numbered(&mut layers)?, to.numbered(&mut layers)?];
            diff::page(&layers, &sides[0], &sides[1], &request, BOUNDS)
        });
        page.await.map_err(Error::Incomparable)
    }

    /// The files of a state that was kept as a build, which stay while the answer does.
    async fn kept_files(&self, build: BuildId) -> Result<KeptFiles, Error> {
        let template = self.shared.templates.get(build).ok_or(Error::UnknownBuild(build))?;
        let (state, manifest) = self.state(template.generation().ok_or(Error::UnknownBuild(build))?).await?;
        let written = self.shared.shelf.layer(state.generation).join(runtime::FILES);
        Ok(KeptFiles { written, at: manifest.made_at / 1_000_000, layers: manifest.layers, _state: state })
    }

    /// What a sandbox is made of: its build, or a state.
    pub(crate) async fn beginning(
        &self,
        request: &CreateSandbox,
    ) -> Result<(Arc<Template>, Option<Beginning>), Error> {
        if let Some(id) = request.from {
            let (state, manifest) = self.state(id).await?;
            let template = Arc::new(manifest.template.clone());
            return Ok((template, Some(Beginning::new(state, manifest))));
        }
        let build_id = request.build_id;
        let template = self.shared.templates.get(build_id).ok_or(Error::UnknownBuild(build_id))?;
        let Some(id) = template.generation() else { return Ok((template, None)) };
        let (state, manifest) = self.state(id).await?;
        Ok((template, Some(Beginning::new(state, manifest))))
    }

    /// A state that stands, held.
    pub(crate) async fn state(&self, id: GenerationId) -> Result<(Checkpoint, Manifest), Error> {
        // Held before it is looked at: it does not go in between.
        let hold = Shelf::hold(&self.shared.shelf, id);
        let unreadable = |source| Error::State { generation: id, source };
        let manifest = self.manifest(id).await.map_err(|e| unreadable(e.into()))?;
        let keep = if manifest.keeps_memory { Keep::Memory } else { Keep::Files };
        let size = model::ByteSize::bytes(manifest.memory_bytes);
        Ok((Checkpoint { generation: id, keep, size, frozen: Duration::ZERO, hold }, manifest))
    }

    async fn manifest(&self, id: GenerationId) -> Result<Manifest, crate::generation::Unusable> {
        let kept = Arc::clone(&self.shared.shelf);
        disk::blocking(move || kept.manifest(id)).await
    }
}
