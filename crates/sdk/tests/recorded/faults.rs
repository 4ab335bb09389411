//! The manager while things go wrong: nothing leaks, each hook is called once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json as value;
use warren_sdk::{ErrorKind, Language, Repeat, RetryPolicy, SandboxManager, Signal};

use super::*;
use crate::mock::{enveloped, stream};

/// Sandboxes that exist only in a table.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) alive: Mutex<BTreeSet<String>>,
    pub(crate) made: AtomicUsize,
    /// Creates that fail before one succeeds.
    pub(crate) failing: AtomicUsize,
    keys: Mutex<Vec<(String, String)>>,
}

impl World {
    pub(crate) fn answer(&self, seen: &Seen) -> Reply {
        let mut alive = self.alive.lock().unwrap();
        let id = seen.header("e2b-sandbox-id").unwrap_or_default();
        match (seen.method.as_str(), seen.path.as_str()) {
            ("POST", "/v2/sandboxes") => {
                if self.failing.load(Ordering::Relaxed) > 0 {
                    self.failing.fetch_sub(1, Ordering::Relaxed);
                    return failure(503, "no room now");
                }
                let key = seen.header("idempotency-key").unwrap_or_default().to_owned();
                let mut keys = self.keys.lock().unwrap();
                if let Some((_, id)) = keys.iter().find(|(known, _)| *known == key && !key.is_empty()) {
                    return json(201, &created(id));
                }
                let id = format!("i{}", self.made.fetch_add(1, Ordering::Relaxed));
                alive.insert(id.clone());
                keys.push((key, id.clone()));
                json(201, &created(&id))
            }
            ("DELETE", path) => {
                let known = alive.remove(path.rsplit('/').next().unwrap());
                if known { empty(204) } else { failure(404, "gone") }
            }
            ("POST", path) if path.ends_with("/timeout") => empty(204),
            _ if !alive.contains(id) => gone(),
            ("GET", "/health") => empty(204),
            (_, "/execute") => match seen.json()["code"].as_str().unwrap() {
                "die" => {
                    alive.remove(id);
                    Reply::Cut("{\"type\":\"keepalive\"}\n".into())
                }
                "die once" if id == "i0" => {
                    alive.remove(id);
                    Reply::Hangup
                }
                _ => Reply::Answer(200, Vec::new(), "{\"type\":\"end_of_execution\"}\n".into()),
            },
            (_, "/process.Process/Start") => {
                let start = value!({ "event": { "start": { "pid": 7 } } });
                if seen.enveloped()["process"]["args"][2] == "die" {
                    alive.remove(id);
                    return Reply::Cut(enveloped(&[start]).into());
                }
                let data = value!({ "event": { "data": { "stdout": "aGk=" } } });
                stream(&[start, data, value!({ "event": { "end": { "exited": true } } })])
            }
            _ => json(200, &value!({})),
        }
    }

    pub(crate) fn alive(&self) -> usize {
        self.alive.lock().unwrap().len()
    }
}

pub(crate) async fn world() -> (Arc<World>, Mock) {
    let world = Arc::<World>::default();
    let answering = Arc::clone(&world);
    let mut mock = Mock::start(move |seen| answering.answer(seen)).await;
    mock.config.retries = 0;
    (world, mock)
}

pub(crate) fn quick() -> RetryPolicy {
    RetryPolicy { first: Duration::from_millis(1), ..RetryPolicy::default() }
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waited).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[derive(Debug, Default)]
struct Calls {
    created: AtomicUsize,
    closed: AtomicUsize,
    failed: AtomicUsize,
}

impl Calls {
    fn get(&self) -> [usize; 3] {
        [&self.created, &self.closed, &self.failed].map(|count| count.load(Ordering::Relaxed))
    }
}

