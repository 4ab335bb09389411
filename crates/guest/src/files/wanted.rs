//! What a download asks for: which part of the file, in which form, on which
//! conditions. Decided as Go's file server decides, which the SDKs know; files
//! have no entity tag, so only dates and `*` can match.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use http::HeaderMap;
use http::header::{
    ACCEPT_ENCODING, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
    RANGE,
};

use crate::http::date;

/// Ranges of one request; with more the whole file is sent.
const MAX_RANGES: usize = 64;

/// The answer's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// No coding that the client accepts.
    NotAcceptable,
    /// A condition on the file failed.
    ConditionFailed,
    /// The client has it already.
    NotModified,
    /// No byte of what was asked for is there.
    Unsatisfiable,
    /// At least one.
    Ranges(Vec<Range>),
    /// All of it, compressed.
    Gzip,
    /// All of it.
    Whole,
}

/// Bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u64,
    pub(super) len: u64,
}

impl Range {
    /// The value of `Content-Range` in a file of `total` bytes.
    pub(super) fn header(self, total: u64) -> String {
        format!("bytes {}-{}/{total}", self.start, self.start + self.len - 1)
    }
}

impl Wanted {
    /// What these headers ask of a file.
    pub(super) fn of(headers: &HeaderMap, about: &Metadata) -> Self {
        Self::decide(headers, about.mtime(), about.is_file().then_some(about.len()))
    }

