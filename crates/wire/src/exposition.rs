//! Measurements as Prometheus reads them: its text form, version 0.0.4.
//!
//! ```text
//! # HELP name what it is
//! # TYPE name counter
//! name{label="value"} 3
//! ```

use std::fmt::Write as _;

/// What an answer in this form is called in its `Content-Type`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How the values of a family may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only upwards, from 0 at the start of the server.
    Counter,
    /// Up and down.
    Gauge,
    /// Counts of what was at most as large as each bound.
    Histogram,
}

/// One measurement with all its label values.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    points: Vec<Point>,
}

#[derive(Debug, Clone, PartialEq)]
struct Point {
    suffix: &'static str,
    labels: Vec<(&'static str, String)>,
    value: f64,
}

impl Family {
    /// One without values yet. `name` and labels are ours, so they are not escaped.
    pub fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, help, kind, points: Vec::new() }
    }

    /// A count that only grows, without labels.
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self::new(name, Kind::Counter, help).with(&[], count(value))
    }

    /// A level, without labels.
    pub fn gauge(name: &'static str, help: &'static str, value: f64) -> Self {
        Self::new(name, Kind::Gauge, help).with(&[], value)
    }

    /// With one value more.
    #[must_use]
    pub fn with(mut self, labels: &[(&'static str, &str)], value: f64) -> Self {
        self.push("", labels, value);
        self
    }

    /// With the values of a histogram: `counts` of what fell into each bucket
    /// (one more than there are bounds: the last is for what is larger), and
    /// the sum of all.
    #[must_use]
    pub fn with_buckets(mut self, bounds: &[f64], counts: &[u64], sum: f64) -> Self {
        let mut below = 0;
        for (n, inside) in counts.iter().enumerate() {
            below += inside;
            let bound = bounds.get(n).map_or_else(|| "+Inf".to_owned(), f64::to_string);
            self.push("_bucket", &[("le", &bound)], count(below));
        }
        self.push("_sum", &[], sum);
        self.push("_count", &[], count(below));
        self
    }

    fn push(&mut self, suffix: &'static str, labels: &[(&'static str, &str)], value: f64) {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.points.push(Point { suffix, labels, value });
    }
}

/// A count as the form's only kind of number.
#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 a count may be off by one")]
pub fn count(value: u64) -> f64 {
    value as f64
}

/// The whole answer. A family without values is left out.
pub fn text(families: &[Family]) -> String {
    let mut text = String::new();
    for family in families.iter().filter(|family| !family.points.is_empty()) {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let (name, help) = (family.name, family.help);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for point in &family.points {
            let _ = write!(text, "{name}{}", point.suffix);
            write_labels(&mut text, &point.labels);
            let _ = writeln!(text, " {}", point.value);
        }
    }
    text
}

fn write_labels(text: &mut String, labels: &[(&'static str, String)]) {
    for (n, (name, value)) in labels.iter().enumerate() {
        text.push(if n == 0 { '{' } else { ',' });
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{name}=\"{value}\"");
    }
    if !labels.is_empty() {
        text.push('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_as_the_form_has_them() {
        let families = [
            Family::counter("a_total", "How many.", 7),
            Family::new("b", Kind::Gauge, "Left out.").clone(),
            Family::new("c", Kind::Gauge, "By state.")
                .with(&[("state", "a\"b\\c\nd"), ("of", "x")], 1.5)
                .with(&[("state", "")], -2.0),
            Family::new("d_seconds", Kind::Histogram, "Times.").with_buckets(&[0.1, 1.0], &[2, 0, 3], 9.25),
        ];
        let expected = "# HELP a_total How many.\n# TYPE a_total counter\na_total 7\n\
             # HELP c By state.\n# TYPE c gauge\nc{state=\"a\\\"b\\\\c\\nd\",of=\"x\"} 1.5\nc{state=\"\"} -2\n\
             # HELP d_seconds Times.\n# TYPE d_seconds histogram\nd_seconds_bucket{le=\"0.1\"} 2\n\
             d_seconds_bucket{le=\"1\"} 2\nd_seconds_bucket{le=\"+Inf\"} 5\nd_seconds_sum 9.25\nd_seconds_count 5\n";
        assert_eq!(text(&families), expected);
    }
}
