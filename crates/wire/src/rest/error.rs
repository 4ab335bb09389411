//! The body of every answer with a status of 400 or more.

use serde::{Deserialize, Serialize};

/// `{"code": …, "message": …, "error_code"?: …}`. Clients branch on `code`, so
/// it must be there and equal the status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The HTTP status.
    pub code: u16,
    /// For people.
    pub message: String,
    /// For programs, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
}
