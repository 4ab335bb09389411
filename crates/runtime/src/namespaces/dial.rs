//! Connections to ports inside, without an agent: a socket stays in the network
//! namespace where it was made, so one thread of the server enters a sandbox's
//! namespace for the moment of the call, and everything else is ordinary.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use model::SandboxId;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Pid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{oneshot, watch};

use super::unanswered::Unanswered;
use crate::{BoxFuture, Connection, Dial, DialError, Exit};

/// The guest's control socket, `wire::control::SOCKET_NAME`: this crate knows no
/// other thing of the wire, so the name is repeated here.
const CONTROL: &[u8] = b"warren-control";

/// Sockets asked for at the same moment; one takes some ten microseconds. More
/// callers are turned away.
const WAITING: usize = 4096;

/// Loopback answers at once; a listener with a full queue may never do.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// The thread that makes sockets.
#[derive(Debug)]
pub(super) struct Sockets {
    jobs: SyncSender<Job>,
}

#[derive(Debug)]
struct Job {
    network: Arc<OwnedFd>,
    family: AddressFamily,
    made: oneshot::Sender<io::Result<OwnedFd>>,
}

impl Sockets {
    /// Starts the thread; it ends when this is dropped.
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, queue) = sync_channel(WAITING);
        let home = rustix::fs::open(
            "/proc/thread-self/ns/net",
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?;
        std::thread::Builder::new().name("sandbox-sockets".to_owned()).spawn(move || work(&queue, &home))?;
        Ok(Self { jobs })
    }

    async fn make(&self, network: Arc<OwnedFd>, family: AddressFamily) -> io::Result<OwnedFd> {
        let (made, answer) = oneshot::channel();
        self.jobs.try_send(Job { network, family, made }).map_err(|e| match e {
            TrySendError::Full(_) => {
                io::Error::new(io::ErrorKind::WouldBlock, "too many connections at once")
            }
            TrySendError::Disconnected(_) => io::Error::other("the thread that makes sockets is gone"),
        })?;
        answer.await.map_err(|_| io::Error::other("the thread that makes sockets is gone"))?
    }
}

fn work(queue: &Receiver<Job>, home: &OwnedFd) {
    while let Ok(Job { network, family, made }) = queue.recv() {
        let socket = make_in(&network, family);
        drop(network);
        // Back at once: a thread left inside would keep a dead sandbox's network alive.
        if let Err(e) = move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network)) {
            tracing::error!(error = %e, "the socket thread cannot return to the host's network");
        }
        // The caller may have given up.
        let _ = made.send(socket);
    }
}

fn make_in(network: &OwnedFd, family: AddressFamily) -> io::Result<OwnedFd> {
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(family, SocketType::STREAM, flags, None)?)
}

/// The host's open connections to control sockets: the one kind of socket with an
/// end on each side that a checkpoint cannot cut by itself.
#[derive(Debug, Default)]
pub(super) struct Controls {
    state: Mutex<ControlState>,
}

#[derive(Debug, Default)]
struct ControlState {
    open: Vec<(SandboxId, Weak<OwnedFd>)>,
    quiet: HashSet<SandboxId>,
}

impl Controls {
    fn lock(&self) -> MutexGuard<'_, ControlState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a connection that is about to be made; `None` while there may be none.
    fn enter(&self, id: &SandboxId, socket: &Arc<OwnedFd>) -> Option<()> {
        let mut state = self.lock();
        state.open.retain(|(_, socket)| socket.strong_count() > 0);
        if state.quiet.contains(id) {
            return None;
        }
        state.open.push((id.clone(), Arc::downgrade(socket)));
        Some(())
    }

    /// Ends a sandbox's connections and lets none come about until the answer is
    /// dropped. Waits a little for the daemon `pid` to let go of its ends.
    pub(super) fn quiet(&self, id: &SandboxId, pid: Pid) -> Quiet<'_> {
        let mut state = self.lock();
        state.quiet.insert(id.clone());
        for (_, socket) in state.open.iter().filter(|(of, _)| of == id) {
            if let Some(socket) = socket.upgrade() {
                // Its owner reads an end.
                let _ = rustix::net::shutdown(&*socket, rustix::net::Shutdown::Both);
            }
        }
        drop(state);
        let give_up = Instant::now() + QUIET_LIMIT;
        while connected(pid) && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(1));
        }
        Quiet { controls: self, id: id.clone() }
    }
}

/// While it lives, nobody dials a sandbox's control socket.
#[derive(Debug)]
pub(super) struct Quiet<'a> {
    controls: &'a Controls,
    id: SandboxId,
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        self.controls.lock().quiet.remove(&self.id);
    }
}

/// The daemon closes a connection that ended within a millisecond when it can.
const QUIET_LIMIT: Duration = Duration::from_millis(500);

/// Whether the daemon has an open connection on its control socket. What is inside
/// may connect too, and only makes us wait out the limit.
fn connected(pid: Pid) -> bool {
    let name = format!("@{}", String::from_utf8_lossy(CONTROL));
    let text = std::fs::read_to_string(super::proc_dir(pid).join("net/unix")).unwrap_or_default();
    // Num RefCount Protocol Flags Type St Inode Path: state 03 is connected.
    text.lines().any(|line| line.ends_with(&name) && line.split_whitespace().nth(5) == Some("03"))
}

