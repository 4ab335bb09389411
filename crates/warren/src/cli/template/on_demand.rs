//! `warren template build NAME` without a Dockerfile: one of the server's own
//! templates that are built when somebody asks.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use sdk::{ErrorKind, Templates};
use wire::rest::DefaultTemplate;

use super::super::form::{Form, print_json};

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_secs(1);

/// Has it built and waits for it; `None` if the server offers no such template.
pub(super) async fn build(templates: &Templates, name: &str, form: Form) -> Result<Option<ExitCode>> {
    let mut seen = match templates.order_default(name).await {
        Ok(begun) => begun,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("build {name}")),
    };
    let bar = form.spinner(&format!("building {name}"));
    while matches!(seen.status.as_str(), "waiting" | "building") {
        tokio::time::sleep(LOOK).await;
        let now = templates.default_progress(name).await.with_context(|| format!("build {name}"))?;
        if now != seen && form.is_talkative() {
            bar.set_message(now.message.clone());
            bar.suspend(|| println!("{}", now.message));
        }
        seen = now;
    }
    bar.finish_and_clear();
    finish(&seen, form)
}

fn finish(seen: &DefaultTemplate, form: Form) -> Result<Option<ExitCode>> {
    if seen.status != "ready" {
        bail!("build {}: {}", seen.name, seen.message);
    }
    if form.json {
        print_json(seen)?;
    } else if form.quiet {
        println!("{}", seen.name);
    }
    Ok(Some(ExitCode::SUCCESS))
}
