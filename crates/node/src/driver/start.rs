//! The start: Admitted → Reserved → Prepared → Booted → Ready.
//!
//! Each stage is a value that only the stage before can make, so no step can be
//! left out or done twice. What a stage would undo is keyed by the record, not
//! held by the value: a kill drops the future of a step together with the stage
//! that it consumed, and the undo must not depend on how far it had got. So
//! there is one undo (`end.rs`), it undoes every step, and it is safe after any.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use model::EndCause;
use model::GenerationId;
use model::KilledBy;
use model::lifecycle::Event;
use runtime::{Machine, MachineSpec};
use wire::control::{Status, Woken};

use super::step::{Failed, StepError, bounded, killed};
use super::{Driver, Reply};
use crate::build::{Start, ready};
use crate::faults::Point;
use crate::generation::{Checkpoint, Keep, Waking};
use crate::guest::Guest;
use crate::record::Record;
use crate::shared::Shared;
use crate::trace::traced;
use crate::{Approval, Observation, Reach, disk};

/// The steps that write the record.
const RECORDING: &str = "writing its record";

/// What every step needs.
struct Context {
    shared: Arc<Shared>,
    spec: Arc<MachineSpec>,
    record: Record,
}

impl Context {
    async fn step<T>(
        &self,
        point: Point,
        work: impl Future<Output = Result<T, runtime::Error>>,
    ) -> Result<T, StepError> {
        bounded(&*self.shared.options.faults, point, self.shared.options.limits.step, work).await
    }
}

/// The record is on disk; the host knows nothing yet.
struct Admitted(Context);
/// Undone by `Backend::unreserve`.
struct Reserved(Context);
/// Undone by `Backend::unprepare`.
struct Prepared(Context);
/// Undone by `Machine::kill`.
struct Booted {
    context: Context,
    machine: Arc<dyn Machine>,
    /// Its processes were there before: they are told what is new, and nothing of
    /// the template is to be started.
    woken: Option<Woken>,
}
/// The guest answered.
struct Ready {
    status: Status,
}

impl Admitted {
    /// Not to be dropped: a file operation cannot be called back, and one that
    /// ended after the undo would leave a directory behind.
    async fn admit(context: Context) -> Result<Self, StepError> {
        let (shared, record) = (Arc::clone(&context.shared), context.record.clone());
        let dir = shared.options.sandboxes_dir().join(context.spec.sandbox_id.as_str());
        disk::blocking(move || shared.spares.furnish(&record, &dir)).await?;
        Ok(Self(context))
    }

    async fn reserve(self) -> Result<Reserved, StepError> {
        let Self(context) = self;
        context.step(Point::BeforeReserve, context.shared.options.backend.reserve(&context.spec)).await?;
        Ok(Reserved(context))
    }
}

impl Reserved {
    /// In place of [`Self::prepare`], for one that begins with a generation. What
    /// an attempt before this may have left of a writable layer goes first.
    async fn prepare_from(self, id: GenerationId) -> Result<Prepared, StepError> {
        let Self(context) = self;
        let backend = &context.shared.options.backend;
        let layer = context.shared.shelf.layer(id);
        let preparing = async {
            backend.discard(&context.spec).await?;
            backend.prepare_from(&context.spec, &layer).await
        };
        context.step(Point::BeforePrepare, preparing).await?;
        Ok(Prepared(context))
    }

    /// In place of [`Self::prepare`], for one that slept on its writable layer.
    async fn unpark(self) -> Result<Prepared, StepError> {
        let Self(context) = self;
        let unparking = context.shared.options.backend.unpark(&context.spec);
        context.step(Point::BeforeUnpark, unparking).await?;
        Ok(Prepared(context))
    }

    async fn prepare(self) -> Result<Prepared, StepError> {
        let Self(context) = self;
        context.step(Point::BeforePrepare, context.shared.options.backend.prepare(&context.spec)).await?;
        Ok(Prepared(context))
    }
}

impl Prepared {
    async fn boot(self) -> Result<Booted, StepError> {
        let Self(context) = self;
        let booting = context.shared.options.backend.boot(&context.spec);
        let machine = context.step(Point::BeforeBoot, booting).await?;
        Ok(Booted { context, machine, woken: None })
    }

