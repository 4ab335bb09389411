//! The first start: a default team and one key for it.

use std::fmt;

use store::Team;

use super::{App, Error};

/// A key that was just made; it cannot be had again.
#[derive(Clone)]
pub struct BootstrapKey(String);

impl BootstrapKey {
    /// The key itself, for the file that only its owner reads.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BootstrapKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BootstrapKey(…)")
    }
}

impl App {
    /// Makes the default team if there is none, and a key if it has none.
    /// Safe at every start; answers the key only when it was made just now.
    pub async fn bootstrap(&self) -> Result<Option<BootstrapKey>, Error> {
        let team = self.ensure_default_team().await?;
        if self.store().count_keys(team.team_id).await? > 0 {
            return Ok(None);
        }
        Ok(Some(BootstrapKey(self.make_key(team.team_id, None, "first run").await?.secret)))
    }

    async fn ensure_default_team(&self) -> Result<Team, Error> {
        let wanted = self.new_team("default".to_owned(), "default".to_owned(), true);
        Ok(self.store().ensure_team(&wanted).await?)
    }
}
