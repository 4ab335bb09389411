//! Jupyter messages: five JSON frames after a delimiter, unsigned.
//!
//! Only what the interpreter reads is parsed; the content stays as it came until
//! somebody wants it. A kernel may send anything: what cannot be read is no
//! message, never an error that ends a loop.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::zmtp::Parts;

const DELIMITER: &[u8] = b"<IDS|MSG>";

/// A message from a kernel.
#[derive(Debug)]
pub(super) struct Incoming {
    /// `stream`, `execute_reply`, ….
    pub(super) kind: String,
    /// Id of the request that caused it; empty if none did.
    pub(super) parent: String,
    /// When the kernel made it, ISO 8601.
    pub(super) date: String,
    /// How many bytes of it were left out for its size.
    pub(super) skipped: u64,
    pub(super) content: Bytes,
}

#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    msg_id: String,
    #[serde(default)]
    msg_type: String,
    #[serde(default)]
    date: Option<String>,
}

impl Incoming {
    /// Reads the headers; `None` if this is no Jupyter message.
    pub(super) fn parse(parts: &Parts) -> Option<Self> {
        let start = parts.frames.iter().position(|frame| frame == DELIMITER)?;
        let [_signature, header, parent, _metadata, content] = parts.frames.get(start + 1..start + 6)? else {
            return None;
        };
        let header: Header = serde_json::from_slice(header).ok()?;
        // The parent of an unsolicited message is `{}`.
        let parent: Header = serde_json::from_slice(parent).ok()?;
        Some(Self {
            kind: header.msg_type,
            parent: parent.msg_id,
            date: header.date.unwrap_or_default(),
            skipped: parts.skipped,
            content: content.clone(),
        })
    }

    /// The content as text. Kernels do send bytes that are no UTF-8; those are
    /// replaced, so that the rest is not lost.
    pub(super) fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.content)
    }

    /// The content as `T`; `None` if it is something else.
    pub(super) fn content<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(&self.text()).ok()
    }
}

/// A request to a kernel, ready to send.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Its id: the parent of everything it causes.
    pub(super) id: String,
    header: Vec<u8>,
    content: Vec<u8>,
}

impl Outgoing {
    /// `kernel_info_request`.
    pub(super) fn kernel_info(session: &str) -> Self {
        Self::new(session, "kernel_info_request", &json!({}))
    }

    /// `execute_request`. A silent one leaves no trace in count and history.
    pub(super) fn execute(session: &str, code: &str, visibility: Visibility) -> Self {
        let silent = visibility == Visibility::Silent;
        let content = json!({
            "code": code,
            "silent": silent,
            "store_history": !silent,
            "user_expressions": {},
            "allow_stdin": false,
            "stop_on_error": true,
        });
        Self::new(session, "execute_request", &content)
    }

    fn new(session: &str, kind: &str, content: &Value) -> Self {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let header = json!({
            "msg_id": id,
            "msg_type": kind,
            "session": session,
            "username": "interpreter",
            "version": "5.3",
            "date": "",
        });
        Self { id, header: header.to_string().into_bytes(), content: content.to_string().into_bytes() }
    }

    /// The frames to send, in order.
    pub(super) fn frames(&self) -> [&[u8]; 6] {
        [DELIMITER, b"", &self.header, b"{}", b"{}", &self.content]
    }
}

/// Whether an execution is the user's or the service's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visibility {
    /// Counted and remembered.
    User,
    /// Neither.
    Silent,
}

/// Content of `status`.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    pub(super) execution_state: String,
}

/// Content of `stream`.
#[derive(Debug, Deserialize)]
pub(super) struct Stream {
    pub(super) name: String,
    pub(super) text: String,
}

/// Content of `execute_input`.
#[derive(Debug, Deserialize)]
pub(super) struct Accepted {
    pub(super) execution_count: u64,
}

/// Content of an `execute_reply`: what the code asks of the one who runs it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wishes {
    payload: Vec<Wish>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wish {
    source: String,
    keepkernel: bool,
}

impl Wishes {
    /// Whether the kernel is about to end because the code said `exit()`.
    pub(super) fn is_farewell(&self) -> bool {
        self.payload.iter().any(|wish| wish.source == "ask_exit" && !wish.keepkernel)
    }
}

/// Content of `error`, and of an `execute_reply` that is not ok.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Trouble {
    pub(super) status: String,
    pub(super) ename: String,
    pub(super) evalue: String,
    pub(super) traceback: Vec<String>,
}
