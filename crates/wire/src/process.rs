//! Messages of `process.Process`, in the daemon on port 49983.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::connect::json::proto_enum;
use crate::connect::{messages, oneof};

/// Path of the service, before the method's name.
pub const SERVICE: &str = "/process.Process/";

messages! {
    Empty {}
    Pty { 1: size }
    PtySize { 1: cols, 2: rows }
    ProcessConfig { 1: cmd, 2: args, 3: envs, 4: cwd }
    ListRequest {}
    ProcessInfo { 1: config, 2: pid, 3: tag }
    ListResponse { 1: processes }
    StartRequest { 1: process, 2: pty, 3: tag, 4: stdin }
    StreamResponse { 1: event }
    StartEvent { 1: pid }
    EndEvent { 1: exit_code, 2: exited, 3: status, 4: error }
    ConnectRequest { 1: process }
    UpdateRequest { 1: process, 2: pty }
    SendInputRequest { 1: process, 2: input }
    InputTarget { 1: process }
    InputData { 2: input }
    SendSignalRequest { 1: process, 2: signal }
    CloseStdinRequest { 1: process }
}

/// A message without fields; the answer of the methods that only act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Empty {}

/// A terminal to run the process in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Pty {
    /// Its size; absent asks for the daemon's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<PtySize>,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PtySize {
    /// Columns.
    #[serde(with = "crate::connect::json::number")]
    pub cols: u32,
    /// Rows.
    #[serde(with = "crate::connect::json::number")]
    pub rows: u32,
}

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessConfig {
    /// The program, a path or a name to be found in `PATH`.
    #[serde(with = "crate::connect::json::plain", skip_serializing_if = "String::is_empty")]
    pub cmd: String,
    /// Its arguments, without the program's name.
    #[serde(with = "crate::connect::json::plain", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment variables beyond the sandbox's own.
    #[serde(with = "crate::connect::json::plain", skip_serializing_if = "BTreeMap::is_empty")]
    pub envs: BTreeMap<String, String>,
    /// Its directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
}

/// `List` asks for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ListRequest {}

/// A process that was started through this service and still runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessInfo {
    /// As it was given to `Start`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<ProcessConfig>,
    /// Its id inside the sandbox.
    #[serde(with = "crate::connect::json::number")]
    pub pid: u32,
    /// As it was given to `Start`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// Answer of `List`, in no order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ListResponse {
    /// The processes.
    #[serde(with = "crate::connect::json::plain", skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<ProcessInfo>,
}

/// `Start`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StartRequest {
    /// What to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessConfig>,
    /// Run it in a terminal of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pty: Option<Pty>,
    /// A name to select it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Whether to keep an input pipe; absent means true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<bool>,
}

/// One message of the streams of `Start` and `Connect`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamResponse {
    /// What happened.
    pub event: ProcessEvent,
}

oneof! {
    /// Something that happened to a process.
    pub enum ProcessEvent {
        /// Always the first.
        1 "start" => Start(StartEvent) with "crate::connect::json::plain",
        /// Output.
        2 "data" => Data(DataEvent) with "crate::connect::json::plain",
        /// Always the last.
        3 "end" => End(EndEvent) with "crate::connect::json::plain",
        /// Nothing happened for a while.
        4 "keepalive" => Keepalive(Empty) with "crate::connect::json::plain",
    }
}

/// The process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StartEvent {
    /// Its id inside the sandbox.
    #[serde(with = "crate::connect::json::number")]
    pub pid: u32,
}

oneof! {
    /// A piece of output, never empty. Characters may be cut at its ends.
    pub enum DataEvent {
        /// From standard output.
        1 "stdout" => Stdout(Bytes) with "crate::connect::json::blob",
        /// From standard error.
        2 "stderr" => Stderr(Bytes) with "crate::connect::json::blob",
        /// From the terminal.
        3 "pty" => Pty(Bytes) with "crate::connect::json::blob",
    }
}

impl DataEvent {
    /// The bytes, whichever output they are of.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Stdout(bytes) | Self::Stderr(bytes) | Self::Pty(bytes) => bytes,
            Self::Unset => &[],
        }
    }
}

/// The process ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndEvent {
    /// Its exit status; −1 if a signal ended it.
    #[serde(with = "crate::connect::json::number", alias = "exit_code", skip_serializing_if = "is_zero")]
    pub exit_code: i32,
    /// Whether it ended by itself.
    #[serde(with = "crate::connect::json::plain", skip_serializing_if = "is_false")]
    pub exited: bool,
    /// In words: `exit status 1`, `signal: killed`.
    #[serde(with = "crate::connect::json::plain", skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// The same words if it did not succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// `Connect`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectRequest {
    /// Which process.
    pub process: ProcessSelector,
}

oneof! {
    /// Names a process.
    pub enum ProcessSelector {
        /// By its id.
        1 "pid" => Pid(u32) with "crate::connect::json::number",
        /// By the tag given at its start.
        2 "tag" => Tag(String) with "crate::connect::json::plain",
    }
}

/// `Update`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateRequest {
    /// Which process.
    pub process: ProcessSelector,
    /// The terminal's new size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pty: Option<Pty>,
}

