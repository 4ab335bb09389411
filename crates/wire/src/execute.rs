//! Client ↔ code interpreter (port 49999): request bodies, and the lines of an
//! execution's stream.
//!
//! The stream is newline-delimited JSON, each line one [`Item`]; everything
//! outside ASCII is escaped, because one of the official clients decodes each
//! network chunk by itself. Unknown kinds of lines are to be skipped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `POST /execute`. A context or a language, never both; neither means the
/// default Python context.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execute {
    /// The source to run.
    pub code: String,
    /// The context to run it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_id: Option<String>,
    /// The language whose default context runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Environment variables for this execution alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_vars: Option<BTreeMap<String, String>>,
}

/// `POST /contexts`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateContext {
    /// Python when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Working directory; the user's home when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
}

/// A context, as `POST` and `GET /contexts` answer it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// Its id.
    pub id: String,
    /// Its language, normalised (`python`).
    pub language: String,
    /// Its working directory.
    pub cwd: String,
}

/// One line of an execution's stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Item {
    /// The code was accepted as the context's n-th.
    NumberOfExecutions {
        /// Counts from 1.
        execution_count: u64,
    },
    /// Text written to standard output.
    Stdout(Output),
    /// Text written to standard error.
    Stderr(Output),
    /// A value that was displayed or is the code's last expression.
    Result(Box<Display>),
    /// The code failed. [`Item::EndOfExecution`] still follows.
    Error(Failure),
    /// Nothing happened for a while; the connection is alive.
    Keepalive,
    /// The last line, always.
    EndOfExecution,
    /// A kind that this version does not know.
    #[serde(other)]
    Unknown,
}

/// A piece of a stream, as the kernel sent it; not split at line ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// What was written.
    pub text: String,
    /// When the kernel sent it, ISO 8601.
    pub timestamp: String,
}

/// Why code failed. All members are always there, possibly empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The exception's class.
    pub name: String,
    /// Its message.
    pub value: String,
    /// The traceback, lines included, without colours.
    pub traceback: String,
}

/// A displayed value in every form the kernel gave.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Display {
    /// `text/plain`, one pair of enclosing quotes removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// `text/html`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// `text/markdown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub markdown: Option<String>,
    /// `image/svg+xml`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub svg: Option<String>,
    /// `image/png`, base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub png: Option<String>,
    /// `image/jpeg`, base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jpeg: Option<String>,
    /// `application/pdf`, base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pdf: Option<String>,
    /// `text/latex`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latex: Option<String>,
    /// `application/json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// `application/javascript`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub javascript: Option<String>,
    /// `e2b/data`: a table's columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// `e2b/chart`: what a figure plots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chart: Option<Value>,
    /// Every other form, by its MIME type.
    pub extra: BTreeMap<String, Value>,
    /// Whether this is the value of the last expression.
    pub is_main_result: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_reference_are_read() {
        let lines = [
            r#"{"type": "number_of_executions", "execution_count": 1}"#,
            r#"{"type": "stdout", "text": "hi\n", "timestamp": "2026-08-01T10:00:00.000000Z"}"#,
            r#"{"type": "result", "text": "1", "extra": {}, "is_main_result": true}"#,
            r#"{"type": "error", "name": "E", "value": "v", "traceback": "t"}"#,
            r#"{"type": "keepalive"}"#,
            r#"{"type": "end_of_execution"}"#,
            r#"{"type": "from_the_future", "x": 1}"#,
        ];
        let items: Vec<Item> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(items[0], Item::NumberOfExecutions { execution_count: 1 });
        let Item::Result(display) = &items[2] else { panic!("not a result: {:?}", items[2]) };
        assert_eq!(display.text.as_deref(), Some("1"));
        assert!(display.is_main_result);
        assert_eq!(items[4..], [Item::Keepalive, Item::EndOfExecution, Item::Unknown]);
    }

    #[test]
    fn the_kind_comes_first_on_a_line() {
        let item = Item::Error(Failure { name: "E".into(), ..Failure::default() });
        assert_eq!(
            serde_json::to_string(&item).unwrap(),
            r#"{"type":"error","name":"E","value":"","traceback":""}"#
        );
        assert_eq!(serde_json::to_string(&Item::EndOfExecution).unwrap(), r#"{"type":"end_of_execution"}"#);
    }
}
