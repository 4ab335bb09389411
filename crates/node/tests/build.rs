//! Building templates from recipes, on the simulated backend: its "processes"
//! print their script and end with the status that the script names.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::Path;

use support::{Host, request, sandbox_id, until};
use tokio::sync::mpsc;
use warren_node::build::{BuildError, BuildEvent, Progress, StepFailure};
use warren_node::{Error, Handle, TemplateBuild};

const RECIPE: &str = r#"
name = "mine"
id = "minemine"
aliases = ["mine"]
from = "base"
env = { A = "1" }

[[run]]
cmd = "first"

[[copy]]
src = "files"
dest = "/opt"

[[run]]
title = "The last"
cmd = "second"
"#;

fn recipe(host: &Host, text: &str) -> std::path::PathBuf {
    let dir = host.path().join("recipe");
    std::fs::create_dir_all(dir.join("files/sub")).unwrap();
    std::fs::write(dir.join("files/sub/a b.txt"), "content").unwrap();
    std::fs::write(dir.join("recipe.toml"), text).unwrap();
    dir
}

async fn build(handle: &Handle, dir: &Path) -> (Result<TemplateBuild, BuildError>, Vec<BuildEvent>) {
    let (events, mut seen) = mpsc::channel(1000);
    let result = handle.ensure_template(dir, events).await;
    let mut all = Vec::new();
    while let Some(event) = seen.recv().await {
        all.push(event);
    }
    (result, all)
}

fn states(events: &[BuildEvent]) -> Vec<(usize, &str)> {
    let state = |event: &BuildEvent| match event.progress {
        Progress::Started => Some("started"),
        Progress::Cached => Some("cached"),
        Progress::Done => Some("done"),
        Progress::Line(_) => None,
    };
    events.iter().filter_map(|event| Some((event.step, state(event)?))).collect()
}

#[tokio::test]
async fn a_recipe_becomes_layers_once_and_sandboxes_start_from_it() {
    let host = Host::new();
    let handle = host.open().await;
    let before = host.footprint(&handle);
    let dir = recipe(&host, RECIPE);
    let (built, events) = build(&handle, &dir).await;
    let built = built.unwrap();
    let all = [(1, "started"), (1, "done"), (2, "started"), (2, "done"), (3, "started"), (3, "done")];
    assert_eq!(states(&events), all);
    assert!(events.iter().any(|e| e.title == "The last" && e.progress == Progress::Line("second".into())));
    assert_eq!(host.footprint(&handle), before, "the sandboxes of the steps are gone");
    assert!(handle.list().is_empty());

    let (again, events) = build(&handle, &dir).await;
    assert_eq!(again.unwrap(), built);
    assert_eq!(states(&events), [(1, "cached"), (2, "cached"), (3, "cached")]);
    assert_eq!(handle.newest_build("mine"), Some(built.build_id));

    handle.abandon().await;
    let handle = host.open().await;
    let mut request = request(1);
    request.build_id = built.build_id;
    handle.create(request).await.unwrap();
    let record = std::fs::read(host.sandbox_dir(&sandbox_id(1)).join("sandbox.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let layers: Vec<&str> =
        record["layers"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
    assert_eq!((layers.len(), layers[0]), (5, "/guest"), "guest, three steps, the parent's");
    assert!(layers[4].ends_with("layers/root"));
    let copied = Path::new(layers[2]).join("opt/sub/a b.txt");
    assert_eq!(std::fs::read_to_string(copied).unwrap(), "content");
}

#[tokio::test]
async fn only_what_a_change_touches_is_made_again() {
    let host = Host::new();
    let handle = host.open().await;
    let dir = recipe(&host, RECIPE);
    let first = build(&handle, &dir).await.0.unwrap();
    std::fs::write(dir.join("files/sub/a b.txt"), "changed").unwrap();
    let (second, events) = build(&handle, &dir).await;
    let second = second.unwrap();
    assert_ne!(first.build_id, second.build_id);
    assert_eq!(states(&events), [(1, "cached"), (2, "started"), (2, "done"), (3, "started"), (3, "done")]);
    assert_eq!(handle.newest_build("minemine"), Some(second.build_id));
}

#[tokio::test]
async fn a_failed_step_says_which_how_and_what_it_printed_last() {
    let host = Host::new();
    let handle = host.open().await;
    let before = host.footprint(&handle);
    let dir = recipe(&host, &RECIPE.replace("second", "exit 3"));
    let (failed, _) = build(&handle, &dir).await;
    let Err(BuildError::Step { step: 3, of: 3, title, source, .. }) = failed else { panic!("{failed:?}") };
    assert_eq!(title, "The last");
    assert!(matches!(*source, StepFailure::Ended { .. }));
    assert_eq!(source.to_string(), "it ended with exit status 3; its last lines were:\nexit 3");
    until("its sandbox is gone", || handle.promised().slots == 0).await;
    assert_eq!(host.footprint(&handle), before);
    let orphan = recipe(&host, &RECIPE.replace("\"base\"", "\"nothing\""));
    assert!(matches!(build(&handle, &orphan).await.0, Err(BuildError::NoParent(_))));
}

#[tokio::test]
async fn a_build_that_was_killed_goes_on_where_it_was() {
    let host = Host::new();
    let first = host.open().await;
    let before = host.footprint(&first);
    let dir = recipe(&host, RECIPE);
    host.world.inject(runtime::sim::Act::Boot, runtime::sim::Fault::Delay(std::time::Duration::ZERO));
    host.world.inject(runtime::sim::Act::Boot, runtime::sim::Fault::Hang);
    let building = tokio::spawn({
        let (first, dir) = (first.clone(), dir.clone());
        async move { build(&first, &dir).await.0 }
    });
    // Slots go round: the second step's sandbox has the second slot.
    until("the second step hangs", || {
        let inventory = host.world.inventory();
        inventory.reserved.contains(&model::Slot(1)) && inventory.prepared.len() == 1
    })
    .await;
    first.abandon().await;
    building.abort();
    std::fs::create_dir(host.path().join("layers/.sealing-x")).unwrap();

    let second = host.open().await;
    until("the sandbox of the step is gone", || second.promised().slots == 0).await;
    assert_eq!(host.footprint(&second), before);
    assert!(!host.path().join("layers/.sealing-x").exists());
    let (built, events) = build(&second, &dir).await;
    built.unwrap();
    assert_eq!(states(&events)[0], (1, "cached"));
}

#[tokio::test]
async fn the_sandbox_of_a_step_is_nobody_elses() {
    let host = Host::new();
    let handle = host.open().await;
    let dir = recipe(&host, RECIPE);
    host.world.inject(runtime::sim::Act::Boot, runtime::sim::Fault::Hang);
    let building = tokio::spawn({
        let (handle, dir) = (handle.clone(), dir.clone());
        async move { build(&handle, &dir).await.0 }
    });
    until("it stands", || handle.promised().slots == 1).await;
    assert!(handle.list().is_empty());
    until("it is prepared", || host.world.inventory().prepared.len() == 1).await;
    let id = host.world.inventory().prepared.first().unwrap().clone();
    assert!(handle.get(&id).is_none() && handle.dialer(&id).is_none());
    let kill = handle.kill(&id, model::KilledBy::Client).await;
    assert!(matches!(kill, Err(Error::NotFound(_))));
    building.abort();
    until("a dropped build leaves nothing", || handle.promised().slots == 0).await;
}
