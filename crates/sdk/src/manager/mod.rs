//! Sandboxes taken care of: made, used, watched, replaced and ended.
//!
//! [`SandboxManager`] looks after one sandbox, [`SandboxPool`] keeps many ready,
//! [`LongRunningService`] works off a queue in one, [`run_all`] runs many things
//! at once.

mod batch;
mod monitor;
mod policy;
mod pool;
mod process;
mod service;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use self::batch::run_all;
pub use self::monitor::ResourceMonitor;
pub use self::policy::{Repeat, RetryPolicy};
pub use self::pool::{PoolOptions, PooledSandbox, SandboxPool};
pub use self::process::{Process, ProcessBuilder, ProcessExit, Signal};
pub use self::service::{LongRunningService, ServiceOptions, Ticket};
use crate::sandbox::kill_later;
use crate::{Config, CreateOptions, Error, ErrorKind, RunResult, Sandbox};

/// A language that a sandbox runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Language {
    /// In the interpreter, with state between calls.
    Python,
    /// As a command, without state.
    Bash,
    /// In the interpreter.
    JavaScript,
    /// In the interpreter.
    TypeScript,
    /// In the interpreter.
    R,
    /// In the interpreter.
    Java,
}

impl Language {
    /// As the interpreter calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Bash => "bash",
            Self::JavaScript => "javascript",
            Self::TypeScript => "typescript",
            Self::R => "r",
            Self::Java => "java",
        }
    }
}

/// What some code did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Executed {
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// Values and displays; of code in the interpreter.
    pub results: Vec<RunResult>,
    /// Why it failed, if it did: an exception, or a command's status.
    pub error: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl Executed {
    /// Whether it did not fail.
    pub fn succeeded(&self) -> bool {
        self.error.is_none()
    }

    /// Text of the main result.
    pub fn text(&self) -> Option<&str> {
        self.results.iter().find(|result| result.is_main_result).and_then(|result| result.text.as_deref())
    }
}

type Hook<T> = Option<Arc<dyn Fn(&T) + Send + Sync>>;

/// Told what happens to a manager's sandboxes. Called in the manager's own
/// calls: hooks must not block.
#[derive(Clone, Default)]
struct Hooks {
    created: Hook<Sandbox>,
    closed: Hook<str>,
    failed: Hook<Error>,
}

trait Call<T: ?Sized> {
    fn call(&self, value: &T);
}

impl<T: ?Sized> Call<T> for Option<Arc<dyn Fn(&T) + Send + Sync>> {
    fn call(&self, value: &T) {
        if let Some(hook) = self {
            hook(value);
        }
    }
}

/// How a manager makes and looks after its sandbox.
#[derive(Clone)]
#[must_use = "a manager is made by `start`"]
pub struct ManagerBuilder {
    config: Config,
    options: CreateOptions,
    retry: RetryPolicy,
    hooks: Hooks,
}

impl fmt::Debug for ManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagerBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

impl ManagerBuilder {
    /// What the sandbox should be; the default is template `code-interpreter-v1`.
    pub fn options(mut self, options: CreateOptions) -> Self {
        self.options = options;
        self
    }

    /// How often creating, and what may be repeated, is tried.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Sees each sandbox once, when it is there.
    pub fn on_create(mut self, hook: impl Fn(&Sandbox) + Send + Sync + 'static) -> Self {
        self.hooks.created = Some(Arc::new(hook));
        self
    }

    /// Sees each sandbox's id once, when it is given up.
    pub fn on_close(mut self, hook: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.hooks.closed = Some(Arc::new(hook));
        self
    }

    /// Sees each failure that a call of the manager ends with, once.
    pub fn on_error(mut self, hook: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        self.hooks.failed = Some(Arc::new(hook));
        self
    }

    /// Creates the sandbox.
    pub async fn start(self) -> Result<SandboxManager, Error> {
        let sandbox = self.create().await.inspect_err(|e| self.hooks.failed.call(e))?;
        Ok(SandboxManager {
            current: Mutex::new(sandbox),
            closed: false,
            replacing: tokio::sync::Mutex::new(()),
            made: self,
        })
    }

    /// Creates a sandbox. All tries carry one key, so that the server makes one
    /// sandbox even if an answer was lost.
    async fn create(&self) -> Result<Sandbox, Error> {
        let options = self.options.clone().idempotency_key(crate::retry::key()?);
        let create = || Sandbox::create_with(&self.config, options.clone());
        let sandbox = self.retry.run(Repeat::Always, create).await?;
        tracing::info!(sandbox_id = sandbox.id(), "a sandbox was created");
        self.hooks.created.call(&sandbox);
        Ok(sandbox)
    }
}

/// Looks after one sandbox: made at the start, killed at [`SandboxManager::close`]
/// or, in the background, when the manager is dropped.
///
/// ```no_run
/// # async fn example() -> Result<(), warren_sdk::Error> {
/// use warren_sdk::{Config, Language, SandboxManager};
///
/// let manager = SandboxManager::start(&Config::from_env()?).await?;
/// let done = manager.execute(Language::Python, "print(6 * 7)").await?;
/// assert_eq!(done.stdout, "42\n");
/// manager.close().await?;
/// # Ok(())
/// # }
/// ```
pub struct SandboxManager {
    made: ManagerBuilder,
    current: Mutex<Sandbox>,
    /// Whether `close` killed it already.
    closed: bool,
    /// Held while a sandbox is replaced, so that one failure replaces it once.
    replacing: tokio::sync::Mutex<()>,
}

