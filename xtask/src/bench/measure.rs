//! A row of the table: many measurements of one thing.

use std::fmt;
use std::time::{Duration, Instant};

/// Measurements of one thing, in the unit in which it is shown.
#[derive(Debug)]
pub(super) struct Series {
    name: String,
    unit: Unit,
    values: Vec<f64>,
}

#[derive(Debug, Clone, Copy)]
enum Unit {
    Milliseconds,
    MebibytesASecond { bytes: f64 },
    Mebibytes,
}

const MIB: f64 = 1024.0 * 1024.0;

impl Series {
    /// Times.
    pub(super) fn ms(name: impl Into<String>) -> Self {
        Self { name: name.into(), unit: Unit::Milliseconds, values: Vec::new() }
    }

    /// Rates of moving so many bytes.
    #[expect(clippy::cast_precision_loss, reason = "sizes here are far below 2^52")]
    pub(super) fn rate(name: impl Into<String>, bytes: usize) -> Self {
        let unit = Unit::MebibytesASecond { bytes: bytes as f64 };
        Self { name: name.into(), unit, values: Vec::new() }
    }

    /// Sizes.
    pub(super) fn mib(name: impl Into<String>) -> Self {
        Self { name: name.into(), unit: Unit::Mebibytes, values: Vec::new() }
    }

    /// Measures one call.
    pub(super) fn time<T>(&mut self, call: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let start = Instant::now();
        let value = call()?;
        self.push(start.elapsed());
        Ok(value)
    }

    /// Adds a time measured elsewhere.
    pub(super) fn push(&mut self, time: Duration) {
        self.values.push(match self.unit {
            Unit::MebibytesASecond { bytes } => bytes / MIB / time.as_secs_f64(),
            Unit::Milliseconds | Unit::Mebibytes => time.as_secs_f64() * 1000.0,
        });
    }

    /// Adds a size.
    #[expect(clippy::cast_precision_loss, reason = "sizes here are far below 2^52")]
    pub(super) fn push_bytes(&mut self, bytes: u64) {
        self.values.push(bytes as f64 / MIB);
    }

    /// The value that `share` (of 100) of the measurements do not exceed; of a
    /// rate, that they reach.
    fn percentile(&self, share: usize) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        if matches!(self.unit, Unit::MebibytesASecond { .. }) {
            sorted.reverse();
        }
        let at = (sorted.len() * share).div_ceil(100).saturating_sub(1);
        sorted.get(at).copied().unwrap_or(f64::NAN)
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, digits) = match self.unit {
            Unit::Milliseconds => ("ms", 2),
            Unit::MebibytesASecond { .. } => ("MiB/s", 0),
            Unit::Mebibytes => ("MiB", 1),
        };
        let (p50, p99) = (self.percentile(50), self.percentile(99));
        let n = self.values.len();
        write!(f, "| {} | {p50:.digits$} {unit} | {p99:.digits$} {unit} | {n} |", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_percentiles() {
        let mut series = Series::ms("x");
        (1..=100).rev().for_each(|ms| series.push(Duration::from_millis(ms)));
        assert_eq!(series.to_string(), "| x | 50.00 ms | 99.00 ms | 100 |");
        let mut rate = Series::rate("y", 1024 * 1024);
        [1, 2, 4].map(|seconds| rate.push(Duration::from_secs(seconds)));
        assert!(rate.percentile(99) < rate.percentile(50));
    }
}
