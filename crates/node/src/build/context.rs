//! What steps hand on beside files: variables, the user, the directory. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

/// `PATH` of processes that are given none; as the daemon inside has it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The state of a build beside its layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Context {
    pub(super) env: BTreeMap<String, String>,
    pub(super) user: String,
    /// The user's home if absent.
    pub(super) workdir: Option<String>,
}

impl Context {
    /// Sets variables; each value may name those before it.
    pub(super) fn set_env(&mut self, pairs: &[(String, String)]) {
        for (name, value) in pairs {
            let value = expand(value, |name| self.variable(name));
            self.env.insert(name.clone(), value);
        }
    }

    fn variable(&self, name: &str) -> String {
        let own = match name {
            "PATH" => PATH.to_owned(),
            "HOME" if self.user == "root" => "/root".to_owned(),
            "HOME" => format!("/home/{}", self.user),
            "USER" | "LOGNAME" => self.user.clone(),
            _ => String::new(),
        };
        self.env.get(name).cloned().unwrap_or(own)
    }

    /// Where a path leads from the present directory.
    pub(super) fn resolve(&self, path: &str) -> String {
        if path.starts_with('/') {
            return path.to_owned();
        }
        let base = self.workdir.as_deref().unwrap_or("/").trim_end_matches('/');
        match path.trim_start_matches("./") {
            "" | "." => format!("{base}/"),
            path => format!("{base}/{path}"),
        }
    }
}

/// Replaces `$NAME` and `${NAME}` (also `${NAME:-default}`). A backslash takes a
/// dollar sign as it is; commands are not run.
fn expand(text: &str, variable: impl Fn(&str) -> String) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['$', '\\']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(escaped) = rest.strip_prefix("\\$") {
            out.push('$');
            rest = escaped;
            continue;
        }
        let braced = rest.strip_prefix("${").and_then(|tail| tail.split_once('}'));
        let plain = rest.strip_prefix('$').map(|tail| {
            let end = tail.find(|c| !is_name(c)).unwrap_or(tail.len());
            tail.split_at(end)
        });
        match (braced, plain) {
            (Some((inner, tail)), _) => {
                let (name, default) = inner.split_once(":-").unwrap_or((inner, ""));
                let value = variable(name);
                out.push_str(if value.is_empty() { default } else { &value });
                rest = tail;
            }
            (None, Some((name, tail))) if name.starts_with(|c: char| !c.is_ascii_digit()) => {
                out.push_str(&variable(name));
                rest = tail;
            }
            _ => {
                out.push_str(&rest[..1]);
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context { env: BTreeMap::new(), user: "user".to_owned(), workdir: None }
    }

    #[test]
    fn values_see_the_variables_before_them() {
        let mut context = context();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        context.set_env(&[pair("A", "1"), pair("B", "${A}2$A"), pair("PATH", "/opt/bin:$PATH")]);
        context.set_env(&[pair("C", "${NONE:-x}$NONE|\\$A|$(id)|$5 \\n $")]);
        assert_eq!(context.env["B"], "121");
        assert_eq!(context.env["PATH"], format!("/opt/bin:{PATH}"));
        assert_eq!(context.env["C"], "x|$A|$(id)|$5 \\n $");
    }

    #[test]
    fn paths_stand_on_the_directory_before() {
        let mut context = context();
        assert_eq!(context.resolve("app"), "/app");
        context.workdir = Some("/app/".to_owned());
        assert_eq!(context.resolve("./x"), "/app/x");
        assert_eq!(context.resolve("."), "/app/");
        assert_eq!(context.resolve("/y"), "/y");
    }
}
