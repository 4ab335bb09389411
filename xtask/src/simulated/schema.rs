//! The served API document, held against the server by schemathesis: requests
//! made from it, right and wrong ones, meet no failure of the server and no
//! answer that the document does not name.

use crate::clients::python::Venv;
use crate::command::run as run_command;
use crate::repo;
use crate::server::Server;

const TOOL: &[&str] = &["schemathesis==4.32.5"];

/// 501 is a refusal by name, and documented where it may come.
const SETTINGS: &str =
    "[checks]\nnot_a_server_error.expected-statuses = [\"2xx\", \"3xx\", \"4xx\", \"501\"]\n";

/// How hard it tries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Made-up requests for each operation, beside those that go through every
    /// border case of the document.
    examples: u32,
    phases: &'static str,
}

/// A drained node and a blocked team refuse each create from then on, and whatever
/// came after these would meet nothing but that refusal: they come last.
const LAST: [&str; 2] = ["setNodeStatus", "adminChangeTeam"];

/// The form that every test run includes.
pub(super) const SHORT: Plan = Plan { examples: 3, phases: "coverage,fuzzing" };
/// With walks from one operation's answer to the next operation's request.
pub(super) const LONG: Plan = Plan { examples: 200, phases: "examples,coverage,fuzzing,stateful" };

/// Runs it with a team's key and the operator's token; the server is thrown
/// away afterwards.
pub(super) fn run(server: &Server, plan: Plan, seed: u64) -> anyhow::Result<()> {
    part(server, plan, seed, "--exclude-operation-id")?;
    part(server, plan, seed, "--include-operation-id")
}

/// All but the last operations, or these alone.
fn part(server: &Server, plan: Plan, seed: u64, last: &str) -> anyhow::Result<()> {
    let venv = Venv::ensure("schemathesis", TOOL)?;
    let settings = repo::tools().join("schemathesis.toml");
    std::fs::write(&settings, SETTINGS)?;
    let checks =
        "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
    let mut tool = crate::command::command(venv.program("python"));
    // It leaves a cache where it runs.
    tool.current_dir(repo::tools());
    tool.args(["-m", "schemathesis.cli", "--config-file"]).arg(&settings);
    tool.arg("run").arg(format!("http://{}/openapi.yaml", server.address));
    tool.arg("--header").arg(format!("X-API-Key: {}", server.api_key));
    tool.arg("--header").arg(format!("X-Admin-Token: {}", server.admin_token()));
    tool.args(["--checks", checks, "--phases", plan.phases, "--continue-on-failure", "--no-shrink"]);
    tool.args(["--suppress-health-check", "all", "--warnings", "off", "--request-timeout", "60"]);
    for operation in LAST {
        tool.args([last, operation]);
    }
    tool.args(["--max-examples", &plan.examples.to_string(), "--seed", &seed.to_string()]);
    run_command(&mut tool)
}
