//! What the host told the daemon: the sandbox's ids, environment, token, users, limits.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use wire::control::{Init, Limits, WAKING};

use crate::user::User;

/// The current values. They change only by [`Settings::apply`].
#[derive(Debug, Default)]
pub(crate) struct Settings {
    current: RwLock<Values>,
}

/// One consistent set of values.
#[derive(Debug, Clone)]
pub(crate) struct Values {
    /// Variables of the daemon itself (`E2B_…`), which callers' may not replace.
    pub(crate) internal: BTreeMap<String, String>,
    /// Variables given at the sandbox's creation.
    pub(crate) envs: BTreeMap<String, String>,
    /// Token that requests must carry.
    pub(crate) access_token: Option<String>,
    /// Name of the user when the caller names none.
    pub(crate) default_user: String,
    /// Directory of processes when the caller names none.
    pub(crate) default_workdir: Option<String>,
    /// How long a process waits for a subscriber that takes nothing.
    pub(crate) output_patience: Duration,
    /// What the sandbox may use.
    pub(crate) limits: Option<Limits>,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            internal: BTreeMap::from([("E2B_SANDBOX".to_owned(), "true".to_owned())]),
            envs: BTreeMap::new(),
            access_token: None,
            default_user: "root".to_owned(),
            default_workdir: None,
            output_patience: Duration::from_mins(1),
            limits: None,
        }
    }
}

/// No user of this name exists.
#[derive(Debug, Clone, thiserror::Error)]
#[error("invalid username: '{0}'")]
pub(crate) struct UnknownUser(pub(crate) String);

impl Settings {
    /// The current values; hold it only for the look.
    pub(crate) fn get(&self) -> RwLockReadGuard<'_, Values> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The default environment of processes.
    pub(crate) fn envs(&self) -> BTreeMap<String, String> {
        let values = self.get();
        let mut envs = values.envs.clone();
        envs.extend(values.internal.clone());
        envs
    }

    /// The named user, or the default one.
    pub(crate) fn user(&self, name: Option<&str>) -> Result<User, UnknownUser> {
        let name = name.map_or_else(|| self.get().default_user.clone(), str::to_owned);
        User::named(&name).ok_or(UnknownUser(name))
    }

    /// Takes over what is present in `init`.
    pub(crate) fn apply(&self, init: &Init) {
        let mut values = self.current.write().unwrap_or_else(PoisonError::into_inner);
        for (name, value) in [("E2B_SANDBOX_ID", &init.sandbox_id), ("E2B_TEMPLATE_ID", &init.template_id)] {
            if let Some(value) = value {
                values.internal.insert(name.to_owned(), value.clone());
            }
        }
        if let Some(woken) = init.woken.as_ref().filter(|woken| woken.reseed) {
            values.internal.insert(WAKING.to_owned(), woken.boot_id.clone());
        }
        if let Some(envs) = &init.env_vars {
            values.envs.clone_from(envs);
        }
        if let Some(token) = &init.access_token {
            values.access_token = Some(token.clone()).filter(|token| !token.is_empty());
        }
        if let Some(user) = init.default_user.as_ref().filter(|user| !user.is_empty()) {
            values.default_user.clone_from(user);
        }
        if let Some(workdir) = init.default_workdir.as_ref().filter(|dir| !dir.is_empty()) {
            values.default_workdir = Some(workdir.clone());
        }
        if let Some(patience_ms) = init.output_patience_ms {
            values.output_patience = Duration::from_millis(patience_ms);
        }
        if init.limits.is_some() {
            values.limits = init.limits;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_init_replaces_the_environment_but_not_the_ids() {
        let settings = Settings::default();
        let vars = |name: &str| Some(BTreeMap::from([(name.to_owned(), "1".to_owned())]));
        settings.apply(&Init { sandbox_id: Some("a".into()), env_vars: vars("OLD"), ..Init::default() });
        settings.apply(&Init { env_vars: vars("E2B_SANDBOX_ID"), ..Init::default() });
        let envs = settings.envs();
        assert_eq!(envs.get("E2B_SANDBOX_ID").map(String::as_str), Some("a"));
        assert_eq!(envs.get("E2B_SANDBOX").map(String::as_str), Some("true"));
        assert!(!envs.contains_key("OLD"));
    }

    #[test]
    fn what_is_absent_stays_and_an_empty_token_clears() {
        let settings = Settings::default();
        settings.apply(&Init {
            access_token: Some("t".into()),
            default_user: Some("user".into()),
            ..Init::default()
        });
        settings.apply(&Init::default());
        assert_eq!(settings.get().access_token.as_deref(), Some("t"));
        settings.apply(&Init {
            access_token: Some(String::new()),
            default_user: Some(String::new()),
            ..Init::default()
        });
        assert_eq!(settings.get().access_token, None);
        assert_eq!(settings.get().default_user, "user");
    }
}
