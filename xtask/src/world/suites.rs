//! The suites in the clients' own languages: pytest and `node:test`. Each counts
//! by itself; the counts join the score.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::clients::{node::Modules, python::Venv};
use crate::command::{cargo, exists, output, say};
use crate::server::{Access, Server};
use crate::tally::Tally;

/// What the Python suites import.
const PYTHON: &[&str] = &[
    "e2b==2.63.0",
    "e2b-code-interpreter==2.11.5",
    "e2b-desktop==2.7.2",
    "pytest==9.0.3",
    "pytest-timeout==2.4.0",
    "httpx==0.28.1",
    "prometheus-client==0.23.1",
    "websockets==15.0.1",
    "mcp==2.3.0",
];

/// Runs Python suites against a server that leads the SDK by its environment.
pub(crate) fn python(server: &Access, tally: &mut Tally, paths: &[&str]) {
    let name = format!("suite {}", paths.join(" "));
    say(&name);
    let result = venv().and_then(|venv| {
        let mut pytest = venv.python();
        server.lead(&mut pytest);
        run_pytest(pytest, paths)
    });
    count(&name, result, tally);
}

/// How many random histories the suite that kills the server lives through, and from which seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Histories {
    pub(crate) count: u32,
    pub(crate) seed: u64,
}

/// The form that every test run includes.
pub(crate) const SHORT_HISTORIES: Histories = Histories { count: 6, seed: 1 };

/// Runs the suite that kills the server, which is started again each time.
pub(crate) fn restarts(server: &mut Server, tally: &mut Tally, histories: Histories) {
    let name = "suite tests/restarts";
    say(name);
    count(name, run_with_restarts(server, histories), tally);
}

fn run_with_restarts(server: &mut Server, histories: Histories) -> anyhow::Result<Counts> {
    let pid_file = crate::repo::tools().join("server.pid");
    // By a rename: the suite may read at any moment.
    let draft = pid_file.with_extension("new");
    let tell = |server: &Server| {
        let written = fs::write(&draft, server.pid().to_string());
        written.and_then(|()| fs::rename(&draft, &pid_file)).context("tell the server's pid")
    };
    tell(server)?;
    let mut pytest = venv()?.python();
    server.access().lead(&mut pytest).env("WARREN_SERVER_PID_FILE", &pid_file);
    pytest.env("WARREN_HISTORIES", histories.count.to_string());
    pytest.env("WARREN_SEED", histories.seed.to_string());
    // A history takes some ten seconds where both processors are busy.
    let limit = format!("--timeout={}", 600 + 60 * histories.count);
    std::thread::scope(|scope| {
        let suite = scope.spawn(move || run_pytest(pytest, &["tests/restarts", &limit]));
        while !suite.is_finished() {
            server.revive()?;
            tell(server)?;
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        suite.join().expect("the suite's thread does not panic")
    })
}

/// Loads one sandbox as much as it may be loaded.
pub(crate) fn load(server: &Access, tally: &mut Tally) {
    let name = "suite tests/python/test_load.py (long)";
    say(name);
    let result = venv().and_then(|venv| {
        let mut pytest = venv.python();
        // The SDK opens a connection for each of hundreds of streams.
        server.lead(&mut pytest).env("WARREN_LOAD", "long").env("E2B_MAX_CONNECTIONS", "1000");
        run_pytest(pytest, &["tests/python/test_load.py", "--timeout=600"])
    });
    count(name, result, tally);
}

/// The environment that the Python suites run in.
pub(super) fn venv() -> anyhow::Result<Venv> {
    Venv::ensure("suites", PYTHON)
}

/// The same for JavaScript.
pub(super) fn modules() -> anyhow::Result<Modules> {
    Modules::ensure("suites", &["@e2b/code-interpreter@2.8.0", "@e2b/desktop@2.4.0", "e2b@2.51.0"])
}

/// With nothing but `E2B_DEBUG=true` the SDKs use the well-known ports.
pub(crate) fn debug_mode(server: &Access, tally: &mut Tally) {
    let name = "suite tests/debug";
    say(name);
    let run = || -> anyhow::Result<Counts> {
        let mut pytest = venv()?.python();
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("E2B_") {
                pytest.env_remove(name);
            }
        }
        pytest.env("E2B_DEBUG", "true").env("WARREN_ADDRESS", &server.address);
        run_pytest(pytest, &["tests/debug"])
    };
    count(name, run(), tally);
}