    /// In place of [`Self::boot`]: its processes go on where they were.
    async fn restore(self, id: GenerationId, woken: Woken) -> Result<Booted, StepError> {
        let Self(context) = self;
        let options = &context.shared.options;
        let kept = &context.shared.shelf;
        kept.verify(id, options.backend.isolation().to_string()).await?;
        let memory = kept.memory(id);
        let restoring = options.backend.restore(&context.spec, &memory);
        let machine =
            bounded(&*options.faults, Point::BeforeBoot, options.limits.checkpoint, restoring).await?;
        Ok(Booted { context, machine, woken: Some(woken) })
    }
}

impl Booted {
    /// Waits for the guest, or for the end of its process if that comes first.
    async fn init(self) -> Result<Ready, StepError> {
        let Self { context, machine, woken } = self;
        let options = &context.shared.options;
        let guest = Guest::new(machine.dialer());
        let goes_on = woken.is_some();
        let init = context.record.init(options.ca_bundle.as_deref(), options.limits.output_patience);
        let init = wire::control::Init { woken, ..init };
        let answered = async {
            let status = guest.init(&init, options.limits.guest_answer).await?;
            if goes_on {
                return Ok(status);
            }
            if context.record.wait_for_interpreter {
                guest.interpreter_ready(options.limits.interpreter).await?;
            }
            let dial = machine.dialer();
            Box::pin(start_command(&context.record, &*dial, options.limits.ready)).await?;
            Ok::<_, StepError>(status)
        };
        let limit = options.limits.guest_answer + options.limits.interpreter + 2 * options.limits.ready;
        let status = tokio::select! {
            biased;
            exit = machine.exited() => return Err(StepError::Exited(exit)),
            status = bounded(&*options.faults, Point::BeforeInit, limit, answered) => status?,
        };
        Ok(Ready { status })
    }
}

/// For a sandbox that goes on after a pause: nothing of it is new.
fn same_one() -> Woken {
    Woken::default()
}

/// For one that begins with the memory of another.
fn another() -> Woken {
    let (boot_id, machine_id) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    Woken { boot_id: boot_id.to_string(), machine_id: Some(machine_id.simple().to_string()), reseed: true }
}

/// Launches the template's start command, if it has one, and waits until its
/// ready command succeeds.
async fn start_command(record: &Record, dial: &dyn runtime::Dial, ready: Duration) -> Result<(), StepError> {
    if record.start == Start::default() {
        return Ok(());
    }
    let place = ready::Place {
        dial,
        user: record.default_user.as_deref().unwrap_or("root"),
        workdir: record.default_workdir.as_deref(),
        token: record.access_token.as_deref(),
    };
    let limits = ready::Limits { ready, settle: Duration::ZERO };
    ready::start(&place, &record.start, limits, |_, _| {}).await.map_err(StepError::Command)
}

impl Driver {
    /// Walks from the files of a sandbox that slept to a guest that answers. On
    /// failure nothing was undone yet.
    pub(super) async fn start_again(&mut self, waking: Waking) -> Result<String, (&'static str, StepError)> {
        let context = self.context();
        let at = |step| move |source| (step, source);
        let reserving = context.shared.options.backend.reserve(&context.spec);
        context.step(Point::BeforeWake, reserving).await.map_err(at("reserving"))?;
        let state = self.record.sleeping_on();
        let reserved = Reserved(context);
        let prepared = match state {
            Some(id) => reserved.prepare_from(id).await,
            None => reserved.unpark().await,
        };
        let prepared = prepared.map_err(at("preparing its root and network"))?;
        let booted = match state.filter(|_| waking == Waking::Kept && self.record.keeps_memory()) {
            Some(id) => {
                let restored = prepared.restore(id, same_one()).await;
                self.add_kin(id);
                restored.map_err(at("reading its memory back"))?
            }
            None => prepared.boot().await.map_err(at("starting its first process"))?,
        };
        self.machine = Some(Arc::clone(&booted.machine));
        let ready = booted.init().await.map_err(at("waiting for its daemon"))?;
        Ok(ready.status.envd_version)
    }

    fn context(&self) -> Context {
        Context {
            shared: Arc::clone(&self.shared),
            spec: Arc::clone(&self.spec),
            record: self.record.clone(),
        }
    }

