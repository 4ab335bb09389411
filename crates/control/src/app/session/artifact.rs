//! What a cell leaves to look at: the pictures it showed, and the files that it
//! made or changed below the session's home.
//!
//! Files are found by their change time, which no program can set back, so that
//! moved and unpacked ones count, too. That time is coarse: a file that something
//! else changed within the last hundredth of a second may be counted as well.

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
    let mut has_written = false;
    for (index, (content, kind)) in pictures.take(MOST).enumerate() {
        let number = cell.number.unwrap_or(0);
        let path = format!("{PICTURES}/{number}-{index}-{}.{kind}", since.unix_micros() / 1000);
        match inside.write_file(&path, Body::from(content)).await {
            Ok(()) => {
                has_written = true;
                paths.push(path);
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "a picture was not written");
            }
        }
    }
    if has_written {
        // What this cell showed is not what the next one changed, however soon that comes.
        tokio::time::sleep(TICK).await;
    }
    paths
}

/// Hidden directories hold caches and settings, no results.
async fn changed(inside: &Inside<'_>, since: Timestamp) -> Result<Vec<String>, crate::inside::Error> {
    let since = (since - TICK).unix_micros();
    let since = format!("@{}.{:06}", since.div_euclid(1_000_000), since.rem_euclid(1_000_000));
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
        &since,
        "-print0",
    ];
    let found = inside.run_program("root", &words, PATIENCE).await?;
    let mut paths: Vec<String> =
        found.stdout.split('\0').filter(|path| path.starts_with(HOME)).map(str::to_owned).collect();
    paths.sort_unstable();
    paths.truncate(MOST);
    Ok(paths)
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
    fn a_picture_is_had_once_whatever_its_forms() {
        let both =
            Display { png: Some("aGk\n=".to_owned()), svg: Some("<svg/>".to_owned()), ..Display::default() };
        assert_eq!(picture(&both), Some((Bytes::from_static(b"hi"), "png")));
        let svg = Display { png: Some("?".to_owned()), ..both };
        assert_eq!(picture(&svg), Some((Bytes::from_static(b"<svg/>"), "svg")));
        assert_eq!(picture(&Display { text: Some("1".to_owned()), ..Display::default() }), None);
    }
}
