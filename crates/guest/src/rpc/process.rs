//! `process.Process`: requests to what `crate::process` does, and back.

use std::time::Duration;

use rustix::process::Signal as KernelSignal;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use wire::connect::{Code, Error};
use wire::process::{
    CloseStdinRequest, ConnectRequest, Empty, ListRequest, ListResponse, ProcessEvent, ProcessSelector,
    PtySize, SendInputRequest, SendSignalRequest, Signal, StartEvent, StartRequest, StreamResponse,
    UpdateRequest,
};

use super::call::{Terms, server_stream, unary};
use super::sink::{Sink, gone};
use super::{Caller, input, no_such_method};
use crate::exec::LaunchError;
use crate::http::{Request, Response};
use crate::process::{Event, Found, InputError, Process, Spec, StartError};

/// Size of a terminal for which none was given.
const DEFAULT_SIZE: PtySize = PtySize { cols: 80, rows: 24 };

/// How long the answer to a kill waits for the end of the process.
const REAPING: Duration = Duration::from_secs(1);

/// Answers a call of this service.
pub(super) async fn answer(caller: Caller, method: &str, request: Request) -> Response {
    match method {
        "Start" => server_stream(caller, request, start).await,
        "Connect" => server_stream(caller, request, connect).await,
        "List" => unary(caller, request, list).await,
        "Update" => unary(caller, request, update).await,
        "SendInput" => unary(caller, request, send_input).await,
        "StreamInput" => input::stream_input(caller, request).await,
        "SendSignal" => unary(caller, request, send_signal).await,
        "CloseStdin" => unary(caller, request, close_stdin).await,
        _ => no_such_method(method),
    }
}

async fn start(
    caller: Caller,
    request: StartRequest,
    sink: &mut Sink<StreamResponse>,
    terms: Terms,
) -> Result<(), Error> {
    let spec = Spec {
        config: request.process.unwrap_or_default(),
        tag: request.tag,
        user: caller.user()?,
        pty: request.pty.map(|pty| pty.size.unwrap_or(DEFAULT_SIZE)),
        stdin: request.stdin.unwrap_or(true),
        deadline: terms.deadline,
    };
    let (process, events) = caller.daemon.processes.start(spec).await.map_err(|error| start_error(&error))?;
    let pid = crate::process::raw(process.pid);
    // The stream must not keep the process's descriptors: it may outlive the process.
    drop(process);
    tell(pid, events, sink, terms).await
}

async fn connect(
    caller: Caller,
    request: ConnectRequest,
    sink: &mut Sink<StreamResponse>,
    terms: Terms,
) -> Result<(), Error> {
    match caller.daemon.processes.find(&request.process) {
        None => Err(not_found(&request.process)),
        Some(Found::Live(process)) => {
            let (pid, events) = (crate::process::raw(process.pid), process.subscribe());
            drop(process);
            tell(pid, events, sink, terms).await
        }
        Some(Found::Ended { pid, end }) => {
            sink.send(&response(ProcessEvent::Start(StartEvent { pid }))).await?;
            sink.send(&response(ProcessEvent::End(end))).await
        }
    }
}

/// The start event, then everything until the end.
async fn tell(
    pid: u32,
    mut events: mpsc::Receiver<Event>,
    sink: &mut Sink<StreamResponse>,
    terms: Terms,
) -> Result<(), Error> {
    sink.send(&response(ProcessEvent::Start(StartEvent { pid }))).await?;
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = sink.closed() => return Err(gone()),
            () = sleep(terms.keepalive) => {
                sink.send(&response(ProcessEvent::Keepalive(Empty {}))).await?;
                continue;
            }
        };
        match event {
            Some(Event::Data(piece)) => sink.send(&response(ProcessEvent::Data(piece.data.clone()))).await?,
            Some(Event::End(end)) => return sink.send(&response(ProcessEvent::End(end))).await,
            None => return Err(Error::new(Code::ResourceExhausted, "output was not read for too long")),
        }
    }
}

fn response(event: ProcessEvent) -> StreamResponse {
    StreamResponse { event }
}

async fn list(caller: Caller, _: ListRequest) -> Result<ListResponse, Error> {
    Ok(ListResponse { processes: caller.daemon.processes.list() })
}

async fn update(caller: Caller, request: UpdateRequest) -> Result<Empty, Error> {
    let process = live(&caller, &request.process)?;
    if let Some(size) = request.pty.and_then(|pty| pty.size) {
        process.input.resize(size).map_err(|error| input_error(&error))?;
    }
    Ok(Empty {})
}

async fn send_input(caller: Caller, request: SendInputRequest) -> Result<Empty, Error> {
    live(&caller, &request.process)?
        .input
        .write(&request.input)
        .await
        .map_err(|error| input_error(&error))?;
    Ok(Empty {})
}

async fn send_signal(caller: Caller, request: SendSignalRequest) -> Result<Empty, Error> {
    let process = live(&caller, &request.process)?;
    let signal = match request.signal {
        Signal::Sigterm => KernelSignal::TERM,
        Signal::Sigkill => KernelSignal::KILL,
        Signal::Unspecified => {
            let message = format!("invalid signal: {}", request.signal.as_str());
            return Err(Error::new(Code::Unimplemented, message));
        }
    };
    process
        .signal(signal)
        .map_err(|errno| Error::new(Code::Internal, format!("error sending signal: {errno}")))?;
    if signal == KernelSignal::KILL {
        // Whoever killed it looks next whether it is gone. One that the kernel cannot
        // end now, because it waits for a device, is left to its time.
        let _ = timeout(REAPING, process.gone()).await;
    }
    Ok(Empty {})
}

async fn close_stdin(caller: Caller, request: CloseStdinRequest) -> Result<Empty, Error> {
    live(&caller, &request.process)?.input.close().await.map_err(|error| input_error(&error))?;
    Ok(Empty {})
}

/// The process of a selector.
pub(super) fn live(caller: &Caller, selector: &ProcessSelector) -> Result<std::rc::Rc<Process>, Error> {
    caller.daemon.processes.find_live(selector).ok_or_else(|| not_found(selector))
}

fn not_found(selector: &ProcessSelector) -> Error {
    match selector {
        ProcessSelector::Pid(pid) => Error::new(Code::NotFound, format!("process with pid {pid} not found")),
        ProcessSelector::Tag(tag) => Error::new(Code::NotFound, format!("process with tag {tag} not found")),
        ProcessSelector::Unset => Error::new(Code::Unimplemented, "process selector is not set"),
    }
}

/// What input's refusals are in Connect's words.
pub(super) fn input_error(error: &InputError) -> Error {
    let code = match error {
        InputError::CannotClose => Code::Unknown,
        InputError::Unset => Code::Unimplemented,
        InputError::HasTerminal | InputError::NoTerminal | InputError::Closed | InputError::Io(_) => {
            Code::Internal
        }
    };
    Error::new(code, error.to_string())
}

fn start_error(error: &StartError) -> Error {
    let code = match error {
        StartError::NoCommand
        | StartError::Path(_)
        | StartError::MissingCwd(_)
        | StartError::Launch(LaunchError::Refused(_)) => Code::InvalidArgument,
        StartError::TooMany(_) | StartError::Launch(LaunchError::Failed(_)) => Code::ResourceExhausted,
        StartError::Pipes(_) => Code::Internal,
        StartError::Launch(LaunchError::Helper(_)) => Code::Unavailable,
    };
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    let told =
        matches!(error, StartError::Launch(LaunchError::Helper(_))).then_some(cause).unwrap_or_default();
    Error::new(code, format!("{error}{told}"))
}
