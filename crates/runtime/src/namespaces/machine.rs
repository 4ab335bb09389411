//! A machine whose first process runs: watched by its pidfd, so it makes no
//! difference whether this server started it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::ByteSize;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::boot::FirstProcess;
use super::dial::NamespacesDial;
use super::{Host, StepError, kill, proc_dir};
use crate::{BoxFuture, Dial, Error, ErrorKind, Exit, Machine, MachineSpec, Usage};

/// The kernel takes a killed process apart in milliseconds, unless a disk hangs.
const DEATH_LIMIT: Duration = Duration::from_secs(10);

/// How often a machine that does not die is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// One running machine.
#[derive(Debug)]
pub(super) struct NamespacesMachine {
    host: Arc<Host>,
    spec: MachineSpec,
    pid: Pid,
    pidfd: Arc<AsyncFd<OwnedFd>>,
    dial: Arc<NamespacesDial>,
    exit: watch::Receiver<Option<Exit>>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// The first process stands in the group with the reserve.
    settled: AtomicBool,
    /// We ended it; whatever the kernel counted is not the cause.
    killed: AtomicBool,
}

impl NamespacesMachine {
    /// Takes a first process over and starts the task that waits for its end.
    pub(super) fn watch(
        host: Arc<Host>,
        spec: &MachineSpec,
        process: FirstProcess,
        settled: bool,
    ) -> io::Result<Self> {
        let FirstProcess { pid, pidfd, network } = process;
        let address = host.network.guest_net(spec.slot).map_err(io::Error::other)?.address;
        #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd cannot be closed under it")]
        let pidfd = AsyncFd::with_interest(pidfd, tokio::io::Interest::READABLE)?;
        let pidfd = Arc::new(pidfd);
        let (ended, exit) = watch::channel(None);
        let dial = Arc::new(NamespacesDial::new(
            host.clone(),
            spec.sandbox_id.clone(),
            network,
            address,
            exit.clone(),
        ));
        let state = Arc::new(State { settled: settled.into(), killed: AtomicBool::new(false) });
        let machine = Self { host, spec: spec.clone(), pid, pidfd, dial, exit, state };
        machine.host.tasks.spawn(machine.wait_for_end(ended));
        Ok(machine)
    }

    /// Ends with the process; needs no shutdown, because nothing is lost with it.
    fn wait_for_end(&self, ended: watch::Sender<Option<Exit>>) -> impl Future<Output = ()> + use<> {
        let (host, id) = (Arc::downgrade(&self.host), self.spec.sandbox_id.clone());
        let (pidfd, dial, state) = (self.pidfd.clone(), Arc::downgrade(&self.dial), self.state.clone());
        async move {
            // The pidfd of a first process is readable only when its whole namespace is empty.
            if let Err(e) = pidfd.readable().await {
                tracing::error!(sandbox_id = %id, error = %e, "cannot wait for the end of a sandbox");
                return;
            }
            let starved = !state.killed.load(Ordering::Acquire)
                && host.upgrade().is_some_and(|host| {
                    host.cgroups.first_process_starved(&id, state.settled.load(Ordering::Acquire))
                });
            if let Some(dial) = dial.upgrade() {
                dial.hang_up();
            }
            // Nobody may be left to be told.
            let _ = ended.send(Some(if starved { Exit::OutOfMemory } else { Exit::Ended }));
        }
    }

    fn failed(&self, step: &'static str, error: impl Into<StepError>) -> Error {
        error.into().named(&self.spec, step)
    }

    async fn end(&self) -> Exit {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(end) => end.unwrap_or(Exit::Ended),
            // The watching task failed and has said so: nothing is known of the
            // machine any more, which for its owner is an end.
            Err(_) => Exit::Ended,
        }
    }

    async fn killed(&self) -> Result<(), Error> {
        self.state.killed.store(true, Ordering::Release);
        kill(self.pidfd.get_ref()).map_err(|e| self.failed("killing", e))?;
        let ended = async {
            // The tool may take hold of it while it dies, and hold what is dead.
            loop {
                let end = tokio::time::timeout(LOOK, self.end()).await;
                self.step("freeing it from the checkpoint tool", free(self.pid, self.pidfd.clone())).await?;
                if end.is_ok() {
                    return Ok(());
                }
            }
        };
        match tokio::time::timeout(DEATH_LIMIT, ended).await {
            Ok(done) => done,
            Err(late) => {
                Err(self.failed("waiting for its processes to end", StepError::new(ErrorKind::Bug, late)))
            }
        }
    }

    /// Runs what reads or writes small files where it may block.
    async fn step<T, E, F>(&self, step: &'static str, run: F) -> Result<T, Error>
    where
        T: Send + 'static,
        E: Into<StepError> + Send + 'static,
        F: FnOnce(&Host, &MachineSpec) -> Result<T, E> + Send + 'static,
    {
        let (host, spec) = (self.host.clone(), self.spec.clone());
        let done = tokio::task::spawn_blocking(move || run(&host, &spec).map_err(Into::into)).await;
        done.unwrap_or_else(|panic| Err(StepError::new(ErrorKind::Bug, panic)))
            .map_err(|e| self.failed(step, e))
    }
}

/// Ends the checkpoint tool if it holds this process. What dies under its hands stays until it
/// looks, and it looks at one process while that waits for another: for ever, both of them.
fn free(
    pid: Pid,
    pidfd: Arc<AsyncFd<OwnedFd>>,
) -> impl FnOnce(&Host, &MachineSpec) -> io::Result<()> + Send + 'static {
    move |_, _| {
        let Some(tracer) = tracer(pid) else { return Ok(()) };
        let Ok(tool) = rustix::process::pidfd_open(tracer, PidfdFlags::empty()) else { return Ok(()) };
        // Still it, and of this very process: neither number is another's by now.
        let still = self::tracer(pid) == Some(tracer) && is_the_tool(tracer);
        let is_there = pidfd_send_signal(pidfd.get_ref(), Signal::KILL).is_ok();
        if still && is_there { kill(tool) } else { Ok(()) }
    }
}

/// Who traces a process, as seen from here.
fn tracer(pid: Pid) -> Option<Pid> {
    let status = std::fs::read_to_string(proc_dir(pid).join("status")).ok()?;
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?;
    Pid::from_raw(tracer.trim().parse().ok()?)
}

/// A person's debugger is let be.
fn is_the_tool(pid: Pid) -> bool {
    std::fs::read_to_string(proc_dir(pid).join("comm")).is_ok_and(|name| name.trim() == "criu")
}

fn usage(host: &Host, spec: &MachineSpec) -> Result<Usage, StepError> {
    let disk: ByteSize = host.storage.usage(&spec.dir)?;
    Ok(Usage { disk, ..host.cgroups.usage(&spec.sandbox_id)? })
}

impl Machine for NamespacesMachine {
    fn dialer(&self) -> Arc<dyn Dial> {
        self.dial.clone()
    }

    fn exited(&self) -> BoxFuture<'_, Exit> {
        Box::pin(self.end())
    }

    fn kill(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.killed())
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, Error>> {
        Box::pin(self.step("reading what it uses", usage))
    }

    fn settle(&self) -> BoxFuture<'_, Result<(), Error>> {
        let pid = self.pid;
        Box::pin(async move {
            self.step("moving the daemon to its reserve", move |host, spec| {
                host.cgroups.settle(&spec.sandbox_id, pid)
            })
            .await?;
            self.state.settled.store(true, Ordering::Release);
            Ok(())
        })
    }
}
