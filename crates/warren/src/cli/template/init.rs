//! `warren template init`: the first files of a template. Nothing that is there
//! is overwritten.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::super::form::{Form, print_json, print_lines};

/// Options of `init`.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// The template's name.
    name: String,
    /// What to write it in.
    #[arg(long, short, value_name = "LANGUAGE", default_value = "dockerfile")]
    language: Language,
    /// Where to; a directory of the template's name without.
    #[arg(long, short, value_name = "DIR")]
    path: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Language {
    /// A Dockerfile, for `warren template build`.
    Dockerfile,
    /// The template builder of the official Python SDK.
    Python,
    /// The template builder of the official JavaScript SDK.
    Javascript,
}

/// A file's name and text; NAME stands for the template's name.
type File = (&'static str, &'static str);

const DOCKERFILE: [File; 2] =
    [("Dockerfile", include_str!("init/Dockerfile")), (".dockerignore", ".git\nnode_modules\n__pycache__\n")];
const PYTHON: [File; 2] =
    [("template.py", include_str!("init/template.py")), ("build.py", include_str!("init/build.py"))];
const JAVASCRIPT: [File; 2] =
    [("template.mjs", include_str!("init/template.mjs")), ("build.mjs", include_str!("init/build.mjs"))];

impl Language {
    fn files(self) -> &'static [File] {
        match self {
            Self::Dockerfile => &DOCKERFILE,
            Self::Python => &PYTHON,
            Self::Javascript => &JAVASCRIPT,
        }
    }

    /// How the template is built from its directory.
    fn next_step(self, name: &str) -> String {
        match self {
            Self::Dockerfile => format!("warren template build {name}"),
            Self::Python => "pip install e2b && python build.py".to_owned(),
            Self::Javascript => "npm install e2b && node build.mjs".to_owned(),
        }
    }
}

/// Runs the command.
pub(super) fn run(init: &Init, form: Form) -> Result<ExitCode> {
    let name = &init.name;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        bail!("{name:?} is no name of a template: it has small letters, digits, - and _");
    }
    let dir = init.path.clone().unwrap_or_else(|| name.into());
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let mut written = Vec::new();
    for (file, text) in init.language.files() {
        let path = dir.join(file);
        let opened = OpenOptions::new().write(true).create_new(true).open(&path);
        opened
            .and_then(|mut opened| opened.write_all(text.replace("NAME", name).as_bytes()))
            .with_context(|| format!("write {}", path.display()))?;
        written.push(path);
    }
    if form.json {
        print_json(&json!({ "name": name, "files": written }))?;
    } else {
        print_lines(written.iter().map(|path| path.display()));
    }
    if form.is_talkative() {
        eprintln!("Next: cd {} && {}", dir.display(), init.language.next_step(name));
    }
    Ok(ExitCode::SUCCESS)
}
