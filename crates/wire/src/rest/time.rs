//! Moments as RFC 3339 text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment to the microsecond, always written with six digits of them:
/// `2026-11-21T10:00:00.123456Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rfc3339(jiff::Timestamp);

impl Rfc3339 {
    /// From microseconds since 1970; beyond the years -9999 and 9999 it saturates.
    pub fn from_unix_micros(micros: i64) -> Self {
        let end = if micros < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        Self(jiff::Timestamp::from_microsecond(micros).unwrap_or(end))
    }

    /// Microseconds since 1970; finer digits are cut.
    pub fn unix_micros(self) -> i64 {
        self.0.as_microsecond()
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}", self.0)
    }
}

impl FromStr for Rfc3339 {
    type Err = jiff::Error;

    /// Accepts any offset and any number of digits.
    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        text.parse().map(Self)
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rfc3339 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_clients_write() {
        for text in [
            "2026-11-21T10:00:00.123456Z",
            "2026-11-21T12:00:00.123456+02:00",
            "2026-11-21T10:00:00.1234569Z",
        ] {
            assert_eq!(text.parse::<Rfc3339>().unwrap().to_string(), "2026-11-21T10:00:00.123456Z", "{text}");
        }
        assert_eq!(
            "2026-11-21T10:00:00Z".parse::<Rfc3339>().unwrap().to_string(),
            "2026-11-21T10:00:00.000000Z"
        );
        assert!("yesterday".parse::<Rfc3339>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_printed_is_what_is_compared(micros in any::<i64>()) {
            let moment = Rfc3339::from_unix_micros(micros);
            prop_assert_eq!(moment.to_string().parse::<Rfc3339>().unwrap().unix_micros(), moment.unix_micros());
        }
    }
}
