//! All contexts of the sandbox, in the order of their creation.
//!
//! Defaults are kept by id, never as a second handle: a default that was removed
//! is made again when somebody asks for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::config::{InterpreterConfig, MAX_CONTEXTS};
use super::context::{Context, Removed, RestartError};
use super::kernel;
use super::language::Language;
use super::nursery::Nursery;

/// Why a context cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// No context has this id.
    #[error("Context {0} not found")]
    NotFound(String),
    /// The language has no kernel here.
    #[error("the language {0} has no kernel; python, javascript, typescript, bash, r and java have")]
    NoKernel(Language),
    /// Its directory is not there.
    #[error("Failed to set working directory")]
    NoDirectory,
    /// There are as many as there may be.
    #[error("the sandbox already has {MAX_CONTEXTS} contexts; remove one first")]
    Full,
    /// Its kernel did not come up.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// It was removed at the same time.
    #[error(transparent)]
    Removed(#[from] Removed),
}

impl From<RestartError> for Error {
    fn from(error: RestartError) -> Self {
        match error {
            RestartError::Removed(removed) => Self::Removed(removed),
            RestartError::Kernel(error) => Self::Kernel(error),
        }
    }
}

/// Languages whose default contexts are listed from the start.
const LISTED: [&str; 2] = ["python", "javascript"];

/// The contexts of a sandbox.
#[derive(Debug)]
pub(super) struct Contexts {
    config: Arc<InterpreterConfig>,
    /// Woken by those who run code or make contexts.
    pub(super) nursery: Arc<Nursery>,
    registry: Mutex<Registry>,
    pub(super) tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Registry {
    contexts: Vec<Arc<Context>>,
    defaults: BTreeMap<Language, String>,
}

impl Contexts {
    pub(super) fn new(config: Arc<InterpreterConfig>) -> Self {
        let tasks = TaskTracker::new();
        let nursery = Arc::new(Nursery::new(Arc::clone(&config), tasks.clone()));
        let contexts = Self { config, nursery, registry: Mutex::default(), tasks };
        for language in LISTED {
            // Both languages have a kernel, and the list is empty.
            _ = contexts.default_of(&Language::parse(Some(language)));
        }
        contexts
    }

    /// Starts the default Python kernel and says so when it answers; tries again,
    /// ever more slowly, for as long as it does not.
    pub(super) async fn boot(self: Arc<Self>) {
        const SLOWEST: Duration = Duration::from_secs(30);
        let mut pause = Duration::from_secs(1);
        loop {
            if self.boot_once().await.is_ok() {
                self.config.ready.send_replace(true);
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(SLOWEST);
        }
    }

    async fn boot_once(&self) -> Result<(), Error> {
        let context = self.default_of(&Language::parse(None))?;
        context.turn().await?.kernel(&context).await?;
        Ok(())
    }

    /// Whether the default Python kernel answers now.
    pub(super) fn is_ready(&self) -> bool {
        self.default_of(&Language::parse(None)).is_ok_and(|context| context.is_ready())
    }

    /// The default context of a language, made if it is not there. Its kernel starts
    /// with the first turn.
    pub(super) fn default_of(&self, language: &Language) -> Result<Arc<Context>, Error> {
        let mut registry = self.registry();
        let known = registry.defaults.get(language).and_then(|id| registry.find(id));
        if let Some(context) = known {
            return Ok(context);
        }
        let context = self.add(&mut registry, language.clone(), self.config.cwd.clone())?;
        registry.defaults.insert(language.clone(), context.id.clone());
        Ok(context)
    }

    /// The context with this id.
    pub(super) fn get(&self, id: &str) -> Result<Arc<Context>, Error> {
        self.registry().find(id).ok_or_else(|| Error::NotFound(id.to_owned()))
    }

    /// All contexts, oldest first.
    pub(super) fn list(&self) -> Vec<Arc<Context>> {
        self.registry().contexts.clone()
    }

    /// Makes a context and waits until its kernel answers. One that does not come up
    /// leaves nothing behind.
    pub(super) async fn create(&self, language: Language, cwd: Option<&str>) -> Result<Arc<Context>, Error> {
        let cwd = self.directory(cwd);
        let context = self.add(&mut self.registry(), language, cwd)?;
        self.nursery.wake();
        let started = match context.turn().await {
            Ok(mut turn) => turn.kernel(&context).await.map(drop).map_err(Error::from),
            Err(removed) => Err(removed.into()),
        };
        if let Err(error) = started {
            self.registry().contexts.retain(|other| other.id != context.id);
            context.remove().await;
            return Err(error);
        }
        Ok(context)
    }

    /// Gives a context a fresh kernel in its own directory.
    pub(super) async fn restart(&self, id: &str) -> Result<(), Error> {
        Ok(self.get(id)?.restart().await?)
    }

    /// Removes a context; its kernel is gone afterwards.
    pub(super) async fn remove(&self, id: &str) -> Result<(), Error> {
        let context = self.get(id)?;
        self.registry().contexts.retain(|other| other.id != id);
        context.remove().await;
        Ok(())
    }

    /// A relative directory starts where contexts start.
    fn directory(&self, cwd: Option<&str>) -> PathBuf {
        cwd.filter(|cwd| !cwd.is_empty())
            .map_or(self.config.cwd.clone(), |cwd| self.config.cwd.join(Path::new(cwd)))
    }

    fn add(&self, registry: &mut Registry, language: Language, cwd: PathBuf) -> Result<Arc<Context>, Error> {
        let Some(dialect) = language.dialect() else { return Err(Error::NoKernel(language)) };
        if dialect.insists_on_directory() && !cwd.is_dir() {
            return Err(Error::NoDirectory);
        }
        if registry.contexts.len() >= MAX_CONTEXTS {
            return Err(Error::Full);
        }
        let context = Arc::new(Context::new(
            Arc::clone(&self.config),
            Arc::clone(&self.nursery),
            language,
            dialect,
            cwd,
        ));
        self.tasks.spawn(keep(Arc::downgrade(&context)));
        registry.contexts.push(Arc::clone(&context));
        Ok(context)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn find(&self, id: &str) -> Option<Arc<Context>> {
        self.contexts.iter().find(|context| context.id == id).cloned()
    }
}

/// Gives a context a fresh kernel when its own dies idle, at most once a second:
/// a kernel that dies at once must not keep the machine busy. Ends with the context.
async fn keep(context: Weak<Context>) {
    const PAUSE: Duration = Duration::from_secs(1);
    loop {
        let Some(deaths) = context.upgrade().map(|context| Arc::clone(&context.deaths)) else { return };
        deaths.notified().await;
        let Some(alive) = context.upgrade() else { return };
        // The next execution starts one itself and reports what prevents it.
        _ = alive.revive().await;
        drop(alive);
        sleep(PAUSE).await;
    }
}