/// The official command, on templates: pytest that starts it.
pub(crate) fn cli(server: &Access, tally: &mut Tally) {
    let name = "suite tests/cli";
    say(name);
    let run = || -> anyhow::Result<Counts> {
        let modules = super::matrix::cli()?;
        let command = [modules.node_program(), &modules.program("e2b")];
        let mut pytest = venv()?.python();
        server.lead(&mut pytest).env("E2B_CLI", serde_json::to_string(&command)?);
        pytest.env("NO_UPDATE_NOTIFIER", "1");
        run_pytest(pytest, &["tests/cli"])
    };
    count(name, run(), tally);
}

/// Runs the JavaScript suites.
pub(crate) fn javascript(server: &Access, tally: &mut Tally) {
    say("suite tests/js");
    count("suite tests/js", script(server, "tests/js/sandbox.test.mjs", &[]), tally);
    count("suite tests/js, states", script(server, "tests/js/states.test.mjs", &[]), tally);
    let cells = ["tests/shared/cells.json"];
    count("suite tests/js, cells", script(server, "tests/js/cells.test.mjs", &cells), tally);
    count("suite tests/js, templates", script(server, "tests/js/templates.test.mjs", &[]), tally);
    let wrapper = ["examples/session/session.mjs"];
    count("suite tests/js, sessions", script(server, "tests/js/session.test.mjs", &wrapper), tally);
    desktop(server, tally);
    tally.step("the types of examples/session", || types().map(|()| None));
}

/// How a suite in another language starts a registry with images: a list in JSON.
fn registry() -> anyhow::Result<String> {
    let python = venv()?.python();
    let script = crate::repo::root().join("tests/python/registry.py");
    Ok(serde_json::to_string(&[Path::new(python.get_program()), &script])?)
}

/// Runs the desktop SDK for JavaScript; skipped where its template is not built.
pub(crate) fn desktop(server: &Access, tally: &mut Tally) {
    count("suite tests/js, desktop", script(server, "tests/js/desktop.test.mjs", &[]), tally);
}

fn script(server: &Access, path: &str, beside: &[&str]) -> anyhow::Result<Counts> {
    let modules = modules()?;
    for file in beside {
        modules.copy(Path::new(file))?;
    }
    let mut script = modules.script(Path::new(path))?;
    if exists("docker-registry") {
        script.env("WARREN_TEST_REGISTRY", registry()?);
    }
    run_node(server.lead(&mut script))
}

/// Runs the examples of the Rust client, and its checks.
pub(crate) fn rust(server: &Access, tally: &mut Tally) {
    let name = "suite crates/sdk/examples";
    say(name);
    let run = || -> anyhow::Result<Counts> {
        let mut example = cargo();
        example.args(["run", "--release", "--package", "warren-sdk", "--example", "sdk"]);
        let output = output(server.lead(&mut example))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("{text}{}", String::from_utf8_lossy(&output.stderr));
        Counts::of_tap(&text)
    };
    count(name, run(), tally);
}

/// Lets the TypeScript compiler read the wrapper's types and a use of them.
fn types() -> anyhow::Result<()> {
    let modules = Modules::ensure("types", &["typescript@5.9.3"])?;
    modules.copy(Path::new("examples/session/session.d.mts"))?;
    modules.copy(Path::new("tests/js/session.types.ts"))?;
    let mut compiler = modules.node();
    compiler.arg(modules.program("tsc"));
    let options = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext"];
    crate::command::run(compiler.args(options).args(["session.types.ts", "session.d.mts"]))
}

