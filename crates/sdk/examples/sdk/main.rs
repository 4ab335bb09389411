//! Programs to start from, and checks against a real server.
//!
//! `cargo run --example sdk -- basic` runs one against the server that
//! `E2B_API_URL`, `E2B_SANDBOX_URL` and `E2B_API_KEY` name; without a name all
//! run, one after the other, and the end is a line of counts. `measure` runs only
//! by name.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod agent;
mod analysis;
mod basic;
mod checks;
mod concurrent;
mod guard;
mod measure;
mod queue;
mod stream;
mod web;

use std::process::ExitCode;

use warren_sdk::{Config, Error};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A sandbox with an interpreter.
fn with_code() -> warren_sdk::CreateOptions {
    warren_sdk::CreateOptions::new().template("code-interpreter-v1")
}

async fn run(name: &str, config: &Config) -> Outcome {
    match name {
        "basic" => basic::run(config).await,
        "concurrent" => concurrent::run(config).await,
        "guard" => guard::run(config).await,
        "web" => web::run(config).await,
        "queue" => queue::run(config).await,
        "agent" => agent::run(config).await,
        "stream" => stream::run(config).await,
        "analysis" => analysis::run(config).await,
        "checks" => checks::run(config).await,
        "measure" => measure::run(config).await,
        other => Err(format!("there is no example {other}: take one of {ALL:?}").into()),
    }
}

const ALL: [&str; 9] =
    ["basic", "concurrent", "guard", "web", "queue", "agent", "stream", "analysis", "checks"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let config: Result<Config, Error> = Config::from_env();
    let config = match config {
        Ok(config) => config,
        Err(e) => {
            println!("no server: {e}");
            return ExitCode::FAILURE;
        }
    };
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let names: Vec<&str> =
        if wanted.is_empty() { ALL.to_vec() } else { wanted.iter().map(String::as_str).collect() };
    let (mut passed, mut failed) = (0, 0);
    for name in names {
        println!("== {name}");
        match run(name, &config).await {
            Ok(()) => passed += 1,
            Err(e) => {
                println!("{name} failed: {e}");
                failed += 1;
            }
        }
    }
    println!("# pass {passed}\n# fail {failed}\n# cancelled 0\n# skipped 0");
    ExitCode::from(u8::from(failed > 0))
}
