//! Templates: what sandboxes are made from, told step by step and built by the server.

mod api;
mod build;
mod context;
mod dockerfile;
mod helpers;
mod ready;

use std::path::PathBuf;

use serde_json::Value;
use wire::rest::{ImageRegistry, TemplateBuildStart, TemplateStep};

pub use self::api::TemplateTag;
pub use self::build::{BuildInfo, BuildOptions, BuildStatus, LogEntry, LogLevel};
pub use self::ready::Ready;
use crate::{Error, ErrorKind};

/// The recipe of a template.
///
/// ```
/// use warren_sdk::{Ready, Template};
///
/// let template = Template::from_image("python:3.12")
///     .apt_install(["git"])
///     .workdir("/app")
///     .run("pip install flask")
///     .start("flask run", Ready::port(5000));
/// ```
#[derive(Debug, Clone)]
#[must_use = "a template is built by `build`"]
pub struct Template {
    from: From,
    steps: Vec<Step>,
    start: Option<String>,
    ready: Option<Ready>,
    force: bool,
    force_next: bool,
    context: PathBuf,
    ignore: Vec<String>,
}

#[derive(Debug, Clone)]
enum From {
    Image { image: String, registry: Option<ImageRegistry> },
    Template(String),
}

#[derive(Debug, Clone)]
struct Step {
    kind: &'static str,
    args: Vec<String>,
    force: bool,
    copy: Option<CopyOptions>,
}

/// How to copy files into a template.
#[derive(Debug, Clone, Default)]
pub struct CopyOptions {
    /// Who owns them: a user, or `user:group`.
    pub user: Option<String>,
    /// Their permission bits.
    pub mode: Option<u32>,
    /// Sends them also if the server has them.
    pub force_upload: bool,
    /// Takes what a link leads to instead of the link.
    pub resolve_symlinks: bool,
}

impl Template {
    fn new(from: From) -> Self {
        Self {
            from,
            steps: Vec::new(),
            start: None,
            ready: None,
            force: false,
            force_next: false,
            context: PathBuf::from("."),
            ignore: Vec::new(),
        }
    }

    /// Starts from an image.
    pub fn from_image(image: impl Into<String>) -> Self {
        Self::new(From::Image { image: image.into(), registry: None })
    }

    fn from_registry(image: impl Into<String>, registry: ImageRegistry) -> Self {
        Self::new(From::Image { image: image.into(), registry: Some(registry) })
    }

    /// Starts from an image of a registry with a login.
    pub fn from_private_image(image: impl Into<String>, username: &str, password: &str) -> Self {
        let (username, password) = (username.to_owned(), password.to_owned());
        Self::from_registry(image, ImageRegistry::Registry { username, password })
    }

    /// Starts from an image of Amazon's registry.
    pub fn from_aws_registry(image: impl Into<String>, key_id: &str, secret: &str, region: &str) -> Self {
        let registry = ImageRegistry::Aws {
            access_key_id: key_id.to_owned(),
            secret_access_key: secret.to_owned(),
            region: region.to_owned(),
        };
        Self::from_registry(image, registry)
    }

    /// Starts from an image of Google's registry.
    pub fn from_gcp_registry(image: impl Into<String>, service_account_json: &str) -> Self {
        let service_account = service_account_json.to_owned();
        Self::from_registry(image, ImageRegistry::Gcp { service_account })
    }

    /// Starts from another template.
    pub fn from_template(template: impl Into<String>) -> Self {
        Self::new(From::Template(template.into()))
    }

    /// Where copied paths start; the working directory otherwise. What its
    /// `.dockerignore` names is left out.
    pub fn context(mut self, dir: impl Into<PathBuf>) -> Self {
        self.context = dir.into();
        self
    }

    /// Leaves out what matches, `*`, `?` and `**` as in file names.
    pub fn ignore(mut self, pattern: impl Into<String>) -> Self {
        self.ignore.push(pattern.into());
        self
    }

    /// Builds the next step and all that follow anew; before the first, everything.
    pub fn skip_cache(mut self) -> Self {
        if self.steps.is_empty() {
            self.force = true;
        } else {
            self.force_next = true;
        }
        self
    }

    fn step<S: Into<String>>(mut self, kind: &'static str, args: impl IntoIterator<Item = S>) -> Self {
        let args = args.into_iter().map(Into::into).collect();
        self.steps.push(Step { kind, args, force: self.force_next, copy: None });
        self
    }

    /// Runs a line in a login shell.
    pub fn run(self, line: impl Into<String>) -> Self {
        self.step("RUN", [line.into()])
    }

    /// Runs a line as another user.
    pub fn run_as(self, line: impl Into<String>, user: &str) -> Self {
        self.step("RUN", [line.into(), user.to_owned()])
    }

