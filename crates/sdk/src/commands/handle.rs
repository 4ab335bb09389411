//! A command that runs: its events, its end, its input.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use wire::process::{
    CloseStdinRequest, DataEvent, Empty, EndEvent, InputData, InputTarget, ProcessEvent, ProcessInput,
    ProcessSelector, SERVICE, SendInputRequest, SendSignalRequest, Signal, StreamInputRequest,
    StreamResponse,
};

use super::text::Text;
use super::{Callback, CommandOutput};
use crate::rpc::{MessageStream, Target};
use crate::{Error, ErrorKind};

/// Something that a running command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandEvent {
    /// It wrote to standard output. Characters may be cut at the ends of a piece.
    Stdout(Bytes),
    /// It wrote to standard error.
    Stderr(Bytes),
    /// Its terminal shows something.
    Pty(Bytes),
    /// It ended.
    End {
        /// Its exit status; −1 if a signal ended it.
        exit_code: i32,
        /// In words, when it did not succeed.
        error: Option<String>,
    },
}

/// A command that runs. Dropping the handle leaves it running; connect to it
/// again by its pid.
#[derive(Debug)]
pub struct CommandHandle {
    target: Arc<Target>,
    stream: MessageStream,
    pid: u32,
    retain: bool,
    /// The end was seen; the stream's own end is still to be read.
    ended: bool,
}

impl CommandHandle {
    pub(crate) async fn opened(target: Arc<Target>, mut stream: MessageStream) -> Result<Self, Error> {
        match stream.next::<StreamResponse>().await? {
            Some(StreamResponse { event: ProcessEvent::Start(start) }) => {
                Ok(Self { target, stream, pid: start.pid, retain: true, ended: false })
            }
            other => Err(Error::new(ErrorKind::Sandbox, format!("expected a start event, got {other:?}"))),
        }
    }

    pub(crate) fn retaining(self, retain: bool) -> Self {
        Self { retain, ..self }
    }

    /// The process's id inside the sandbox.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The next event; `None` after the last. Cancel-safe: dropping the future
    /// loses nothing.
    pub async fn next(&mut self) -> Result<Option<CommandEvent>, Error> {
        loop {
            let Some(StreamResponse { event }) = self.stream.next().await? else {
                if self.ended {
                    return Ok(None);
                }
                return Err(Error::new(ErrorKind::Sandbox, "command ended without an end event"));
            };
            match event {
                ProcessEvent::Data(DataEvent::Stdout(data)) => return Ok(Some(CommandEvent::Stdout(data))),
                ProcessEvent::Data(DataEvent::Stderr(data)) => return Ok(Some(CommandEvent::Stderr(data))),
                ProcessEvent::Data(DataEvent::Pty(data)) => return Ok(Some(CommandEvent::Pty(data))),
                ProcessEvent::End(EndEvent { exit_code, error, .. }) => {
                    self.ended = true;
                    return Ok(Some(CommandEvent::End { exit_code, error }));
                }
                _ => {}
            }
        }
    }

    /// The events as a stream; it ends after the command's end or an error.
    pub fn into_stream(self) -> impl Stream<Item = Result<CommandEvent, Error>> + Send {
        futures_util::stream::try_unfold(self, |mut handle| async move {
            Ok(handle.next().await?.map(|event| (event, handle)))
        })
    }

    /// Waits for the end and collects the output. A status other than 0 is not
    /// an error here; see [`CommandOutput::success`].
    pub async fn wait(self) -> Result<CommandOutput, Error> {
        self.wait_with(|_| {}, |_| {}).await
    }

    /// [`CommandHandle::wait`], with a look at the output as it comes.
    pub async fn wait_with(
        self,
        on_stdout: impl FnMut(&str) + Send,
        on_stderr: impl FnMut(&str) + Send,
    ) -> Result<CommandOutput, Error> {
        self.drain(Some(Box::new(on_stdout)), Some(Box::new(on_stderr))).await
    }

