//! Running programs inside: in the foreground, with callbacks, or in the background.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use wire::process::{
    CloseStdinRequest, ConnectRequest, DataEvent, Empty, EndEvent, ListRequest, ListResponse, ProcessConfig,
    ProcessEvent, ProcessInput, ProcessSelector, SERVICE, SendInputRequest, SendSignalRequest, Signal,
    StartRequest, StreamResponse,
};

use crate::rpc::{MessageStream, Target};
use crate::{Error, ErrorKind};

/// How long a command may run when the caller names no time.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(1);

type Callback<'a> = Box<dyn FnMut(&str) + Send + 'a>;

/// The commands of one sandbox.
#[derive(Debug, Clone, Copy)]
pub struct Commands<'s> {
    pub(crate) target: &'s Target,
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
            envs: BTreeMap::new(),
            cwd: None,
            user: None,
            stdin: false,
            timeout: Some(DEFAULT_TIMEOUT),
            on_stdout: None,
            on_stderr: None,
        }
    }

    /// Attaches to a running process; sees its output from now on.
    pub async fn connect(&self, pid: u32) -> Result<CommandHandle, Error> {
        let request = ConnectRequest { process: ProcessSelector::Pid(pid) };
        let method = format!("{SERVICE}Connect");
        let stream = self.target.stream(&method, &request, None, None).await?;
        CommandHandle::opened(self.target.clone(), stream).await
    }

    /// The processes that were started through this API and still run.
    pub async fn list(&self) -> Result<Vec<RunningCommand>, Error> {
        let answer: ListResponse =
            self.target.unary(&format!("{SERVICE}List"), &ListRequest {}, None).await?;
        Ok(answer.processes.into_iter().map(RunningCommand::from).collect())
    }

    /// Ends a process at once. `false` if there is no such process.
    pub async fn kill(&self, pid: u32) -> Result<bool, Error> {
        kill(self.target, pid).await
    }

    /// Writes to a process that was started with an input pipe.
    pub async fn send_stdin(&self, pid: u32, data: impl Into<Bytes>) -> Result<(), Error> {
        send_stdin(self.target, pid, data.into()).await
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
    /// Its directory, if one was given.
    pub cwd: Option<String>,
    /// Its tag, if one was given.
    pub tag: Option<String>,
}

impl From<wire::process::ProcessInfo> for RunningCommand {
    fn from(info: wire::process::ProcessInfo) -> Self {
        let config = info.config.unwrap_or_default();
        Self { pid: info.pid, cmd: config.cmd, args: config.args, cwd: config.cwd, tag: info.tag }
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
    /// The output, or an error of kind `CommandExit` if the status is not 0.
    pub fn success(self) -> Result<Self, Error> {
        if self.exit_code == 0 {
            return Ok(self);
        }
        let words = self.error.as_deref().unwrap_or("it failed");
        let last = self.stderr.lines().last().unwrap_or_default();
        Err(Error::new(ErrorKind::CommandExit, format!("command: {words}: {last}")))
    }
}

/// A command to be run; awaiting it runs it to its end.
pub struct CommandBuilder<'s> {
    target: &'s Target,
    line: String,
    envs: BTreeMap<String, String>,
    cwd: Option<String>,
    user: Option<String>,
    stdin: bool,
    timeout: Option<Duration>,
    on_stdout: Option<Callback<'s>>,
    on_stderr: Option<Callback<'s>>,
}

impl fmt::Debug for CommandBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandBuilder").field("line", &self.line).finish_non_exhaustive()
    }
}

impl<'s> CommandBuilder<'s> {
    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.envs.insert(name.into(), value.into());
        self
    }

    /// Runs in this directory instead of the home directory.
    #[must_use]
    pub fn cwd(mut self, dir: impl Into<String>) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    /// Runs as this user.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Keeps an input pipe, for [`CommandHandle::send_stdin`].
    #[must_use]
    pub fn stdin(mut self) -> Self {
        self.stdin = true;
        self
    }

    /// Ends the command after this time (default 60 s); `None` for never.
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
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
    /// handle's [`CommandHandle::wait`] takes its own.
    pub async fn background(self) -> Result<CommandHandle, Error> {
        let request = StartRequest {
            process: Some(ProcessConfig {
                cmd: "/bin/bash".to_owned(),
                args: vec!["-l".to_owned(), "-c".to_owned(), self.line],
                envs: self.envs,
                cwd: self.cwd,
            }),
            stdin: Some(self.stdin),
            ..StartRequest::default()
        };
        let method = format!("{SERVICE}Start");
        let stream = self.target.stream(&method, &request, self.user.as_deref(), self.timeout).await?;
        CommandHandle::opened(self.target.clone(), stream).await
    }
}

impl<'s> IntoFuture for CommandBuilder<'s> {
    type Output = Result<CommandOutput, Error>;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Self::Output> + Send + 's>>;

    fn into_future(mut self) -> Self::IntoFuture {
        let (out, err) = (self.on_stdout.take(), self.on_stderr.take());
        Box::pin(async move {
            let handle = self.background().await?;
            handle.wait_with(out, err).await
        })
    }
}

/// A command that runs. Dropping the handle leaves it running.
#[derive(Debug)]
pub struct CommandHandle {
    target: Target,
    stream: MessageStream,
    pid: u32,
}

