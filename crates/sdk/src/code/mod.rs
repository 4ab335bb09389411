//! Running code in the interpreter: state is kept between calls of a context.

mod contexts;
mod lines;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use wire::control::INTERPRETER_PORT;
use wire::execute::{Display, Execute, Failure, Item, Output};

pub use self::contexts::{Context, Contexts};
use self::lines::Lines;
use crate::api::json;
use crate::http::{answer_error, read_all};
use crate::rpc::Target;
use crate::run::{Surroundings, surroundings};
use crate::{Error, ErrorKind};

/// One result of a cell: the same thing in every form that the kernel gave.
pub use wire::execute::Display as RunResult;
/// The cell raised.
pub use wire::execute::Failure as ExecutionError;

/// How long a cell may run when the caller names no time.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(5);

type On<'a, T> = Option<Box<dyn FnMut(&T) + Send + 'a>>;

/// Code to be run; awaiting it runs it. It is interrupted after 300 s unless told otherwise.
pub struct CodeBuilder<'s> {
    target: &'s Arc<Target>,
    request: Execute,
    around: Surroundings,
    on_output: On<'s, OutputMessage>,
    on_result: On<'s, Display>,
    on_error: On<'s, Failure>,
}

/// A piece of output as the kernel sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputMessage {
    /// The text.
    pub text: String,
    /// Whether it went to standard error.
    pub is_stderr: bool,
    /// When the kernel sent it, ISO 8601.
    pub timestamp: String,
}

/// What a cell left.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Execution {
    /// Results and displays in their order.
    pub results: Vec<Display>,
    /// Pieces of standard output.
    pub stdout: Vec<String>,
    /// Pieces of standard error.
    pub stderr: Vec<String>,
    /// What it raised.
    pub error: Option<Failure>,
    /// Number of the cell in its context.
    pub execution_count: Option<u64>,
}

impl Execution {
    /// Text of the main result.
    pub fn text(&self) -> Option<&str> {
        self.results.iter().find(|result| result.is_main_result).and_then(|result| result.text.as_deref())
    }
}

surroundings!(CodeBuilder<'s>);

impl fmt::Debug for CodeBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeBuilder").field("request", &self.request).finish_non_exhaustive()
    }
}

impl<'s> CodeBuilder<'s> {
    pub(crate) fn new(target: &'s Arc<Target>, code: String) -> Self {
        let request = Execute { code, ..Execute::default() };
        let around = Surroundings::lasting(Some(DEFAULT_TIMEOUT));
        Self { target, request, around, on_output: None, on_result: None, on_error: None }
    }

    /// Runs it in this language's default context.
    #[must_use]
    pub fn language(mut self, language: impl Into<String>) -> Self {
        self.request.language = Some(language.into());
        self
    }

    /// Runs it in a context made before, instead of a language's own.
    #[must_use]
    pub fn context(mut self, context_id: impl Into<String>) -> Self {
        self.request.context_id = Some(context_id.into());
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
    pub fn on_result(mut self, callback: impl FnMut(&Display) + Send + 's) -> Self {
        self.on_result = Some(Box::new(callback));
        self
    }

    /// Sees what it raised.
    #[must_use]
    pub fn on_error(mut self, callback: impl FnMut(&Failure) + Send + 's) -> Self {
        self.on_error = Some(Box::new(callback));
        self
    }

    async fn run(mut self) -> Result<Execution, Error> {
        if self.request.language.is_some() && self.request.context_id.is_some() {
            return Err(Error::invalid("name a language or a context, not both: a context has its language"));
        }
        let envs = std::mem::take(&mut self.around.envs);
        self.request.env_vars = (!envs.is_empty()).then_some(envs);
        let mut headers = self.target.headers(INTERPRETER_PORT);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let url = format!("{}/execute", self.target.url(INTERPRETER_PORT));
        let response = self.target.send(Method::POST, &url, headers, json(&self.request)?).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(answer_error(status.as_u16(), &read_all(response.into_body()).await?));
        }
        let mut lines = Lines::new(Arc::clone(self.target), response.into_body());
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
            Item::Stdout(output) => self.output(output, false, &mut execution.stdout),
            Item::Stderr(output) => self.output(output, true, &mut execution.stderr),
            Item::Result(result) => {
                see(&mut self.on_result, &*result);
                execution.results.push(*result);
            }
            Item::Error(error) => {
                see(&mut self.on_error, &error);
                execution.error = Some(error);
            }
            Item::EndOfExecution => return true,
            Item::Keepalive | Item::Unknown => {}
        }
        false
    }

    fn output(&mut self, output: Output, is_stderr: bool, log: &mut Vec<String>) {
        let message = OutputMessage { text: output.text, is_stderr, timestamp: output.timestamp };
        see(&mut self.on_output, &message);
        log.push(message.text);
    }
}

fn see<T>(callback: &mut On<'_, T>, value: &T) {
    if let Some(callback) = callback {
        callback(value);
    }
}

impl<'s> IntoFuture for CodeBuilder<'s> {
    type Output = Result<Execution, Error>;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Self::Output> + Send + 's>>;

    /// Dropping the future interrupts the cell.
    fn into_future(self) -> Self::IntoFuture {
        let timeout = self.around.timeout;
        Box::pin(async move {
            let Some(limit) = timeout else { return self.run().await };
            let late = |_| {
                let text = format!("the cell ran longer than {limit:?} (raise the timeout of the call)");
                Error::new(ErrorKind::Timeout, text)
            };
            tokio::time::timeout(limit, self.run()).await.map_err(late)?
        })
    }
}
