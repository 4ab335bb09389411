//! Teams, people, keys and tokens: made, listed, renamed, revoked.

use model::{KeyId, TeamId, UserId};
use store::{AccessToken, ApiKey, KeyMask, ListedKey, Team, TeamChange, User};

use super::secret::{self, Kind};
use super::{App, Caller, Error, random};

/// Keys of one team; more are refused, or a leaked token could fill the disk.
const MOST_KEYS: u64 = 1000;

/// Tokens of one person.
const MOST_TOKENS: u64 = 100;

/// Each log-in of the command line makes a key; a person's newest ones of a team stay.
const LOGIN_KEYS: u64 = 20;
const LOGIN_NAME: &str = "CLI login/configure";

const LONGEST_NAME: usize = 128;

/// A key or token that was just made; the only time that it can be seen.
#[derive(Clone)]
pub(crate) struct Made<T> {
    pub(crate) row: T,
    pub(crate) secret: String,
}

impl App {
    /// The keys of a team.
    pub(crate) async fn keys(&self, team_id: TeamId) -> Result<Vec<ListedKey>, Error> {
        Ok(self.store().keys_of(team_id).await?)
    }

    /// Makes a key for a team.
    pub(crate) async fn make_key(
        &self,
        team_id: TeamId,
        by: Option<&User>,
        name: &str,
    ) -> Result<Made<ListedKey>, Error> {
        let name = checked_name(name)?;
        if self.store().count_keys(team_id).await? >= MOST_KEYS {
            return Err(Error::Refused(format!("a team has at most {MOST_KEYS} API keys: revoke some")));
        }
        let (secret, hash, mask) = secret::make(Kind::ApiKey);
        let key = ApiKey {
            key_id: KeyId::from_random(random()),
            team_id,
            name,
            hash,
            mask,
            created_by: by.map(|user| user.user_id),
            created_at: self.options().clock.now(),
            last_used_at: None,
        };
        self.store().add_key(&key).await?;
        tracing::info!(%team_id, key_id = %key.key_id, "an API key was made");
        let created_by_email = by.map(|user| user.email.clone());
        Ok(Made { row: ListedKey { key, created_by_email }, secret })
    }

    /// Renames a key of a team.
    pub(crate) async fn rename_key(
        &self,
        team_id: TeamId,
        key_id: KeyId,
        name: &str,
    ) -> Result<ListedKey, Error> {
        let name = checked_name(name)?;
        let renamed = self.store().rename_key(team_id, key_id, &name).await?;
        renamed.ok_or_else(|| no_key(key_id))
    }

    /// Revokes a key of a team: the next request with it is refused.
    pub(crate) async fn revoke_key(&self, team_id: TeamId, key_id: KeyId) -> Result<(), Error> {
        if !self.store().remove_key(team_id, key_id).await? {
            return Err(no_key(key_id));
        }
        tracing::info!(%team_id, %key_id, "an API key was revoked");
        Ok(())
    }

    /// Every team of a person with a new key for each, since nobody can tell
    /// an old one any more.
    pub(crate) async fn log_in(&self, user: &User) -> Result<Vec<(Team, String)>, Error> {
        let mut teams = Vec::new();
        for team in self.store().teams_of(user.user_id).await? {
            let made = self.make_key(team.team_id, Some(user), LOGIN_NAME).await?;
            self.store().keep_newest_keys(team.team_id, user.user_id, LOGIN_NAME, LOGIN_KEYS).await?;
            teams.push((team, made.secret));
        }
        Ok(teams)
    }

    /// Makes a token for a person.
    pub(crate) async fn make_token(&self, user_id: UserId, name: &str) -> Result<Made<AccessToken>, Error> {
        let name = checked_name(name)?;
        let no_user = || Error::NoSuch { what: "user", id: user_id.to_string() };
        self.store().user(user_id).await?.ok_or_else(no_user)?;
        if self.store().count_tokens(user_id).await? >= MOST_TOKENS {
            let text = format!("a person has at most {MOST_TOKENS} access tokens: revoke some");
            return Err(Error::Refused(text));
        }
        let (secret, hash, mask) = secret::make(Kind::AccessToken);
        let token = AccessToken {
            token_id: KeyId::from_random(random()),
            user_id,
            name,
            hash,
            mask,
            created_at: self.options().clock.now(),
        };
        self.store().add_token(&token).await?;
        Ok(Made { row: token, secret })
    }

    /// Revokes a token of a person.
    pub(crate) async fn revoke_token(&self, user_id: UserId, token_id: KeyId) -> Result<(), Error> {
        let removed = self.store().remove_token(user_id, token_id).await?;
        if removed { Ok(()) } else { Err(Error::NoSuch { what: "access token", id: token_id.to_string() }) }
    }

    /// Every team.
    pub(crate) async fn teams(&self) -> Result<Vec<Team>, Error> {
        Ok(self.store().teams().await?)
    }

