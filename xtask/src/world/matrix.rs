//! The client matrix: every generation of the official clients runs the same
//! quick start. Each script prints one JSON object a line, `{"step", "ok"}`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use serde::Deserialize;

use super::compatibility;
use crate::clients::{node::Modules, python::Venv};
use crate::command::{last_lines, output};
use crate::server::Access;
use crate::tally::Tally;

/// One client in one version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    /// As its registry calls it.
    pub(crate) name: &'static str,
    /// Its version.
    pub(crate) version: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Python,
    PythonInterpreter,
    Js,
    JsInterpreter,
    Cli,
}

/// Newest and older, in the order of the table.
pub(crate) const CLIENTS: &[Client] = &[
    Client { name: "e2b (Python)", version: "2.63.0", kind: Kind::Python },
    Client { name: "e2b (Python)", version: "2.45.1", kind: Kind::Python },
    Client { name: "e2b (Python)", version: "2.29.5", kind: Kind::Python },
    Client { name: "e2b (Python)", version: "2.8.1", kind: Kind::Python },
    Client { name: "e2b-code-interpreter (Python)", version: "2.11.5", kind: Kind::PythonInterpreter },
    Client { name: "e2b (JavaScript)", version: "2.51.0", kind: Kind::Js },
    Client { name: "e2b (JavaScript)", version: "2.45.0", kind: Kind::Js },
    Client { name: "@e2b/code-interpreter (JavaScript)", version: "2.8.0", kind: Kind::JsInterpreter },
    Client { name: "@e2b/cli", version: "2.19.0", kind: Kind::Cli },
];

/// The steps of a quick start, in the order of the table; a client without an
/// interpreter has no `code` and no `chart`.
pub(crate) const STEPS: &[&str] =
    &["login", "create", "info", "connect", "command", "files", "code", "chart", "list", "kill"];

/// What each step of one client came to.
pub(crate) type Row = BTreeMap<String, bool>;

#[derive(Debug, Deserialize)]
struct Line {
    step: String,
    ok: bool,
    #[serde(default)]
    detail: String,
}

/// Runs every client into the score, and writes the table when all of them ran.
pub(crate) fn run(server: &Access, tally: &mut Tally) {
    let mut rows = Vec::new();
    for client in CLIENTS {
        let mut row = Row::new();
        tally.step(&format!("quick start with {} {}", client.name, client.version), || {
            row = client.quick_start(server)?;
            let failed: Vec<&String> = row.iter().filter(|(_, ok)| !**ok).map(|(step, _)| step).collect();
            anyhow::ensure!(failed.is_empty(), "failed: {failed:?}");
            Ok(None)
        });
        rows.push((*client, row));
    }
    tally.step("write the table of clients", || compatibility::write(&rows).map(|()| None));
}

impl Client {
    fn quick_start(&self, server: &Access) -> anyhow::Result<Row> {
        let mut command = self.script()?;
        let output = output(server.lead(&mut command))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut row = Row::new();
        for line in text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
            if !self.steps().any(|step| *step == line.step) {
                continue;
            }
            if !line.ok {
                println!("    {} of {} {}: {}", line.step, self.name, self.version, line.detail);
            }
            row.insert(line.step, line.ok);
        }
        let missing: Vec<&&str> = self.steps().filter(|step| !row.contains_key(**step)).collect();
        anyhow::ensure!(
            missing.is_empty(),
            "no word of {missing:?} ({}):\n{}\n{}",
            output.status,
            last_lines(&text, 10),
            last_lines(&String::from_utf8_lossy(&output.stderr), 20)
        );
        Ok(row)
    }

    /// Whether a handle of `connect` says which sandbox it means by host name
    /// alone: it sends no routing headers, so one address for all is not enough.
    pub(crate) fn needs_domain_to_connect(&self) -> bool {
        self.version == "2.8.1"
    }

    /// The steps that this kind of client has here.
    pub(crate) fn steps(&self) -> impl Iterator<Item = &'static &'static str> {
        let interpreter = matches!(self.kind, Kind::PythonInterpreter | Kind::JsInterpreter);
        let cli = self.kind == Kind::Cli;
        STEPS.iter().filter(move |step| match **step {
            "code" | "chart" => interpreter,
            "connect" if self.needs_domain_to_connect() => false,
            "files" | "connect" => !cli,
            "login" => cli,
            _ => true,
        })
    }

    /// Where its packages are.
    fn directory(&self) -> String {
        let name = self.name.split(' ').next().unwrap_or_default();
        format!("{name}-{}", self.version).replace(['@', '/'], "_")
    }

    fn script(&self) -> anyhow::Result<Command> {
        let name = self.directory();
        let version = self.version;
        let python = |packages: &[&str], script: &str| -> anyhow::Result<Command> {
            let mut python = Venv::ensure(&name, packages)?.python();
            python.arg(script).env("PYTHONDONTWRITEBYTECODE", "1");
            Ok(python)
        };
        match self.kind {
            Kind::Python => python(&[&format!("e2b=={version}")], "tests/matrix/e2b_python.py"),
            Kind::PythonInterpreter => {
                let package = format!("e2b-code-interpreter=={version}");
                python(&[&package, "e2b==2.63.0"], "tests/matrix/code_interpreter_python.py")
            }
            Kind::Js => js(&name, &format!("e2b@{version}"), "tests/matrix/e2b_js.mjs"),
            Kind::JsInterpreter => {
                let package = format!("@e2b/code-interpreter@{version}");
                js(&name, &package, "tests/matrix/code_interpreter_js.mjs")
            }
            Kind::Cli => {
                let modules = command_line(&name, version)?;
                let mut python = crate::command::command("python3");
                python.arg("tests/matrix/cli.py").arg(modules.node_program()).arg(modules.program("e2b"));
                python.env("NO_UPDATE_NOTIFIER", "1").env("PYTHONDONTWRITEBYTECODE", "1");
                Ok(python)
            }
        }
    }
}

/// The newest official command.
pub(super) fn cli() -> anyhow::Result<Modules> {
    let newest =
        CLIENTS.iter().find(|client| client.kind == Kind::Cli).context("the table has the command")?;
    command_line(&newest.directory(), newest.version)
}

fn command_line(name: &str, version: &str) -> anyhow::Result<Modules> {
    Modules::ensure(name, &[&format!("@e2b/cli@{version}")])
}

/// A script in JavaScript with one package, and the steps that all of them share.
fn js(name: &str, package: &str, script: &str) -> anyhow::Result<Command> {
    let modules = Modules::ensure(name, &[package])?;
    modules.copy(Path::new("tests/matrix/steps.mjs"))?;
    modules.script(Path::new(script))
}
