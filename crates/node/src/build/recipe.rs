//! The form of a `recipe.toml`. Unknown keys are refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use model::{ByteSize, Resources};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::step::Step;

/// The value of `from` that starts from nothing.
const BOOTSTRAP: &str = "bootstrap";

/// The recipe cannot be followed.
#[derive(Debug, thiserror::Error)]
#[error("recipe {}: {problem}", path.display())]
pub struct InvalidRecipe {
    /// The recipe's file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

impl InvalidRecipe {
    pub(super) fn template_id(id: &str) -> Self {
        Self { path: PathBuf::from("recipe.toml"), problem: format!("{id:?} is not a template id") }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnDisk {
    name: String,
    id: String,
    #[serde(default)]
    aliases: Vec<String>,
    from: String,
    #[serde(default)]
    interpreter: bool,
    default_user: Option<String>,
    default_workdir: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    resources: Option<Limits>,
    bootstrap: Option<Bootstrap>,
    #[serde(default)]
    copy: Vec<Spanned<Copy>>,
    #[serde(default)]
    run: Vec<Spanned<Command>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    cpu_count: u32,
    memory_mb: u64,
    disk_mb: u64,
}

/// A distribution to start from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bootstrap {
    /// For example `trixie`.
    pub(crate) suite: String,
    #[serde(default = "minbase")]
    pub(crate) variant: String,
    /// Where from; the tool's default if absent.
    pub(crate) mirror: Option<String>,
    #[serde(default)]
    pub(crate) packages: Vec<String>,
    /// Paths that dpkg leaves out,
    #[serde(default)]
    pub(crate) exclude_paths: Vec<String>,
    /// but for these.
    #[serde(default)]
    pub(crate) include_paths: Vec<String>,
}

/// Files of the recipe's directory that go into the template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Copy {
    pub(crate) title: Option<String>,
    /// A file, or a directory whose contents are copied.
    pub(crate) src: PathBuf,
    /// Where to: of a file its path, of a directory the directory.
    pub(crate) dest: String,
    /// `user:group`.
    #[serde(default = "root")]
    pub(crate) owner: String,
    /// Octal; as on the host if absent.
    pub(crate) mode: Option<String>,
}

/// A shell script that runs inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Command {
    pub(crate) title: Option<String>,
    pub(crate) cmd: String,
    #[serde(default = "superuser")]
    pub(crate) user: String,
}

fn minbase() -> String {
    "minbase".to_owned()
}

fn root() -> String {
    "root:root".to_owned()
}

fn superuser() -> String {
    "root".to_owned()
}

/// A recipe whose steps stand in the order of the file.
#[derive(Debug)]
pub struct Recipe {
    /// The template's main name.
    pub name: String,
    pub(super) dir: PathBuf,
    pub(super) template_id: String,
    pub(super) aliases: Vec<String>,
    pub(super) from: String,
    pub(super) interpreter: bool,
    pub(super) default_user: Option<String>,
    pub(super) default_workdir: Option<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) resources: Resources,
    pub(super) steps: Vec<Step>,
}

impl Recipe {
    /// Reads `recipe.toml` of a directory. Blocks on files.
    pub fn read(dir: &Path) -> Result<Self, InvalidRecipe> {
        let path = dir.join("recipe.toml");
        let invalid = |problem: String| InvalidRecipe { path: path.clone(), problem };
        let text = std::fs::read_to_string(&path).map_err(|e| invalid(e.to_string()))?;
        Self::parse(&text, dir).map_err(invalid)
    }

    fn parse(text: &str, dir: &Path) -> Result<Self, String> {
        let recipe: OnDisk = toml::from_str(text).map_err(|e| e.to_string())?;
        recipe.id.parse::<model::TemplateId>().map_err(|e| e.to_string())?;
        let resources = recipe.resources.as_ref().map_or(Resources::DEFAULT, |limits| Resources {
            cpu_count: limits.cpu_count,
            memory: ByteSize::mib(limits.memory_mb),
            disk: ByteSize::mib(limits.disk_mb),
        });
        let resources = resources.checked().map_err(|e| e.to_string())?;
        let mut steps: Vec<(usize, Step)> = Vec::new();
        match (recipe.from == BOOTSTRAP, recipe.bootstrap) {
            (true, Some(bootstrap)) => steps.push((0, Step::Bootstrap(bootstrap))),
            (false, None) => {}
            (true, None) => return Err("`from = \"bootstrap\"` wants a [bootstrap] table".to_owned()),
            (false, Some(_)) => return Err("[bootstrap] wants `from = \"bootstrap\"`".to_owned()),
        }
        let first = steps.len();
        // The two kinds alternate in the file; their places in it give the order.
        steps.extend(recipe.copy.into_iter().map(|copy| (copy.span().start, Step::Copy(copy.into_inner()))));
        steps.extend(recipe.run.into_iter().map(|run| (run.span().start, Step::Run(run.into_inner()))));
        steps[first..].sort_by_key(|(place, _)| *place);
        Ok(Self {
            name: recipe.name,
            dir: dir.to_owned(),
            template_id: recipe.id,
            aliases: recipe.aliases,
            from: recipe.from,
            interpreter: recipe.interpreter,
            default_user: recipe.default_user,
            default_workdir: recipe.default_workdir,
            env: recipe.env,
            resources,
            steps: steps.into_iter().map(|(_, step)| step).collect(),
        })
    }

    /// The template that it starts from; `None` for a distribution.
    pub(super) fn parent(&self) -> Option<&str> {
        Some(self.from.as_str()).filter(|from| *from != BOOTSTRAP)
    }

    /// All that makes a build beside its layers.
    pub(super) fn description(&self) -> Vec<u8> {
        let described = (
            (&self.template_id, &self.aliases, self.interpreter, &self.default_user, &self.default_workdir),
            (
                &self.env,
                self.resources.cpu_count,
                self.resources.memory.as_u64(),
                self.resources.disk.as_u64(),
            ),
        );
        serde_json::to_vec(&described).expect("strings and numbers always serialize")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "name = \"t\"\nid = \"tttt\"\nfrom = \"base\"\n";

    #[test]
    fn steps_keep_the_order_of_the_file() {
        let text = format!(
            "{HEAD}[[run]]\ncmd = \"1\"\n[[copy]]\nsrc = \"a\"\ndest = \"/a\"\n[[run]]\ncmd = \"2\"\n[[copy]]\nsrc = \"b\"\ndest = \"/b\"\n"
        );
        let recipe = Recipe::parse(&text, Path::new("/r")).unwrap();
        let titles: Vec<String> = recipe.steps.iter().map(Step::title).collect();
        assert_eq!(titles, ["1", "Copy a", "2", "Copy b"]);
        assert_eq!(recipe.parent(), Some("base"));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "[[run]]\ncmd = \"1\"\nnetwork = false\n",
            "[bootstrap]\nsuite = \"trixie\"\n",
            "[resources]\ncpu_count = 3\nmemory_mb = 512\ndisk_mb = 1\n",
        ] {
            assert!(Recipe::parse(&format!("{HEAD}{text}"), Path::new("/r")).is_err(), "{text}");
        }
    }

    #[test]
    fn the_recipes_of_this_repository_are_understood() {
        let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../templates");
        let base = Recipe::read(&templates.join("base")).unwrap();
        assert!(matches!(base.steps[..], [Step::Bootstrap(_), Step::Copy(_), Step::Run(_), ..]));
        let interpreter = Recipe::read(&templates.join("code-interpreter")).unwrap();
        assert_eq!((interpreter.parent(), interpreter.interpreter), (Some("base"), true));
    }
}