impl CommandHandle {
    async fn opened(target: Target, mut stream: MessageStream) -> Result<Self, Error> {
        match stream.next::<StreamResponse>().await? {
            Some(StreamResponse { event: ProcessEvent::Start(start) }) => {
                Ok(Self { target, stream, pid: start.pid })
            }
            other => Err(Error::new(ErrorKind::Sandbox, format!("expected a start event, got {other:?}"))),
        }
    }

    /// The process's id inside the sandbox.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the end and collects the output. A status other than 0 is not
    /// an error here; see [`CommandOutput::success`].
    pub async fn wait(self) -> Result<CommandOutput, Error> {
        self.wait_with(None, None).await
    }

    async fn wait_with(
        mut self,
        mut on_stdout: Option<Callback<'_>>,
        mut on_stderr: Option<Callback<'_>>,
    ) -> Result<CommandOutput, Error> {
        let (mut stdout, mut stderr) = (Text::default(), Text::default());
        let mut end = None;
        while let Some(StreamResponse { event }) = self.stream.next().await? {
            match event {
                ProcessEvent::Data(DataEvent::Stdout(data) | DataEvent::Pty(data)) => {
                    stdout.push(&data, on_stdout.as_mut());
                }
                ProcessEvent::Data(DataEvent::Stderr(data)) => stderr.push(&data, on_stderr.as_mut()),
                ProcessEvent::End(event) => end = Some(event),
                _ => {}
            }
        }
        let EndEvent { exit_code, error, .. } =
            end.ok_or_else(|| Error::new(ErrorKind::Sandbox, "command ended without an end event"))?;
        Ok(CommandOutput { stdout: stdout.finish(), stderr: stderr.finish(), exit_code, error })
    }

    /// Ends the process at once. `false` if it had ended.
    pub async fn kill(&self) -> Result<bool, Error> {
        kill(&self.target, self.pid).await
    }

    /// Writes to its input pipe.
    pub async fn send_stdin(&self, data: impl Into<Bytes>) -> Result<(), Error> {
        send_stdin(&self.target, self.pid, data.into()).await
    }

    /// Closes its input pipe.
    pub async fn close_stdin(&self) -> Result<(), Error> {
        let request = CloseStdinRequest { process: ProcessSelector::Pid(self.pid) };
        self.target.unary::<_, Empty>(&format!("{SERVICE}CloseStdin"), &request, None).await?;
        Ok(())
    }
}

async fn kill(target: &Target, pid: u32) -> Result<bool, Error> {
    let request = SendSignalRequest { process: ProcessSelector::Pid(pid), signal: Signal::Sigkill };
    match target.unary::<_, Empty>(&format!("{SERVICE}SendSignal"), &request, None).await {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

async fn send_stdin(target: &Target, pid: u32, data: Bytes) -> Result<(), Error> {
    let request = SendInputRequest { process: ProcessSelector::Pid(pid), input: ProcessInput::Stdin(data) };
    target.unary::<_, Empty>(&format!("{SERVICE}SendInput"), &request, None).await?;
    Ok(())
}

/// Output as text: a character cut between two pieces is put together again.
#[derive(Debug, Default)]
struct Text {
    whole: String,
    cut: Vec<u8>,
}

impl Text {
    fn push(&mut self, data: &[u8], callback: Option<&mut Callback<'_>>) {
        self.cut.extend_from_slice(data);
        let keep = incomplete_tail(&self.cut);
        let tail = self.cut.split_off(self.cut.len() - keep);
        let text = String::from_utf8_lossy(&self.cut).into_owned();
        self.cut = tail;
        if let (Some(callback), false) = (callback, text.is_empty()) {
            callback(&text);
        }
        self.whole.push_str(&text);
    }

    fn finish(mut self) -> String {
        self.whole.push_str(&String::from_utf8_lossy(&self.cut));
        self.whole
    }
}

/// Bytes at the end that begin a character which is not whole yet.
fn incomplete_tail(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(e) if e.error_len().is_none() => bytes.len() - e.valid_up_to(),
        // An invalid byte in front hides the end from the first check: look at the last three.
        Err(_) => {
            let start = bytes.len().saturating_sub(3);
            (start..bytes.len())
                .find(|&at| {
                    bytes[at] >= 0xC0
                        && std::str::from_utf8(&bytes[at..]).is_err_and(|e| e.error_len().is_none())
                })
                .map_or(0, |at| bytes.len() - at)
        }
        Ok(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_cut_between_pieces_are_whole_again() {
        let mut text = Text::default();
        let mut seen = Vec::new();
        for piece in [&b"a\xe2"[..], b"\x82", b"\xac\xff", b"\xffb\xc3", b"\xa4"] {
            let mut callback: Callback<'_> = Box::new(|t| seen.push(t.to_owned()));
            text.push(piece, Some(&mut callback));
        }
        assert_eq!(text.finish(), "a€\u{fffd}\u{fffd}bä");
        assert_eq!(seen, ["a", "€\u{fffd}", "\u{fffd}b", "ä"]);
    }

    #[test]
    fn a_failed_command_can_be_made_an_error() {
        let output =
            CommandOutput { exit_code: 3, error: Some("exit status 3".into()), ..Default::default() };
        assert_eq!(output.success().unwrap_err().kind(), ErrorKind::CommandExit);
    }
}
