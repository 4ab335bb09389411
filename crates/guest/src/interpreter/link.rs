//! How a kernel is talked to: by Jupyter's messages, or by frames of our own.
//!
//! The difference ends here. Above, a kernel takes requests and gives messages.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::config::MAX_MESSAGE;
use super::language::{Dialect, python_cd};
use super::message::{Incoming, Outgoing, Visibility};
use super::place::{BROADCAST, Place, SHELL};
use super::pump::Channel;
use super::silent::Changes;
use super::zmtp::{self, Kind};
use super::{lines, plain};

/// The sending side.
#[derive(Debug)]
pub(super) enum Link {
    /// To a Jupyter kernel.
    Jupyter {
        shell: zmtp::Writer,
        /// Never written to again, but its end would end the subscription.
        _subscription: zmtp::Writer,
        session: String,
    },
    /// To a kernel of our own.
    Plain(plain::Writer),
}

/// A socket that messages come from.
#[derive(Debug)]
pub(super) enum Source {
    /// One of a Jupyter kernel's.
    Jupyter(Channel, zmtp::Reader),
    /// The one of a kernel of our own.
    Plain(plain::Reader),
}

/// What a kernel is asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ask<'a> {
    /// Whether it answers.
    Hello,
    /// To run the user's code.
    Cell(&'a str),
    /// To change its environment.
    Variables(&'a Changes),
    /// To go to a directory; Python's kernel alone is asked this.
    Directory(&'a Path),
}

impl Link {
    /// Connects as soon as the kernel has bound its sockets; `None` if it has not by
    /// the deadline.
    pub(super) async fn connect(
        dialect: Dialect,
        place: &Place,
        deadline: Instant,
    ) -> Option<(Self, Vec<Source>)> {
        if dialect.is_ours() {
            let socket = place.socket();
            let (reader, writer) = until_bound(deadline, || plain::connect(&socket, MAX_MESSAGE)).await?;
            return Some((Self::Plain(writer), vec![Source::Plain(reader)]));
        }
        let (broadcasts, subscription) = jupyter(&place.port(BROADCAST), Kind::Sub, deadline).await?;
        let (replies, shell) = jupyter(&place.port(SHELL), Kind::Dealer, deadline).await?;
        let session = uuid::Uuid::new_v4().simple().to_string();
        let sources =
            vec![Source::Jupyter(Channel::Shell, replies), Source::Jupyter(Channel::Broadcast, broadcasts)];
        Some((Self::Jupyter { shell, _subscription: subscription, session }, sources))
    }

    /// Whether the first messages may be lost, so that the kernel has to be greeted.
    pub(super) fn needs_greeting(&self) -> bool {
        matches!(self, Self::Jupyter { .. })
    }

    /// Sends a request after telling `announce` its id. Not cancel-safe.
    pub(super) async fn ask(
        &mut self,
        dialect: Dialect,
        ask: Ask<'_>,
        announce: impl FnOnce(&str),
    ) -> io::Result<()> {
        match self {
            Self::Jupyter { shell, session, .. } => {
                let request = match ask {
                    Ask::Hello => Outgoing::kernel_info(session),
                    Ask::Cell(code) => Outgoing::execute(session, code, Visibility::User),
                    Ask::Variables(changes) => {
                        Outgoing::execute(session, &dialect.set_envs(changes), Visibility::Silent)
                    }
                    Ask::Directory(path) => Outgoing::execute(session, &python_cd(path), Visibility::Silent),
                };
                announce(&request.id);
                shell.send(&request.frames()).await
            }
            Self::Plain(writer) => {
                let (kind, payload) = match ask {
                    Ask::Hello | Ask::Directory(_) => ("hello", Vec::new()),
                    Ask::Cell(code) => (dialect.as_str(), code.as_bytes().to_vec()),
                    Ask::Variables(changes) => dialect.pack_envs(changes),
                };
                let id = uuid::Uuid::new_v4().simple().to_string();
                announce(&id);
                writer.send(kind, &id, &payload).await
            }
        }
    }

    /// Says that the request that runs is to stop. Jupyter kernels go by the signal
    /// alone, those of our own may work in a thread that no signal reaches.
    pub(super) async fn interrupt(&mut self) -> io::Result<()> {
        match self {
            Self::Jupyter { .. } => Ok(()),
            Self::Plain(writer) => writer.send("interrupt", "-", b"").await,
        }
    }
}

impl Source {
    /// The next message; an error when the socket ended. Not cancel-safe.
    pub(super) async fn next(&mut self) -> io::Result<(Channel, Incoming)> {
        match self {
            Self::Jupyter(channel, reader) => loop {
                if let Some(message) = Incoming::parse(&reader.receive().await?) {
                    return Ok((*channel, message));
                }
            },
            Self::Plain(reader) => {
                let plain::Frame { kind, id, payload, skipped } = reader.receive().await?;
                let channel = if kind.ends_with("_reply") { Channel::Shell } else { Channel::Broadcast };
                Ok((channel, Incoming { kind, parent: id, date: lines::now(), skipped, content: payload }))
            }
        }
    }
}

async fn jupyter(path: &Path, kind: Kind, deadline: Instant) -> Option<(zmtp::Reader, zmtp::Writer)> {
    until_bound(deadline, || zmtp::connect(path, kind, MAX_MESSAGE)).await
}

/// Tries until it succeeds or time is up.
pub(super) async fn until_bound<T, F: Future<Output = io::Result<T>>>(
    deadline: Instant,
    connect: impl Fn() -> F,
) -> Option<T> {
    const PAUSE: Duration = Duration::from_millis(2);
    loop {
        match timeout_at(deadline, connect()).await {
            Ok(Ok(connected)) => return Some(connected),
            Ok(Err(_)) if Instant::now() < deadline => sleep(PAUSE).await,
            _ => return None,
        }
    }
}
