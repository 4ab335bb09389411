//! What a cell leaves to look at: the pictures it showed, and the files that it
//! made or changed below the session's home.
//!
//! Files are found by their change time, which no program can set back, so that
//! moved and unpacked ones count, too. That time is coarse: a file that something
//! else changed within the hundredth of a second before the cell may be counted as
//! well, but for the pictures that were written for the cell before it.

use std::time::Duration;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use model::Timestamp;
use wire::execute::Display;

use crate::inside::{Cell, Inside};

/// The home of a session.
const HOME: &str = "/home/user";

/// Where pictures without a file of their own go.
const PICTURES: &str = "/home/user/artifacts";

/// The clock of files ticks no slower.
const TICK: Duration = Duration::from_millis(10);

/// Looking for files takes no longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Artifacts of one cell that are told.
const MOST: usize = 200;

/// Paths of the artifacts of a cell that started at `since`: changed files, then
/// pictures. What cannot be looked at or written is left out.
pub(super) async fn collect(inside: &Inside<'_>, cell: &Cell, since: Timestamp) -> Vec<String> {
    let mut paths = match changed(inside, since).await {
        Ok(paths) => paths,
        Err(error) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "changed files are not known");
            Vec::new()
        }
    };
    let pictures = cell.displays.iter().filter_map(picture);
    for (index, (content, kind)) in pictures.take(MOST).enumerate() {
        let path = picture_path(cell.number.unwrap_or(0), index, since, kind);
        match inside.write_file(&path, Body::from(content)).await {
            Ok(()) => paths.push(path),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "a picture was not written");
            }
        }
    }
    paths
}

/// Hidden directories hold caches and settings, no results.
async fn changed(inside: &Inside<'_>, since: Timestamp) -> Result<Vec<String>, crate::inside::Error> {
    let from = (since - TICK).unix_micros();
    let from = format!("@{}.{:06}", from.div_euclid(1_000_000), from.rem_euclid(1_000_000));
    let words = [
        "find",
        HOME,
        "-mindepth",
        "1",
        "-name",
        ".*",
        "-prune",
        "-o",
        "-name",
        "__pycache__",
        "-prune",
        "-o",
        "-type",
        "f",
        "-newerct",
        &from,
        "-printf",
        "%C@ %p\\0",
    ];
    let found = inside.run_program("root", &words, PATIENCE).await?;
    let mut paths: Vec<String> =
        found.stdout.split('\0').filter_map(|line| told(line, since)).map(str::to_owned).collect();
    paths.sort_unstable();
    paths.truncate(MOST);
    Ok(paths)
}

/// The path in a line of the search, `SECONDS.FRACTION PATH`, if it is an artifact of
/// the cell that started at `since`: a picture that is older is that of a cell before.
fn told(line: &str, since: Timestamp) -> Option<&str> {
    let (time, path) = line.split_once(' ')?;
    let (seconds, fraction) = time.split_once('.')?;
    let micros = fraction.get(..6)?.parse::<i64>().ok()?;
    let changed = seconds.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(micros)?;
    let is_before = changed < since.unix_micros();
    (path.starts_with(HOME) && !(is_before && is_picture(path))).then_some(path)
}

/// Where a picture goes: no two calls of a session begin in the same millisecond with
/// the same number.
fn picture_path(number: u64, index: usize, since: Timestamp, kind: &str) -> String {
    format!("{PICTURES}/{number}-{index}-{}.{kind}", since.unix_micros() / 1000)
}

/// Whether a path is one that [`picture_path`] gives.
fn is_picture(path: &str) -> bool {
    let name = path.strip_prefix(PICTURES).and_then(|name| name.strip_prefix('/'));
    let stem = name.and_then(|name| name.split_once('.')).map(|(stem, _)| stem);
    stem.is_some_and(|stem| {
        let numbers: Vec<&str> = stem.split('-').collect();
        numbers.len() == 3 && numbers.iter().all(|number| number.parse::<u64>().is_ok())
    })
}

/// A displayed value's picture, the one best kept first; a chart's data if that is all.
fn picture(display: &Display) -> Option<(Bytes, &'static str)> {
    let decoded = |text: &Option<String>| {
        let bytes: Vec<u8> = text.as_ref()?.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        STANDARD.decode(bytes).ok().map(Bytes::from)
    };
    let png = || decoded(&display.png).map(|bytes| (bytes, "png"));
    let jpeg = || decoded(&display.jpeg).map(|bytes| (bytes, "jpg"));
    let svg = || display.svg.clone().map(|text| (Bytes::from(text), "svg"));
    let pdf = || decoded(&display.pdf).map(|bytes| (bytes, "pdf"));
    let chart = || display.chart.as_ref().map(|chart| (Bytes::from(chart.to_string()), "json"));
    png().or_else(jpeg).or_else(svg).or_else(pdf).or_else(chart)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_of_the_cell_before_is_not_told_and_everything_else_is() {
        let since = Timestamp::from_unix_micros(1_795_255_200_123_456);
        let earlier = picture_path(3, 0, since - Duration::from_millis(700), "png");
        assert!(is_picture(&earlier), "{earlier}");
        let line = |time: &str, path: &str| format!("{time} {path}");
        for (time, path, is_told) in [
            ("1795255200.1234550000", earlier.as_str(), false),
            // The cell changed it.
            ("1795255200.1234560000", earlier.as_str(), true),
            ("1795255200.1234550000", "/home/user/artifacts/plot.png", true),
            ("1795255200.1234550000", "/home/user/artifacts/1-2-3-4.png", true),
            ("1795255200.1234550000", "/home/user/1-2-3.png", true),
            ("1795255200.1234550000", "/home/user/with two spaces.csv", true),
            ("1795255200.1234550000", "/etc/passwd", false),
            ("1795255200", "/home/user/a", false),
        ] {
            let line = line(time, path);
            assert_eq!(told(&line, since), is_told.then_some(path), "{line}");
        }
        assert_eq!(told("", since), None);
    }

    #[test]
    fn a_picture_is_had_once_whatever_its_forms() {
        let both =
            Display { png: Some("aGk\n=".to_owned()), svg: Some("<svg/>".to_owned()), ..Display::default() };
        assert_eq!(picture(&both), Some((Bytes::from_static(b"hi"), "png")));
        let svg = Display { png: Some("?".to_owned()), ..both };
        assert_eq!(picture(&svg), Some((Bytes::from_static(b"<svg/>"), "svg")));
        assert_eq!(picture(&Display { text: Some("1".to_owned()), ..Display::default() }), None);
    }
}
