//! One line of what the doctor says.

use std::fmt;

use runtime::namespaces::Finding;
use serde::Serialize;

/// One thing that a server needs or uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    /// What was looked for, or the key of the setting.
    pub(super) capability: String,
    /// Whether it is there and right.
    pub(super) ok: bool,
    /// Whether the server does not start without it.
    pub(super) required: bool,
    /// Whether it is there, and a limit that is too low.
    pub(super) low: bool,
    /// What was found, in words.
    pub(super) detail: String,
    /// What to do if it is not there.
    pub(super) advice: String,
}

impl Row {
    pub(super) fn required(capability: &str, found: Result<String, String>, advice: &str) -> Self {
        let ok = found.is_ok();
        let detail = found.unwrap_or_else(|reason| reason);
        Self {
            capability: capability.to_owned(),
            ok,
            required: true,
            low: false,
            detail,
            advice: advice.to_owned(),
        }
    }

    pub(super) fn optional(capability: &str, found: Result<String, String>, advice: &str) -> Self {
        Self { required: false, ..Self::required(capability, found, advice) }
    }
}

impl From<Finding> for Row {
    fn from(finding: Finding) -> Self {
        let Finding { capability, ok, detail, advice, required, is_low: low } = finding;
        Self { capability: capability.to_owned(), ok, required, low, detail, advice: advice.to_owned() }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match (self.ok, self.low, self.required) {
            (true, ..) => "ok     ",
            (false, true, _) => "low    ",
            (false, false, true) => "MISSING",
            (false, false, false) => "missing",
        };
        // What the reader of a file says has lines of its own.
        let detail = self.detail.trim_end().replace('\n', &format!("\n{:31}", ""));
        writeln!(f, "{mark}  {:<20}  {detail}", self.capability)?;
        if !self.ok && !self.advice.is_empty() {
            writeln!(f, "         {:<20}  → {}", "", self.advice)?;
        }
        Ok(())
    }
}
