//! When a call of the control plane is sent again: pure decisions, in the way of
//! the official Python SDK.
//!
//! A `Should-Retry` header decides alone; without one 429, 502, 503 and 504 are
//! tried again. Traffic of sandboxes is never sent twice.

use std::time::Duration;

use http::HeaderMap;

use crate::{Error, ErrorKind};

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How long to wait before the next try; `None` to give the answer to the
/// caller. `attempt` counts from 0, `random` is in 0 to 1.
pub(crate) fn wait(status: u16, headers: &HeaderMap, attempt: u32, random: f64) -> Option<Duration> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let again = match header("should-retry") {
        Some(word) => word.eq_ignore_ascii_case("true"),
        None => matches!(status, 429 | 502 | 503 | 504),
    };
    if !again {
        return None;
    }
    Some(header("retry-after").and_then(whole_seconds).unwrap_or_else(|| backoff(attempt, random)))
}

/// Doubles from 0.1 s up to 10 s, less up to a half by chance so that many
/// clients do not come back together.
pub(crate) fn backoff(attempt: u32, random: f64) -> Duration {
    let full = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(attempt)).min(LONGEST_WAIT);
    full.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
}

/// Chance, in 0 to 1.
pub(crate) fn random() -> f64 {
    let mut bytes = [0; 4];
    // Without a source of chance every wait is the middle one.
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

/// Hard to guess and used once, 32 digits.
pub(crate) fn key() -> Result<String, Error> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|e| Error::caused(ErrorKind::Sandbox, "this machine gives no random numbers", e))?;
    Ok(format!("{:032x}", u128::from_le_bytes(bytes)))
}

/// Only plain seconds count; a date does not.
fn whole_seconds(text: &str) -> Option<Duration> {
    let plain = !text.is_empty() && text.len() <= 10 && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok().map(Duration::from_secs)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| ((*name).parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn the_server_decides_where_it_says_something() {
        let yes = headers(&[("should-retry", " True "), ("retry-after", "2")]);
        assert_eq!(wait(500, &yes, 0, 0.0), Some(Duration::from_secs(2)));
        for word in ["false", "maybe", ""] {
            assert_eq!(wait(503, &headers(&[("should-retry", word)]), 0, 0.0), None, "{word}");
        }
    }

    #[test]
    fn without_a_word_only_passing_failures_are_tried_again() {
        for status in [429, 502, 503, 504] {
            assert!(wait(status, &HeaderMap::new(), 0, 0.0).is_some(), "{status}");
        }
        for status in [200, 400, 401, 404, 409, 500, 501] {
            assert_eq!(wait(status, &HeaderMap::new(), 0, 0.0), None, "{status}");
        }
        // A date, a fraction and a sign are no seconds: the back-off holds.
        for after in ["Fri, 31 Dec 1999 23:59:59 GMT", "1.5", "-1", "+1", "99999999999"] {
            let waited = wait(429, &headers(&[("retry-after", after)]), 0, 1.0);
            assert_eq!(waited, Some(Duration::from_millis(100)), "{after}");
        }
    }

    #[test]
    fn waits_double_and_end_at_ten_seconds() {
        assert_eq!(backoff(0, 0.0), Duration::from_millis(50));
        assert_eq!(backoff(3, 1.0), Duration::from_millis(800));
        assert_eq!(backoff(u32::MAX, 1.0), Duration::from_secs(10));
        assert!((0.0..=1.0).contains(&random()));
    }
}
