//! Builds that clients ordered: on disk from the order to the outcome, so that a
//! server that was killed goes on with them at its next start.
//!
//! ```text
//!   <state>/builds/<build id>/order.json → log.ndjson … → outcome.json
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use model::BuildId;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::log::{self, Log, LogEntry, LogLevel, LogPage};
use super::order::BuildOrder;
use super::perform::{BuildFailure, Performance};
use crate::error::chain;
use crate::handle::Handle;
use crate::{Error, NodeOptions, disk, image};

/// Between two writes of a log to the disk.
const FLUSH: Duration = Duration::from_millis(500);

/// How far a build is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildProgress {
    /// Under way.
    Building,
    /// Sandboxes can start from it.
    Ready,
    /// It came to nothing.
    Failed(BuildFailure),
}

/// The builds under way.
#[derive(Debug)]
pub(crate) struct Jobs {
    active: Mutex<BTreeMap<BuildId, Arc<Job>>>,
    places: Semaphore,
}

/// One build under way.
#[derive(Debug)]
struct Job {
    order: BuildOrder,
    log: Arc<Log>,
    cancel: CancellationToken,
}

impl Jobs {
    pub(crate) fn new(places: usize) -> Self {
        Self { active: Mutex::default(), places: Semaphore::new(places) }
    }

    fn active(&self) -> MutexGuard<'_, BTreeMap<BuildId, Arc<Job>>> {
        self.active.lock().expect("no holder of this lock panics")
    }
}

fn dir_of(options: &NodeOptions, build_id: BuildId) -> PathBuf {
    options.state_dir.join("builds").join(build_id.to_string())
}

impl Handle {
    /// Begins a build; it goes on by itself, also over a restart of the server.
    pub async fn start_build(&self, order: BuildOrder) -> Result<(), Error> {
        if self.shared.tasks.leave().is_cancelled() {
            return Err(Error::ShuttingDown);
        }
        let dir = dir_of(&self.shared.options, order.build_id);
        let clock = Arc::clone(&self.shared.options.clock);
        let build_id = order.build_id;
        let made = disk::blocking(move || {
            disk::ensure_dir(&dir)?;
            disk::write_json(&dir.join("order.json"), &order)?;
            let log = Log::open(dir.join("log.ndjson"), clock)?;
            Ok::<_, disk::Error>(Job { order, log: Arc::new(log), cancel: CancellationToken::new() })
        });
        let job = made.await.map_err(|source| Error::Build { build_id, source: source.into() })?;
        let greeting = format!("Building template {}/{build_id}", job.order.template_id);
        job.log.add(LogLevel::Info, None, &greeting);
        self.spawn_job(job);
        Ok(())
    }

    /// Builds that clients ordered: how many are under way, and how many wait.
    pub(crate) fn build_queue(&self) -> (u32, u32) {
        let jobs = &self.shared.jobs;
        let all = jobs.active().len();
        let free = jobs.places.available_permits();
        let under_way = self.shared.options.limits.builds.saturating_sub(free).min(all);
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        (number(under_way), number(all - under_way))
    }

    /// How far a build is; `None` if this node knows nothing of it.
    pub async fn build_progress(&self, build_id: BuildId) -> Option<BuildProgress> {
        if self.shared.jobs.active().contains_key(&build_id) {
            return Some(BuildProgress::Building);
        }
        let path = dir_of(&self.shared.options, build_id).join("outcome.json");
        disk::blocking(move || disk::read_json(&path).ok()).await
    }

    /// A page of a build's log. Pages of what was read before never change.
    pub async fn build_log(&self, build_id: BuildId, page: LogPage) -> Result<Vec<LogEntry>, Error> {
        let active = self.shared.jobs.active().get(&build_id).cloned();
        if let Some(job) = active {
            return Ok(job.log.page(page));
        }
        let path = dir_of(&self.shared.options, build_id).join("log.ndjson");
        let read = disk::blocking(move || log::read(&path)).await;
        let entries = read.map_err(|source| Error::Build { build_id, source: source.into() })?;
        Ok(page.of(entries.iter()))
    }

    /// Ends a build under way; `false` if there is none.
    pub fn cancel_build(&self, build_id: BuildId) -> bool {
        let job = self.shared.jobs.active().get(&build_id).cloned();
        job.inspect(|job| job.cancel.cancel()).is_some()
    }

    /// Forgets a build: its log, and what sandboxes start from. Its layers stay
    /// until they are cleared away.
    pub async fn forget_build(&self, build_id: BuildId) -> Result<(), Error> {
        self.cancel_build(build_id);
        self.shared.warm.forget(build_id);
        let (shared, dir) = (Arc::clone(&self.shared), dir_of(&self.shared.options, build_id));
        let forgotten = disk::blocking(move || {
            shared.templates.forget(build_id)?;
            disk::remove_dir(&dir)
        });
        forgotten.await.map_err(|source| Error::Build { build_id, source: source.into() })?;
        self.shared.next_generation();
        Ok(())
    }

