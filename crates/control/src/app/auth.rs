//! Who asks: an API key stands for a team, an access token for a person, the
//! admin token for the operator.
//!
//! | asked with | acts for |
//! |---|---|
//! | `X-API-Key` | the key's team; may not manage keys |
//! | `Authorization: Bearer sk_e2b_…` | the person, in their default team or in `X-Team-ID` |
//! | `X-Admin-Token` | the operator; with `X-Team-ID`, in that team |

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::{KeyId, TeamId, Timestamp};
use store::{Standing, Team, User};

use super::secret::{self, Kind};
use super::{App, Error, token};

/// Uses of a key closer together than this are one to the store.
const USE_STEP: Duration = Duration::from_mins(1);

/// What a request brought to say who sent it.
#[derive(Clone, Default)]
pub(crate) struct Credentials {
    /// The `X-API-Key` header.
    pub(crate) api_key: Option<String>,
    /// The `Authorization: Bearer` header.
    pub(crate) bearer: Option<String>,
    /// The `X-Admin-Token` header.
    pub(crate) admin_token: Option<String>,
    /// The `X-Team-ID` header.
    pub(crate) team_id: Option<String>,
    /// Whether the request only reads or removes.
    pub(crate) is_harmless: bool,
}

/// For whom a request acts.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) team: Team,
    /// The person, where one asked.
    pub(crate) user: Option<User>,
    /// Whether the team's keys may be managed so.
    pub(crate) may_manage: bool,
}

/// When each key's use was last written down.
#[derive(Debug, Default)]
pub(super) struct KeyUses(Mutex<HashMap<KeyId, Timestamp>>);

impl KeyUses {
    /// Whether this use is to be written down.
    fn is_news(&self, key_id: KeyId, now: Timestamp) -> bool {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.get(&key_id).is_some_and(|last| now.since(*last) < USE_STEP) {
            return false;
        }
        uses.insert(key_id, now);
        true
    }
}

impl App {
    /// Finds the team behind a request.
    pub(crate) async fn authenticate(&self, credentials: &Credentials) -> Result<Caller, Error> {
        let caller = match self.caller(credentials).await {
            Err(Error::KeyMissing | Error::KeyMalformed | Error::KeyUnknown)
                if !self.options().require_keys =>
            {
                let team = self.store().default_team().await?.ok_or(Error::KeyUnknown)?;
                Caller { team, user: None, may_manage: true }
            }
            other => other?,
        };
        check_standing(&caller.team, credentials.is_harmless)?;
        Ok(caller)
    }

    async fn caller(&self, credentials: &Credentials) -> Result<Caller, Error> {
        if let Some(key) = &credentials.api_key {
            return Ok(Caller { team: self.team_of_key(key).await?, user: None, may_manage: false });
        }
        if credentials.admin_token.is_some() {
            self.authenticate_admin(credentials)?;
            let wanted = credentials.team_id.as_deref();
            let wanted =
                wanted.ok_or_else(|| Error::Refused("name a team in the X-Team-ID header".to_owned()))?;
            return Ok(Caller { team: self.team_named(wanted).await?, user: None, may_manage: true });
        }
        let Some(bearer) = &credentials.bearer else { return Err(Error::KeyMissing) };
        // Where a client knows one header only, its key comes in that one.
        if bearer.starts_with(Kind::ApiKey.prefix()) {
            return Ok(Caller { team: self.team_of_key(bearer).await?, user: None, may_manage: false });
        }
        let user = self.user_of(bearer).await?;
        let team = self.team_of_user(&user, credentials.team_id.as_deref()).await?;
        Ok(Caller { team, user: Some(user), may_manage: true })
    }

    /// Finds the person behind a request.
    pub(crate) async fn authenticate_user(&self, credentials: &Credentials) -> Result<User, Error> {
        self.user_of(credentials.bearer.as_deref().ok_or(Error::TokenMissing)?).await
    }

    /// Lets the operator through.
    pub(crate) fn authenticate_admin(&self, credentials: &Credentials) -> Result<(), Error> {
        // Monitoring programs can send no header but the usual one.
        let given = credentials.admin_token.as_deref().or(credentials.bearer.as_deref());
        let given = given.ok_or(Error::AdminTokenMissing)?;
        // Hashes are compared, so that the time it takes tells nothing of the token.
        let hash = token::sha256(given.as_bytes());
        match &self.options().admin_token {
            Some(own) if token::sha256(own.bytes()) == hash => Ok(()),
            _ => Err(Error::AdminTokenUnknown),
        }
    }

    async fn team_of_key(&self, key: &str) -> Result<Team, Error> {
        let (hash, _) = secret::read(Kind::ApiKey, key).ok_or(Error::KeyMalformed)?;
        let (team, key_id) = self.store().team_of_key(&hash).await?.ok_or(Error::KeyUnknown)?;
        self.note_use(key_id);
        Ok(team)
    }

    async fn user_of(&self, bearer: &str) -> Result<User, Error> {
        let (hash, _) = secret::read(Kind::AccessToken, bearer).ok_or(Error::TokenUnknown)?;
        self.store().user_of_token(&hash).await?.ok_or(Error::TokenUnknown)
    }

    async fn team_of_user(&self, user: &User, wanted: Option<&str>) -> Result<Team, Error> {
        let teams = self.store().teams_of(user.user_id).await?;
        let found = match wanted {
            None => teams.into_iter().next(),
            Some(id) => teams.into_iter().find(|team| team.team_id.to_string().eq_ignore_ascii_case(id)),
        };
        found.ok_or_else(|| Error::Forbidden("you do not belong to such a team".to_owned()))
    }

    async fn team_named(&self, id: &str) -> Result<Team, Error> {
        let unknown = || Error::NoSuch { what: "team", id: id.chars().take(64).collect() };
        let id: TeamId = id.parse().map_err(|_| unknown())?;
        self.store().team(id).await?.ok_or_else(unknown)
    }

    /// Off the request's path; a use that is not written down is not missed.
    fn note_use(&self, key_id: KeyId) {
        let now = self.options().clock.now();
        if self.0.key_uses.is_news(key_id, now) {
            let store = self.store().clone();
            self.0.tasks.spawn(async move {
                if let Err(error) = store.key_used(key_id, now).await {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "the use of a key was not noted"
                    );
                }
            });
        }
    }
}

fn check_standing(team: &Team, is_harmless: bool) -> Result<(), Error> {
    let name = &team.name;
    match team.standing {
        Standing::Good => Ok(()),
        Standing::Blocked if is_harmless => Ok(()),
        Standing::Blocked => Err(Error::Forbidden(format!(
            "team '{name}' is blocked: what it has can be read and removed, but nothing new be made"
        ))),
        Standing::Banned => Err(Error::Forbidden(format!("team '{name}' is banned"))),
    }
}