    /// `len` is that of a regular file. Where it is 0 it means nothing, as in
    /// `/proc`: such a file is read to its end.
    fn decide(headers: &HeaderMap, modified: i64, len: Option<u64>) -> Self {
        let Some(gzip) = coding(text(headers, &ACCEPT_ENCODING)) else { return Self::NotAcceptable };
        let plain_only = [&RANGE, &IF_MODIFIED_SINCE, &IF_NONE_MATCH, &IF_RANGE];
        if plain_only.into_iter().any(|name| headers.contains_key(name)) && gzip == Gzip::Must {
            return Self::NotAcceptable;
        }
        if let Some(verdict) = conditions(headers, modified) {
            return verdict;
        }
        let range = text(headers, &RANGE).filter(|_| still_same(headers, modified));
        match (range, len) {
            (Some(range), Some(len)) if len > 0 => ranges(range, len),
            _ if plain_only.into_iter().any(|name| headers.contains_key(name)) => Self::Whole,
            _ if gzip == Gzip::No => Self::Whole,
            _ => Self::Gzip,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gzip {
    No,
    Prefers,
    Must,
}

/// Whether to compress; `None` if no form would do. Compressing costs more time
/// than it saves on a local network, so a client that would take the plain
/// bytes gets them (the SDKs offer both by default), unless it names gzip alone.
fn coding(accepted: Option<&str>) -> Option<Gzip> {
    let Some(accepted) = accepted else { return Some(Gzip::No) };
    let codings: Vec<(&str, bool)> = accepted
        .split(',')
        .map(|coding| {
            let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
            let weight = parameters.trim().strip_prefix("q=").and_then(|q| q.trim().parse::<f32>().ok());
            (name.trim(), weight != Some(0.0))
        })
        .filter(|(name, _)| !name.is_empty())
        .collect();
    let find = |wanted: &str| codings.iter().find(|(name, _)| *name == wanted).map(|(_, taken)| *taken);
    let gzip = find("gzip").unwrap_or(false);
    let plain = find("identity").or_else(|| find("*")).unwrap_or(true);
    match (gzip, plain) {
        (true, false) => Some(Gzip::Must),
        (true, true) if codings.len() == 1 => Some(Gzip::Prefers),
        (_, true) => Some(Gzip::No),
        (false, false) => None,
    }
}

/// In the order of RFC 9110, section 13.2.2.
fn conditions(headers: &HeaderMap, modified: i64) -> Option<Wanted> {
    let since = |name| text(headers, name).and_then(date::parse);
    if let Some(tags) = text(headers, &IF_MATCH) {
        if tags.trim() != "*" {
            return Some(Wanted::ConditionFailed);
        }
    } else if since(&IF_UNMODIFIED_SINCE).is_some_and(|then| modified > then) {
        return Some(Wanted::ConditionFailed);
    }
    let unchanged = match text(headers, &IF_NONE_MATCH) {
        Some(tags) => tags.trim() == "*",
        None => since(&IF_MODIFIED_SINCE).is_some_and(|then| modified <= then),
    };
    unchanged.then_some(Wanted::NotModified)
}

/// Whether `If-Range` lets the range stand.
fn still_same(headers: &HeaderMap, modified: i64) -> bool {
    text(headers, &IF_RANGE).is_none_or(|value| date::parse(value) == Some(modified))
}

/// The ranges of a file that is not empty. Those beyond its end are left out;
/// more bytes than the file has are the whole file.
fn ranges(header: &str, len: u64) -> Wanted {
    let Some(specs) = header.strip_prefix("bytes=") else { return Wanted::Unsatisfiable };
    let mut found = Vec::new();
    for spec in specs.split(',').map(str::trim).filter(|spec| !spec.is_empty()) {
        match range(spec, len) {
            Some(range) if range.len == 0 => {}
            Some(range) if found.len() < MAX_RANGES => found.push(range),
            Some(_) => return Wanted::Whole,
            None => return Wanted::Unsatisfiable,
        }
    }
    if found.is_empty() {
        Wanted::Unsatisfiable
    } else if found.iter().map(|range| range.len).sum::<u64>() > len {
        Wanted::Whole
    } else {
        Wanted::Ranges(found)
    }
}

/// One range, `None` if it is malformed. One beyond the end has no bytes.
fn range(spec: &str, len: u64) -> Option<Range> {
    let (first, last) = spec.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    if first.is_empty() {
        let n = number(last)?.min(len);
        return Some(Range { start: len - n, len: n });
    }
    let start = number(first)?;
    let end = if last.is_empty() { len - 1 } else { number(last)?.min(len - 1) };
    if !last.is_empty() && number(last)? < start {
        return None;
    }
    Some(Range { start, len: (end + 1).saturating_sub(start) })
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    /// Changed at the first second of 2026.
    const MODIFIED: i64 = 1_767_225_600;
    const THEN: &str = "Thu, 01 Jan 2026 00:00:00 GMT";
    const BEFORE: &str = "Wed, 31 Dec 2025 23:59:59 GMT";

    fn of(headers: &[(&'static str, &str)]) -> Wanted {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        Wanted::decide(&map, MODIFIED, Some(10))
    }

    fn one(start: u64, len: u64) -> Wanted {
        Wanted::Ranges(vec![Range { start, len }])
    }

    #[test]
    fn ranges() {
        for (range, wanted) in [
            ("bytes=0-3", one(0, 4)),
            ("bytes=4-", one(4, 6)),
            ("bytes=-3", one(7, 3)),
            ("bytes=-30", one(0, 10)),
            ("bytes=5-300", one(5, 5)),
            ("bytes=20-30, 2-3", one(2, 2)),
            ("bytes=0-1,8-9", Wanted::Ranges(vec![Range { start: 0, len: 2 }, Range { start: 8, len: 2 }])),
            ("bytes=0-7,3-9", Wanted::Whole),
            ("bytes=10-", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=3-1", Wanted::Unsatisfiable),
            ("bytes=+1-2", Wanted::Unsatisfiable),
            ("bytes=", Wanted::Unsatisfiable),
            ("lines=1-2", Wanted::Unsatisfiable),
        ] {
            assert_eq!(of(&[("range", range)]), wanted, "{range}");
        }
        let many = format!("bytes={}", vec!["0-0"; MAX_RANGES + 1].join(","));
        assert_eq!(super::ranges(&many, 1000), Wanted::Whole);
        assert_eq!(of(&[("range", "bytes=0-3"), ("if-range", THEN)]), one(0, 4));
        assert_eq!(of(&[("range", "bytes=0-3"), ("if-range", BEFORE)]), Wanted::Whole);
        assert_eq!(of(&[("range", "bytes=0-3"), ("if-range", "\"tag\"")]), Wanted::Whole);
    }

    #[test]
    fn conditions() {
        for (name, value, wanted) in [
            ("if-modified-since", THEN, Wanted::NotModified),
            ("if-modified-since", BEFORE, Wanted::Whole),
            ("if-modified-since", "yesterday", Wanted::Whole),
            ("if-unmodified-since", THEN, Wanted::Whole),
            ("if-unmodified-since", BEFORE, Wanted::ConditionFailed),
            ("if-none-match", "*", Wanted::NotModified),
            ("if-none-match", "\"tag\"", Wanted::Whole),
            ("if-match", "*", Wanted::Whole),
            ("if-match", "\"tag\"", Wanted::ConditionFailed),
        ] {
            assert_eq!(of(&[(name, value)]), wanted, "{name}: {value}");
        }
        assert_eq!(of(&[("if-none-match", "\"tag\""), ("if-modified-since", THEN)]), Wanted::Whole);
    }

    #[test]
    fn codings() {
        for (accepted, wanted) in [
            ("gzip", Wanted::Gzip),
            ("gzip;q=0.5", Wanted::Gzip),
            ("gzip, identity;q=0", Wanted::Gzip),
            ("gzip, *;q=0", Wanted::Gzip),
            ("gzip, deflate", Wanted::Whole),
            ("gzip;q=0", Wanted::Whole),
            ("br", Wanted::Whole),
            ("*", Wanted::Whole),
            ("", Wanted::Whole),
            ("identity;q=0", Wanted::NotAcceptable),
            ("br, *;q=0", Wanted::NotAcceptable),
        ] {
            assert_eq!(of(&[("accept-encoding", accepted)]), wanted, "{accepted}");
        }
        assert_eq!(of(&[("accept-encoding", "gzip"), ("range", "bytes=0-3")]), one(0, 4));
        let must = ("accept-encoding", "gzip, identity;q=0");
        assert_eq!(of(&[must, ("range", "bytes=0-3")]), Wanted::NotAcceptable);
    }

    proptest! {
        #[test]
        fn whatever_is_asked_lies_in_the_file(header in "bytes=[-0-9, ]{0,40}|.{0,40}", len in 1u64..1000) {
            if let Wanted::Ranges(ranges) = super::ranges(&header, len) {
                prop_assert!(!ranges.is_empty());
                for Range { start, len: n } in ranges {
                    prop_assert!(n > 0 && start < len && n <= len - start);
                }
            }
        }
    }
}
