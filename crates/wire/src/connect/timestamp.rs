//! `google.protobuf.Timestamp`: a moment with nanoseconds.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::messages;

/// A moment in seconds and nanoseconds since 1970, within the years 1 to 9999.
///
/// In JSON it is RFC 3339, UTC, with 0, 3, 6 or 9 digits after the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timestamp {
    seconds: i64,
    nanoseconds: u32,
}

messages! {
    Timestamp { 1: seconds, 2: nanoseconds }
}

impl Timestamp {
    /// A moment; one that the format cannot hold becomes the nearest that it can.
    pub fn new(seconds: i64, nanoseconds: u32) -> Self {
        let earliest = jiff::Timestamp::MIN.as_second() + 1;
        let seconds = seconds.clamp(earliest, jiff::Timestamp::MAX.as_second());
        Self { seconds, nanoseconds: nanoseconds.min(999_999_999) }
    }

    /// Seconds since 1970, rounded down.
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds after that second.
    pub fn nanoseconds(self) -> u32 {
        self.nanoseconds
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One that came from elsewhere may lie outside of the years.
        let Self { seconds, nanoseconds } = Self::new(self.seconds, self.nanoseconds);
        let whole = jiff::Timestamp::from_second(seconds).unwrap_or_default();
        let text = whole.strftime("%Y-%m-%dT%H:%M:%S");
        if nanoseconds == 0 {
            write!(f, "{text}Z")
        } else if nanoseconds.is_multiple_of(1_000_000) {
            write!(f, "{text}.{:03}Z", nanoseconds / 1_000_000)
        } else if nanoseconds.is_multiple_of(1_000) {
            write!(f, "{text}.{:06}Z", nanoseconds / 1_000)
        } else {
            write!(f, "{text}.{nanoseconds:09}Z")
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let moment: jiff::Timestamp = text.parse().map_err(D::Error::custom)?;
        let nanoseconds = moment.as_nanosecond().rem_euclid(1_000_000_000);
        let seconds = moment.as_nanosecond().div_euclid(1_000_000_000);
        let seconds = i64::try_from(seconds).map_err(D::Error::custom)?;
        Ok(Self::new(seconds, u32::try_from(nanoseconds).map_err(D::Error::custom)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_three_digits_and_back() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (1_700_000_000, 120_000_000, "2023-11-14T22:13:20.120Z"),
            (1_700_000_000, 120_001_000, "2023-11-14T22:13:20.120001Z"),
            (-1, 5, "1969-12-31T23:59:59.000000005Z"),
        ] {
            let moment = Timestamp::new(seconds, nanoseconds);
            assert_eq!(moment.to_string(), text);
            assert_eq!(serde_json::from_value::<Timestamp>(text.into()).unwrap(), moment);
        }
        assert!(Timestamp::new(i64::MAX, 0).to_string().starts_with("9999-"));
        assert!(Timestamp { seconds: i64::MIN, nanoseconds: u32::MAX }.to_string().starts_with('-'));
    }
}
