//! A kernel's MIME bundle → the line of a result.
//!
//! The forms are passed on as the JSON text they came in: a picture of 50 MB is
//! escaped once and never unpacked. Only `text/plain` is read, for its quotes.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::lines::push_ascii;

/// MIME types with a member of their own, in the order of their members.
const MEMBERS: [(&str, &str); 12] = [
    ("text/plain", "text"),
    ("text/html", "html"),
    ("text/markdown", "markdown"),
    ("image/svg+xml", "svg"),
    ("image/png", "png"),
    ("image/jpeg", "jpeg"),
    ("application/pdf", "pdf"),
    ("text/latex", "latex"),
    ("application/json", "json"),
    ("application/javascript", "javascript"),
    ("e2b/data", "data"),
    ("e2b/chart", "chart"),
];

/// Whether a bundle is the value of the last expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It is.
    Main,
    /// It was displayed on the way.
    Aside,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    data: BTreeMap<String, &'a RawValue>,
}

/// The line, without its end, for the content of `display_data` or
/// `execute_result`; `None` if that cannot be read.
pub(super) fn result_line(content: &str, role: Role) -> Option<Vec<u8>> {
    let mut data = serde_json::from_str::<Content<'_>>(content).ok()?.data;
    data.retain(|_, value| value.get() != "null");
    let mut line = Vec::with_capacity(content.len() + 64);
    line.extend_from_slice(br#"{"type": "result""#);
    for (mime, member) in MEMBERS {
        let Some(value) = data.remove(mime) else { continue };
        line.extend_from_slice(format!(", \"{member}\": ").as_bytes());
        push_value(value.get(), mime, &mut line);
    }
    line.extend_from_slice(br#", "extra": {"#);
    for (index, (mime, value)) in data.into_iter().enumerate() {
        if index > 0 {
            line.extend_from_slice(b", ");
        }
        push_ascii(&serde_json::Value::from(mime).to_string(), &mut line);
        line.extend_from_slice(b": ");
        push_ascii(value.get(), &mut line);
    }
    line.extend_from_slice(match role {
        Role::Main => br#"}, "is_main_result": true}"#.as_slice(),
        Role::Aside => br#"}, "is_main_result": false}"#.as_slice(),
    });
    Some(line)
}

fn push_value(json: &str, mime: &str, line: &mut Vec<u8>) {
    let is_text = mime.starts_with("text/") || mime == "image/svg+xml";
    let text = match json.as_bytes().first() {
        // Notebook files split text into lines, and some kernels send it that way.
        Some(b'[') if is_text => serde_json::from_str::<Vec<String>>(json).ok().map(|lines| lines.concat()),
        Some(b'"') if mime == "text/plain" => serde_json::from_str(json).ok(),
        _ => None,
    };
    match text {
        None => push_ascii(json, line),
        Some(text) => {
            let text = if mime == "text/plain" { unquoted(&text) } else { &text };
            push_ascii(&serde_json::Value::from(text).to_string(), line);
        }
    }
}

/// `'a'` → `a`: what Python shows of a string is its literal.
fn unquoted(text: &str) -> &str {
    ['\'', '"'].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::execute::Item;

    fn read(content: &str) -> wire::execute::Display {
        let line = result_line(content, Role::Main).expect("a readable bundle");
        assert!(line.is_ascii());
        match serde_json::from_slice(&line).expect("a line of JSON") {
            Item::Result(display) => *display,
            other => panic!("not a result: {other:?}"),
        }
    }

    #[test]
    fn every_member_and_the_rest() {
        let display = read(
            r#"{"data":{"text/plain":"'é'","text/html":["a","b"],"image/png":"AA==","application/json":[1,{"a":null}],
            "e2b/chart":{},"e2b/data":{"a":[1]},"x/y":{"k":"😀"},"text/latex":null},"metadata":{}}"#,
        );
        assert_eq!(display.text.as_deref(), Some("é"));
        assert_eq!(display.html.as_deref(), Some("ab"));
        assert_eq!(display.png.as_deref(), Some("AA=="));
        assert_eq!(display.json, Some(serde_json::json!([1, {"a": null}])));
        assert_eq!(display.chart, Some(serde_json::json!({})));
        assert_eq!(display.data, Some(serde_json::json!({"a": [1]})));
        assert_eq!(display.latex, None);
        assert_eq!(display.extra["x/y"]["k"], "😀");
        assert!(display.is_main_result);
    }

    #[test]
    fn one_pair_of_equal_quotes_goes() {
        for (given, expected) in [
            ("'a'", "a"),
            ("\"a\"", "a"),
            ("''a''", "'a'"),
            ("'a\"", "'a\""),
            ("'", "'"),
            ("''", ""),
            ("1", "1"),
        ] {
            assert_eq!(unquoted(given), expected);
        }
    }

    #[test]
    fn nonsense_is_no_result() {
        assert!(result_line(r#"{"data":[]}"#, Role::Aside).is_none());
        assert!(result_line("", Role::Aside).is_none());
        assert!(result_line(r#"{"data":{"a":NaN}}"#, Role::Aside).is_none());
    }
}
