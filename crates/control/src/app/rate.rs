//! How often a team may ask: a bucket of tokens per team and route.
//!
//! A bucket holds `burst` tokens and fills again within `period`. Buckets that
//! are full again are forgotten, so there are never more than teams ask at a time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::{TeamId, Timestamp};

use super::App;

/// Beyond this many buckets the full ones are looked for and dropped.
const SWEEP_AT: usize = 4096;

/// How often one route may be asked by one team.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests at once.
    pub burst: u32,
    /// The time in which as many become free again.
    pub period: Duration,
}

/// What a request found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Requests at once.
    pub(crate) limit: u32,
    /// How many are left now.
    pub(crate) remaining: u32,
    /// Time until all of them are back.
    pub(crate) reset: Duration,
    /// How long to wait for the next one; `None` if this one passes.
    pub(crate) wait: Option<Duration>,
}

/// Fill level of one team's bucket for one route, in millionths of a token.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: u64,
    at: Timestamp,
}

const TOKEN: u64 = 1_000_000;

/// All buckets.
#[derive(Debug, Default)]
pub(super) struct Buckets(Mutex<HashMap<(TeamId, String), Bucket>>);

impl RateLimit {
    fn full(self) -> u64 {
        u64::from(self.burst.max(1)) * TOKEN
    }

    fn level(self, bucket: Bucket, now: Timestamp) -> u64 {
        let gained =
            u128::from(self.full()) * now.since(bucket.at).as_nanos() / self.period.as_nanos().max(1);
        bucket.level.saturating_add(u64::try_from(gained).unwrap_or(u64::MAX)).min(self.full())
    }

    /// The time in which so much comes back.
    fn time_for(self, amount: u64) -> Duration {
        self.period.mul_f64(f64_of(amount) / f64_of(self.full()))
    }

    /// Takes a token out of a bucket, if there is one.
    fn take(self, bucket: Bucket, now: Timestamp) -> (Bucket, Pace) {
        let level = self.level(bucket, now);
        let (level, wait) = match level.checked_sub(TOKEN) {
            Some(left) => (left, None),
            None => (level, Some(self.time_for(TOKEN - level))),
        };
        let pace = Pace {
            limit: self.burst.max(1),
            remaining: u32::try_from(level / TOKEN).unwrap_or(u32::MAX),
            reset: self.time_for(self.full() - level),
            wait,
        };
        (Bucket { level, at: now }, pace)
    }
}

/// A route without the names of its parameters: the API document has others than
/// whoever serves it.
pub(crate) fn route_shape(route: &str) -> String {
    let parts = route.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[expect(clippy::cast_precision_loss, reason = "a share of a period, to the microsecond")]
fn f64_of(n: u64) -> f64 {
    n as f64
}

impl App {
    /// Counts a request of a team, for a route by its [`route_shape`]; `None` where the route has no limit.
    pub(crate) fn pace(&self, team_id: TeamId, route: &str) -> Option<Pace> {
        let limit = *self.options().rate_limits.get(route)?;
        let now = self.options().clock.now();
        let mut buckets = self.0.buckets.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= SWEEP_AT {
            let limits = &self.options().rate_limits;
            buckets.retain(|(_, route), bucket| {
                limits.get(route).is_some_and(|limit| limit.level(*bucket, now) < limit.full())
            });
        }
        let key = (team_id, route.to_owned());
        let bucket = buckets.get(&key).copied().unwrap_or(Bucket { level: limit.full(), at: now });
        let (bucket, pace) = limit.take(bucket, now);
        buckets.insert(key, bucket);
        Some(pace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_unix_micros(0) + Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_passes_and_the_next_waits() {
        let limit = RateLimit { burst: 2, period: Duration::from_secs(10) };
        let mut bucket = Bucket { level: limit.full(), at: at(0) };
        let mut ask = |millis| {
            let (next, pace) = limit.take(bucket, at(millis));
            bucket = next;
            (pace.remaining, pace.wait)
        };
        assert_eq!(ask(0), (1, None));
        assert_eq!(ask(0), (0, None));
        assert_eq!(ask(1000), (0, Some(Duration::from_secs(4))));
        assert_eq!(ask(5000), (0, None));
    }

    proptest! {
        /// Whatever the rhythm, no span lets more through than a burst and what came back in it.
        #[test]
        fn never_more_than_promised(gaps in proptest::collection::vec(0_u64..3000, 1..60)) {
            let limit = RateLimit { burst: 3, period: Duration::from_secs(6) };
            let mut bucket = Bucket { level: limit.full(), at: at(0) };
            let (mut now, mut passed) = (0, 0_u64);
            for gap in gaps {
                now += gap;
                let (next, pace) = limit.take(bucket, at(now));
                bucket = next;
                passed += u64::from(pace.wait.is_none());
            }
            prop_assert!(passed <= 3 + now / 2000 + 1);
        }
    }
}
