//! Running code in the interpreter: state is kept between calls of a context.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wire::control::INTERPRETER_PORT;

use crate::http::{MAX_ANSWER, answer_error, read_all};
use crate::rpc::Target;
use crate::{Error, ErrorKind};

/// How long a cell may run when the caller names no time.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(5);

type OnOutput<'a> = Box<dyn FnMut(&OutputMessage) + Send + 'a>;
type OnResult<'a> = Box<dyn FnMut(&RunResult) + Send + 'a>;

/// Code to be run; awaiting it runs it.
pub struct CodeBuilder<'s> {
    target: &'s Target,
    request: ExecuteRequest,
    timeout: Option<Duration>,
    on_output: Option<OnOutput<'s>>,
    on_result: Option<OnResult<'s>>,
}

#[derive(Debug, Serialize)]
struct ExecuteRequest {
    code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env_vars: BTreeMap<String, String>,
}

/// A piece of output as the kernel sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputMessage {
    /// The text.
    pub text: String,
    /// Whether it went to standard error.
    pub is_stderr: bool,
}

/// One result of a cell: the same thing in every form that the kernel gave.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct RunResult {
    /// As text.
    pub text: Option<String>,
    /// As HTML.
    pub html: Option<String>,
    /// As Markdown.
    pub markdown: Option<String>,
    /// As SVG.
    pub svg: Option<String>,
    /// As PNG, in base64.
    pub png: Option<String>,
    /// As JPEG, in base64.
    pub jpeg: Option<String>,
    /// As PDF, in base64.
    pub pdf: Option<String>,
    /// As LaTeX.
    pub latex: Option<String>,
    /// As JSON.
    pub json: Option<Value>,
    /// As JavaScript.
    pub javascript: Option<String>,
    /// A data frame: columns by name.
    pub data: Option<Value>,
    /// A chart's data.
    pub chart: Option<Value>,
    /// Every other form, by MIME type.
    pub extra: BTreeMap<String, Value>,
    /// Whether it is the value of the cell's last expression.
    pub is_main_result: bool,
}

/// The cell raised.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ExecutionError {
    /// The exception's class.
    pub name: String,
    /// Its text.
    pub value: String,
    /// Where it happened.
    pub traceback: String,
}

/// What a cell left.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Execution {
    /// Results and displays in their order.
    pub results: Vec<RunResult>,
    /// Pieces of standard output.
    pub stdout: Vec<String>,
    /// Pieces of standard error.
    pub stderr: Vec<String>,
    /// What it raised.
    pub error: Option<ExecutionError>,
    /// Number of the cell in its context.
    pub execution_count: Option<u64>,
}

impl Execution {
    /// Text of the main result.
    pub fn text(&self) -> Option<&str> {
        self.results.iter().find(|result| result.is_main_result).and_then(|result| result.text.as_deref())
    }
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Item {
    NumberOfExecutions {
        execution_count: u64,
    },
    Stdout {
        text: String,
    },
    Stderr {
        text: String,
    },
    Result(Box<RunResult>),
    Error(ExecutionError),
    EndOfExecution,
    #[serde(other)]
    Unknown,
}

impl fmt::Debug for CodeBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeBuilder").field("request", &self.request).finish_non_exhaustive()
    }
}

impl<'s> CodeBuilder<'s> {
    pub(crate) fn new(target: &'s Target, code: String) -> Self {
        let request = ExecuteRequest { code, context_id: None, language: None, env_vars: BTreeMap::new() };
        Self { target, request, timeout: Some(DEFAULT_TIMEOUT), on_output: None, on_result: None }
    }

    /// Runs it in this language's default context.
    #[must_use]
    pub fn language(mut self, language: impl Into<String>) -> Self {
        self.request.language = Some(language.into());
        self
    }

    /// Runs it in a context made before.
    #[must_use]
    pub fn context(mut self, context_id: impl Into<String>) -> Self {
        self.request.context_id = Some(context_id.into());
        self
    }

