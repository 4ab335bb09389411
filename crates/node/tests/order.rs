//! Builds that clients order, on the simulated backend: its "processes" print
//! their script and end with the status that the script names.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use model::{BuildId, ByteSize, Resources, TeamId};
use support::{BUILD, Host, request, sandbox_id, until};
use warren_node::build::{
    BuildOrder, BuildProgress, FilesHash, Instruction, LogLevel, LogPage, OrderStep, Source, Start,
    UploadError,
};
use warren_node::{Handle, Limits, NodeOptions, Sandboxes};

const TEAM: TeamId = TeamId::from_u128(9);
const ALL: LogPage = LogPage { offset: 0, limit: usize::MAX, level: LogLevel::Debug };

fn order(n: u128, commands: &[&str]) -> BuildOrder {
    let step = |command: &&str| OrderStep {
        instruction: Instruction::Run { command: (*command).to_owned(), user: None },
        force: false,
    };
    BuildOrder {
        template_id: "minemine".parse().unwrap(),
        build_id: BuildId::from_u128(n),
        team_id: TEAM,
        source: Source::Template { name: "base".to_owned(), build_id: BUILD },
        steps: commands.iter().map(step).collect(),
        start: Start::default(),
        force: false,
        resources: Resources { cpu_count: 1, memory: ByteSize::mib(512), disk: ByteSize::gib(1) },
    }
}