fn counted(mock: &Mock) -> (Arc<Calls>, warren_sdk::ManagerBuilder) {
    let calls = Arc::<Calls>::default();
    let [a, b, c] = std::array::from_fn(|_| Arc::clone(&calls));
    let up = |count: &AtomicUsize| {
        count.fetch_add(1, Ordering::Relaxed);
    };
    let builder = SandboxManager::builder(&mock.config)
        .retry(quick())
        .on_create(move |_| up(&a.created))
        .on_close(move |_| up(&b.closed))
        .on_error(move |_| up(&c.failed));
    (calls, builder)
}

#[tokio::test]
async fn a_create_that_fails_twice_is_tried_a_third_time_with_the_same_key() {
    let (world, mock) = world().await;
    world.failing.store(2, Ordering::Relaxed);
    let (calls, builder) = counted(&mock);
    let manager = builder.start().await.unwrap();
    let keys: BTreeSet<_> =
        mock.seen().iter().map(|seen| seen.header("idempotency-key").unwrap().to_owned()).collect();
    assert_eq!((mock.seen().len(), keys.len()), (3, 1));
    assert!(manager.close().await.unwrap());
    assert_eq!((world.alive(), calls.get()), (0, [1, 1, 0]));
}

#[tokio::test]
async fn a_create_that_never_succeeds_is_told_once() {
    let (world, mock) = world().await;
    world.failing.store(usize::MAX, Ordering::Relaxed);
    let (calls, builder) = counted(&mock);
    assert_eq!(builder.start().await.unwrap_err().kind(), ErrorKind::ServiceBusy);
    assert_eq!((mock.seen().len(), world.alive(), calls.get()), (4, 0, [0, 0, 1]));
}

#[tokio::test]
async fn a_sandbox_that_dies_mid_task_is_replaced_only_where_that_does_no_harm() {
    let (world, mock) = world().await;
    let (calls, builder) = counted(&mock);
    let manager = builder.start().await.unwrap();
    let lost = manager.execute_with_retry(Language::Python, "die", Repeat::WhenNothingRan).await;
    assert_eq!(lost.unwrap_err().kind(), ErrorKind::SandboxNotRunning);
    assert_eq!((world.made.load(Ordering::Relaxed), calls.get()), (1, [1, 0, 1]));
    // The next call meets the dead sandbox, replaces it, and runs.
    let done = manager.execute_with_retry(Language::Python, "x", Repeat::Always).await.unwrap();
    assert!(done.succeeded() && manager.is_healthy().await);
    assert_eq!((manager.sandbox().id(), calls.get()), ("i1", [2, 1, 1]));
    manager.close().await.unwrap();
    assert_eq!((world.alive(), calls.get()), (0, [2, 2, 1]));
}

#[tokio::test]
async fn many_that_see_one_death_replace_it_once() {
    let (world, mock) = world().await;
    let (calls, builder) = counted(&mock);
    let manager = builder.start().await.unwrap();
    world.alive.lock().unwrap().clear();
    let runs = (0..8).map(|_| manager.execute_with_retry(Language::Bash, "x", Repeat::Always));
    for done in warren_sdk::run_all(8, runs).await {
        assert_eq!(done.unwrap().stdout, "hi");
    }
    assert_eq!(calls.get(), [2, 1, 0]);
    drop(manager);
    until("the drop kills in the background", || world.alive() == 0).await;
    assert_eq!(calls.get(), [2, 2, 0]);
}

#[tokio::test]
async fn a_server_that_restarts_is_waited_for() {
    let world = Arc::<World>::default();
    let answering = Arc::clone(&world);
    let first = Mock::start(move |seen| answering.answer(seen)).await;
    let (calls, builder) = counted(&first);
    let manager = builder.start().await.unwrap();
    let address = first.config.api_url.strip_prefix("http://").unwrap().to_owned();
    drop(first);
    let run = manager.execute_with_retry(Language::Python, "x", Repeat::Always);
    let restart = async {
        let answering = Arc::clone(&world);
        Mock::start_at(&address, move |seen| answering.answer(seen)).await
    };
    let (done, _second) = tokio::join!(run, restart);
    assert!(done.unwrap().succeeded());
    manager.close().await.unwrap();
    assert_eq!((world.alive(), calls.get()), (0, [1, 1, 0]));
}