    /// Walks the start to the end. On failure nothing was undone yet.
    pub(super) async fn start(
        &mut self,
        from: Option<&Checkpoint>,
        approval: Approval,
        reply: &mut Reply,
    ) -> Result<Observation, Failed> {
        let context = self.context();
        self.pass(Point::BeforeRecord, reply).await?;
        let admitted = Admitted::admit(context).await.map_err(|e| Failed::Step(RECORDING, e))?;
        self.approved(approval, reply).await?;
        let reserved = self.preemptible("reserving", reply, admitted.reserve()).await?;
        self.apply(Event::StepDone);
        let preparing = async {
            match from {
                Some(from) => reserved.prepare_from(from.generation).await,
                None => reserved.prepare().await,
            }
        };
        let prepared = self.preemptible("preparing its root and network", reply, preparing).await?;
        self.apply(Event::StepDone);
        let booting = async {
            match from.filter(|from| from.keep == Keep::Memory) {
                Some(from) => prepared.restore(from.generation, another()).await,
                None => prepared.boot().await,
            }
        };
        let booted = self.preemptible("starting its first process", reply, booting).await?;
        if let Some(from) = from.filter(|from| from.keep == Keep::Memory) {
            self.add_kin(from.generation);
        }
        self.machine = Some(Arc::clone(&booted.machine));
        self.apply(Event::StepDone);
        let ready = self.preemptible("waiting for its daemon", reply, Box::pin(booted.init())).await?;
        self.become_ready(ready, reply).await
    }

    /// Waits until it may begin.
    async fn approved(&self, mut approval: Approval, reply: &mut Reply) -> Result<(), Failed> {
        let given = async { Ok(approval.is_given().await) };
        let is_given = self.preemptible("waiting to begin", reply, given).await?;
        if is_given { Ok(()) } else { Err(Failed::Withdrawn) }
    }

    /// Makes it known, on disk before anywhere else, that the sandbox is usable.
    async fn become_ready(&mut self, ready: Ready, reply: &mut Reply) -> Result<Observation, Failed> {
        self.record.set_started(self.shared.options.clock.now());
        self.note_version(&ready.status.envd_version);
        self.pass(Point::BeforeReady, reply).await?;
        let (record, dir) = (self.record.clone(), self.dir());
        let written = disk::blocking(move || record.amend(&dir)).await;
        written.map_err(|e| Failed::Step(RECORDING, e.into()))?;
        self.pass(Point::BeforeReply, reply).await?;
        self.open_reach();
        self.apply(Event::StepDone);
        Ok(self.observation())
    }

    /// From inside, so bounded: it is only ever shown.
    pub(super) fn note_version(&mut self, version: &str) {
        if !version.is_empty() {
            self.record.envd_version = version.chars().take(32).collect();
        }
    }

    /// Lets others reach the machine's ports.
    pub(super) fn open_reach(&self) {
        let Some(machine) = &self.machine else { return };
        let reach = Reach {
            generation: self.shared.next_generation(),
            dial: machine.dialer(),
            ended: self.entry.ended.child_token(),
            token: self.record.access_token.clone().map(crate::nouns::Token),
        };
        self.entry.set_reach(Some(reach));
    }

    /// Passes a fault point.
    async fn pass(&self, point: Point, reply: &mut Reply) -> Result<(), Failed> {
        let passing = async { Ok(self.shared.options.faults.at(point).await?) };
        self.preemptible(RECORDING, reply, passing).await
    }

    /// Runs a step until it ends, somebody kills the sandbox, or nobody waits
    /// for it any more; then the step's future is dropped.
    async fn preemptible<T>(
        &self,
        name: &'static str,
        reply: &mut Reply,
        step: impl Future<Output = Result<T, StepError>>,
    ) -> Result<T, Failed> {
        let step = traced(tracing::info_span!(target: "warren_trace", "step", step = name), step);
        tokio::select! {
            biased;
            cause = killed(&self.entry) => Err(Failed::Killed(cause)),
            () = reply.closed() => Err(Failed::Killed(EndCause::Killed(KilledBy::Client))),
            result = step => result.map_err(|source| Failed::Step(name, source)),
        }
    }

    pub(super) fn dir(&self) -> std::path::PathBuf {
        self.shared.options.sandboxes_dir().join(self.entry.sandbox_id.as_str())
    }
}
