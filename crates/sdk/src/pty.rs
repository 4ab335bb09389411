//! Terminals inside a sandbox.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use wire::process::{
    Empty, ProcessConfig, ProcessInput, ProcessSelector, Pty as WirePty, SERVICE, Signal, StartRequest,
    UpdateRequest,
};

pub use wire::process::PtySize;

use crate::Error;
use crate::commands::{CommandHandle, Commands, DEFAULT_TIMEOUT, send_input, signal, stream_input};
use crate::rpc::Target;
use crate::run::{Surroundings, place, surroundings};

/// The terminals of one sandbox.
#[derive(Debug, Clone, Copy)]
pub struct Pty<'s> {
    pub(crate) target: &'s Arc<Target>,
}

impl<'s> Pty<'s> {
    /// Starts a login shell in a terminal: `await` the builder for a handle,
    /// whose [`next`](CommandHandle::next) gives what the terminal shows.
    pub fn create(&self, size: PtySize) -> PtyBuilder<'s> {
        PtyBuilder {
            target: self.target,
            size,
            line: None,
            around: Surroundings::lasting(Some(DEFAULT_TIMEOUT)),
        }
    }

    /// Attaches to a terminal; sees what it shows from now on.
    pub async fn connect(
        &self,
        pid: u32,
        timeout: impl Into<Option<Duration>> + Send,
    ) -> Result<CommandHandle, Error> {
        Commands { target: self.target }.connect_for(pid, timeout).await
    }

    /// Types into a terminal.
    pub async fn send_stdin(&self, pid: u32, data: impl Into<Bytes>) -> Result<(), Error> {
        send_input(self.target, pid, ProcessInput::Pty(data.into())).await
    }

    /// Types everything that a stream gives, in one request.
    pub async fn stream_input(
        &self,
        pid: u32,
        data: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<(), Error> {
        stream_input(self.target, pid, data, ProcessInput::Pty).await
    }

    /// Changes a terminal's size.
    pub async fn resize(&self, pid: u32, size: PtySize) -> Result<(), Error> {
        let pty = Some(WirePty { size: Some(size) });
        let request = UpdateRequest { process: ProcessSelector::Pid(pid), pty };
        self.target.unary::<_, Empty>(&format!("{SERVICE}Update"), &request, None).await.map(drop)
    }

    /// Ends the shell of a terminal at once. `false` if there is none.
    pub async fn kill(&self, pid: u32) -> Result<bool, Error> {
        signal(self.target, pid, Signal::Sigkill).await
    }
}

/// A terminal to be started. It is ended after 60 s unless told otherwise.
#[derive(Debug)]
pub struct PtyBuilder<'s> {
    target: &'s Arc<Target>,
    size: PtySize,
    line: Option<String>,
    around: Surroundings,
}

surroundings!(PtyBuilder<'s>);
place!(PtyBuilder<'s>);

impl PtyBuilder<'_> {
    /// Runs a command line in the terminal instead of a shell for people.
    #[must_use]
    pub fn command(mut self, line: impl Into<String>) -> Self {
        self.line = Some(line.into());
        self
    }

    async fn start(self) -> Result<CommandHandle, Error> {
        let Surroundings { envs: own, cwd, user, timeout } = self.around;
        let terminal = [("TERM", "xterm-256color"), ("LANG", "C.UTF-8"), ("LC_ALL", "C.UTF-8")];
        let mut envs: std::collections::BTreeMap<String, String> =
            terminal.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        envs.extend(own);
        let args = match self.line {
            None => vec!["-i".to_owned(), "-l".to_owned()],
            Some(line) => vec!["-l".to_owned(), "-c".to_owned(), line],
        };
        let request = StartRequest {
            process: Some(ProcessConfig { cmd: "/bin/bash".to_owned(), args, envs, cwd }),
            pty: Some(WirePty { size: Some(self.size) }),
            ..StartRequest::default()
        };
        let method = format!("{SERVICE}Start");
        let stream = self.target.stream(&method, &request, user.as_deref(), timeout).await?;
        CommandHandle::opened(Arc::clone(self.target), stream).await
    }
}

impl<'s> IntoFuture for PtyBuilder<'s> {
    type Output = Result<CommandHandle, Error>;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Self::Output> + Send + 's>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}
