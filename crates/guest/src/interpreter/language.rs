//! Languages: how requests name them, and what the service says to their kernels.

use std::fmt;
use std::path::Path;

use wire::control::WAKING;

use super::silent::Changes;

/// A language by its normalised name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Language(String);

/// A language that has a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// ipykernel.
    Python,
    /// Node.js by a kernel of our own.
    JavaScript,
    /// The same, for code with types.
    TypeScript,
    /// GNU Bash by a kernel of our own.
    Bash,
    /// The IR kernel.
    R,
    /// The JDK's shell by a kernel of our own.
    Java,
}

const DIALECTS: [Dialect; 6] =
    [Dialect::Python, Dialect::JavaScript, Dialect::TypeScript, Dialect::Bash, Dialect::R, Dialect::Java];

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
        DIALECTS.into_iter().find(|dialect| dialect.as_str() == self.0)
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
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::JavaScript => "javascript",
            Self::TypeScript => "typescript",
            Self::Bash => "bash",
            Self::R => "r",
            Self::Java => "java",
        }
    }

    /// Whether its kernel speaks [`plain`](super::plain) frames rather than Jupyter's.
    pub(super) fn is_ours(self) -> bool {
        !matches!(self, Self::Python | Self::R)
    }

    /// Whether a context in a directory that is not there is refused: in the other
    /// languages changing to such a directory only prints, or means nothing.
    pub(super) fn insists_on_directory(self) -> bool {
        !matches!(self, Self::Python | Self::Java)
    }

    /// Code that sets variables of a Jupyter kernel's environment, and removes those
    /// whose value is `None`. It leaves no name behind.
    pub(super) fn set_envs(self, changes: &Changes) -> String {
        let reseeds = changes.contains_key(WAKING);
        if self == Self::R {
            let code: String = changes.iter().map(|(name, value)| r_change(name, value.as_deref())).collect();
            return code + if reseeds { R_RESEED } else { "" };
        }
        let changes = ascii_json(&serde_json::json!(changes));
        // The inner text is JSON; its quoted form is also a Python literal, since
        // everything in it is ASCII and has no escape but `\"` and `\\`.
        let literal = serde_json::Value::from(changes);
        let reseed = if reseeds { PYTHON_RESEED } else { "" };
        format!(
            "{reseed}[__import__('os').environ.pop(k, None) if v is None else \
             __import__('os').environ.__setitem__(k, v) \
             for k, v in __import__('json').loads({literal}).items()] and None"
        )
    }

    /// The same as a frame's kind and payload for a kernel of our own. A JVM cannot
    /// change its environment: there they are properties.
    pub(super) fn pack_envs(self, changes: &Changes) -> (&'static str, Vec<u8>) {
        if self != Self::Java {
            return ("envs", serde_json::json!(changes).to_string().into_bytes());
        }
        let entry = |(name, value): (&String, &Option<String>)| match value {
            Some(value) => format!("{name}={value}\0"),
            None => format!("{name}\0"),
        };
        ("properties", changes.iter().map(entry).collect::<String>().into_bytes())
    }
}

/// Two sandboxes that woke from one checkpoint must not draw the same numbers.
const PYTHON_RESEED: &str = "[__import__('random').seed()] + [n.random.seed() for n in \
     [__import__('sys').modules.get('numpy')] if hasattr(n, 'random')] and None\n";
const R_RESEED: &str =
    "if (exists(\".Random.seed\", envir = globalenv())) rm(\".Random.seed\", envir = globalenv())\n";

/// Code that changes to a directory, if it is there. A kernel that holds packages
/// which were replaced since it was forked ends instead.
pub(super) fn python_cd(path: &Path) -> String {
    // JSON in a literal, as with variables: the outer quotes hold no surrogates.
    let literal = ascii_json(&serde_json::json!(ascii_json(&serde_json::json!(path.to_string_lossy()))));
    format!(
        "[__import__('os')._exit(0) for f in __import__('sys').meta_path \
         if type(f).__name__ == 'Stash' and f.any_stale()]\n\
         [__import__('os').chdir(p) for p in [__import__('json').loads({literal})] \
         if __import__('os').path.isdir(p)] and None"
    )
}

/// JSON text in which everything outside ASCII is escaped.
fn ascii_json(value: &serde_json::Value) -> String {
    let mut bytes = Vec::new();
    super::lines::push_ascii(&value.to_string(), &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A line of R that sets a variable, whatever its name, or removes it.
fn r_change(name: &str, value: Option<&str>) -> String {
    match value {
        Some(value) => format!("do.call(Sys.setenv, list({}={}))\n", r_literal(name), r_literal(value)),
        None => format!("Sys.unsetenv({})\n", r_literal(name)),
    }
}

/// A string of R, all of it escaped by number.
fn r_literal(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_string() } else { format!("\\U{{{:x}}}", u32::from(c)) })
        .collect();
    format!("\"{escaped}\"")
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
            let language = Language::parse(given);
            assert_eq!(language.as_str(), expected, "{given:?}");
            assert_eq!(language.dialect().map(Dialect::as_str), Some(expected));
        }
        assert_eq!(Language::parse(Some("cobol")).dialect(), None);
    }

    #[test]
    fn values_cannot_leave_their_literal() {
        let changes = Changes::from([("K".to_owned(), Some("a\"b\\c\n'é😀".to_owned()))]);
        let code = Dialect::Python.set_envs(&changes);
        assert!(code.is_ascii());
        assert!(!code.contains('\n'));
        assert!(code.contains(r#"loads("{\"K\":\"a\\\"b\\\\c\\n'\\u00e9\\ud83d\\ude00\"}")"#), "{code}");
        let code = Dialect::R.set_envs(&changes);
        let value = r#""a\U{22}b\U{5c}c\U{a}\U{27}\U{e9}\U{1f600}""#;
        assert_eq!(code, format!("do.call(Sys.setenv, list(\"K\"={value}))\n"));
    }

    #[test]
    fn a_waking_reseeds_and_nothing_else_does() {
        let waking = Changes::from([(WAKING.to_owned(), Some("1".to_owned()))]);
        let other = Changes::from([("A".to_owned(), Some("1".to_owned()))]);
        for dialect in [Dialect::Python, Dialect::R] {
            assert!(dialect.set_envs(&waking).to_lowercase().contains("seed"));
            assert!(!dialect.set_envs(&other).to_lowercase().contains("seed"));
        }
    }

    #[test]
    fn variables_are_packed_for_each_kernel() {
        let changes = Changes::from([("A".to_owned(), Some("x=y".to_owned())), ("B".to_owned(), None)]);
        assert_eq!(Dialect::Java.pack_envs(&changes), ("properties", b"A=x=y\0B\0".to_vec()));
        assert_eq!(Dialect::Bash.pack_envs(&changes), ("envs", br#"{"A":"x=y","B":null}"#.to_vec()));
    }
}
