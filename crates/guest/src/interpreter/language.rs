//! Languages: how requests name them, and what the service says to their kernels.

use std::collections::BTreeMap;
use std::fmt;

/// A language by its normalised name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Language(String);

/// A language with a kernel in this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// ipykernel.
    Python,
}

impl Language {
    /// Reads a request's `language`; absent and blank mean Python.
    pub(super) fn parse(name: Option<&str>) -> Self {
        let name = name.unwrap_or_default().trim().to_lowercase();
        Self(match name.as_str() {
            "" => "python".to_owned(),
            "js" => "javascript".to_owned(),
            "ts" => "typescript".to_owned(),
            _ => name,
        })
    }

    /// How to talk to its kernel; `None` if there is none.
    pub(super) fn dialect(&self) -> Option<Dialect> {
        (self.0 == "python").then_some(Dialect::Python)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Dialect {
    /// Code that sets variables of the kernel's environment, and removes those
    /// whose value is `None`. It leaves no name behind.
    pub(super) fn set_envs(self, changes: &BTreeMap<String, Option<String>>) -> String {
        match self {
            Self::Python => {
                let changes = ascii_json(&serde_json::json!(changes));
                // The inner text is JSON; its quoted form is also a Python literal,
                // since everything in it is ASCII and has no escape but `\"` and `\\`.
                let literal = serde_json::Value::from(changes);
                format!(
                    "[__import__('os').environ.pop(k, None) if v is None else \
                     __import__('os').environ.__setitem__(k, v) \
                     for k, v in __import__('json').loads({literal}).items()] and None"
                )
            }
        }
    }
}

/// JSON text in which everything outside ASCII is escaped.
fn ascii_json(value: &serde_json::Value) -> String {
    let mut bytes = Vec::new();
    super::lines::push_ascii(&value.to_string(), &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        for (given, expected) in [
            (None, "python"),
            (Some("  "), "python"),
            (Some("Python "), "python"),
            (Some("JS"), "javascript"),
            (Some("ts"), "typescript"),
            (Some("r"), "r"),
        ] {
            assert_eq!(Language::parse(given).as_str(), expected, "{given:?}");
        }
    }

    #[test]
    fn values_cannot_leave_their_literal() {
        let changes = BTreeMap::from([("K".to_owned(), Some("a\"b\\c\n'é😀".to_owned()))]);
        let code = Dialect::Python.set_envs(&changes);
        assert!(code.is_ascii());
        assert!(!code.contains('\n'));
        assert!(code.contains(r#"loads("{\"K\":\"a\\\"b\\\\c\\n'\\u00e9\\ud83d\\ude00\"}")"#), "{code}");
    }
}
