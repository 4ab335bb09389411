//! Teams as the command line sees them.

use serde::{Deserialize, Serialize};

/// One item of `GET /teams`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Team {
    /// Its id, a UUID.
    #[serde(rename = "teamID")]
    pub team_id: String,
    /// Its name.
    pub name: String,
    /// A key that works for it.
    pub api_key: String,
    /// Whether it is the one to use when none is named.
    pub is_default: bool,
}

impl std::fmt::Debug for Team {
    /// Leaves the key out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Team")
            .field("team_id", &self.team_id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
