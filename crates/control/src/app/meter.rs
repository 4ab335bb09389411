//! What happened since the start of the server, counted for its operator. Only
//! counts: what is now is read when it is asked for.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::EndCause;
use wire::exposition::{Family, Kind, count};

use super::{Error, ErrorKind};

/// Upper bounds of the buckets, in seconds: a simulated machine takes a
/// millisecond, an interpreter's start half a second, a limit a minute.
const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Times by size.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum_micros: AtomicU64,
}

impl Histogram {
    pub(super) fn note(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn family(&self, name: &'static str, help: &'static str) -> Family {
        let counts: Vec<u64> = self.counts.iter().map(|n| n.load(Ordering::Relaxed)).collect();
        let sum = count(self.sum_micros.load(Ordering::Relaxed)) / 1e6;
        Family::new(name, Kind::Histogram, help).with_buckets(&BOUNDS, &counts, sum)
    }
}

/// Method and status of an answer.
type Answer = (&'static str, u16);

/// All counts of the control plane.
#[derive(Debug, Default)]
pub(super) struct Meter {
    create_time: Histogram,
    kill_time: Histogram,
    creates: Mutex<BTreeMap<&'static str, u64>>,
    ends: Mutex<BTreeMap<&'static str, u64>>,
    /// By route as the router knows it, so their number is bounded by the program.
    requests: Mutex<HashMap<String, BTreeMap<Answer, u64>>>,
}

impl Meter {
    pub(super) fn note_create<T>(&self, outcome: &Result<T, Error>, took: Duration) {
        let name = match outcome.as_ref().map_err(Error::kind) {
            Ok(_) => "made",
            Err(ErrorKind::Limited) => "over_limit",
            Err(ErrorKind::Unavailable) => "no_room",
            Err(ErrorKind::DiskFull) => "disk_full",
            Err(ErrorKind::TimedOut) => "timed_out",
            Err(_) => "failed",
        };
        *lock(&self.creates).entry(name).or_default() += 1;
        if outcome.is_ok() {
            self.create_time.note(took);
        }
    }

    /// How many creates were answered with a sandbox, and how many came to nothing.
    pub(super) fn creates(&self) -> (u64, u64) {
        let creates = lock(&self.creates);
        let made = creates.get("made").copied().unwrap_or_default();
        (made, creates.values().sum::<u64>() - made)
    }

    pub(super) fn note_kill(&self, took: Duration) {
        self.kill_time.note(took);
    }

    pub(super) fn note_end(&self, cause: EndCause) {
        *lock(&self.ends).entry(cause.as_str()).or_default() += 1;
    }

    pub(super) fn note_request(&self, method: &'static str, route: &str, status: u16) {
        let mut requests = lock(&self.requests);
        // A route's name is copied once, not with each request.
        if !requests.contains_key(route) {
            requests.insert(route.to_owned(), BTreeMap::new());
        }
        if let Some(answers) = requests.get_mut(route) {
            *answers.entry((method, status)).or_default() += 1;
        }
    }

    pub(super) fn families(&self) -> Vec<Family> {
        let by = |name, help, label, counts: &BTreeMap<&'static str, u64>| {
            let family = Family::new(name, Kind::Counter, help);
            counts.iter().fold(family, |family, (value, n)| family.with(&[(label, value)], count(*n)))
        };
        let mut requests =
            Family::new("warren_http_requests_total", Kind::Counter, "Answers of the API, by route.");
        for (route, answers) in &*lock(&self.requests) {
            for ((method, status), n) in answers {
                let status = status.to_string();
                requests =
                    requests.with(&[("method", method), ("route", route), ("status", &status)], count(*n));
            }
        }
        vec![
            by(
                "warren_sandbox_creates_total",
                "Creates that were tried, by how they came out.",
                "outcome",
                &lock(&self.creates),
            ),
            self.create_time
                .family("warren_sandbox_create_seconds", "From an accepted create to a usable sandbox."),
            by("warren_sandbox_ends_total", "Sandboxes that ended, by cause.", "cause", &lock(&self.ends)),
            self.kill_time.family(
                "warren_sandbox_kill_seconds",
                "From a client's kill to nothing left of the sandbox.",
            ),
            requests,
        ]
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_one_bucket_and_in_the_sum() {
        let histogram = Histogram::default();
        for micros in [0, 1_000, 1_001, 30_000_000, 31_000_000] {
            histogram.note(Duration::from_micros(micros));
        }
        let text = wire::exposition::text(&[histogram.family("x_seconds", "x")]);
        for line in [
            "x_seconds_bucket{le=\"0.001\"} 2\n",
            "x_seconds_bucket{le=\"0.0025\"} 3\n",
            "x_seconds_bucket{le=\"30\"} 4\n",
            "x_seconds_bucket{le=\"+Inf\"} 5\n",
            "x_seconds_sum 61.002001\n",
        ] {
            assert!(text.contains(line), "{line} {text}");
        }
    }
}
