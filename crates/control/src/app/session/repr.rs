//! An exception as the session API tells it: the way Python writes a data class.

use wire::execute::Failure;

/// `ExecutionError(name='…', value='…', traceback='…')`.
pub(super) fn failure(failure: &Failure) -> String {
    let Failure { name, value, traceback } = failure;
    format!("ExecutionError(name={}, value={}, traceback={})", repr(name), repr(value), repr(traceback))
}

/// Text as Python's `repr` writes it: single quotes, unless only they are in it.
fn repr(text: &str) -> String {
    use std::fmt::Write as _;
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_control() => {
                // Control characters are all below U+00A0; writing to a string cannot fail.
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_written_as_python_does() {
        for (text, written) in [
            ("plain", "'plain'"),
            ("it's", "\"it's\""),
            ("say \"hi\"", "'say \"hi\"'"),
            ("'\"", "'\\'\"'"),
            ("a\nb\t\\\u{1b}[0m", "'a\\nb\\t\\\\\\x1b[0m'"),
            ("名前", "'名前'"),
        ] {
            assert_eq!(repr(text), written);
        }
    }

    #[test]
    fn a_failure_is_written_as_a_data_class() {
        let error = Failure {
            name: "NameError".into(),
            value: "name 'x' is not defined".into(),
            traceback: "line 1".into(),
        };
        assert_eq!(
            failure(&error),
            "ExecutionError(name='NameError', value=\"name 'x' is not defined\", traceback='line 1')"
        );
    }
}
