//! What is asked of a sandbox around the moment at which its time is up, on the simulated
//! backend and a clock that stands still unless everybody waits: whatever comes first, each
//! answer is one of those that the caller can do something with, and nothing is lost.

#![expect(clippy::unwrap_used, reason = "the lint does not see that helpers of tests are tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use model::{AtTimeout, EndCause, KilledBy, Policy, Timestamp};
use proptest::prelude::*;
use runtime::sim::{Act, Fault};
use support::{Host, files, phase, request, sandbox_id, until, write};
use tokio::time::{Instant, sleep};
use warren_node::{Clock, CreateSandbox, Error, Handle, Keep, Phase, Waking};

const TIMEOUT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_hours(1);

/// What somebody asks.
#[derive(Debug, Clone, Copy)]
enum Wish {
    Kill,
    Prolong,
    Resume,
    Pause(Keep),
    Snapshot(Keep),
}

/// How the node answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Done,
    Asleep,
    Gone,
    Busy,
}

/// Of the paused clock of the runtime.
#[derive(Debug)]
struct Stepped(Instant);

impl Clock for Stepped {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_micros(1_795_255_200_000_000) + self.0.elapsed()
    }
}

fn wishes() -> impl Strategy<Value = (Duration, Wish)> {
    let keep = prop_oneof![Just(Keep::Files), Just(Keep::Memory)];
    let wish = prop_oneof![
        1 => Just(Wish::Kill),
        3 => Just(Wish::Prolong),
        3 => Just(Wish::Resume),
        2 => keep.clone().prop_map(Wish::Pause),
        2 => keep.prop_map(Wish::Snapshot),
    ];
    // The clock has steps of a millisecond, so that many of them fall together.
    ((94_u64..112).prop_map(Duration::from_millis), wish)
}

/// Steps that take a while: what a wish finds depends on them.
fn delays() -> impl Strategy<Value = Vec<(Act, Duration)>> {
    let act = prop::sample::select(vec![
        Act::Init,
        Act::Kill,
        Act::Park,
        Act::Unpark,
        Act::Unprepare,
        Act::Unreserve,
        Act::Checkpoint,
        Act::Round,
        Act::Checkpointed,
        Act::PrepareFrom,
        Act::Restore,
        Act::Boot,
    ]);
    prop::collection::vec((act, (1_u64..9).prop_map(Duration::from_millis)), 0..6)
}

/// What the node said, if that is an answer at all.
fn said<T>(wish: Wish, answer: Result<T, Error>) -> Said {
    match (wish, answer) {
        (_, Ok(_)) => Said::Done,
        (_, Err(Error::NotFound(_) | Error::Ending(_))) => Said::Gone,
        (Wish::Prolong | Wish::Pause(_) | Wish::Snapshot(_), Err(Error::Paused(_))) => Said::Asleep,
        (Wish::Snapshot(_), Err(Error::Snapshotting(_))) => Said::Busy,
        (wish, Err(error)) => panic!("{wish:?} is answered {error:?}"),
    }
}

async fn ask(handle: &Handle, clock: &Stepped, (at, wish): (Duration, Wish)) -> (Wish, Said) {
    let id = sandbox_id(1);
    sleep(at.saturating_sub(clock.0.elapsed())).await;
    let said = match wish {
        Wish::Kill => said(wish, handle.kill(&id, KilledBy::Client).await),
        Wish::Prolong => said(wish, handle.set_deadline(&id, clock.now() + LONG).await),
        Wish::Resume => said(wish, handle.resume(&id, LONG, Waking::Kept).await),
        Wish::Pause(keep) => said(wish, handle.pause(&id, keep, true).await),
        Wish::Snapshot(keep) => said(wish, handle.checkpoint(&id, keep).await),
    };
    (wish, said)
}

/// Lets the wishes meet the end of its time, and holds what comes of it against what may.
async fn race(at_timeout: AtTimeout, wishes: Vec<(Duration, Wish)>, delays: Vec<(Act, Duration)>) {
    tokio::time::pause();
    let host = Host::new();
    let clock = Arc::new(Stepped(Instant::now()));
    let mut options = host.options();
    options.clock = Arc::clone(&clock) as Arc<dyn Clock>;
    let (handle, _) = host.open_with(options).await;
    let policy = Policy { at_timeout, ..Policy::default() };
    handle.create(CreateSandbox { timeout: TIMEOUT, policy, ..request(1) }).await.unwrap();
    write(&host, 1, "kept", "yes");
    for (act, delay) in &delays {
        host.world.inject(*act, Fault::Delay(*delay));
    }
    let asked = wishes.iter().map(|wish| ask(&handle, &clock, *wish));
    let answers = futures_util::future::join_all(asked).await;
    // Past the deadline that it began with, and past all that was begun.
    sleep(LONG / 2).await;

    let has = |wanted: fn(&Wish) -> bool, said| answers.iter().any(|(w, s)| wanted(w) && *s == said);
    let is_killed = has(|wish| matches!(wish, Wish::Kill), Said::Done);
    let is_prolonged = has(|wish| matches!(wish, Wish::Prolong), Said::Done);
    let is_paused = has(|wish| matches!(wish, Wish::Pause(_)), Said::Done);
    let told = format!("{at_timeout:?}: {answers:?}");
    match phase(&handle, 1) {
        None => {
            let cause = handle.ended(&sandbox_id(1)).unwrap().cause;
            let was_wanted = match cause {
                EndCause::Killed(KilledBy::Client) => is_killed,
                EndCause::Timeout => at_timeout == AtTimeout::Kill && !is_prolonged,
                _ => false,
            };
            assert!(was_wanted, "it ended by {cause:?}: {told}");
            assert!(host.world.inventory().reserved.is_empty() && !host.sandbox_dir(&sandbox_id(1)).exists());
        }
        Some(Phase::Running) => assert!(!is_killed, "{told}"),
        Some(Phase::Paused) => {
            let falls_asleep = at_timeout != AtTimeout::Kill && !is_prolonged;
            assert!(!is_killed && (is_paused || falls_asleep), "nobody put it to sleep: {told}");
        }
        other => panic!("it is on its way for ever: {other:?}: {told}"),
    }
    if phase(&handle, 1).is_some() {
        handle.resume(&sandbox_id(1), LONG, Waking::Kept).await.unwrap();
        assert_eq!(files(&host, 1)["kept"], "yes", "{told}");
        handle.kill(&sandbox_id(1), KilledBy::Client).await.unwrap();
    }
    let generations = || std::fs::read_dir(host.path().join("generations")).unwrap().count();
    until("no state is left", || generations() == 0).await;
    handle.abandon().await;
}

/// How many races; more by `WARREN_HISTORIES`.
fn cases() -> u32 {
    std::env::var("WARREN_HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(128)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn whoever_comes_first_nothing_is_lost(
        at_timeout in prop::sample::select(vec![AtTimeout::Kill, AtTimeout::PauseFiles, AtTimeout::PauseMemory]),
        wishes in prop::collection::vec(wishes(), 1..6),
        delays in delays(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(race(at_timeout, wishes, delays));
    }
}
