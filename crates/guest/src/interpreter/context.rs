//! One context: a kernel that is replaced when it dies, and whose turn it is.
//!
//! ```text
//!            first turn                    socket ended / order
//!   ∅ ──────────────────────▶ generation 1 ────────────────────▶ ∅ (generation 2 …)
//! ```
//!
//! Whoever holds the turn owns the kernel. A restart or removal is an *order*: it
//! condemns the kernels up to the present generation, so that whoever has the turn
//! lets go, and those who wait for it find the kernel condemned and start the next.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard, Notify, watch};

use super::config::InterpreterConfig;
use super::kernel::{Error, Kernel};
use super::language::{Dialect, Language};
use super::nursery::Nursery;
use super::silent;

/// What happens to the kernels of a context up to a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// They are to be replaced.
    Restart {
        /// The last one concerned.
        up_to: u64,
    },
    /// The context is to go, whatever its generation.
    Remove,
}

/// The context was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the context was removed")]
pub(super) struct Removed;

/// A context, shared by its requests.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) id: String,
    pub(super) language: Language,
    pub(super) dialect: Dialect,
    pub(super) cwd: PathBuf,
    config: Arc<InterpreterConfig>,
    nursery: Arc<Nursery>,
    turn: Mutex<Turn>,
    orders: watch::Sender<Order>,
    generation: watch::Sender<u64>,
    /// Told when a kernel's sockets ended.
    pub(super) deaths: Arc<Notify>,
}

/// The right to use the kernel.
#[derive(Debug, Default)]
pub(super) struct Turn {
    kernel: Option<Kernel>,
    generation: u64,
    /// What the next execution has to be told about the kernel it finds.
    pub(super) notice: Option<String>,
}

impl Context {
    /// A context without a kernel; the first turn starts it.
    pub(super) fn new(
        config: Arc<InterpreterConfig>,
        nursery: Arc<Nursery>,
        language: Language,
        dialect: Dialect,
        cwd: PathBuf,
    ) -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            language,
            dialect,
            cwd,
            config,
            nursery,
            turn: Mutex::default(),
            orders: watch::Sender::new(Order::Restart { up_to: 0 }),
            generation: watch::Sender::new(0),
            deaths: Arc::default(),
        }
    }

    /// Waits for the turn, in the order of asking. Cancel-safe.
    pub(super) async fn turn(&self) -> Result<MutexGuard<'_, Turn>, Removed> {
        let turn = self.turn.lock().await;
        if self.order() == Order::Remove { Err(Removed) } else { Ok(turn) }
    }

    /// Whether its present kernel answered and lives.
    pub(super) fn is_ready(&self) -> bool {
        *self.generation.borrow() > 0
    }

    /// Waits until a kernel newer than the present one answers, letting go of the
    /// present one at once.
    pub(super) async fn restart(&self) -> Result<(), RestartError> {
        let up_to = self.condemn();
        // Either those who wait for their turn replace the kernel, or this does.
        let mut generation = self.generation.subscribe();
        let replaced = async { drop(generation.wait_for(|generation| *generation > up_to).await) };
        tokio::select! {
            () = replaced => Ok(()),
            turn = self.turn() => {
                turn?.kernel(self).await?;
                Ok(())
            }
        }
    }

    fn condemn(&self) -> u64 {
        let mut condemned = 0;
        self.orders.send_modify(|order| {
            if let Order::Restart { up_to } = order {
                *up_to = (*up_to).max(*self.generation.borrow());
                condemned = *up_to;
            }
        });
        condemned
    }

    /// Ends the context; its kernel is gone when this returns.
    pub(super) async fn remove(&self) {
        self.orders.send_replace(Order::Remove);
        let mut turn = self.turn.lock().await;
        if let Some(mut kernel) = turn.kernel.take() {
            kernel.end_now().await;
        }
        self.deaths.notify_one();
    }

    fn order(&self) -> Order {
        *self.orders.borrow()
    }

    /// Waits for an order that concerns a kernel of `generation`. Cancel-safe.
    pub(super) async fn ordered(&self, generation: u64) -> Order {
        let concerns = |order: &Order| match order {
            Order::Restart { up_to } => *up_to >= generation,
            Order::Remove => true,
        };
        // The sender lives as long as `self`.
        self.orders.subscribe().wait_for(concerns).await.map_or(Order::Remove, |order| *order)
    }

    /// Replaces the kernel if it died while nobody used it.
    pub(super) async fn revive(&self) -> Result<(), Error> {
        let Ok(mut turn) = self.turn().await else { return Ok(()) };
        if turn.kernel.as_ref().is_some_and(Kernel::is_dead) {
            turn.kernel(self).await?;
        }
        Ok(())
    }
}