    /// Copies files of the context; `from` may hold `*`, `?` and `**`.
    pub fn copy(self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.copy_with(from, to, CopyOptions::default())
    }

    /// [`Template::copy`] with further options.
    pub fn copy_with(mut self, from: impl Into<String>, to: impl Into<String>, options: CopyOptions) -> Self {
        let mode = options.mode.map(|mode| format!("{mode:04o}")).unwrap_or_default();
        let args = vec![from.into(), to.into(), options.user.clone().unwrap_or_default(), mode];
        self.steps.push(Step { kind: "COPY", args, force: self.force_next, copy: Some(options) });
        self
    }

    /// Sets environment variables for the steps that follow and for the start command.
    pub fn envs<K: Into<String>, V: Into<String>>(self, pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let words: Vec<String> = pairs.into_iter().flat_map(|(k, v)| [k.into(), v.into()]).collect();
        if words.is_empty() { self } else { self.step("ENV", words) }
    }

    /// Goes to a directory; makes it if it is not there.
    pub fn workdir(self, dir: impl Into<String>) -> Self {
        self.step("WORKDIR", [dir.into()])
    }

    /// Goes on as a user.
    pub fn user(self, user: impl Into<String>) -> Self {
        self.step("USER", [user.into()])
    }

    /// A command that runs in every sandbox from the start, and when it counts as up.
    pub fn start(mut self, line: impl Into<String>, ready: Ready) -> Self {
        (self.start, self.ready) = (Some(line.into()), Some(ready));
        self
    }

    /// When a sandbox counts as up.
    pub fn ready(mut self, ready: Ready) -> Self {
        self.ready = Some(ready);
        self
    }

    /// The steps as the server takes them; `hash` names a copy's files.
    fn definition(&self, mut hash: impl FnMut(usize) -> Option<String>) -> TemplateBuildStart {
        let steps = self.steps.iter().enumerate().map(|(at, step)| TemplateStep {
            kind: step.kind.to_owned(),
            args: step.args.clone(),
            force: Some(step.force),
            files_hash: hash(at),
        });
        let (from_image, from_image_registry, from_template) = match &self.from {
            From::Image { image, registry } => (Some(image.clone()), registry.clone(), None),
            From::Template(template) => (None, None, Some(template.clone())),
        };
        TemplateBuildStart {
            from_image,
            from_image_registry,
            from_template,
            force: Some(self.force),
            steps: Some(steps.collect()),
            start_cmd: self.start.clone(),
            ready_cmd: self.ready.as_ref().map(|ready| ready.line().to_owned()),
        }
    }

    /// The definition as the server takes it, with the copied files' hashes.
    pub fn to_json(&self) -> Result<Value, Error> {
        let files = self.collect()?;
        let definition = self.definition(|at| files.get(&at).map(|files| files.hash.clone()));
        serde_json::to_value(definition)
            .map_err(|e| Error::caused(ErrorKind::InvalidArgument, "the template is no JSON", e))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_are_written_as_the_official_sdks_write_them() {
        let template = Template::from_image("ubuntu:22.04")
            .run("ls")
            .run_as("ls", "root")
            .envs([("A", "1"), ("B", "2")])
            .workdir("/app")
            .user("bob")
            .skip_cache()
            .make_dir("/a b", Some(0o755))
            .start("serve", Ready::port(80));
        assert_eq!(
            template.to_json().unwrap(),
            json!({
                "fromImage": "ubuntu:22.04",
                "force": false,
                "steps": [
                    { "type": "RUN", "args": ["ls"], "force": false },
                    { "type": "RUN", "args": ["ls", "root"], "force": false },
                    { "type": "ENV", "args": ["A", "1", "B", "2"], "force": false },
                    { "type": "WORKDIR", "args": ["/app"], "force": false },
                    { "type": "USER", "args": ["bob"], "force": false },
                    { "type": "RUN", "args": ["mkdir -p -m 0755 '/a b'"], "force": true },
                ],
                "startCmd": "serve",
                "readyCmd": "[ -n \"$(ss -Htuln sport = :80)\" ]",
            })
        );
    }

    #[test]
    fn private_registries_are_told_apart() {
        let of = |template: Template| template.to_json().unwrap()["fromImageRegistry"]["type"].clone();
        assert_eq!(of(Template::from_private_image("a", "u", "p")), "registry");
        assert_eq!(of(Template::from_aws_registry("a", "i", "s", "r")), "aws");
        assert_eq!(of(Template::from_gcp_registry("a", "{}")), "gcp");
        assert!(of(Template::from_image("a")).is_null());
        assert!(!format!("{:?}", Template::from_private_image("a", "u", "secret")).contains("secret"));
        let other = Template::from_template("base").skip_cache().to_json().unwrap();
        assert_eq!((&other["fromTemplate"], &other["force"]), (&json!("base"), &json!(true)));
    }
}
