//! What the node answers: what it was told, or what a test told it to.

use std::time::Duration;

use model::{BuildId, ByteSize, EndCause, KilledBy, SandboxId, TemplateId, Timestamp};
use node::{
    Approval, Checkpoint, Connection, CreateSandbox, DialError, DiffPage, DiffRequest, Ended, Error, Host,
    Keep, Observation, Phase, Room, TemplateBuild, Waking,
};
use tokio::sync::watch;
use warren_control::{BoxFuture, BuildPort, NodePort, Usage};

use super::{Creates, FakeNode};

impl NodePort for FakeNode {
    fn create(
        &self,
        order: CreateSandbox,
        mut approval: Approval,
    ) -> BoxFuture<'_, Result<Observation, Error>> {
        Box::pin(async move {
            let error = self.state().create_errors.pop();
            if let Some(error) = error {
                return Err(error);
            }
            if !approval.is_given().await {
                return Err(Error::Withdrawn(order.sandbox_id));
            }
            let mut observation = self.observation(order.sandbox_id.clone(), order.build_id, order.timeout);
            observation.policy = order.policy;
            self.state().orders.push(order);
            self.state().live.insert(observation.sandbox_id.clone(), observation.clone());
            self.changed();
            if self.state().creates == Creates::Hang {
                self.set_phase(&observation.sandbox_id, Phase::Starting);
                let mut changes = self.observe();
                let _: Result<_, _> = changes.wait_for(|_| self.state().creates != Creates::Hang).await;
                if self.state().creates == Creates::Refused {
                    return Err(Error::ShuttingDown);
                }
                self.set_phase(&observation.sandbox_id, Phase::Running);
            }
            Ok(observation)
        })
    }

    fn kill<'a>(&'a self, id: &'a SandboxId, by: KilledBy) -> BoxFuture<'a, Result<Ended, Error>> {
        Box::pin(async move {
            self.kills.send_modify(|n| *n += 1);
            let phase = self.state().live.get(id).map(|seen| seen.phase);
            match phase {
                None => Err(Error::NotFound(id.clone())),
                Some(Phase::Ending) => Err(Error::Ending(id.clone())),
                Some(_) => {
                    self.end(id, Some(EndCause::Killed(by)));
                    Ok(self.state().ended[id].clone())
                }
            }
        })
    }

    fn set_deadline<'a>(
        &'a self,
        id: &'a SandboxId,
        deadline: Timestamp,
    ) -> BoxFuture<'a, Result<Observation, Error>> {
        Box::pin(async move {
            let mut state = self.state();
            let falls_asleep = state.drowsy.pop_if(|drowsy| *drowsy == *id).is_some();
            let seen = state.live.get_mut(id).ok_or_else(|| Error::NotFound(id.clone()))?;
            if falls_asleep {
                seen.phase = Phase::Paused;
                return Err(Error::Paused(id.clone()));
            }
            seen.deadline = deadline;
            seen.generation += 1;
            Ok(seen.clone())
        })
    }

    fn memory_checkpoints(&self) -> Result<(), String> {
        if self.state().has_memory { Ok(()) } else { Err("a fake has none".to_owned()) }
    }

    fn pause<'a>(
        &'a self,
        id: &'a SandboxId,
        keep: Keep,
        demands_answer: bool,
    ) -> BoxFuture<'a, Result<Observation, Error>> {
        Box::pin(async move {
            let is_stuck = self.state().is_stuck;
            if demands_answer && is_stuck {
                return Err(Error::Unresponsive(id.clone()));
            }
            self.set_phase(id, Phase::Paused);
            let mut state = self.state();
            let seen = state.live.get_mut(id).ok_or_else(|| Error::NotFound(id.clone()))?;
            seen.keeps_memory = keep == Keep::Memory;
            seen.unresponsive_at_pause = is_stuck;
            seen.deadline = self.clock.now();
            Ok(seen.clone())
        })
    }

    fn resume<'a>(
        &'a self,
        id: &'a SandboxId,
        timeout: Duration,
        waking: Waking,
    ) -> BoxFuture<'a, Result<Observation, Error>> {
        Box::pin(async move {
            let now = self.clock.now();
            let mut state = self.state();
            state.wakings.push(waking);
            let seen = state.live.get_mut(id).ok_or_else(|| Error::NotFound(id.clone()))?;
            if seen.unresponsive_at_pause && waking == Waking::Kept {
                return Err(Error::WasUnresponsive(id.clone()));
            }
            if seen.phase == Phase::Paused {
                (seen.phase, seen.keeps_memory) = (Phase::Running, false);
                seen.unresponsive_at_pause = false;
                (seen.started_at, seen.deadline) = (now, now + timeout);
            }
            Ok(seen.clone())
        })
    }

    fn checkpoint<'a>(&'a self, id: &'a SandboxId, keep: Keep) -> BoxFuture<'a, Result<Checkpoint, Error>> {
        Box::pin(async move {
            let seen = self.get(id).ok_or_else(|| Error::NotFound(id.clone()))?;
            let mut state = self.state();
            state.checkpoints += 1;
            assert_eq!(seen.phase, Phase::Running);
            Ok(Checkpoint {
                generation: model::GenerationId::from_u128(state.checkpoints),
                keep,
                size: ByteSize::mib(3),
                frozen: Duration::from_millis(1),
                hold: node::Hold::default(),
            })
        })
    }

    fn keep_checkpoint<'a>(
        &'a self,
        _: &'a Checkpoint,
        _: &'a TemplateId,
        build: BuildId,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.state().kept.push(build);
        Box::pin(std::future::ready(Ok(())))
    }

    fn rollback<'a>(
        &'a self,
        id: &'a SandboxId,
        build: BuildId,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Observation, Error>> {
        Box::pin(async move {
            let now = self.clock.now();
            let mut state = self.state();
            if !state.kept.contains(&build) {
                return Err(Error::UnknownBuild(build));
            }
            let seen = state.live.get_mut(id).ok_or_else(|| Error::NotFound(id.clone()))?;
            (seen.phase, seen.started_at, seen.deadline) = (Phase::Running, now, now + timeout);
            let seen = seen.clone();
            if let (Some(then), Some(told)) = (state.told_then, state.logs.get_mut(id)) {
                told.truncate(then);
            }
            Ok(seen)
        })
    }

    fn diff(&self, from: BuildId, to: BuildId, page: DiffRequest) -> BoxFuture<'_, Result<DiffPage, Error>> {
        Box::pin(async move {
            let missing = [from, to].into_iter().find(|build| !self.state().kept.contains(build));
            if let Some(build) = missing {
                return Err(Error::UnknownBuild(build));
            }
            self.state().compared.push(page.clone());
            let mut found = self.state().differences.clone();
            found.retain(|one| page.after.as_ref().is_none_or(|after| one.path > *after));
            let more = found.len() > page.limit;
            found.truncate(page.limit);
            let next = found.last().filter(|_| more).map(|last| last.path.clone());
            Ok(DiffPage { differences: found, next })
        })
    }

    fn get(&self, id: &SandboxId) -> Option<Observation> {
        self.state().live.get(id).cloned()
    }

    fn list(&self) -> Vec<Observation> {
        self.state().live.values().cloned().collect()
    }

    fn observe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn ended(&self, id: &SandboxId) -> Option<Ended> {
        self.state().ended.get(id).cloned()
    }

    fn usage<'a>(&'a self, id: &'a SandboxId) -> BoxFuture<'a, Result<Usage, Error>> {
        Box::pin(async move {
            let seen = self.get(id).ok_or_else(|| Error::NotFound(id.clone()))?;
            // Half of one processor, always.
            let cpu = self.clock.now().since(seen.started_at) / 2;
            Ok(Usage {
                cpu_micros: u64::try_from(cpu.as_micros()).unwrap(),
                memory: ByteSize::mib(20),
                memory_cache: ByteSize::mib(5),
                disk: ByteSize::mib(1),
            })
        })
    }

    /// Nothing listens in what does not exist.
    fn dial<'a>(
        &'a self,
        id: &'a SandboxId,
        port: u16,
    ) -> BoxFuture<'a, Result<Box<dyn Connection>, DialError>> {
        let gone = self.get(id).is_none();
        Box::pin(async move { Err(if gone { DialError::Gone } else { DialError::Refused(port) }) })
    }

    fn logs<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        from: u64,
        _limit: Duration,
    ) -> BoxFuture<'a, Result<wire::control::LogPage, Error>> {
        Box::pin(async move {
            let state = self.state();
            let entries = state.logs.get(sandbox).cloned().unwrap_or_default();
            let next = entries.len() as u64;
            let wanted = entries.into_iter().filter(|entry| entry.number >= from).collect::<Vec<_>>();
            Ok(wire::control::LogPage { epoch: 1, next, entries: wanted })
        })
    }

    /// The snapshots alone.
    fn templates(&self) -> Vec<TemplateBuild> {
        let forgotten = self.builds.forgotten.lock().unwrap();
        let state = self.state();
        let kept = state.kept.iter().filter(|build| !forgotten.contains(build));
        let shown = |build: &BuildId| TemplateBuild {
            template_id: "snapshotsnapshotsnap".parse().unwrap(),
            build_id: *build,
            aliases: Vec::new(),
            client: true,
            snapshot: true,
            resources: model::Resources::DEFAULT,
            envd_version: "0.6.4".to_owned(),
            created_at: self.clock.now(),
        };
        kept.map(shown).collect()
    }

    fn room(&self) -> BoxFuture<'_, std::io::Result<Room>> {
        use model::admission::{Capacity, Overcommit, Promised};
        let slots = u32::try_from(self.state().live.len()).unwrap();
        let room = Room {
            capacity: Capacity { memory: ByteSize::gib(8), disk: ByteSize::gib(80), slots: 100 },
            overcommit: Overcommit { memory_percent: 400, disk_percent: 100 },
            promised: Promised {
                memory: ByteSize::mib(u64::from(slots) * 1024),
                slots,
                ..Promised::default()
            },
            promised_cpus: 2 * slots,
            memory_available: ByteSize::gib(6),
            disk_free: ByteSize::gib(70),
            builds_active: 1,
            builds_waiting: 2,
        };
        Box::pin(std::future::ready(Ok(room)))
    }

    fn host(&self) -> BoxFuture<'_, std::io::Result<Host>> {
        let text = |text: &str| text.to_owned();
        let disk = node::Disk {
            mount_point: text("/state"),
            device: text("/dev/x"),
            kind: text("btrfs"),
            total: ByteSize::gib(80),
            used: ByteSize::gib(10),
        };
        let host = Host {
            architecture: "x86_64",
            cpu_family: text("6"),
            cpu_model: text("1"),
            cpu_name: text("a fast one"),
            cpu_count: 4,
            cpu_percent: 50,
            disk,
        };
        Box::pin(std::future::ready(Ok(host)))
    }

    fn builds(&self) -> &dyn BuildPort {
        &self.builds
    }
}
