//! What everything that runs inside a sandbox can be told: one set of builder
//! methods for commands, terminals, code and git.

use std::collections::BTreeMap;
use std::time::Duration;

/// Surroundings of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    pub(crate) envs: BTreeMap<String, String>,
    pub(crate) cwd: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) timeout: Option<Duration>,
}

impl Surroundings {
    pub(crate) fn lasting(timeout: Option<Duration>) -> Self {
        Self { timeout, ..Self::default() }
    }
}

/// `env`, `envs` and `timeout` for a builder with a field `around: Surroundings`.
macro_rules! surroundings {
    ($($builder:ident $(<$life:lifetime>)?),+) => { $(
        impl $(<$life>)? $builder $(<$life>)? {
            /// Sets an environment variable for it alone.
            #[must_use]
            pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
                self.around.envs.insert(name.into(), value.into());
                self
            }

            /// Ends it after this time; `None` for never. The type says the default.
            #[must_use]
            pub fn timeout(mut self, timeout: impl Into<Option<std::time::Duration>>) -> Self {
                self.around.timeout = timeout.into();
                self
            }
        }
    )+ };
}

/// `cwd` and `user` for such a builder.
macro_rules! place {
    ($($builder:ident $(<$life:lifetime>)?),+) => { $(
        impl $(<$life>)? $builder $(<$life>)? {
            /// Runs in this directory instead of the home directory.
            #[must_use]
            pub fn cwd(mut self, dir: impl Into<String>) -> Self {
                self.around.cwd = Some(dir.into());
                self
            }

            /// Runs as this user.
            #[must_use]
            pub fn user(mut self, user: impl Into<String>) -> Self {
                self.around.user = Some(user.into());
                self
            }
        }
    )+ };
}

pub(crate) use {place, surroundings};