    /// Goes on with the builds that an earlier server left.
    pub(crate) async fn resume_builds(&self) -> Result<(), disk::Error> {
        let options = self.shared.options.clone();
        let jobs = disk::blocking(move || {
            let jobs = unfinished(&options)?;
            // Only a build that goes on goes on fetching.
            if jobs.is_empty() {
                image::forget_blobs(&options)?;
            }
            Ok::<_, disk::Error>(jobs)
        });
        for job in jobs.await? {
            job.log.add(
                LogLevel::Warn,
                None,
                "The server was restarted; the build goes on from its last step",
            );
            self.spawn_job(job);
        }
        Ok(())
    }

    fn spawn_job(&self, job: Job) {
        let job = Arc::new(job);
        let build_id = job.order.build_id;
        self.shared.jobs.active().insert(build_id, Arc::clone(&job));
        let span = tracing::info_span!("build", %build_id, template_id = %job.order.template_id);
        let (handle, panicked) = ((self.clone(), Arc::clone(&job)), (self.clone(), job));
        let work = async move { handle.0.drive(&handle.1).await };
        let on_panic = move || async move {
            let failure = BuildFailure { step: "base".to_owned(), message: "internal failure".to_owned() };
            panicked.0.conclude(&panicked.1, Err(failure)).await;
        };
        self.shared.tasks.spawn(span, work, on_panic);
    }

    /// Runs a build to its outcome, or until the server leaves.
    async fn drive(&self, job: &Arc<Job>) {
        let started = Instant::now();
        let leave = self.shared.tasks.leave().clone();
        let canceled = || BuildFailure { step: String::new(), message: "The build was canceled".to_owned() };
        let outcome = tokio::select! {
            biased;
            () = leave.cancelled() => {
                let _ = job.log.flush().await;
                return;
            }
            () = job.cancel.cancelled() => Err(canceled()),
            outcome = self.perform(job) => outcome,
            never = flush_often(&job.log) => never,
        };
        if outcome.is_ok() {
            let text = format!("Build finished, took {}s", started.elapsed().as_secs());
            job.log.add(LogLevel::Info, None, &text);
        }
        self.conclude(job, outcome).await;
    }

    async fn perform(&self, job: &Job) -> Result<(), BuildFailure> {
        let failed = |message: String| BuildFailure { step: "base".to_owned(), message };
        let places = &self.shared.jobs.places;
        if places.available_permits() == 0 {
            job.log.add(LogLevel::Info, None, "Waiting until another build has ended");
        }
        let _place = places.acquire().await.map_err(|e| failed(e.to_string()))?;
        let performance = Performance { handle: self, order: &job.order, log: &job.log };
        let limit = self.shared.options.limits.build;
        let late = |_| Err(failed(format!("the build took longer than {} s", limit.as_secs())));
        tokio::time::timeout(limit, Box::pin(performance.run())).await.unwrap_or_else(late)
    }

    /// Keeps the outcome: the last words first, so that whoever sees the outcome
    /// sees them too.
    async fn conclude(&self, job: &Arc<Job>, outcome: Result<(), BuildFailure>) {
        let progress = match outcome {
            Ok(()) => BuildProgress::Ready,
            Err(failure) => {
                let step = Some(failure.step.as_str()).filter(|step| !step.is_empty());
                job.log.add(LogLevel::Error, step, &format!("Build failed: {}", failure.message));
                BuildProgress::Failed(failure)
            }
        };
        let dir = dir_of(&self.shared.options, job.order.build_id);
        let kept = async {
            job.log.flush().await?;
            disk::blocking(move || {
                disk::write_json(&dir.join("outcome.json"), &progress)?;
                // Nothing reads it any more, and it may hold a registry's password.
                disk::remove_file(&dir.join("order.json"))
            })
            .await
        };
        if let Err(e) = kept.await {
            tracing::error!(error = chain(&e), "the outcome of a build was not kept");
        }
        self.shared.jobs.active().remove(&job.order.build_id);
        self.shared.next_generation();
    }
}

/// Writes the log to the disk now and then; never ends.
async fn flush_often<T>(log: &Arc<Log>) -> T {
    loop {
        tokio::time::sleep(FLUSH).await;
        if let Err(e) = log.flush().await {
            tracing::debug!(error = chain(&e), "a build's log was not written");
        }
    }
}

/// Orders without an outcome. One that cannot be read gets one: it failed.
fn unfinished(options: &NodeOptions) -> Result<Vec<Job>, disk::Error> {
    let dir = options.state_dir.join("builds");
    disk::ensure_dir(&dir)?;
    let mut jobs = Vec::new();
    for dir in disk::list_dir(&dir)? {
        if dir.join("outcome.json").exists() {
            disk::remove_file(&dir.join("order.json"))?;
            continue;
        }
        match read_order(&dir, options) {
            Ok(job) => jobs.push(job),
            Err(e) => {
                let message = format!("the server was restarted and cannot read the order: {}", chain(&e));
                let failure = BuildFailure { step: "base".to_owned(), message };
                disk::write_json(&dir.join("outcome.json"), &BuildProgress::Failed(failure))?;
            }
        }
    }
    Ok(jobs)
}

fn read_order(dir: &Path, options: &NodeOptions) -> Result<Job, disk::Error> {
    let order = disk::read_json(&dir.join("order.json"))?;
    let log = Log::open(dir.join("log.ndjson"), Arc::clone(&options.clock))?;
    Ok(Job { order, log: Arc::new(log), cancel: CancellationToken::new() })
}
