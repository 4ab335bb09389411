//! A row of the table: many measurements of one thing, the floor that it stands
//! on, and what SPECIFICATION.md promises of it.

use std::time::{Duration, Instant};

/// Measurements of one thing, in the unit in which it is shown.
#[derive(Debug)]
pub(super) struct Series {
    name: String,
    unit: Unit,
    values: Vec<f64>,
    /// Name of the row that it cannot beat.
    floor: Option<&'static str>,
    /// The promised median: at most, or of a rate at least.
    promise: Option<f64>,
    /// The promised ratio to the floor, at most.
    promised_ratio: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
enum Unit {
    Milliseconds,
    MebibytesASecond { bytes: f64 },
    Mebibytes,
}

const MIB: f64 = 1024.0 * 1024.0;

impl Series {
    fn new(name: impl Into<String>, unit: Unit) -> Self {
        Self { name: name.into(), unit, values: Vec::new(), floor: None, promise: None, promised_ratio: None }
    }

    /// Times.
    pub(super) fn ms(name: impl Into<String>) -> Self {
        Self::new(name, Unit::Milliseconds)
    }

    /// Rates of moving so many bytes.
    #[expect(clippy::cast_precision_loss, reason = "sizes here are far below 2^52")]
    pub(super) fn rate(name: impl Into<String>, bytes: usize) -> Self {
        Self::new(name, Unit::MebibytesASecond { bytes: bytes as f64 })
    }

    /// Sizes.
    pub(super) fn mib(name: impl Into<String>) -> Self {
        Self::new(name, Unit::Mebibytes)
    }

    /// Is shown as a multiple of the row with this name.
    pub(super) fn over(self, floor: &'static str) -> Self {
        Self { floor: Some(floor), ..self }
    }

    /// Is shown next to the promise of its median.
    pub(super) fn promised(self, median: f64) -> Self {
        Self { promise: Some(median), ..self }
    }

    /// The same where there is a promise.
    pub(super) fn perhaps(self, median: Option<f64>) -> Self {
        Self { promise: median, ..self }
    }

    /// Is shown next to the promise of its median's ratio to its floor.
    pub(super) fn promised_times(self, ratio: f64) -> Self {
        Self { promised_ratio: Some(ratio), ..self }
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
        if self.is_rate() {
            sorted.reverse();
        }
        let at = (sorted.len() * share).div_ceil(100).saturating_sub(1);
        sorted.get(at).copied().unwrap_or(f64::NAN)
    }

    fn is_rate(&self) -> bool {
        matches!(self.unit, Unit::MebibytesASecond { .. })
    }

    fn shown(&self, value: f64) -> String {
        let (unit, digits) = match self.unit {
            Unit::Milliseconds => ("ms", 2),
            Unit::MebibytesASecond { .. } => ("MiB/s", 0),
            Unit::Mebibytes => ("MiB", 1),
        };
        format!("{value:.digits$} {unit}")
    }

    /// How many times worse than its floor the median is.
    fn ratio(&self, all: &[Self]) -> Option<f64> {
        let floor = all.iter().find(|row| Some(row.name.as_str()) == self.floor)?;
        let ratio = self.percentile(50) / floor.percentile(50);
        Some(if self.is_rate() { ratio.recip() } else { ratio })
    }

    fn verdict(&self, all: &[Self]) -> Option<String> {
        if let (Some(most), Some(ratio)) = (self.promised_ratio, self.ratio(all)) {
            let missed = if ratio <= most { "" } else { ", **missed**" };
            return Some(format!("≤ {most:.2} × floor{missed}"));
        }
        let promise = self.promise?;
        let median = self.percentile(50);
        let (sign, kept) =
            if self.is_rate() { ("≥", median >= promise) } else { ("≤", median <= promise) };
        Some(format!("{sign} {}{}", self.shown(promise), if kept { "" } else { ", **missed**" }))
    }
}

/// Close to its floor, every hundredth counts.
fn ratio_text(ratio: f64) -> String {
    if ratio < 2.0 { format!("{ratio:.2}") } else { format!("{ratio:.1}") }
}

/// The whole table in Markdown.
pub(super) fn table(rows: &[Series]) -> String {
    let mut lines = vec![
        "| what | p50 | p99 | n | × floor | promise (p50) |".to_owned(),
        "|---|--:|--:|--:|--:|---|".to_owned(),
    ];
    for row in rows {
        let ratio = row.ratio(rows).map(ratio_text).unwrap_or_default();
        let cells = [
            row.name.clone(),
            row.shown(row.percentile(50)),
            row.shown(row.percentile(99)),
            row.values.len().to_string(),
            ratio,
            row.verdict(rows).unwrap_or_default(),
        ];
        lines.push(format!("| {} |", cells.join(" | ")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_percentiles() {
        let mut series = Series::ms("x");
        (1..=100).rev().for_each(|ms| series.push(Duration::from_millis(ms)));
        assert!((series.percentile(50) - 50.0).abs() < 1e-9);
        assert!((series.percentile(99) - 99.0).abs() < 1e-9);
        let mut rate = Series::rate("y", 1024 * 1024);
        for seconds in [1, 2, 4] {
            rate.push(Duration::from_secs(seconds));
        }
        assert!(rate.percentile(99) < rate.percentile(50), "the 99th of a rate is a slow one");
    }

    #[test]
    fn sets_rows_against_floors_and_promises() {
        let mut floor = Series::rate("f", 1024 * 1024);
        floor.push(Duration::from_millis(1));
        let mut row = Series::rate("r", 1024 * 1024).over("f").promised(500.0);
        row.push(Duration::from_millis(4));
        let mut close = Series::rate("c", 1024 * 1024).over("f").promised_times(1.15);
        close.push(Duration::from_millis(2));
        let text = table(&[floor, row, close]);
        assert!(
            text.contains("| c | 500 MiB/s | 500 MiB/s | 1 | 2.0 | ≤ 1.15 × floor, **missed** |"),
            "{text}"
        );
        assert!(text.contains("| f | 1000 MiB/s | 1000 MiB/s | 1 |  |  |"), "{text}");
        assert!(text.contains("| r | 250 MiB/s | 250 MiB/s | 1 | 4.0 | ≥ 500 MiB/s, **missed** |"), "{text}");
    }
}