    pub(crate) async fn drain(
        mut self,
        mut on_stdout: Option<Callback<'_>>,
        mut on_stderr: Option<Callback<'_>>,
    ) -> Result<CommandOutput, Error> {
        let (mut stdout, mut stderr) = (Text::default(), Text::default());
        let mut output = CommandOutput::default();
        while let Some(event) = self.next().await? {
            match event {
                CommandEvent::Stdout(data) | CommandEvent::Pty(data) => {
                    keep(&stdout.push(&data), on_stdout.as_mut(), self.retain, &mut output.stdout);
                }
                CommandEvent::Stderr(data) => {
                    keep(&stderr.push(&data), on_stderr.as_mut(), self.retain, &mut output.stderr);
                }
                CommandEvent::End { exit_code, error } => {
                    (output.exit_code, output.error) = (exit_code, error);
                }
            }
        }
        keep(&stdout.finish(), on_stdout.as_mut(), self.retain, &mut output.stdout);
        keep(&stderr.finish(), on_stderr.as_mut(), self.retain, &mut output.stderr);
        Ok(output)
    }

    /// Ends the process at once. `false` if it had ended.
    pub async fn kill(&self) -> Result<bool, Error> {
        signal(&self.target, self.pid, Signal::Sigkill).await
    }

    /// Asks the process to end (`SIGTERM`). `false` if it had ended.
    pub async fn terminate(&self) -> Result<bool, Error> {
        signal(&self.target, self.pid, Signal::Sigterm).await
    }

    /// Writes to its input pipe.
    pub async fn send_stdin(&self, data: impl Into<Bytes>) -> Result<(), Error> {
        send_input(&self.target, self.pid, ProcessInput::Stdin(data.into())).await
    }

    /// Closes its input pipe.
    pub async fn close_stdin(&self) -> Result<(), Error> {
        close_stdin(&self.target, self.pid).await
    }

    /// Lets go of its output; it runs on.
    pub fn disconnect(self) {}
}

fn keep(text: &str, callback: Option<&mut Callback<'_>>, retain: bool, whole: &mut String) {
    if text.is_empty() {
        return;
    }
    if let Some(callback) = callback {
        callback(text);
    }
    if retain {
        whole.push_str(text);
    }
}

pub(crate) async fn signal(target: &Target, pid: u32, signal: Signal) -> Result<bool, Error> {
    let request = SendSignalRequest { process: ProcessSelector::Pid(pid), signal };
    match target.unary::<_, Empty>(&format!("{SERVICE}SendSignal"), &request, None).await {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

pub(crate) async fn send_input(target: &Target, pid: u32, input: ProcessInput) -> Result<(), Error> {
    let request = SendInputRequest { process: ProcessSelector::Pid(pid), input };
    target.unary::<_, Empty>(&format!("{SERVICE}SendInput"), &request, None).await.map(drop)
}

pub(crate) async fn close_stdin(target: &Target, pid: u32) -> Result<(), Error> {
    let request = CloseStdinRequest { process: ProcessSelector::Pid(pid) };
    target.unary::<_, Empty>(&format!("{SERVICE}CloseStdin"), &request, None).await.map(drop)
}

/// Sends everything that a stream gives to a process, in one request.
pub(crate) async fn stream_input(
    target: &Arc<Target>,
    pid: u32,
    data: impl Stream<Item = Bytes> + Send + 'static,
    input: fn(Bytes) -> ProcessInput,
) -> Result<(), Error> {
    use futures_util::StreamExt as _;
    let start = StreamInputRequest::Start(InputTarget { process: ProcessSelector::Pid(pid) });
    let rest = data.map(move |data| StreamInputRequest::Data(InputData { input: input(data) }));
    let messages = futures_util::stream::iter([start]).chain(rest);
    target.upload(&format!("{SERVICE}StreamInput"), messages).await
}
