//! Who asks: API keys and the teams behind them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::Timestamp;
use store::{KeyHash, KeyMask, Team};

use super::{App, Error, token};

/// What every key starts with.
const KIND: &str = "e2b_";

/// Uses of a key closer together than this are one to the store.
const USE_STEP: Duration = Duration::from_mins(1);

/// What a request brought to say who sent it.
#[derive(Clone, Default)]
pub(crate) struct Credentials {
    /// The `X-API-Key` header.
    pub(crate) api_key: Option<String>,
}

/// For whom a request acts.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) team: Team,
}

/// When each key's use was last written down.
#[derive(Debug, Default)]
pub(super) struct KeyUses(Mutex<HashMap<String, Timestamp>>);

impl KeyUses {
    /// Whether this use is to be written down.
    fn is_news(&self, key_id: &str, now: Timestamp) -> bool {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.get(key_id).is_some_and(|last| now.since(*last) < USE_STEP) {
            return false;
        }
        uses.insert(key_id.to_owned(), now);
        true
    }
}

/// Spells 20 secret bytes as a key.
pub(super) fn spell(secret: [u8; 20]) -> String {
    format!("{KIND}{}", token::hex(&secret))
}

/// The hash that a key is found by and the mask it is recognised by; `None`
/// if the text is no key. The hash is over the secret bytes, not their text.
pub(super) fn read(key: &str) -> Option<(KeyHash, KeyMask)> {
    let value = key.strip_prefix(KIND)?;
    if value.is_empty() || value.len() % 2 == 1 || value.len() > 256 {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let byte = |pair: &[u8]| Some(nibble(pair[0])? << 4 | nibble(pair[1])?);
    let secret: Vec<u8> = value.as_bytes().chunks_exact(2).map(byte).collect::<Option<_>>()?;
    let mask = KeyMask {
        prefix: value.chars().take(2).collect(),
        suffix: value.chars().skip(value.len().saturating_sub(4)).collect(),
        value_length: value.len() as u64,
    };
    Some((KeyHash(token::sha256(&secret)), mask))
}

impl App {
    /// Finds the team behind a request.
    pub(crate) async fn authenticate(&self, credentials: &Credentials) -> Result<Caller, Error> {
        match self.team_of(credentials).await {
            Err(Error::KeyMissing | Error::KeyMalformed | Error::KeyUnknown)
                if !self.options().require_keys =>
            {
                let team = self.store().default_team().await?.ok_or(Error::KeyUnknown)?;
                Ok(Caller { team })
            }
            other => other,
        }
    }

    async fn team_of(&self, credentials: &Credentials) -> Result<Caller, Error> {
        let key = credentials.api_key.as_deref().ok_or(Error::KeyMissing)?;
        let (hash, _) = read(key).ok_or(Error::KeyMalformed)?;
        let (team, key_id) = self.store().team_of_key(&hash).await?.ok_or(Error::KeyUnknown)?;
        self.note_use(key_id);
        Ok(Caller { team })
    }

    /// Off the request's path; a use that is not written down is not missed.
    fn note_use(&self, key_id: String) {
        let now = self.options().clock.now();
        if self.0.key_uses.is_news(&key_id, now) {
            let store = self.store().clone();
            self.0.tasks.spawn(async move {
                if let Err(error) = store.key_used(&key_id, now).await {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "the use of a key was not noted"
                    );
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_bytes() {
        let key = spell([0xab; 20]);
        assert_eq!(key, format!("e2b_{}", "ab".repeat(20)));
        let (hash, mask) = read(&key).unwrap();
        assert_eq!(hash, read(&key.to_uppercase().replace("E2B_", "e2b_")).unwrap().0);
        assert_eq!((mask.prefix.as_str(), mask.suffix.as_str(), mask.value_length), ("ab", "abab", 40));
        for bad in ["", "e2b_", "e2b_a", "e2b_zz", "sk_00", "e2b_éé"] {
            assert!(read(bad).is_none(), "{bad}");
        }
    }
}
