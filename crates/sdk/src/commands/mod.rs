//! Running programs inside: in the foreground, with callbacks, or in the background.

mod handle;
mod text;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use wire::process::{
    ConnectRequest, ListRequest, ListResponse, ProcessConfig, ProcessInput, ProcessSelector, SERVICE, Signal,
    StartRequest,
};

pub use self::handle::{CommandEvent, CommandHandle};
pub(crate) use self::handle::{send_input, signal, stream_input};
use crate::Error;
use crate::rpc::Target;
use crate::run::{Surroundings, place, surroundings};

/// How long a command may run when the caller names no time.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_mins(1);

pub(crate) type Callback<'a> = Box<dyn FnMut(&str) + Send + 'a>;

/// The commands of one sandbox.
#[derive(Debug, Clone, Copy)]
pub struct Commands<'s> {
    pub(crate) target: &'s Arc<Target>,
}

impl<'s> Commands<'s> {
    /// Runs a line in a login shell: `await` the builder for its output, or
    /// [`CommandBuilder::background`] for a handle.
    ///
    /// ```no_run
    /// # async fn example(sandbox: &warren_sdk::Sandbox) -> Result<(), warren_sdk::Error> {
    /// let output = sandbox.commands().run("ls").cwd("/tmp").on_stdout(|text| print!("{text}")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn run(&self, line: impl Into<String>) -> CommandBuilder<'s> {
        CommandBuilder {
            target: self.target,
            line: line.into(),
            around: Surroundings::lasting(Some(DEFAULT_TIMEOUT)),
            stdin: false,
            retain: true,
            on_stdout: None,
            on_stderr: None,
        }
    }

    /// Attaches to a running process, for as long as it runs; sees its output from now on.
    pub async fn connect(&self, pid: u32) -> Result<CommandHandle, Error> {
        self.connect_for(pid, None).await
    }

    /// [`Commands::connect`] that lets go after a time. The process runs on.
    pub async fn connect_for(
        &self,
        pid: u32,
        timeout: impl Into<Option<Duration>> + Send,
    ) -> Result<CommandHandle, Error> {
        let request = ConnectRequest { process: ProcessSelector::Pid(pid) };
        let method = format!("{SERVICE}Connect");
        let stream = self.target.stream(&method, &request, None, timeout.into()).await?;
        CommandHandle::opened(Arc::clone(self.target), stream).await
    }

    /// The processes that were started through this API and still run.
    pub async fn list(&self) -> Result<Vec<RunningCommand>, Error> {
        let answer: ListResponse =
            self.target.unary(&format!("{SERVICE}List"), &ListRequest {}, None).await?;
        Ok(answer.processes.into_iter().map(RunningCommand::from).collect())
    }

    /// Ends a process at once. `false` if there is no such process.
    pub async fn kill(&self, pid: u32) -> Result<bool, Error> {
        signal(self.target, pid, Signal::Sigkill).await
    }

    /// Writes to a process that was started with an input pipe.
    pub async fn send_stdin(&self, pid: u32, data: impl Into<Bytes>) -> Result<(), Error> {
        send_input(self.target, pid, ProcessInput::Stdin(data.into())).await
    }

    /// Closes a process's input pipe.
    pub async fn close_stdin(&self, pid: u32) -> Result<(), Error> {
        handle::close_stdin(self.target, pid).await
    }

    /// Writes everything that a stream gives, in one request. Does not close the pipe.
    pub async fn stream_input(
        &self,
        pid: u32,
        data: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<(), Error> {
        stream_input(self.target, pid, data, ProcessInput::Stdin).await
    }
}

/// A process in the answer of [`Commands::list`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningCommand {
    /// Its id inside the sandbox.
    pub pid: u32,
    /// The program.
    pub cmd: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, as far as it was given.
    pub envs: std::collections::BTreeMap<String, String>,
    /// Its directory, if one was given.
    pub cwd: Option<String>,
    /// Its tag, if one was given.
    pub tag: Option<String>,
}

