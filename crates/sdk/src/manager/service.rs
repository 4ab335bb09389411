//! A sandbox that works off a queue.

use std::pin::Pin;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::{Error, ErrorKind, Sandbox};

/// How a service works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceOptions {
    /// Tasks that may wait.
    pub queue: usize,
    /// Tasks that run at a time.
    pub workers: usize,
    /// How long one task may run.
    pub task_timeout: Duration,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self { queue: 64, workers: 1, task_timeout: Duration::from_mins(5) }
    }
}

type Work<T> = Box<dyn FnOnce(Sandbox) -> Pin<Box<dyn Future<Output = Result<T, Error>> + Send>> + Send>;

struct Job<T> {
    work: Work<T>,
    result: oneshot::Sender<Result<T, Error>>,
}

/// Runs tasks in one sandbox, in their order, a bounded number at a time. The
/// sandbox stays the caller's. Dropping the service ends what runs and drops
/// what waits: their tickets fail.
#[derive(Debug)]
pub struct LongRunningService<T> {
    queue: mpsc::Sender<Job<T>>,
    workers: JoinSet<()>,
}

/// The result of a task, to be awaited.
#[derive(Debug)]
pub struct Ticket<T>(oneshot::Receiver<Result<T, Error>>);

impl<T> Future for Ticket<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        let answer = Pin::new(&mut self.0).poll(context);
        answer.map(|received| received.unwrap_or_else(|_| Err(stopped())))
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::Closed, "the service was stopped before the task ended")
}

impl<T: Send + 'static> LongRunningService<T> {
    /// Starts the workers.
    pub fn start(sandbox: &Sandbox, options: ServiceOptions) -> Self {
        let (queue, jobs) = mpsc::channel::<Job<T>>(options.queue.max(1));
        let jobs = std::sync::Arc::new(tokio::sync::Mutex::new(jobs));
        let mut workers = JoinSet::new();
        for worker in 0..options.workers.max(1) {
            let (jobs, sandbox) = (std::sync::Arc::clone(&jobs), sandbox.clone());
            workers.spawn(async move {
                loop {
                    // The lock is held only while waiting for a job: the others wait for it instead.
                    let job = jobs.lock().await.recv().await;
                    let Some(Job { work, result }) = job else { return };
                    let limit = options.task_timeout;
                    let done = tokio::time::timeout(limit, work(sandbox.clone())).await;
                    let done = done.unwrap_or_else(|_| {
                        Err(Error::new(ErrorKind::Timeout, format!("the task ran longer than {limit:?}")))
                    });
                    tracing::debug!(sandbox_id = sandbox.id(), worker, ok = done.is_ok(), "a task ended");
                    // Whoever dropped the ticket does not want the result.
                    let _ = result.send(done);
                }
            });
        }
        Self { queue, workers }
    }

    /// Queues a task; waits for a place where the queue is full. Cancel-safe: a
    /// task whose future was dropped is not queued.
    pub async fn submit<F, W>(&self, work: W) -> Result<Ticket<T>, Error>
    where
        W: FnOnce(Sandbox) -> F + Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let (job, ticket) = job(work);
        self.queue.send(job).await.map_err(|_| stopped())?;
        Ok(ticket)
    }

    /// Queues a task, or fails with [`ErrorKind::RateLimit`] where the queue is full.
    pub fn try_submit<F, W>(&self, work: W) -> Result<Ticket<T>, Error>
    where
        W: FnOnce(Sandbox) -> F + Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let (job, ticket) = job(work);
        self.queue.try_send(job).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => {
                Error::new(ErrorKind::RateLimit, "the queue is full: wait with `submit`, or try later")
            }
            mpsc::error::TrySendError::Closed(_) => stopped(),
        })?;
        Ok(ticket)
    }

    /// Takes no more tasks, ends those that were queued, and returns then.
    /// Dropping the future ends the rest at once.
    pub async fn stop(self) {
        let Self { queue, mut workers } = self;
        drop(queue);
        while let Some(ended) = workers.join_next().await {
            if let Err(e) = ended {
                tracing::warn!(error = %e, "a task panicked: it took its worker along");
            }
        }
    }
}

fn job<T, F, W>(work: W) -> (Job<T>, Ticket<T>)
where
    W: FnOnce(Sandbox) -> F + Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    let (result, ticket) = oneshot::channel();
    (Job { work: Box::new(move |sandbox| Box::pin(work(sandbox))), result }, Ticket(ticket))
}
