//! One simulated machine: a flag that says whether it lives, and a guest that
//! answers on connections which never leave the process.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use model::ByteSize;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::guest::{self, Guest, Memory};
use super::world::{Act, World};
use crate::{BoxFuture, Connection, Dial, DialError, Error, Exit, Machine, MachineSpec, Usage};

/// Answers each byte with itself.
pub const ECHO_PORT: u16 = 7;
/// The daemon's HTTP.
pub const ENVD_PORT: u16 = 49983;
/// Answers askers of a trial of checkpoints.
pub const TRIAL_PORT: u16 = 49_982;
/// The interpreter's HTTP; open once the guest was told to run one.
pub const INTERPRETER_PORT: u16 = 49999;

/// Bytes a connection holds before its writer waits.
const PIPE_BYTES: usize = 64 * 1024;

/// A machine of the simulation.
#[derive(Debug)]
pub struct SimMachine {
    me: Weak<Self>,
    spec: MachineSpec,
    world: Weak<World>,
    guest: Arc<Guest>,
    exit: watch::Sender<Option<Exit>>,
    /// Cancelled with the machine's end: ends the tasks of its connections.
    gone: CancellationToken,
    cpu_micros: AtomicU64,
    oom_kills: AtomicU64,
}

impl SimMachine {
    pub(super) fn new(world: &Arc<World>, spec: &MachineSpec, upper: PathBuf) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            spec: spec.clone(),
            world: Arc::downgrade(world),
            guest: Arc::new(Guest::new(upper)),
            exit: watch::Sender::new(None),
            gone: CancellationToken::new(),
            cpu_micros: AtomicU64::new(0),
            oom_kills: AtomicU64::new(0),
        })
    }

    /// Whether its first process lives.
    pub fn is_running(&self) -> bool {
        self.exit.borrow().is_none()
    }

    /// Ends its first process, as if from inside; the first end counts.
    pub fn end(&self, exit: Exit) {
        self.exit.send_if_modified(|now| now.is_none() && now.replace(exit).is_none());
        self.gone.cancel();
    }

    /// Lets the host count one more end for want of memory, which its guest tells like this.
    pub fn starve(&self, victim: serde_json::Value) {
        self.oom_kills.fetch_add(1, Ordering::Relaxed);
        self.guest.starve(victim);
    }

    /// What the guest was told by its last init, as JSON; `None` before the first.
    pub fn init(&self) -> Option<serde_json::Value> {
        self.guest.init()
    }

    /// What its guest remembers.
    pub(super) fn memory(&self) -> Memory {
        self.guest.memory()
    }

    /// Lets its guest remember what another did.
    pub(super) fn remember(&self, memory: Memory) {
        self.guest.remember(memory);
    }

    fn connect(&self) -> Result<(DuplexStream, DuplexStream), DialError> {
        if self.is_running() { Ok(tokio::io::duplex(PIPE_BYTES)) } else { Err(DialError::Gone) }
    }
}

/// Reaches a machine without keeping it alive.
#[derive(Debug)]
struct SimDial(Weak<SimMachine>);

impl SimDial {
    fn machine(&self) -> Result<Arc<SimMachine>, DialError> {
        self.0.upgrade().ok_or(DialError::Gone)
    }
}

async fn echo(mut stream: DuplexStream) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

impl Dial for SimDial {
    fn dial(&self, port: u16) -> BoxFuture<'_, Result<Box<dyn Connection>, DialError>> {
        Box::pin(async move {
            let machine = self.machine()?;
            let (ours, theirs) = machine.connect()?;
            let guest = Arc::clone(&machine.guest);
            let served: BoxFuture<'static, ()> = match port {
                ECHO_PORT => Box::pin(echo(theirs)),
                ENVD_PORT => Box::pin(guest::serve_envd(guest, theirs)),
                INTERPRETER_PORT if guest.runs_interpreter() => Box::pin(guest::serve_interpreter(theirs)),
                TRIAL_PORT => Box::pin(guest::serve_trial(guest, theirs)),
                other => return Err(DialError::Refused(other)),
            };
            tokio::spawn(machine.gone.clone().run_until_cancelled_owned(served));
            Ok(Box::new(ours) as Box<dyn Connection>)
        })
    }

    fn dial_control(&self) -> BoxFuture<'_, Result<Box<dyn Connection>, DialError>> {
        Box::pin(async move {
            let machine = self.machine()?;
            let (ours, theirs) = machine.connect()?;
            let gone = machine.gone.clone();
            let served = async move {
                if let Some(world) = machine.world.upgrade()
                    && world.enact(Act::Init, &machine.spec).await.is_ok()
                {
                    guest::serve_control(Arc::clone(&machine.guest), theirs).await;
                }
            };
            tokio::spawn(gone.run_until_cancelled_owned(served));
            Ok(Box::new(ours) as Box<dyn Connection>)
        })
    }
}

/// The machine as its driver holds it: the world keeps the other reference.
impl Machine for SimMachine {
    fn dialer(&self) -> Arc<dyn Dial> {
        Arc::new(SimDial(Weak::clone(&self.me)))
    }

    fn exited(&self) -> BoxFuture<'_, Exit> {
        Box::pin(async move {
            let mut exit = self.exit.subscribe();
            match exit.wait_for(Option::is_some).await.map(|exit| *exit) {
                Ok(Some(exit)) => exit,
                // The sender is ours and lives as long as `self`.
                Ok(None) | Err(_) => Exit::Ended,
            }
        })
    }

    fn kill(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            if let Some(world) = self.world.upgrade() {
                world.enact(Act::Kill, &self.spec).await?;
            }
            self.end(Exit::Ended);
            Ok(())
        })
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, Error>> {
        Box::pin(async move {
            let memory = ByteSize::mib(16);
            let cpu_micros = self.cpu_micros.fetch_add(1000, Ordering::Relaxed) + 1000;
            let disk = ByteSize::bytes(self.guest.bytes_written());
            let oom_kills = self.oom_kills.load(Ordering::Relaxed);
            Ok(Usage { cpu_micros, memory, memory_peak: memory, disk, oom_kills, ..Usage::default() })
        })
    }

    fn settle(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
