//! The API documents, and the operations they name.

/// The REST API.
pub const REST: &str = include_str!("../../../../api/openapi.yaml");

/// The session API.
pub const SESSIONS: &str = include_str!("../../../../api/session.yaml");

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Method and path of each operation. Paths stand two spaces in, methods four:
/// enough of YAML for documents of our own.
pub fn operations(document: &str) -> Vec<(String, String)> {
    let after = document.split_once("\npaths:\n").map_or("", |(_, after)| after);
    let paths = after.split_once("\ncomponents:\n").map_or(after, |(paths, _)| paths);
    let (mut path, mut found) = ("", Vec::new());
    for line in paths.lines() {
        let key = line.trim_end_matches(':');
        if let Some(text) = key.strip_prefix("  ").filter(|text| text.starts_with('/')) {
            path = text;
        } else if let Some(method) = key.strip_prefix("    ").filter(|key| METHODS.contains(key)) {
            found.push((method.to_uppercase(), path.to_owned()));
        }
    }
    found
}

/// Whether `METHOD /route`, as the documents spell it, is an operation.
pub fn has_operation(route: &str) -> bool {
    let is_it = |(method, path): &(String, String)| route.split_once(' ') == Some((method, path));
    [REST, SESSIONS].iter().any(|document| operations(document).iter().any(is_it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_known_as_they_are_spelled() {
        assert!(has_operation("POST /sandboxes/{sandboxID}/timeout"));
        assert!(has_operation("GET /v2/sandboxes"));
        assert!(has_operation("POST /api/v1/session/{session_id}/sandbox/execute"));
        for unknown in ["GET /sandboxes/{id}/timeout", "POST", "GET /nothing", "get /v2/sandboxes", ""] {
            assert!(!has_operation(unknown), "{unknown}");
        }
    }
}
