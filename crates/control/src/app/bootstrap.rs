//! The first start: a default team and one key for it.

use std::fmt;

use store::{ApiKey, Team};

use super::{App, Error, auth, random};
use model::TeamId;

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
        self.make_key(&team, "first run").await.map(Some)
    }

    async fn ensure_default_team(&self) -> Result<Team, Error> {
        let wanted = Team {
            team_id: TeamId::from_random(random()),
            name: "default".to_owned(),
            slug: "default".to_owned(),
            is_default: true,
            max_sandboxes: None,
            created_at: self.options().clock.now(),
        };
        Ok(self.store().ensure_team(&wanted).await?)
    }

    async fn make_key(&self, team: &Team, name: &str) -> Result<BootstrapKey, Error> {
        let key = auth::spell(random());
        let (hash, mask) = auth::read(&key).expect("what we spell, we read");
        let row = ApiKey {
            key_id: TeamId::from_random(random()).to_string(),
            team_id: team.team_id,
            name: name.to_owned(),
            hash,
            mask,
            created_at: self.options().clock.now(),
            last_used_at: None,
        };
        self.store().add_key(&row).await?;
        Ok(BootstrapKey(key))
    }
}