async fn ended(handle: &Handle, n: u128) -> BuildProgress {
    let ending = async {
        loop {
            match handle.build_progress(BuildId::from_u128(n)).await.unwrap() {
                BuildProgress::Building => tokio::time::sleep(Duration::from_millis(2)).await,
                progress => return progress,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ending).await.expect("a build comes to its end")
}

async fn build(handle: &Handle, order: BuildOrder) -> BuildProgress {
    let n = u128::from_str_radix(&order.build_id.to_string().replace('-', ""), 16).unwrap();
    handle.start_build(order).await.unwrap();
    ended(handle, n).await
}

async fn log(handle: &Handle, n: u128) -> Vec<String> {
    let entries = handle.build_log(BuildId::from_u128(n), ALL).await.unwrap();
    entries.into_iter().map(|entry| entry.message).collect()
}

fn layers(host: &Host) -> usize {
    std::fs::read_dir(host.path().join("layers")).unwrap().count()
}

#[tokio::test]
async fn an_order_becomes_a_build_once_and_sandboxes_start_from_it() {
    let host = Host::new();
    let handle = host.open().await;
    let before = host.footprint(&handle);
    assert_eq!(build(&handle, order(1, &["first", "second"])).await, BuildProgress::Ready);
    assert_eq!(build(&handle, order(2, &["first", "second"])).await, BuildProgress::Ready);
    assert_eq!(build(&handle, order(3, &["first", "other"])).await, BuildProgress::Ready);
    let (again, other) = (log(&handle, 2).await, log(&handle, 3).await);
    let titles =
        |log: &[String]| -> Vec<String> { log.iter().filter(|l| l.contains("] RUN ")).cloned().collect() };
    assert_eq!(titles(&again), ["CACHED [builder 1/2] RUN first", "CACHED [builder 2/2] RUN second"]);
    assert_eq!(titles(&other), ["CACHED [builder 1/2] RUN first", "[builder 2/2] RUN other"]);
    assert!(other.contains(&"[builder 2/2] [stdout]: other".to_owned()), "{other:?}");
    assert_eq!((host.footprint(&handle), layers(&host)), (before, 4));

    let mut forced = order(4, &["first", "second"]);
    forced.steps[1].force = true;
    assert_eq!(build(&handle, forced).await, BuildProgress::Ready);
    assert_eq!(titles(&log(&handle, 4).await)[1], "[builder 2/2] RUN second");
    assert_eq!(layers(&host), 5, "others stand on the layer that was there");

    let mut request = request(1);
    request.build_id = BuildId::from_u128(4);
    handle.create(request).await.unwrap();
    assert!(host.sandbox_dir(&sandbox_id(1)).exists());
}

#[tokio::test]
async fn a_failure_says_which_step_and_how() {
    let host = Host::new();
    let handle = host.open().await;
    let BuildProgress::Failed(failure) = build(&handle, order(1, &["first", "exit 3"])).await else {
        panic!("it fails")
    };
    assert_eq!(failure.step, "2");
    assert_eq!(failure.message, "failed to run command 'exit 3': exit status 3");
    assert_eq!(log(&handle, 1).await.last().unwrap(), &format!("Build failed: {}", failure.message));
    let mut lost = order(2, &[]);
    lost.source = Source::Template { name: "gone".to_owned(), build_id: BuildId::from_u128(99) };
    let BuildProgress::Failed(failure) = build(&handle, lost).await else { panic!("it fails") };
    assert_eq!(failure.step, "base");
}

fn template(host: &Host, n: u128) -> serde_json::Value {
    let path = host.path().join(format!("templates/{}.json", BuildId::from_u128(n)));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn names(template: &serde_json::Value) -> Vec<String> {
    serde_json::from_value(template["layers"].clone()).unwrap()
}

#[tokio::test]
async fn a_template_of_many_steps_mounts_few_layers_and_so_does_its_child() {
    let host = Host::new();
    let handle = host.open().await;
    let commands: Vec<String> = (0..60).map(|n| format!("step {n}")).collect();
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    assert_eq!(build(&handle, order(1, &commands)).await, BuildProgress::Ready);
    let first = names(&template(&host, 1));
    assert!(first.len() <= 10, "{first:?}");
    let before = layers(&host);
    assert_eq!(build(&handle, order(2, &commands)).await, BuildProgress::Ready);
    assert_eq!((names(&template(&host, 2)), layers(&host)), (first, before), "the same layers again");

    let mut child = order(3, &commands);
    child.source = Source::Template { name: "first".to_owned(), build_id: BuildId::from_u128(1) };
    assert_eq!(build(&handle, child).await, BuildProgress::Ready);
    assert!(names(&template(&host, 3)).len() <= 10);
}

#[tokio::test]
async fn a_damaged_layer_is_named_and_made_anew() {
    let host = Host::new();
    let handle = host.open().await;
    assert_eq!(build(&handle, order(1, &["first", "second"])).await, BuildProgress::Ready);
    handle.shutdown(Sandboxes::Kill).await;
    let layer = names(&template(&host, 1))[0].clone();
    let path = host.path().join("layers").join(&layer);
    std::fs::write(path.join("more"), "not of the step").unwrap();

    let handle = host.open().await;
    assert_eq!(build(&handle, order(2, &["first", "second"])).await, BuildProgress::Ready);
    let said = log(&handle, 2).await;
    assert!(said.iter().any(|line| line.contains(&layer) && line.contains("is damaged")), "{said:?}");
    assert!(said.contains(&"[builder 2/2] RUN second".to_owned()), "it is done again");
    assert!(path.is_dir() && !path.join("more").exists());

    // A change that only a look at the contents sees, of a layer that templates stand on.
    let verified = handle.verify_layers().await.unwrap();
    assert!(verified.layers >= 3 && verified.damaged.is_empty(), "{verified:?}");
    std::fs::remove_dir_all(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let verified = handle.verify_layers().await.unwrap();
    assert_eq!(verified.damaged.iter().map(|one| &one.layer).collect::<Vec<_>>(), [&layer]);
    let mut request = request(1);
    request.build_id = BuildId::from_u128(2);
    let refused = handle.create(request.clone()).await.unwrap_err();
    assert!(
        refused.to_string().contains(&layer) && refused.kind() == warren_node::ErrorKind::Conflict,
        "{refused}"
    );
    let mut child = order(3, &["third"]);
    child.source = Source::Template { name: "second".to_owned(), build_id: BuildId::from_u128(2) };
    let BuildProgress::Failed(failure) = build(&handle, child).await else { panic!("it fails") };
    assert!(failure.message.contains("build that template again"), "{}", failure.message);
    assert_eq!(build(&handle, order(4, &["first", "second"])).await, BuildProgress::Ready);
    handle.create(request).await.unwrap();
}

#[tokio::test]
async fn a_build_whose_server_was_killed_goes_on_at_its_last_layer() {
    let host = Host::new();
    let first = host.open().await;
    host.world.inject(runtime::sim::Act::Boot, runtime::sim::Fault::Delay(Duration::ZERO));
    host.world.inject(runtime::sim::Act::Boot, runtime::sim::Fault::Hang);
    first.start_build(order(1, &["first", "second"])).await.unwrap();
    // Slots go round: the second step's sandbox has the second slot.
    until("the second step hangs", || {
        let inventory = host.world.inventory();
        inventory.reserved.contains(&model::Slot(1)) && inventory.prepared.len() == 1
    })
    .await;
    first.abandon().await;

    let second = host.open().await;
    assert_eq!(ended(&second, 1).await, BuildProgress::Ready);
    let log = log(&second, 1).await;
    assert!(log.iter().any(|line| line.starts_with("The server was restarted")), "{log:?}");
    assert!(log.contains(&"CACHED [builder 1/2] RUN first".to_owned()), "{log:?}");
    until("the sandbox of the step is gone", || second.promised().slots == 0).await;
}

#[tokio::test]
async fn an_order_that_cannot_be_read_has_failed() {
    let host = Host::new();
    let dir = host.path().join("builds").join(BuildId::from_u128(1).to_string());
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("order.json"), "{").unwrap();
    let handle = host.open().await;
    assert!(matches!(ended(&handle, 1).await, BuildProgress::Failed(_)));
    assert!(handle.build_progress(BuildId::from_u128(2)).await.is_none());
}

#[tokio::test]
async fn a_build_is_canceled_where_it_stands() {
    let host = Host::new();
    let handle = host.open().await;
    host.world.inject(runtime::sim::Act::Boot, runtime::sim::Fault::Hang);
    handle.start_build(order(1, &["first"])).await.unwrap();
    until("its step stands", || handle.promised().slots == 1).await;
    assert!(handle.cancel_build(BuildId::from_u128(1)));
    assert!(matches!(ended(&handle, 1).await, BuildProgress::Failed(_)));
    until("its sandbox is gone", || handle.promised().slots == 0).await;
    assert!(!handle.cancel_build(BuildId::from_u128(1)));
}

#[tokio::test]
async fn only_layers_that_nothing_stands_on_are_cleared_away() {
    let host = Host::new();
    let handle = host.open().await;
    build(&handle, order(1, &["first", "second"])).await;
    build(&handle, order(2, &["first", "exit 3"])).await;
    assert_eq!(handle.collect_layers(TEAM, Duration::ZERO).await.unwrap().layers, 0);
    let steps = handle.cached_steps(TEAM).await.unwrap();
    assert!(steps.len() == 2 && steps.iter().all(|step| step.in_use));
    assert!(handle.cached_steps(TeamId::from_u128(1)).await.unwrap().is_empty(), "they are a team's own");

    assert!(handle.forget_step(TEAM, &steps[0].entry.key).await.unwrap());
    assert!(!handle.forget_step(TEAM, "none").await.unwrap());
    assert_eq!(
        handle.collect_layers(TEAM, Duration::ZERO).await.unwrap().layers,
        0,
        "a template stands on it"
    );
    handle.forget_build(BuildId::from_u128(1)).await.unwrap();
    assert_eq!(handle.collect_layers(TEAM, Duration::from_hours(1)).await.unwrap().layers, 1);
    assert_eq!(handle.collect_layers(TEAM, Duration::ZERO).await.unwrap().layers, 1);
    until("they are removed", || layers(&host) == 1).await;
    assert!(host.path().join("layers/root").exists(), "the parent's stays");
    assert_eq!(build(&handle, order(3, &["first", "second"])).await, BuildProgress::Ready);
}

#[tokio::test]
async fn the_next_server_goes_on_with_removing_layers_and_their_names_are_free() {
    let host = Host::new();
    build(&host.open().await, order(1, &["first"])).await;
    let gone = host.path().join("layers/.gone-0-old");
    std::fs::create_dir_all(gone.join("deep/er")).unwrap();
    std::fs::write(gone.join("deep/er/file"), "x").unwrap();
    let handle = host.open().await;
    until("it is removed", || !gone.exists()).await;
    handle.forget_build(BuildId::from_u128(1)).await.unwrap();
    for n in 2..5 {
        let collected = handle.collect_layers(TEAM, Duration::ZERO).await.unwrap();
        assert_eq!(collected.layers, 1);
        assert!(collected.removing <= 1, "{collected:?}");
        assert_eq!(build(&handle, order(n, &["first"])).await, BuildProgress::Ready);
        let verified = handle.verify_layers().await.unwrap();
        assert!(verified.damaged.is_empty(), "a layer made anew has sums of its own: {verified:?}");
        handle.forget_build(BuildId::from_u128(n)).await.unwrap();
    }
}

#[tokio::test]
async fn uploads_are_kept_whole_or_not_at_all() {
    let host = Host::new();
    let mut options = host.options();
    options.limits.upload_bytes = 10;
    let (handle, _) = host.open_with(options).await;
    let hash = FilesHash::try_from("a".repeat(64)).unwrap();
    let send = async |pieces: &[&'static [u8]], expected| {
        let pieces: Vec<std::io::Result<bytes::Bytes>> =
            pieces.iter().map(|piece| Ok(bytes::Bytes::from_static(piece))).collect();
        handle.receive_files(TEAM, &hash, expected, futures_util::stream::iter(pieces)).await
    };
    assert!(matches!(send(&[b"123456", b"78901"], None).await, Err(UploadError::TooLarge(10))));
    assert!(matches!(send(&[b"123"], Some(4)).await, Err(UploadError::Short { got: 3, expected: 4 })));
    assert!(!handle.has_files(TEAM, &hash).await);
    send(&[b"123", b"4"], Some(4)).await.unwrap();
    assert!(handle.has_files(TEAM, &hash).await && !handle.has_files(TeamId::from_u128(1), &hash).await);
    let dir = host.path().join("uploads").join(TEAM.to_string());
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 1);
}

#[tokio::test]
async fn a_build_and_a_step_that_take_too_long_fail_and_say_so() {
    for (limits, expected) in [
        (Limits { build: Duration::ZERO, ..Limits::default() }, ("base", "the build took longer than 0 s")),
        (Limits { build_step: Duration::ZERO, ..Limits::default() }, ("1", "the step took longer than 0 s")),
    ] {
        let host = Host::new();
        let options = NodeOptions { limits, ..host.options() };
        let handle = Handle::open(options).await.unwrap().0;
        let BuildProgress::Failed(failure) = build(&handle, order(1, &["slow"])).await else {
            panic!("it did not fail");
        };
        assert_eq!((failure.step.as_str(), failure.message.as_str()), expected);
    }
}