    /// Makes a team; its namespace in template names is its name where none is given.
    pub(crate) async fn make_team(
        &self,
        name: &str,
        slug: Option<&str>,
        max_sandboxes: Option<u64>,
    ) -> Result<Team, Error> {
        let name = checked_name(name)?;
        let slug = slug.map_or_else(|| slug_of(&name), str::to_owned);
        let is_slug = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if slug.is_empty() || slug.len() > LONGEST_NAME || !slug.bytes().all(is_slug) {
            return Err(Error::Refused("a team's slug is made of a-z, 0-9, - and _".to_owned()));
        }
        let wanted = Team { max_sandboxes, ..self.new_team(name, slug, false) };
        let team = self.store().ensure_team(&wanted).await?;
        if team.team_id != wanted.team_id {
            return Err(Error::Taken(format!("there is a team with the slug '{}'", wanted.slug)));
        }
        Ok(team)
    }

    /// A team as it starts.
    pub(super) fn new_team(&self, name: String, slug: String, is_default: bool) -> Team {
        Team {
            team_id: TeamId::from_random(random()),
            name,
            slug,
            is_default,
            max_sandboxes: None,
            standing: store::Standing::Good,
            created_at: self.options().clock.now(),
        }
    }

    /// Changes a team.
    pub(crate) async fn change_team(&self, team_id: TeamId, change: TeamChange) -> Result<Team, Error> {
        let name = change.name.as_deref().map(checked_name).transpose()?;
        let changed = self.store().change_team(team_id, &TeamChange { name, ..change }).await?;
        changed.ok_or_else(|| no_team(team_id))
    }

    /// A team that is there.
    pub(crate) async fn team(&self, team_id: TeamId) -> Result<Team, Error> {
        self.store().team(team_id).await?.ok_or_else(|| no_team(team_id))
    }

    /// Everybody.
    pub(crate) async fn users(&self) -> Result<Vec<User>, Error> {
        Ok(self.store().users().await?)
    }

    /// The person with this address, who is added if need be.
    pub(crate) async fn ensure_user(&self, email: &str) -> Result<User, Error> {
        let email = email.trim().to_lowercase();
        if !(3..=254).contains(&email.len()) || !email.contains('@') || email.chars().any(char::is_control) {
            return Err(Error::Refused("a person is named by an e-mail address".to_owned()));
        }
        let now = self.options().clock.now();
        let wanted = User { user_id: UserId::from_random(random()), email, created_at: now };
        Ok(self.store().ensure_user(&wanted).await?)
    }

    /// Lets a person into a team.
    pub(crate) async fn add_member(&self, team_id: TeamId, email: &str) -> Result<User, Error> {
        self.team(team_id).await?;
        let user = self.ensure_user(email).await?;
        self.store().add_member(team_id, user.user_id).await?;
        Ok(user)
    }

    /// How many sandboxes each team has.
    pub(crate) async fn running_counts(&self) -> Result<Vec<(TeamId, u64)>, Error> {
        Ok(self.store().counts_by_team().await?)
    }

    /// Kills every sandbox of a team; answers how many went and how many did not.
    pub(crate) async fn kill_all_of(&self, team_id: TeamId) -> Result<(u64, u64), Error> {
        let team = self.team(team_id).await?;
        let caller = Caller { team, user: None, may_manage: true };
        let (mut killed, mut failed) = (0, 0);
        for row in self.store().standing_of_team(team_id).await? {
            match self.kill(&caller, &row.sandbox_id).await {
                Ok(()) => killed += 1,
                Err(Error::NoSandbox(_) | Error::SandboxEnded { .. }) => {}
                Err(_) => failed += 1,
            }
        }
        Ok((killed, failed))
    }
}

fn no_key(key_id: KeyId) -> Error {
    Error::NoSuch { what: "API key", id: key_id.to_string() }
}

fn no_team(team_id: TeamId) -> Error {
    Error::NoSuch { what: "team", id: team_id.to_string() }
}

fn checked_name(name: &str) -> Result<String, Error> {
    let name = name.trim();
    let is_fine =
        !name.is_empty() && name.chars().count() <= LONGEST_NAME && !name.chars().any(char::is_control);
    if is_fine {
        Ok(name.to_owned())
    } else {
        Err(Error::Refused(format!("validation error: name must have 1 to {LONGEST_NAME} characters")))
    }
}

fn slug_of(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' };
    name.chars().map(plain).collect::<String>().trim_matches('-').to_owned()
}

/// What a mask shows of the secret, in the protocol's words.
pub(crate) fn masked(kind: Kind, mask: &KeyMask) -> wire::rest::KeyMask {
    wire::rest::KeyMask {
        prefix: kind.prefix().to_owned(),
        value_length: mask.value_length,
        masked_value_prefix: mask.prefix.clone(),
        masked_value_suffix: mask.suffix.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_slugs() {
        assert_eq!(slug_of("  My Team! "), "my-team");
        assert_eq!(checked_name(" a ").unwrap(), "a");
        for bad in ["", "  ", "a\nb", &"x".repeat(129)] {
            assert!(checked_name(bad).is_err(), "{bad:?}");
        }
    }
}
