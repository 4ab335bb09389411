//! Follows an order: the source, then step after step, each a layer of its own
//! unless it only changes what steps hand on.

use std::sync::Arc;

use model::BuildId;

use super::act::{place_or_say, user_script, verdict, workdir_script};
use super::cache::{CacheEntry, Pins};
use super::call::{self, Channel, Process};
use super::context::Context;
use super::key::Key;
use super::log::{Log, LogLevel};
use super::order::{BuildOrder, Instruction, OrderStep, Start};
use super::outline::Look;
use super::place::Placement;
use super::tail::Tail;
use super::workshop::{Bench, Workshop};
use super::{files, ready};
use crate::disk;
use crate::error::chain;
use crate::handle::Handle;
use crate::template::{FORMAT, Template};

/// Why an order came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BuildFailure {
    /// `base`, the number of a step from 1, or `finalize`.
    pub step: String,
    /// In words.
    pub message: String,
}

/// One run of an order.
pub(super) struct Performance<'a> {
    pub(super) handle: &'a Handle,
    pub(super) order: &'a BuildOrder,
    pub(super) log: &'a Arc<Log>,
}

/// A build that grows.
pub(super) struct Growing {
    /// Topmost first.
    pub(super) layers: Vec<String>,
    /// So many of the lowest layers, and fewer that show the same.
    pub(super) merged: (usize, Vec<String>),
    pub(super) context: Context,
    pub(super) interpreter: bool,
    pub(super) start: Start,
    pub(super) key: Key,
    pub(super) pins: Pins,
    pub(super) force: bool,
}

/// What a step prints, as entries of the log.
struct Printed {
    out: Tail,
    err: Tail,
}

impl Printed {
    fn take(&mut self, channel: Channel, output: &[u8]) {
        match channel {
            Channel::Stdout => self.out.push(output),
            Channel::Stderr => self.err.push(output),
        }
    }
}

