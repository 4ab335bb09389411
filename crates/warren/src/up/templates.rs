//! The built-in templates: their recipes are in this binary, and a start builds
//! what is not there, with a bar on a terminal and plain lines elsewhere. Those
//! that few want are built when the first of them asks.

use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::io::IsTerminal as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use control::{App, Demand};
use indicatif::{ProgressBar, ProgressStyle};
use node::Handle;
use node::build::{BuildError, BuildEvent, Progress};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::state::StateDir;

/// Path below the recipes' directory, mode, content.
type Embedded = (&'static str, u32, &'static [u8]);

/// Every file of `templates/`.
static FILES: &[Embedded] = &include!(concat!(env!("OUT_DIR"), "/recipes.rs"));

/// Built at the start, in this order: each stands on the one before.
const RECIPES: [&str; 3] = ["base", "code-interpreter", "mcp-gateway"];

/// Built when somebody asks: large, and few want them.
const ON_DEMAND: [&str; 1] = ["desktop"];

/// Those who ask come again sooner than a network or a disk mends itself.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// Events between a build and its display; when full, lines of output are lost, never states.
const EVENTS: usize = 64;

/// Builds what is missing and tells clients how far it is. `false` when a signal came first: the layers that
/// are finished stay, and the next start goes on there.
pub(crate) async fn ensure(
    state: &StateDir,
    node: &Handle,
    app: &App,
    stop: &CancellationToken,
) -> Result<bool> {
    let recipes = write_out(&recipes_dir(state)).context("write out the built-in recipes")?;
    for name in RECIPES {
        let dir = recipes.join(name);
        let work = Box::pin(build(node, &dir, |progress| app.say_building(Some(progress))));
        match stop.run_until_cancelled(work).await {
            None => return Ok(false),
            Some(built) => built.with_context(|| format!("build the template {name}"))?,
        }
    }
    Ok(true)
}

/// Lets clients ask for the others.
pub(crate) fn offer(app: &App) {
    app.offer_on_demand(&ON_DEMAND);
}

/// Builds what clients ask for, until `stop`. A failure is told to those who
/// ask, and the next of them begins another attempt.
pub(crate) async fn build_on_demand(state: &StateDir, node: &Handle, app: &App, stop: &CancellationToken) {
    let work = Box::pin(async {
        loop {
            let name = app.next_demanded().await;
            let outcome = build_demanded(state, node, app, name).await;
            let failed = matches!(outcome, Demand::Failed(_));
            app.say_demand(name, outcome);
            if failed {
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    });
    let _: Option<Infallible> = stop.run_until_cancelled(work).await;
}

async fn build_demanded(state: &StateDir, node: &Handle, app: &App, name: &'static str) -> Demand {
    let say = |progress| app.say_demand(name, Demand::Building(progress));
    say("its build begins now".to_owned());
    let built = build(node, &recipes_dir(state).join(name), say).await.map_err(anyhow::Error::from);
    let entered = match built {
        Ok(()) => app.register_builds(node.templates()).await.context("enter the template"),
        Err(error) => Err(error),
    };
    match entered {
        Ok(()) => {
            tracing::info!(template = name, "a template that was asked for is built");
            Demand::Ready
        }
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(template = name, error, "a template that was asked for could not be built");
            Demand::Failed(error)
        }
    }
}

async fn build(node: &Handle, recipe: &Path, say: impl Fn(String)) -> Result<(), BuildError> {
    let (told, events) = mpsc::channel(EVENTS);
    tokio::join!(node.ensure_template(recipe, told), show(events, say)).0.map(drop)
}

fn recipes_dir(state: &StateDir) -> PathBuf {
    state.path().join("recipes")
}

fn write_out(dir: &Path) -> Result<PathBuf> {
    // An older server's recipes may hold files that ours do not.
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    for (name, mode, content) in FILES {
        let path = dir.join(name);
        let parent = path.parent().context("it lies below the directory")?;
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(*mode))?;
    }
    Ok(dir.to_owned())
}

/// Shows a build until its channel closes.
async fn show(mut events: mpsc::Receiver<BuildEvent>, say: impl Fn(String)) {
    let mut display = Display::new();
    while let Some(event) = events.recv().await {
        if event.progress == Progress::Started {
            say(progress(&event));
        }
        display.take(&event);
    }
    display.bar.finish_and_clear();
}

/// How far a build is, in words.
fn progress(event: &BuildEvent) -> String {
    format!("template {}: step {}/{}: {}", event.template, event.step, event.of, event.title)
}

struct Display {
    bar: ProgressBar,
    terminal: bool,
}

impl Display {
    fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal { ProgressBar::new(0) } else { ProgressBar::hidden() };
        let style = "{spinner} {prefix} [{bar:24}] {pos}/{len} {elapsed} {wide_msg}";
        // The template is a constant; a mistake in it leaves the default style.
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self { bar, terminal }
    }

    fn take(&mut self, event: &BuildEvent) {
        match &event.progress {
            // A start that finds everything built shows nothing.
            Progress::Cached | Progress::Done => self.bar.set_position(event.step as u64),
            Progress::Started => {
                self.bar.set_length(event.of as u64);
                self.bar.set_prefix(event.template.clone());
                self.bar.set_message(event.title.clone());
                self.bar.enable_steady_tick(Duration::from_millis(120));
                self.say(&progress(event));
            }
            Progress::Line(line) => self.bar.set_message(format!("{}: {line}", event.title)),
        }
    }

    #[expect(clippy::print_stderr, reason = "progress for people")]
    fn say(&self, text: &str) {
        if !self.terminal {
            eprintln!("{text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipes_are_inside_and_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let recipes = write_out(&dir.path().join("recipes")).unwrap();
        for name in RECIPES.iter().chain(&ON_DEMAND) {
            node::build::Recipe::read(&recipes.join(name)).unwrap();
        }
        let setup = fs::metadata(recipes.join("base/files/usr/lib/warren/setup-base")).unwrap();
        assert_eq!(setup.permissions().mode() & 0o111, 0o111);
    }
}
