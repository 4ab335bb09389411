//! The daemon's internal routes, which nobody may reach from outside.
//!
//! The daemon itself serves them on another socket; this is the second lock,
//! in front of daemons that a template brings along.

use wire::control::ENVD_PORT;

const INTERNAL: [&str; 7] =
    ["/init", "/freeze", "/unfreeze", "/fsfreeze", "/fsthaw", "/collapse", "/upgrade"];

/// Whether this path on this port is for the control plane alone, in any spelling.
pub(crate) fn is_internal(port: u16, path: &str) -> bool {
    if port != ENVD_PORT {
        return false;
    }
    let decoded = decode(path);
    INTERNAL.contains(&clean(&decoded).as_str())
}

/// Resolves `%xx` once, as the daemon's router does. Bytes that are no UTF-8
/// become replacement characters, which no internal path has.
fn decode(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| tail.get(..2)).flatten().and_then(hex);
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let value = digit(digits[0])? * 16 + digit(digits[1])?;
    u8::try_from(value).ok()
}

/// Removes empty, `.` and `..` segments.
fn clean(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            name => segments.push(name),
        }
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::is_internal;

    #[test]
    fn every_spelling_is_refused() {
        for path in [
            "/init",
            "//init",
            "/init/",
            "/./init",
            "/a/../init",
            "/%69nit",
            "/../init",
            "/files/%2e%2e/freeze",
        ] {
            assert!(is_internal(49983, path), "{path}");
        }
        for path in ["/", "/health", "/initial", "/files", "/%", "/%zz", "/%ffinit", "/init/x"] {
            assert!(!is_internal(49983, path), "{path}");
        }
        assert!(!is_internal(8000, "/init"));
    }
}