oneof! {
    /// Bytes for a process.
    pub enum ProcessInput {
        /// For its input pipe.
        1 "stdin" => Stdin(Bytes) with "crate::connect::json::blob",
        /// For its terminal.
        2 "pty" => Pty(Bytes) with "crate::connect::json::blob",
    }
}

/// `SendInput`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SendInputRequest {
    /// Which process.
    pub process: ProcessSelector,
    /// What to write.
    pub input: ProcessInput,
}

oneof! {
    /// One message of the request stream of `StreamInput`.
    pub enum StreamInputRequest {
        /// Must be first; a later one switches the target.
        1 "start" => Start(InputTarget) with "crate::connect::json::plain",
        /// What to write.
        2 "data" => Data(InputData) with "crate::connect::json::plain",
        /// Ignored.
        3 "keepalive" => Keepalive(Empty) with "crate::connect::json::plain",
    }
}

/// Which process the data of a `StreamInput` is for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InputTarget {
    /// The process.
    pub process: ProcessSelector,
}

/// Data of a `StreamInput`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InputData {
    /// What to write.
    pub input: ProcessInput,
}

proto_enum! {
    /// Signals that can be sent.
    pub enum Signal {
        /// None was named.
        #[default]
        Unspecified = 0, "SIGNAL_UNSPECIFIED";
        /// Asks the process to end.
        Sigterm = 15, "SIGNAL_SIGTERM";
        /// Ends the process.
        Sigkill = 9, "SIGNAL_SIGKILL";
    }
}

/// `SendSignal`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SendSignalRequest {
    /// Which process.
    pub process: ProcessSelector,
    /// The signal.
    #[serde(skip_serializing_if = "Signal::is_unspecified")]
    pub signal: Signal,
}

/// `CloseStdin`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CloseStdinRequest {
    /// Which process.
    pub process: ProcessSelector,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's predicate takes a reference")]
fn is_zero(value: &i32) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's predicate takes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::{Codec, Message};

    fn read<T: Message>(json: &str) -> T {
        T::decode(Codec::Json, json.as_bytes()).unwrap()
    }

    fn written<T: Message>(message: &T) -> String {
        String::from_utf8(message.encode(Codec::Json)).unwrap()
    }

    #[test]
    fn defaults_are_left_out_of_events() {
        let end = EndEvent { exited: true, status: "exit status 0".into(), ..EndEvent::default() };
        assert_eq!(
            written(&StreamResponse { event: ProcessEvent::End(end) }),
            r#"{"event":{"end":{"exited":true,"status":"exit status 0"}}}"#
        );
        assert_eq!(
            written(&StreamResponse { event: ProcessEvent::Keepalive(Empty {}) }),
            r#"{"event":{"keepalive":{}}}"#
        );
        let data = DataEvent::Stdout(Bytes::from_static(b"hi\n"));
        assert_eq!(
            written(&StreamResponse { event: ProcessEvent::Data(data) }),
            r#"{"event":{"data":{"stdout":"aGkK"}}}"#
        );
    }

    #[test]
    fn an_empty_member_still_selects() {
        let request: SendInputRequest = read(r#"{"process":{"pid":"7"},"input":{"stdin":""},"new":[1]}"#);
        assert_eq!(request.process, ProcessSelector::Pid(7));
        assert_eq!(request.input, ProcessInput::Stdin(Bytes::new()));
        let request: SendInputRequest = read(r#"{"process":{"pid":null,"tag":"a"},"input":null}"#);
        assert_eq!(request.process, ProcessSelector::Tag("a".into()));
        assert_eq!(request.input, ProcessInput::Unset);
    }

    #[test]
    fn bytes_come_in_any_base64() {
        for text in ["-_8", "-_8=", "+/8", "+/8="] {
            let input: SendInputRequest = read(&format!(r#"{{"input":{{"pty":"{text}"}}}}"#));
            assert_eq!(input.input, ProcessInput::Pty(Bytes::from_static(&[0xfb, 0xff])), "{text}");
        }
        assert!(SendInputRequest::decode(Codec::Json, br#"{"input":{"stdin":"?"}}"#).is_err());
    }

    #[test]
    fn enums_come_as_names_or_numbers() {
        for signal in ["9", "\"SIGNAL_SIGKILL\""] {
            let request: SendSignalRequest = read(&format!(r#"{{"signal":{signal}}}"#));
            assert_eq!(request.signal, Signal::Sigkill);
        }
        assert_eq!(read::<SendSignalRequest>(r#"{"signal":2}"#).signal, Signal::Unspecified);
    }

    #[test]
    fn presence_of_stdin_is_kept_and_null_is_absence() {
        assert_eq!(read::<StartRequest>(r#"{"stdin":false}"#).stdin, Some(false));
        let request: StartRequest = read(r#"{"stdin":null,"process":{"cmd":"x","args":null,"cwd":null}}"#);
        assert_eq!(request.stdin, None);
        assert_eq!(request.process.unwrap().cmd, "x");
    }

    #[test]
    fn an_empty_body_a_list_and_two_members_are_refused() {
        assert!(ListRequest::decode(Codec::Json, b"").is_err());
        assert!(ListRequest::decode(Codec::Json, b"[]").is_err());
        assert!(StartRequest::decode(Codec::Json, b" [null]").is_err());
        assert!(ConnectRequest::decode(Codec::Json, br#"{"process":{"pid":1,"tag":"a"}}"#).is_err());
    }
}