/// A connection to a control socket.
#[derive(Debug)]
struct ControlConnection {
    stream: tokio::net::UnixStream,
    entered: Arc<OwnedFd>,
    is_answered: bool,
    unanswered: Arc<Unanswered>,
}

impl Drop for ControlConnection {
    fn drop(&mut self) {
        if !self.is_answered {
            self.unanswered.keep(&self.entered);
        }
    }
}

impl AsyncRead for ControlConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let done = Pin::new(&mut self.stream).poll_read(cx, buf);
        if !self.is_answered && buf.filled().len() > before {
            self.is_answered = true;
            self.unanswered.let_go();
        }
        done
    }
}

impl AsyncWrite for ControlConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Reaches the ports of one machine.
#[derive(Debug)]
pub(super) struct NamespacesDial {
    sandbox_id: SandboxId,
    /// Its network namespace; taken away when the machine ends, so that holding
    /// a dialer holds nothing of the machine.
    network: Mutex<Option<Arc<OwnedFd>>>,
    address: Ipv4Addr,
    exit: watch::Receiver<Option<Exit>>,
    host: Arc<super::Host>,
    unanswered: Arc<Unanswered>,
}

impl NamespacesDial {
    pub(super) fn new(
        host: Arc<super::Host>,
        sandbox_id: SandboxId,
        network: OwnedFd,
        address: Ipv4Addr,
        exit: watch::Receiver<Option<Exit>>,
    ) -> Self {
        let network = Mutex::new(Some(Arc::new(network)));
        Self { sandbox_id, network, address, exit, host, unanswered: Arc::default() }
    }

    /// Lets go of the machine.
    pub(super) fn hang_up(&self) {
        self.network.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.unanswered.let_go();
    }

    async fn socket(&self, family: AddressFamily) -> Result<io::Result<OwnedFd>, DialError> {
        let network = self.network.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let network = network.ok_or(DialError::Gone)?;
        Ok(self.host.sockets.make(network, family).await)
    }

    async fn tcp(&self, to: SocketAddr) -> Result<io::Result<tokio::net::TcpStream>, DialError> {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = match self.socket(family).await? {
            Ok(socket) => tokio::net::TcpSocket::from_std_stream(std::net::TcpStream::from(socket)),
            Err(e) => return Ok(Err(e)),
        };
        let connected = tokio::time::timeout(CONNECT_LIMIT, socket.connect(to)).await;
        Ok(connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())))
    }

    async fn any_address(&self, port: u16) -> Result<Box<dyn Connection>, DialError> {
        let addresses =
            [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(self.address)];
        for address in addresses {
            match self.tcp(SocketAddr::new(address, port)).await? {
                Ok(stream) => {
                    // Requests and answers are small and wait for each other.
                    stream.set_nodelay(true).map_err(|source| DialError::Io { port, source })?;
                    return Ok(Box::new(stream));
                }
                Err(e) if nobody_there(&e) => {}
                Err(source) => return Err(self.unless_gone(DialError::Io { port, source })),
            }
        }
        Err(self.unless_gone(DialError::Refused(port)))
    }

    async fn control(&self) -> Result<Box<dyn Connection>, DialError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::ConnectionRefused => DialError::Refused(0),
            _ => DialError::Io { port: 0, source },
        };
        let socket = self.socket(AddressFamily::UNIX).await?.map_err(failed)?;
        let entered = Arc::new(socket.try_clone().map_err(failed)?);
        self.host.controls.enter(&self.sandbox_id, &entered).ok_or(DialError::Refused(0))?;
        let address = SocketAddrUnix::new_abstract_name(CONTROL).map_err(|e| failed(e.into()))?;
        // On this kind of socket connecting never waits: it works, or the queue is full.
        rustix::net::connect(&socket, &address).map_err(|e| self.unless_gone(failed(e.into())))?;
        let stream = std::os::unix::net::UnixStream::from(socket);
        let stream = tokio::net::UnixStream::from_std(stream).map_err(failed)?;
        let unanswered = Arc::clone(&self.unanswered);
        Ok(Box::new(ControlConnection { stream, entered, is_answered: false, unanswered }))
    }

    fn unless_gone(&self, error: DialError) -> DialError {
        if self.exit.borrow().is_some() { DialError::Gone } else { error }
    }
}

/// Errors after which the next address is worth a try.
fn nobody_there(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EADDRNOTAVAIL
                | libc::ENETUNREACH
                | libc::EHOSTUNREACH
                | libc::EAFNOSUPPORT
        )
    )
}

impl Dial for NamespacesDial {
    fn dial(&self, port: u16) -> BoxFuture<'_, Result<Box<dyn Connection>, DialError>> {
        Box::pin(self.any_address(port))
    }

    fn dial_control(&self) -> BoxFuture<'_, Result<Box<dyn Connection>, DialError>> {
        Box::pin(self.control())
    }
}
