//! The session API: one sandbox per user session, for web applications.
//!
//! Field for field as its document has it. Unlike in the rest of the API, an
//! absent value of an answer is `null`.

use serde::{Deserialize, Serialize};

use crate::rest::Rfc3339;

/// What a session's sandbox is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxType {
    /// The built-in template with Python.
    #[default]
    CodeInterpreter,
    /// The template that the operator configured.
    Custom,
}

/// Where a session's sandbox stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxStatus {
    /// It is being made.
    Starting,
    /// It takes calls.
    Running,
    /// It is on its way out.
    Stopped,
    /// It is there and cannot be used.
    Error,
}

/// `POST …/start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StartRequest {
    /// `code_interpreter` when absent.
    pub sandbox_type: Option<SandboxType>,
}

/// `POST …/execute`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecuteRequest {
    /// Python.
    pub code: String,
}

/// `POST …/install`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallRequest {
    /// What `pip install` takes, without options.
    pub packages: Vec<String>,
}

/// Answer of `start`, and of `status` when there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxInfo {
    /// The sandbox's id; another after each start.
    pub sandbox_id: String,
    /// The session's, as the application chose it.
    pub session_id: String,
    /// What it was made from.
    pub sandbox_type: SandboxType,
    /// Where it stands.
    pub status: SandboxStatus,
    /// When it was asked for; see [`moment`].
    pub created_at: String,
    /// When the session last called; see [`moment`].
    pub last_activity: String,
}

/// Answer of `execute` and `install`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionResult {
    /// Whether nothing was raised.
    pub success: bool,
    /// Standard output.
    pub output: String,
    /// The exception, else standard error, else `null`.
    pub error: Option<String>,
    /// How long it took.
    pub execution_time_ms: u64,
    /// URLs of pictures that the code showed and files that it wrote.
    pub artifacts: Vec<String>,
}

/// Answer of `upload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uploaded {
    /// Where the file is.
    pub path: String,
}

/// One entry in the answer of `files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    /// Its full path.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// Whether it is a directory.
    pub is_directory: bool,
}

/// Body of every answer above 399.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// What was wrong, naming the field or path.
    pub detail: String,
}

/// A moment as this API writes it: microseconds and a numeric offset.
pub fn moment(unix_micros: i64) -> String {
    let text = Rfc3339::from_unix_micros(unix_micros).to_string();
    format!("{}+00:00", text.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_values_are_null_and_moments_have_an_offset() {
        let result = ExecutionResult {
            success: true,
            output: String::new(),
            error: None,
            execution_time_ms: 3,
            artifacts: Vec::new(),
        };
        let text = r#"{"success":true,"output":"","error":null,"execution_time_ms":3,"artifacts":[]}"#;
        assert_eq!(serde_json::to_string(&result).unwrap(), text);
        assert_eq!(moment(1_795_255_200_000_001), "2026-11-21T10:00:00.000001+00:00");
        let start: StartRequest = serde_json::from_str(r#"{"sandbox_type":"custom"}"#).unwrap();
        assert_eq!(start.sandbox_type, Some(SandboxType::Custom));
    }
}