#[tokio::test]
async fn processes_tell_their_output_and_their_end_once() {
    let (_world, mock) = world().await;
    let manager = counted(&mock).1.start().await.unwrap();
    let told = Arc::<Mutex<Vec<String>>>::default();
    let (out, exit) = (Arc::clone(&told), Arc::clone(&told));
    let process = manager
        .start_process("x")
        .on_stdout(move |text| out.lock().unwrap().push(text.to_owned()))
        .on_exit(move |how| {
            let ended = matches!(how, warren_sdk::ProcessExit::Ended(_));
            exit.lock().unwrap().push(ended.to_string());
        })
        .start()
        .await
        .unwrap();
    assert_eq!(process.wait().await.unwrap().stdout, "hi");
    assert_eq!(process.wait().await.unwrap().exit_code, 0);
    assert_eq!(
        (process.pid(), process.is_running(), told.lock().unwrap().clone()),
        (7, false, vec!["hi".into(), "true".into()])
    );
    assert!(process.send_signal(Signal::Term).await.unwrap() && process.kill().await.unwrap());
    assert!(process.send_signal(Signal::Usr1).await.unwrap());
    assert_eq!(mock.last("/process.Process/Start").enveloped()["process"]["args"][2], "kill -USR1 7");
    let lost = manager.start_process("die").start().await.unwrap();
    assert_eq!(lost.wait().await.unwrap_err().kind(), ErrorKind::SandboxNotRunning);
}

#[tokio::test]
async fn a_monitor_shows_what_is_used_until_the_sandbox_is_gone() {
    let samples = AtomicUsize::new(0);
    let mock = Mock::start(move |seen| match seen.method.as_str() {
        "POST" => json(201, &created("i0")),
        "DELETE" => empty(204),
        _ => match samples.fetch_add(1, Ordering::Relaxed) {
            3.. => failure(404, "gone"),
            number => json(
                200,
                &value!([{
                    "timestamp": format!("2026-11-21T10:00:0{number}Z"), "timestampUnix": 1, "cpuCount": 2,
                    "cpuUsedPct": 1.0, "memUsed": 1, "memTotal": 2, "memCache": 3, "diskUsed": 4, "diskTotal": 5,
                }]),
            ),
        },
    })
    .await;
    let manager = counted(&mock).1.start().await.unwrap();
    let mut monitor = manager.monitor(Duration::from_millis(5));
    assert_eq!(monitor.next().await.unwrap().cpu_count, 2);
    let mut last = monitor.latest().unwrap();
    while let Some(sample) = monitor.next().await {
        assert!(sample.at > last.at);
        last = sample;
    }
    manager.close().await.unwrap();
}

#[tokio::test]
async fn a_scope_ends_its_sandbox_also_after_a_failure() {
    let (world, mock) = world().await;
    let failed =
        SandboxManager::scope(&mock.config, async |manager| manager.execute(Language::Python, "die").await)
            .await;
    assert_eq!((failed.unwrap_err().kind(), world.alive()), (ErrorKind::SandboxNotRunning, 0));
    let id = SandboxManager::scope(&mock.config, async |manager| Ok(manager.sandbox().id().to_owned())).await;
    assert_eq!((id.unwrap().as_str(), world.alive()), ("i1", 0));
}

#[tokio::test]
async fn a_scoped_sandbox_ends_when_it_is_dropped() {
    let (world, mock) = world().await;
    drop(Sandbox::create(&mock.config).await.unwrap().scoped());
    until("the kill in the background", || world.alive() == 0).await;
    assert!(Sandbox::create(&mock.config).await.unwrap().scoped().close().await.unwrap());
    assert_eq!(Sandbox::create(&mock.config).await.unwrap().scoped().leave(), "i2");
    assert_eq!(world.alive(), 1);
}