impl fmt::Debug for SandboxManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxManager").field("current", &self.current).finish_non_exhaustive()
    }
}

impl SandboxManager {
    /// A manager to be set up.
    pub fn builder(config: &Config) -> ManagerBuilder {
        let options = CreateOptions::new().template("code-interpreter-v1");
        let (retry, hooks) = (RetryPolicy::default(), Hooks::default());
        ManagerBuilder { config: config.clone(), options, retry, hooks }
    }

    /// A manager with the default settings.
    pub async fn start(config: &Config) -> Result<Self, Error> {
        Self::builder(config).start().await
    }

    /// Runs something with a sandbox and kills it afterwards, whatever happened.
    /// A failure of the kill is only logged: it does not hide the result.
    pub async fn scope<T>(
        config: &Config,
        work: impl AsyncFnOnce(&Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let manager = Self::start(config).await?;
        let result = work(&manager).await;
        if let Err(e) = manager.close().await {
            tracing::warn!(error = %e, "a sandbox was left behind until its timeout");
        }
        result
    }

    /// A handle of the sandbox as it is now.
    pub fn sandbox(&self) -> Sandbox {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs code once.
    pub async fn execute(&self, language: Language, code: &str) -> Result<Executed, Error> {
        self.execute_once(language, code).await.inspect_err(|e| self.made.hooks.failed.call(e))
    }

    /// Runs code, and again after failures of the way there as `repeat` allows.
    /// Code that raises or ends with a status is a result, not a failure.
    pub async fn execute_with_retry(
        &self,
        language: Language,
        code: &str,
        repeat: Repeat,
    ) -> Result<Executed, Error> {
        let run = || async move {
            let sandbox = self.sandbox();
            let result = self.execute_once(language, code).await;
            if let Err(e) = &result
                && repeat == Repeat::Always
                && matches!(e.kind(), ErrorKind::SandboxNotRunning | ErrorKind::SandboxNotFound)
            {
                self.replace(sandbox.id()).await?;
            }
            result
        };
        let result = self.made.retry.run(repeat, run).await;
        result.inspect_err(|e| self.made.hooks.failed.call(e))
    }

    async fn execute_once(&self, language: Language, code: &str) -> Result<Executed, Error> {
        let (sandbox, start) = (self.sandbox(), Instant::now());
        let mut done = if language == Language::Bash {
            let output = sandbox.commands().run(code).await?;
            let failed = output.exit_code != 0;
            let words = || format!("exit status {}", output.exit_code);
            let error = failed.then(|| output.error.clone().unwrap_or_else(words));
            Executed { stdout: output.stdout, stderr: output.stderr, error, ..Executed::default() }
        } else {
            let execution = sandbox.run_code(code).language(language.name()).await?;
            Executed {
                stdout: execution.stdout.concat(),
                stderr: execution.stderr.concat(),
                results: execution.results,
                error: execution.error.map(|error| format!("{}: {}", error.name, error.value)),
                took: Duration::ZERO,
            }
        };
        done.took = start.elapsed();
        let (sandbox_id, language, took) = (sandbox.id(), language.name(), done.took);
        tracing::info!(sandbox_id, language, ?took, succeeded = done.succeeded(), "code was executed");
        Ok(done)
    }

    /// Puts a new sandbox in the place of one that ended; once, however many see it.
    async fn replace(&self, lost: &str) -> Result<(), Error> {
        let _turn = self.replacing.lock().await;
        if self.sandbox().id() != lost {
            return Ok(());
        }
        tracing::warn!(sandbox_id = lost, "the sandbox ended: another takes its place");
        let fresh = self.made.create().await?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        self.made.hooks.closed.call(lost);
        Ok(())
    }

    /// Whether the sandbox answers.
    pub async fn is_healthy(&self) -> bool {
        self.sandbox().is_running().await.unwrap_or(false)
    }

    /// Samples what the sandbox uses every so often, until the answer is dropped.
    pub fn monitor(&self, every: Duration) -> ResourceMonitor {
        ResourceMonitor::start(self.sandbox(), every)
    }

    /// Starts a program in the background.
    pub fn start_process(&self, line: impl Into<String>) -> ProcessBuilder {
        ProcessBuilder::new(self.sandbox(), line.into())
    }

    /// Kills the sandbox and waits for that. `false` if it had ended by itself.
    pub async fn close(mut self) -> Result<bool, Error> {
        let sandbox = self.sandbox();
        let gone = sandbox.kill().await.inspect_err(|e| self.made.hooks.failed.call(e))?;
        self.closed = true;
        self.made.hooks.closed.call(sandbox.id());
        Ok(gone)
    }
}

impl Drop for SandboxManager {
    fn drop(&mut self) {
        if !self.closed {
            let sandbox = self.sandbox();
            self.made.hooks.closed.call(sandbox.id());
            kill_later(sandbox);
        }
    }
}