#[derive(Debug)]
pub(super) struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

pub(super) fn count(name: &str, result: anyhow::Result<Counts>, tally: &mut Tally) {
    match result {
        Ok(counts) => tally.add(name, counts.passed, counts.failed, counts.skipped),
        Err(error) => tally.fail(name, &format!("{error:#}")),
    }
}

pub(super) fn run_pytest(mut pytest: std::process::Command, paths: &[&str]) -> anyhow::Result<Counts> {
    let report = crate::repo::tools().join("pytest.xml");
    // A stale report must not be counted for a run that never came to its end.
    let _ = fs::remove_file(&report);
    pytest.env("PYTHONDONTWRITEBYTECODE", "1");
    pytest.args(["-m", "pytest", "-q", "-rs", "--tb=short", "--timeout=120", "-p", "no:cacheprovider"]);
    pytest.arg(format!("--junitxml={}", report.display())).args(paths);
    let status = pytest.status().context("start pytest")?;
    let text = fs::read_to_string(&report).with_context(|| format!("pytest ended with {status}"))?;
    Counts::of_junit(&text).with_context(|| format!("read pytest's report (it ended with {status})"))
}

/// Runs a script of `node:test`.
pub(super) fn run_node(script: &mut std::process::Command) -> anyhow::Result<Counts> {
    let output = output(script.env("NODE_OPTIONS", "--test-reporter=tap"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    Counts::of_tap(&text)
}

impl Counts {
    /// Reads the first `<testsuite errors="…" failures="…" skipped="…" tests="…">`.
    fn of_junit(text: &str) -> anyhow::Result<Self> {
        let suite = text.split_once("<testsuite ").context("a report has a suite")?.1;
        let number = |name: &str| -> anyhow::Result<u64> {
            let start = suite.split_once(&format!("{name}=\"")).with_context(|| format!("find {name}"))?.1;
            start.split('"').next().unwrap_or_default().parse().with_context(|| format!("read {name}"))
        };
        let failed = number("errors")? + number("failures")?;
        let skipped = number("skipped")?;
        Ok(Self { passed: number("tests")?.saturating_sub(failed + skipped), failed, skipped })
    }

    /// Reads the closing comments of a TAP report: `# pass 3`. A suite that was skipped as a whole is in none of them;
    /// it counts as one.
    fn of_tap(text: &str) -> anyhow::Result<Self> {
        let number = |name: &str| -> anyhow::Result<u64> {
            let prefix = format!("# {name} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
            line.with_context(|| format!("find {name}"))?.parse().with_context(|| format!("read {name}"))
        };
        let skipped =
            text.lines().filter(|line| line.starts_with("ok ") && line.contains(" # SKIP")).count() as u64;
        Ok(Self {
            passed: number("pass")?,
            failed: number("fail")? + number("cancelled")?,
            skipped: number("skipped")?.max(skipped),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn reads_reports() {
        let text = r#"<testsuites><testsuite name="pytest" errors="1" failures="2" skipped="3" tests="10">"#;
        let counts = Counts::of_junit(text).unwrap();
        assert_eq!((counts.passed, counts.failed, counts.skipped), (4, 3, 3));
        let counts = Counts::of_tap("ok 1\n# pass 5\n# fail 1\n# cancelled 0\n# skipped 2\n").unwrap();
        assert_eq!((counts.passed, counts.failed, counts.skipped), (5, 1, 2));
        let text = "ok 1 - a suite # SKIP why\n# pass 0\n# fail 0\n# cancelled 0\n# skipped 0\n";
        let counts = Counts::of_tap(text).unwrap();
        assert_eq!((counts.passed, counts.failed, counts.skipped), (0, 0, 1));
    }
}
