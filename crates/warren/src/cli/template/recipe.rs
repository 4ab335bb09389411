//! A template as a `recipe.toml`: what a Dockerfile says, and what it cannot say
//! (the start command, which other template it stands on). Unknown keys are refused.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use sdk::{CopyOptions, Ready, Template};
use serde::Deserialize;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    /// The template that it stands on,
    from: Option<String>,
    /// or the image.
    image: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Of sandboxes; steps run as `root` unless they say otherwise.
    user: Option<String>,
    workdir: Option<String>,
    start: Option<String>,
    ready: Option<String>,
    #[serde(default)]
    copy: Vec<Spanned<Copy>>,
    #[serde(default)]
    run: Vec<Spanned<Run>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Copy {
    src: String,
    dest: String,
    owner: Option<String>,
    /// Octal.
    mode: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    cmd: String,
    user: Option<String>,
}

enum Step {
    Copy(Copy),
    Run(Run),
}

/// Whether a file's name says that it is a recipe.
pub(super) fn is_recipe(file: &std::path::Path) -> bool {
    file.extension().is_some_and(|extension| extension == "toml")
}

/// Reads a recipe; its steps stand in the order of the file.
pub(super) fn read(text: &str) -> Result<Template> {
    let recipe: Recipe = toml::from_str(text).context("read the recipe")?;
    let mut template = match (&recipe.from, &recipe.image) {
        (Some(from), None) => Template::from_template(from.as_str()),
        (None, Some(image)) => Template::from_image(image.as_str()),
        _ => bail!("a recipe names either `from`, a template, or `image`"),
    };
    template = template.envs(recipe.env);
    let mut steps: Vec<(usize, Step)> = Vec::new();
    // The two kinds alternate in the file; their places in it give the order.
    steps.extend(recipe.copy.into_iter().map(|copy| (copy.span().start, Step::Copy(copy.into_inner()))));
    steps.extend(recipe.run.into_iter().map(|run| (run.span().start, Step::Run(run.into_inner()))));
    steps.sort_by_key(|(place, _)| *place);
    for (_, step) in steps {
        template = match step {
            Step::Run(run) => template.run_as(run.cmd, run.user.as_deref().unwrap_or("root")),
            Step::Copy(copy) => {
                let mode = copy.mode.as_deref().map(|mode| u32::from_str_radix(mode, 8));
                let mode = mode.transpose().with_context(|| format!("read the mode of {}", copy.src))?;
                let user = Some(copy.owner.unwrap_or_else(|| "root".to_owned()));
                template.copy_with(copy.src, copy.dest, CopyOptions { user, mode, ..CopyOptions::default() })
            }
        };
    }
    if let Some(user) = recipe.user {
        template = template.user(user);
    }
    if let Some(dir) = recipe.workdir {
        template = template.workdir(dir);
    }
    match (recipe.start, recipe.ready) {
        (Some(start), Some(ready)) => Ok(template.start(start, Ready::command(ready))),
        (None, Some(ready)) => Ok(template.ready(Ready::command(ready))),
        (None, None) => Ok(template),
        (Some(_), None) => bail!("`start` wants `ready`, a command that succeeds when the sandbox is up"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_keep_the_order_of_the_file() {
        let text = "image = \"python:3.11\"\nworkdir = \"/app\"\nstart = \"serve\"\nready = \"true\"\nenv = { A = \"1\" }\n\
                    [[run]]\ncmd = \"one\"\n[[copy]]\nsrc = \"Cargo.toml\"\ndest = \"/a\"\nmode = \"600\"\n[[run]]\ncmd = \"two\"\nuser = \"bob\"\n";
        let json = read(text).unwrap().to_json().unwrap();
        let steps: Vec<(&str, &str)> = json["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| (step["type"].as_str().unwrap(), step["args"][0].as_str().unwrap()))
            .collect();
        assert_eq!(
            steps,
            [("ENV", "A"), ("RUN", "one"), ("COPY", "Cargo.toml"), ("RUN", "two"), ("WORKDIR", "/app")]
        );
        assert_eq!((&json["fromImage"], &json["startCmd"]), (&"python:3.11".into(), &"serve".into()));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "",
            "from = \"a\"\nimage = \"b\"\n",
            "from = \"a\"\nflavour = 1\n",
            "from = \"a\"\nstart = \"x\"\n",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
