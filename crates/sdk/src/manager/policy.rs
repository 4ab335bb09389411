//! Which failures are tried again, and when: pure decisions.

use std::time::Duration;

use crate::{Error, ErrorKind};

/// How often and after which waits something is tried again.
///
/// The wait doubles from `first` to `longest`, less up to a half by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all; 1 never tries again.
    pub attempts: u32,
    /// The first wait.
    pub first: Duration,
    /// No wait is longer.
    pub longest: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 4, first: Duration::from_millis(200), longest: Duration::from_secs(10) }
    }
}

/// When something may run a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Repeat {
    /// Only where it is certain that nothing ran.
    #[default]
    WhenNothingRan,
    /// Also where it may have run in part: the caller says that this does no harm.
    /// A sandbox that ended meanwhile is replaced.
    Always,
}

impl Repeat {
    /// Whether another try is safe after this failure.
    pub fn allows(self, error: &Error) -> bool {
        match error.kind() {
            ErrorKind::ServiceBusy | ErrorKind::RateLimit => true,
            ErrorKind::SandboxNotRunning
            | ErrorKind::SandboxNotFound
            | ErrorKind::SandboxUnreachable
            | ErrorKind::Timeout => self == Self::Always,
            _ => false,
        }
    }
}

impl RetryPolicy {
    /// Never tries again.
    pub fn never() -> Self {
        Self { attempts: 1, ..Self::default() }
    }

    /// The wait after try number `attempt` (from 0) that failed; `None` after the
    /// last. `random` is in 0 to 1.
    pub fn wait(&self, attempt: u32, random: f64) -> Option<Duration> {
        let left = attempt.checked_add(1).is_some_and(|next| next < self.attempts);
        let full = self.first.saturating_mul(2_u32.saturating_pow(attempt)).min(self.longest);
        left.then(|| full.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0))
    }

    /// Runs `operation` until it succeeds, fails for good, or has been tried
    /// often enough. Dropping the future ends the try under way.
    pub(crate) async fn run<T, F: Future<Output = Result<T, Error>>>(
        &self,
        repeat: Repeat,
        mut operation: impl FnMut() -> F,
    ) -> Result<T, Error> {
        for attempt in 0.. {
            let error = match operation().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            match self.wait(attempt, crate::retry::random()) {
                Some(wait) if repeat.allows(&error) => {
                    tracing::warn!(attempt, ?wait, error = %error, "trying again");
                    tokio::time::sleep(wait).await;
                }
                _ => return Err(error),
            }
        }
        unreachable!("the loop ends by returning")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ran_nothing_is_always_safe() {
        let of = |kind| Error::new(kind, "x");
        for kind in [ErrorKind::ServiceBusy, ErrorKind::RateLimit] {
            assert!(Repeat::WhenNothingRan.allows(&of(kind)) && Repeat::Always.allows(&of(kind)), "{kind}");
        }
        for kind in [ErrorKind::Timeout, ErrorKind::SandboxNotRunning, ErrorKind::SandboxUnreachable] {
            assert!(!Repeat::WhenNothingRan.allows(&of(kind)) && Repeat::Always.allows(&of(kind)), "{kind}");
        }
        for kind in [ErrorKind::Authentication, ErrorKind::InvalidArgument, ErrorKind::CommandExit] {
            assert!(!Repeat::Always.allows(&of(kind)), "{kind}");
        }
    }

    proptest::proptest! {
        #[test]
        fn waits_are_bounded_and_end(attempt in 0_u32..100, attempts in 1_u32..50, random in 0.0_f64..1.0) {
            let policy = RetryPolicy { attempts, ..RetryPolicy::default() };
            match policy.wait(attempt, random) {
                Some(wait) => {
                    proptest::prop_assert!(attempt + 1 < attempts);
                    proptest::prop_assert!(wait >= policy.first / 2 && wait <= policy.longest);
                }
                None => proptest::prop_assert!(attempt + 1 >= attempts),
            }
        }
    }
}