/// Why there is no new kernel.
#[derive(Debug, thiserror::Error)]
pub(super) enum RestartError {
    /// The context was removed meanwhile.
    #[error(transparent)]
    Removed(#[from] Removed),
    /// No kernel came up.
    #[error(transparent)]
    Kernel(#[from] Error),
}

impl Turn {
    /// The kernel: the present one if it lives and is not condemned, else a new one.
    pub(super) async fn kernel(&mut self, context: &Context) -> Result<&mut Kernel, Error> {
        self.discard_if_unusable(context).await;
        let kernel = match self.kernel.take() {
            Some(kernel) => kernel,
            None => self.start(context).await?,
        };
        Ok(self.kernel.insert(kernel))
    }

    /// The generation of the present kernel.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Throws the kernel away; the next use starts another.
    pub(super) async fn discard(&mut self, context: &Context) -> Option<String> {
        let mut kernel = self.kernel.take()?;
        context.generation.send_replace(0);
        Some(kernel.end().await)
    }

    /// Kills a living kernel and throws it away.
    pub(super) async fn discard_alive(&mut self, context: &Context) {
        if let Some(kernel) = &mut self.kernel {
            kernel.end_now().await;
        }
        _ = self.discard(context).await;
    }

    /// The kernel for the time after an execution: a dead or condemned one is
    /// replaced now, so that the next execution need not wait for it.
    pub(super) async fn kernel_after(&mut self, context: &Context) -> Result<&mut Kernel, RestartError> {
        if context.order() == Order::Remove {
            return Err(RestartError::Removed(Removed));
        }
        Ok(self.kernel(context).await?)
    }

    async fn discard_if_unusable(&mut self, context: &Context) {
        let Some(kernel) = &mut self.kernel else { return };
        let condemned = match context.order() {
            Order::Restart { up_to } => up_to >= self.generation,
            Order::Remove => true,
        };
        if condemned {
            self.discard_alive(context).await;
        } else if kernel.is_dead() {
            let how = self.discard(context).await.unwrap_or_default();
            self.notice = Some(super::run::idle_death(&how));
        }
    }

    async fn start(&mut self, context: &Context) -> Result<Kernel, Error> {
        let kernel = match Self::spare(context).await {
            Some(kernel) => kernel,
            None => Self::from_nothing(context).await?,
        };
        self.generation += 1;
        context.generation.send_replace(self.generation);
        Ok(kernel)
    }

    /// A kernel of the nursery, brought to the context's directory.
    async fn spare(context: &Context) -> Option<Kernel> {
        if context.dialect != Dialect::Python {
            return None;
        }
        let (mut kernel, deaths) = context.nursery.take().await?;
        _ = deaths.set(Arc::clone(&context.deaths));
        silent::change_directory(&mut kernel, &context.cwd).await.ok()?;
        Some(kernel)
    }

    async fn from_nothing(context: &Context) -> Result<Kernel, Error> {
        let deaths = Arc::clone(&context.deaths);
        Kernel::start(&context.config, context.dialect, &context.cwd, move || deaths.notify_one()).await
    }
}