    /// Sets an environment variable for this cell.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.request.env_vars.insert(name.into(), value.into());
        self
    }

    /// Interrupts the cell after this time (default 300 s); `None` for never.
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// Sees output as it comes.
    #[must_use]
    pub fn on_output(mut self, callback: impl FnMut(&OutputMessage) + Send + 's) -> Self {
        self.on_output = Some(Box::new(callback));
        self
    }

    /// Sees results as they come.
    #[must_use]
    pub fn on_result(mut self, callback: impl FnMut(&RunResult) + Send + 's) -> Self {
        self.on_result = Some(Box::new(callback));
        self
    }

    async fn run(mut self) -> Result<Execution, Error> {
        let body = serde_json::to_vec(&self.request)
            .map_err(|e| Error::caused(ErrorKind::InvalidArgument, "the request is no JSON", e))?;
        let mut headers = self.target.headers(INTERPRETER_PORT);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let url = format!("{}/execute", self.target.url(INTERPRETER_PORT));
        let response = self.target.http.send(Method::POST, &url, headers, Bytes::from(body)).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(answer_error(status.as_u16(), &read_all(response.into_body()).await?));
        }
        let mut lines = Lines { body: response.into_body(), buffer: BytesMut::new() };
        let mut execution = Execution::default();
        while let Some(line) = lines.next().await? {
            let item = serde_json::from_slice(&line)
                .map_err(|e| Error::caused(ErrorKind::Sandbox, "the interpreter sent a malformed line", e))?;
            if self.take(item, &mut execution) {
                return Ok(execution);
            }
        }
        Err(Error::new(ErrorKind::Sandbox, "the interpreter ended the answer before the cell's end"))
    }

    /// Puts one item where it belongs; `true` if it was the last.
    fn take(&mut self, item: Item, execution: &mut Execution) -> bool {
        match item {
            Item::NumberOfExecutions { execution_count } => execution.execution_count = Some(execution_count),
            Item::Stdout { text } => self.output(text, false, &mut execution.stdout),
            Item::Stderr { text } => self.output(text, true, &mut execution.stderr),
            Item::Result(result) => {
                if let Some(callback) = &mut self.on_result {
                    callback(&result);
                }
                execution.results.push(*result);
            }
            Item::Error(error) => execution.error = Some(error),
            Item::EndOfExecution => return true,
            Item::Unknown => {}
        }
        false
    }

    fn output(&mut self, text: String, is_stderr: bool, log: &mut Vec<String>) {
        let message = OutputMessage { text, is_stderr };
        if let Some(callback) = &mut self.on_output {
            callback(&message);
        }
        log.push(message.text);
    }
}

impl<'s> IntoFuture for CodeBuilder<'s> {
    type Output = Result<Execution, Error>;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Self::Output> + Send + 's>>;

    /// Dropping the future interrupts the cell.
    fn into_future(self) -> Self::IntoFuture {
        let timeout = self.timeout;
        Box::pin(async move {
            let Some(limit) = timeout else { return self.run().await };
            let late = |_| Error::new(ErrorKind::Timeout, format!("the cell ran longer than {limit:?}"));
            tokio::time::timeout(limit, self.run()).await.map_err(late)?
        })
    }
}

/// Lines of a body; one line is at most [`MAX_ANSWER`] bytes.
struct Lines {
    body: Incoming,
    buffer: BytesMut,
}

impl Lines {
    async fn next(&mut self) -> Result<Option<BytesMut>, Error> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|b| *b == b'\n') {
                return Ok(Some(self.buffer.split_to(searched + at + 1)));
            }
            searched = self.buffer.len();
            if searched > MAX_ANSWER {
                return Err(Error::new(
                    ErrorKind::Sandbox,
                    "the interpreter sent a line of more than 64 MiB",
                ));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(|e| {
                let text =
                    "the connection broke: the sandbox was killed while the code ran, or the server stopped";
                Error::caused(ErrorKind::SandboxNotRunning, text, e)
            })?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}