impl Performance<'_> {
    /// Builds, and publishes the build.
    pub(super) async fn run(&self) -> Result<(), BuildFailure> {
        let base = Box::pin(self.base()).await;
        let mut growing = base.map_err(|message| failure("base", message))?;
        for (index, step) in self.order.steps.iter().enumerate() {
            let number = (index + 1).to_string();
            let taken = self.step(index, step, &mut growing).await;
            taken.map_err(|message| failure(&number, message))?;
        }
        self.finalize(growing).await.map_err(|message| failure("finalize", message))
    }

    pub(super) fn info(&self, step: &str, message: &str) {
        self.log.add(LogLevel::Info, Some(step), message);
    }

    async fn step(&self, index: usize, step: &OrderStep, growing: &mut Growing) -> Result<(), String> {
        let number = (index + 1).to_string();
        let title = format!("[builder {number}/{}] {}", self.order.steps.len(), step.instruction.title());
        growing.force |= step.force;
        if let Instruction::Env(pairs) = &step.instruction {
            self.info(&number, &title);
            growing.context.set_env(pairs);
            return Ok(());
        }
        let described = serde_json::to_vec(&(&step.instruction, &growing.context));
        let key = growing.key.then_bytes(&described.expect("texts always serialize"));
        let making = self.handle.shared.cache.making(key);
        let _made_once = making.lock().await;
        let (name, found) = self.found(key, growing).await;
        let layer = if let Some(layer) = found {
            self.info(&number, &format!("CACHED {title}"));
            layer
        } else {
            self.info(&number, &title);
            self.make(&number, step, growing, &name.name()).await?;
            growing.pins.hold(&name.name());
            self.sum(&name.name()).await?;
            self.enter(key, name, &step.instruction).await?;
            name.name()
        };
        growing.key = Key::of_layer(&layer);
        growing.layers.insert(0, layer);
        match &step.instruction {
            Instruction::Workdir(dir) => growing.context.workdir = Some(growing.context.resolve(dir)),
            Instruction::User { name, .. } => {
                growing.context.user.clone_from(name);
            }
            _ => {}
        }
        Ok(())
    }

    /// The name for a step's layer, and the layer if there is one that may be taken.
    ///
    /// A forced step takes a name of this build's own, since others may stand on the
    /// earlier layer. So does one whose layer is there but was never entered, because
    /// the server was killed, or is entered no more. Under its own name, only this very
    /// build can have made a layer, before the server was restarted.
    async fn found(&self, key: Key, growing: &mut Growing) -> (Key, Option<String>) {
        if !growing.force {
            if let Some(layer) = self.entered(key, growing).await {
                return (key, Some(layer));
            }
            if !self.stands(&key.name()).await {
                return (key, None);
            }
        }
        let own = key.then_bytes(self.order.build_id.to_string().as_bytes());
        let made = self.stands(&own.name()).await && self.is_sound(&own.name()).await;
        let layer = made.then(|| {
            growing.pins.hold(&own.name());
            own.name()
        });
        (own, layer)
    }

    async fn entered(&self, key: Key, growing: &mut Growing) -> Option<String> {
        let now = self.handle.shared.options.clock.now().unix_micros();
        let mut pins = std::mem::replace(&mut growing.pins, Pins::new(&self.handle.shared.cache));
        let (pins, found) = disk::blocking(move || {
            let found = pins.find(key, now);
            (pins, found)
        })
        .await;
        growing.pins = pins;
        let found = found?;
        if self.is_sound(&found).await {
            return Some(found);
        }
        let text = format!("the layer {found} of this step is damaged: the step is done again");
        self.log.add(LogLevel::Warn, None, &text);
        None
    }

    async fn stands(&self, layer: &str) -> bool {
        let layer = self.handle.shared.options.layers_dir().join(layer);
        disk::blocking(move || layer.is_dir()).await
    }

    async fn is_sound(&self, layer: &str) -> bool {
        let (shared, layer) = (Arc::clone(&self.handle.shared), layer.to_owned());
        disk::blocking(move || shared.cache.sums.is_sound(&layer)).await
    }

    /// Keeps what a layer is.
    async fn sum(&self, layer: &str) -> Result<(), String> {
        let (shared, layer) = (Arc::clone(&self.handle.shared), layer.to_owned());
        disk::blocking(move || shared.cache.sums.keep(&layer, Look::Contents)).await.map_err(|e| chain(&e))
    }

    async fn enter(&self, key: Key, name: Key, instruction: &Instruction) -> Result<(), String> {
        let now = self.handle.shared.options.clock.now().unix_micros();
        let entry = CacheEntry {
            key: key.name(),
            layer: name.name(),
            team_id: self.order.team_id.to_string(),
            title: instruction.title(),
            made_at: now,
            used_at: now,
            on: None,
        };
        let shared = Arc::clone(&self.handle.shared);
        disk::blocking(move || shared.cache.put(&entry)).await.map_err(|e| chain(&e))
    }

    /// Makes the layer of a step in a sandbox of the layers so far.
    async fn make(
        &self,
        number: &str,
        step: &OrderStep,
        growing: &mut Growing,
        layer: &str,
    ) -> Result<(), String> {
        let layers = self.mounted(number, growing).await?;
        let options = &self.handle.shared.options;
        let to = options.layers_dir().join(layer);
        let limit = options.limits.build_step;
        let making = async {
            let sandbox =
                Workshop::open(self.handle, self.bench(growing, &layers)).await.map_err(|e| chain(&e))?;
            self.act(&sandbox, number, &step.instruction, &growing.context).await?;
            sandbox.seal(&to).await.map_err(|e| chain(&e))
        };
        let limited = tokio::time::timeout(limit, making).await;
        limited.unwrap_or_else(|_| Err(format!("the step took longer than {} s", limit.as_secs())))
    }

    fn bench<'b>(&'b self, growing: &'b Growing, layers: &'b [String]) -> Bench<'b> {
        Bench {
            template_id: &self.order.template_id,
            layers,
            env: &growing.context.env,
            resources: self.order.resources,
        }
    }

    /// What a step does inside.
    async fn act(
        &self,
        sandbox: &Workshop<'_>,
        number: &str,
        instruction: &Instruction,
        context: &Context,
    ) -> Result<(), String> {
        let dial = sandbox.dial().map_err(|e| chain(&e))?;
        let mut printed = self.printed(number);
        let mut print = |channel, output: &[u8]| printed.take(channel, output);
        let (named, ended) = match instruction {
            Instruction::Run { command, user } => {
                let user = user.as_deref().unwrap_or(&context.user);
                let process = Process::login(user, command, context.workdir.as_deref());
                (format!("run command '{command}'"), call::run(&*dial, &process, print).await)
            }
            Instruction::Copy { source, dest, owner, mode, files } => {
                let archive = files::path(&self.handle.shared.options, self.order.team_id, files);
                let placement = Placement { source, dest, owner: owner.as_deref(), mode: mode.as_deref() };
                let named = format!("copy '{source}' to '{dest}'");
                (named, place_or_say(&*dial, archive, &placement, context, &mut print).await)
            }
            Instruction::Workdir(dir) => {
                let dir = context.resolve(dir);
                let process = Process::script("root", &workdir_script(&dir, &context.user));
                (format!("make the directory '{dir}'"), call::run(&*dial, &process, print).await)
            }
            Instruction::User { name, sudo } => {
                let process = Process::script("root", &user_script(name, *sudo));
                (format!("make the user '{name}'"), call::run(&*dial, &process, print).await)
            }
            Instruction::Env(_) => return Ok(()),
        };
        printed.out.finish();
        printed.err.finish();
        verdict(&named, ended)
    }

    /// Output as entries of the log, as it comes.
    fn printed(&self, number: &str) -> Printed {
        let tail = |stream: &'static str| {
            let (log, step) = (Arc::clone(self.log), number.to_owned());
            let prefix = match number.parse::<usize>() {
                Ok(_) => format!("[builder {number}/{}]", self.order.steps.len()),
                Err(_) => format!("[{number}]"),
            };
            Tail::new(move |line| {
                log.add(LogLevel::Info, Some(&step), &format!("{prefix} [{stream}]: {line}"));
            })
        };
        Printed { out: tail("stdout"), err: tail("stderr") }
    }

    /// Tries the start command and the ready command, then enters the build.
    async fn finalize(&self, mut growing: Growing) -> Result<(), String> {
        if self.order.start != Start::default() {
            growing.start = self.order.start.clone();
        }
        self.info("finalize", "[finalize] keeping the result");
        let layers = self.flattened(&mut growing).await?;
        if growing.start != Start::default() {
            self.prove(&growing, &layers).await?;
        }
        self.publish(&growing, &layers).await
    }

    async fn prove(&self, growing: &Growing, layers: &[String]) -> Result<(), String> {
        let sandbox =
            Workshop::open(self.handle, self.bench(growing, layers)).await.map_err(|e| chain(&e))?;
        let dial = sandbox.dial().map_err(|e| chain(&e))?;
        if let Some(command) = &growing.start.command {
            self.info("finalize", &format!("[finalize] START {command}"));
        }
        if let Some(command) = &growing.start.ready {
            self.info("finalize", &format!("[finalize] READY {command}"));
        }
        let mut printed = self.printed("finalize");
        let place = ready::Place {
            dial: &*dial,
            user: &growing.context.user,
            workdir: growing.context.workdir.as_deref(),
            token: None,
        };
        let limits =
            ready::Limits { ready: self.handle.shared.options.limits.build_ready, settle: ready::SETTLE };
        ready::start(&place, &growing.start, limits, |channel, output| printed.take(channel, output)).await
    }

    /// Enters the build: on disk, then in view.
    async fn publish(&self, growing: &Growing, layers: &[String]) -> Result<(), String> {
        let order = self.order;
        let shared = Arc::clone(&self.handle.shared);
        let build_id: BuildId = order.build_id;
        let template = Template {
            format: FORMAT,
            build_id: build_id.to_string(),
            owner: order.template_id.to_string(),
            aliases: Vec::new(),
            client: true,
            cpu_count: order.resources.cpu_count,
            memory_bytes: order.resources.memory.as_u64(),
            disk_bytes: order.resources.disk.as_u64(),
            envd_version: wire::control::ENVD_VERSION.to_owned(),
            layers: layers.to_vec(),
            merged: growing.layers.iter().filter(|layer| !layers.contains(layer)).cloned().collect(),
            interpreter: growing.interpreter,
            env: growing.context.env.clone(),
            default_user: Some(growing.context.user.clone()),
            default_workdir: growing.context.workdir.clone(),
            start: growing.start.clone(),
            created_at: shared.options.clock.now().unix_micros(),
            generation: None,
        };
        disk::blocking(move || shared.templates.publish(build_id, template)).await.map_err(|e| chain(&e))
    }
}

fn failure(step: &str, message: String) -> BuildFailure {
    BuildFailure { step: step.to_owned(), message }
}