impl From<wire::process::ProcessInfo> for RunningCommand {
    fn from(info: wire::process::ProcessInfo) -> Self {
        let ProcessConfig { cmd, args, envs, cwd } = info.config.unwrap_or_default();
        Self { pid: info.pid, cmd, args, envs, cwd, tag: info.tag }
    }
}

/// What a finished command left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommandOutput {
    /// Everything it wrote to standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Everything it wrote to standard error.
    pub stderr: String,
    /// Its exit status; −1 if a signal ended it.
    pub exit_code: i32,
    /// In words, when it did not succeed.
    pub error: Option<String>,
}

impl CommandOutput {
    /// The output, or an error of kind `CommandExit`, which holds it, if the
    /// status is not 0.
    pub fn success(self) -> Result<Self, Error> {
        if self.exit_code == 0 { Ok(self) } else { Err(Error::exit(self)) }
    }
}

/// A command to be run; awaiting it runs it to its end. It is ended after 60 s
/// unless told otherwise.
pub struct CommandBuilder<'s> {
    target: &'s Arc<Target>,
    line: String,
    around: Surroundings,
    stdin: bool,
    retain: bool,
    on_stdout: Option<Callback<'s>>,
    on_stderr: Option<Callback<'s>>,
}

surroundings!(CommandBuilder<'s>);
place!(CommandBuilder<'s>);

impl fmt::Debug for CommandBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandBuilder").field("line", &self.line).finish_non_exhaustive()
    }
}

impl<'s> CommandBuilder<'s> {
    pub(crate) fn around(mut self, around: Surroundings) -> Self {
        self.around = around;
        self
    }

    /// Keeps an input pipe, for [`CommandHandle::send_stdin`].
    #[must_use]
    pub fn stdin(mut self) -> Self {
        self.stdin = true;
        self
    }

    /// Keeps no output: only callbacks and events see it.
    #[must_use]
    pub fn discard_output(mut self) -> Self {
        self.retain = false;
        self
    }

    /// Sees standard output as it comes.
    #[must_use]
    pub fn on_stdout(mut self, callback: impl FnMut(&str) + Send + 's) -> Self {
        self.on_stdout = Some(Box::new(callback));
        self
    }

    /// Sees standard error as it comes.
    #[must_use]
    pub fn on_stderr(mut self, callback: impl FnMut(&str) + Send + 's) -> Self {
        self.on_stderr = Some(Box::new(callback));
        self
    }

    /// Starts the command and returns at once; callbacks are dropped, the
    /// handle's [`CommandHandle::wait_with`] takes its own.
    pub async fn background(self) -> Result<CommandHandle, Error> {
        let request = StartRequest {
            process: Some(ProcessConfig {
                cmd: "/bin/bash".to_owned(),
                args: vec!["-l".to_owned(), "-c".to_owned(), self.line],
                envs: self.around.envs,
                cwd: self.around.cwd,
            }),
            stdin: Some(self.stdin),
            ..StartRequest::default()
        };
        let method = format!("{SERVICE}Start");
        let (user, timeout) = (self.around.user, self.around.timeout);
        let stream = self.target.stream(&method, &request, user.as_deref(), timeout).await?;
        let handle = CommandHandle::opened(Arc::clone(self.target), stream).await?;
        Ok(handle.retaining(self.retain))
    }
}

impl<'s> IntoFuture for CommandBuilder<'s> {
    type Output = Result<CommandOutput, Error>;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Self::Output> + Send + 's>>;

    /// Dropping the future leaves the command running until its timeout.
    fn into_future(mut self) -> Self::IntoFuture {
        let (out, err) = (self.on_stdout.take(), self.on_stderr.take());
        Box::pin(async move { self.background().await?.drain(out, err).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_failed_command_can_be_made_an_error() {
        let output =
            CommandOutput { exit_code: 3, error: Some("exit status 3".into()), ..Default::default() };
        let error = output.success().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CommandExit);
        assert_eq!(error.output().unwrap().exit_code, 3);
    }
}
