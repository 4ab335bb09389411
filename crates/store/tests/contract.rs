//! What the store must do, whichever engine is below it.

#![expect(clippy::unwrap_used, reason = "the lint does not see that helpers of tests are tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use model::{
    BuildId, ByteSize, EndCause, KeyId, KilledBy, OomVictim, Peaks, Resources, SandboxId, SessionKind,
    TeamId, TemplateId, Timestamp,
};
use warren_store::{
    ApiKey, Build, BuildStatus, Claim, Ending, Event, EventKind, EventQuery, Intent, KeyHash, KeyMask,
    ListFilter, ListPlace, Reservation, Sandbox, Session, Standing, Store, Team, Webhook,
};

const NOW: Timestamp = Timestamp::from_unix_micros(1_795_255_200_123_456);

async fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(&dir.path().join("warren.db")).await.unwrap()
}

fn team(n: u128, slug: &str) -> Team {
    Team {
        team_id: TeamId::from_u128(n),
        name: slug.to_owned(),
        slug: slug.to_owned(),
        is_default: n == 1,
        max_sandboxes: None,
        standing: Standing::Good,
        created_at: NOW,
    }
}

fn template() -> TemplateId {
    "base0000000000000001".parse().unwrap()
}

fn build(n: u128, at: Timestamp) -> Build {
    Build {
        build_id: BuildId::from_u128(n),
        template_id: template(),
        status: BuildStatus::Ready,
        resources: Resources { cpu_count: 4, memory: ByteSize::mib(512), disk: ByteSize::gib(3) },
        envd_version: "0.6.4".to_owned(),
        created_at: at,
        finished_at: Some(at),
    }
}

fn sandbox(id: &str, team: u128) -> Sandbox {
    Sandbox {
        sandbox_id: id.parse().unwrap(),
        team_id: TeamId::from_u128(team),
        template_id: template(),
        build_id: BuildId::from_u128(1),
        alias: Some("base".to_owned()),
        resources: Resources::DEFAULT,
        secured: true,
        allow_internet: Some(true),
        network: None,
        metadata: Some(BTreeMap::from([("ключ".to_owned(), "\"\\\0 ".to_owned())])),
        intent: Intent::Starting,
        created_at: NOW,
    }
}

/// A store with two teams and one template.
async fn furnished(dir: &tempfile::TempDir) -> Store {
    let store = open(dir).await;
    store.ensure_team(&team(1, "default")).await.unwrap();
    store.ensure_team(&team(2, "other")).await.unwrap();
    store.put_builtin(&build(1, NOW), &["base".to_owned(), "base-2".to_owned()]).await.unwrap();
    store
}

fn ending_by(cause: EndCause) -> Ending<'static> {
    Ending { cause, started_at: None, ended_at: NOW, peaks: Peaks::default(), oom_victims: &[] }
}

fn id(text: &str) -> SandboxId {
    text.parse().unwrap()
}

/// The event that a sandbox of the first team started.
fn created(n: u128, sandbox_id: &str, at: Timestamp) -> Event {
    let wanted = sandbox(sandbox_id, 1);
    Event {
        event_id: KeyId::from_u128(n),
        team_id: wanted.team_id,
        sandbox_id: wanted.sandbox_id,
        template_id: wanted.template_id,
        build_id: wanted.build_id,
        execution_id: "e".to_owned(),
        kind: EventKind::Created,
        data: None,
        happened_at: at,
    }
}

async fn events_of(store: &Store, sandbox: &str) -> Vec<Event> {
    let sandbox_id = Some(id(sandbox));
    let query = EventQuery { sandbox_id, kinds: Vec::new(), offset: 0, limit: 9, oldest_first: true };
    store.events(TeamId::from_u128(1), &query).await.unwrap()
}

#[tokio::test]
async fn a_start_is_told_and_delivered_once_to_those_who_asked() {
    let dir = tempfile::tempdir().unwrap();
    let store = furnished(&dir).await;
    for (n, team, events, enabled) in [
        (1, 1, vec![EventKind::Killed, EventKind::Created], true),
        (2, 1, vec![EventKind::Killed], true),
        (3, 1, vec![EventKind::Created], false),
        (4, 2, vec![EventKind::Created], true),
    ] {
        let team_id = TeamId::from_u128(team);
        let hook = Webhook {
            webhook_id: KeyId::from_u128(n),
            team_id,
            name: n.to_string(),
            url: "https://example.com".to_owned(),
            enabled,
            events,
            secret: "s".to_owned(),
            created_at: NOW,
        };
        store.put_webhook(&hook).await.unwrap();
    }
    let _ = store.reserve(&sandbox("i1", 1), 9).await.unwrap();
    assert!(store.sandbox_started(&created(1, "i1", NOW)).await.unwrap());
    assert!(!store.sandbox_started(&created(2, "i1", NOW)).await.unwrap());
    assert_eq!(events_of(&store, "i1").await, [created(1, "i1", NOW)]);
    let due = store.due_deliveries(NOW + Duration::from_secs(1), 9).await.unwrap();
    let due: Vec<_> = due.iter().map(|due| (due.event.event_id, due.webhook.webhook_id)).collect();
    assert_eq!(due, [(KeyId::from_u128(1), KeyId::from_u128(1))]);
}

#[tokio::test]
async fn a_sandbox_goes_through_its_life_and_survives_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let store = furnished(&dir).await;
    let wanted = sandbox("i1", 1);
    assert_eq!(store.reserve(&wanted, 1).await.unwrap(), Reservation::Made);
    assert_eq!(store.sandbox(&id("i1")).await.unwrap(), Some(wanted.clone()));
    assert!(store.standing_of_team(TeamId::from_u128(1)).await.unwrap().is_empty());
    assert!(store.sandbox_started(&created(1, "i1", NOW)).await.unwrap());
    assert!(!store.sandbox_started(&created(2, "i1", NOW)).await.unwrap(), "it starts once");
    store.close().await;

    let store = open(&dir).await;
    let running = Sandbox { intent: Intent::Running, ..wanted };
    assert_eq!(store.standing_of_team(TeamId::from_u128(1)).await.unwrap(), [running]);
    assert!(store.standing_of_team(TeamId::from_u128(2)).await.unwrap().is_empty());
    let listed = store.templates_of(TeamId::from_u128(2)).await.unwrap();
    assert_eq!((listed[0].template.spawn_count, listed[0].template.last_spawned_at), (1, Some(NOW)));

    store.intend_end(&id("i1")).await.unwrap();
    assert_eq!(store.intents().await.unwrap(), [(id("i1"), Intent::Ending)]);
    let peaks = Peaks { memory: ByteSize::mib(9), disk: ByteSize::mib(8), cpu_micros: 7, oom_kills: 6 };
    let cause = EndCause::Killed(KilledBy::Client);
    let victim =
        OomVictim { pid: 5, name: "python3".to_owned(), user: "user".to_owned(), at: NOW, itself: true };
    let oom_victims = [victim.clone(), OomVictim { pid: 6, itself: false, ..victim }];
    let ended_at = NOW + Duration::from_secs(1);
    let ending = Ending { cause, started_at: Some(NOW), ended_at, peaks, oom_victims: &oom_victims };
    store.end(&id("i1"), ending, None).await.unwrap();
    store.end(&id("i1"), ending_by(EndCause::HostLost), None).await.unwrap();
    let record = store.record(&id("i1")).await.unwrap().unwrap();
    assert_eq!((record.cause, record.peaks, record.started_at), (cause, peaks, Some(NOW)));
    assert_eq!(record.oom_victims, oom_victims);
    assert_eq!(store.sandbox(&id("i1")).await.unwrap(), None);
    assert_eq!(store.drop_records(NOW).await.unwrap(), 0);
    assert_eq!(store.drop_records(NOW + Duration::from_secs(2)).await.unwrap(), 1);
    assert_eq!(store.record(&id("i1")).await.unwrap(), None);
}

#[tokio::test]
async fn one_whose_end_is_wanted_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = furnished(&dir).await;
    assert_eq!(store.reserve(&sandbox("i1", 1), 9).await.unwrap(), Reservation::Made);
    store.intend_end(&id("i1")).await.unwrap();
    assert_eq!(store.reserve_wake(&id("i1"), 0).await.unwrap(), None, "it is not for want of a place");
    assert_eq!(store.reserve_wake(&id("i0"), 0).await.unwrap(), None);
    assert!(!store.sandbox_started(&created(1, "i1", NOW)).await.unwrap());
    assert!(events_of(&store, "i1").await.is_empty(), "what did not happen is not told");
    store.forget(&id("i1")).await.unwrap();
    store.forget(&id("i1")).await.unwrap();
    assert!(store.intents().await.unwrap().is_empty());
    store.end(&id("i1"), ending_by(EndCause::Timeout), None).await.unwrap();
    assert_eq!(store.record(&id("i1")).await.unwrap(), None, "who has no row leaves no record");
}

#[tokio::test]
async fn a_limit_holds_however_many_ask_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = furnished(&dir).await;
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..50 {
        let store = store.clone();
        asking.spawn(async move { store.reserve(&sandbox(&format!("i{n}"), 1), 7).await.unwrap() });
    }
    let answers = asking.join_all().await;
    assert_eq!(answers.iter().filter(|answer| **answer == Reservation::Made).count(), 7);
    assert_eq!(
        store.reserve(&sandbox("iother", 2), 7).await.unwrap(),
        Reservation::Made,
        "teams do not share"
    );
}

#[tokio::test]
async fn names_lead_to_templates_by_rank() {
    let dir = tempfile::tempdir().unwrap();
    let store = furnished(&dir).await;
    for (namespace, alias) in [(None, "base"), (None, "base-2"), (None, template().as_str())] {
        let found = store.resolve(namespace, alias, "default").await.unwrap().unwrap();
        assert_eq!(
            (found.template.template_id, found.alias.as_deref()),
            (template(), Some("base")),
            "{alias}"
        );
    }
    for (namespace, alias) in [(Some("default"), "base"), (None, "nope"), (None, "")] {
        assert!(store.resolve(namespace, alias, "default").await.unwrap().is_none(), "{alias}");
    }
}

#[tokio::test]
async fn the_newest_ready_build_has_the_tag() {
    let dir = tempfile::tempdir().unwrap();
    let store = furnished(&dir).await;
    let newer = build(2, NOW + Duration::from_secs(1));
    store.put_builtin(&newer, &["base".to_owned()]).await.unwrap();
    store.put_builtin(&build(1, NOW), &["base".to_owned()]).await.unwrap();
    let lead = async |alias: &str, tag: &str| {
        let found = store.resolve_build(None, alias, "default", tag).await.unwrap();
        found.map(|(resolved, build)| {
            assert_eq!(
                (resolved.template.template_id, resolved.alias.as_deref()),
                (template(), Some("base"))
            );
            build
        })
    };
    assert_eq!(lead("base", "default").await, Some(Some(newer)));
    assert_eq!(lead("base", "v1").await, Some(None));
    assert_eq!(lead("base", &BuildId::from_u128(1).to_string()).await, Some(Some(build(1, NOW))));
    assert_eq!(lead("base", &BuildId::from_u128(7).to_string()).await, Some(None));
    assert_eq!(lead("other", "default").await, None);
}

#[tokio::test]
async fn keys_are_found_by_hash_and_teams_by_slug() {
    let dir = tempfile::tempdir().unwrap();
    let store = furnished(&dir).await;
    let again = store.ensure_team(&team(9, "default")).await.unwrap();
    assert_eq!(again, team(1, "default"), "the team that is there stays");
    let key = ApiKey {
        key_id: KeyId::from_u128(7),
        team_id: TeamId::from_u128(2),
        name: "mine".to_owned(),
        hash: KeyHash("abc".to_owned()),
        mask: KeyMask { prefix: "ab".to_owned(), suffix: "cdef".to_owned(), value_length: 40 },
        created_by: None,
        created_at: NOW,
        last_used_at: None,
    };
    store.add_key(&key).await.unwrap();
    assert!(store.add_key(&key).await.is_err());
    store.key_used(key.key_id, NOW).await.unwrap();
    let found = store.team_of_key(&KeyHash("abc".to_owned())).await.unwrap();
    assert_eq!(found, Some((team(2, "other"), key.key_id)));
    assert_eq!(store.team_of_key(&KeyHash("abd".to_owned())).await.unwrap(), None);
    assert_eq!(store.count_keys(TeamId::from_u128(1)).await.unwrap(), 0);
    assert_eq!(store.default_team().await.unwrap(), Some(team(1, "default")));
}

#[tokio::test]
async fn a_claim_is_made_once_and_given_back_by_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = furnished(&dir).await;
    let claim = |team, sandbox: &str| Claim {
        team_id: TeamId::from_u128(team),
        key: "k".to_owned(),
        request_hash: "h".to_owned(),
        sandbox_id: id(sandbox),
        created_at: NOW,
    };
    assert_eq!(store.claim(&claim(1, "i1")).await.unwrap(), None);
    assert_eq!(store.claim(&claim(1, "i2")).await.unwrap(), Some(claim(1, "i1")));
    assert_eq!(store.claim(&claim(2, "i3")).await.unwrap(), None, "teams do not share keys");
    store.release(&claim(1, "i2")).await.unwrap();
    assert_eq!(store.claim(&claim(1, "i2")).await.unwrap(), Some(claim(1, "i1")));
    store.release(&claim(1, "i1")).await.unwrap();
    assert_eq!(store.claim(&claim(1, "i2")).await.unwrap(), None);
    assert_eq!(store.drop_claims(NOW + Duration::from_secs(1)).await.unwrap(), 2);
}

#[tokio::test]
async fn a_session_has_one_sandbox_and_only_that_one_may_change_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = furnished(&dir).await;
    let session = |team, sandbox: &str| Session {
        team_id: TeamId::from_u128(team),
        session_id: "anna / 1".parse().unwrap(),
        sandbox_id: id(sandbox),
        kind: SessionKind::Custom,
        created_at: NOW,
        last_activity: NOW,
    };
    let read = |team| {
        let store = store.clone();
        async move { store.session(TeamId::from_u128(team), &"anna / 1".parse().unwrap()).await.unwrap() }
    };
    store.put_session(&session(1, "i1")).await.unwrap();
    assert_eq!(read(2).await, None, "teams do not share names");
    store.put_session(&session(1, "i2")).await.unwrap();
    let later = NOW + Duration::from_secs(1);
    store.session_called(&session(1, "i1"), later).await.unwrap();
    assert_eq!(read(1).await, Some(session(1, "i2")), "the sandbox before has no say");
    store.session_called(&session(1, "i2"), later).await.unwrap();
    store.session_called(&session(1, "i2"), NOW).await.unwrap();
    assert_eq!(read(1).await.unwrap().last_activity, later);
    store.drop_session(&session(1, "i1")).await.unwrap();
    assert!(read(1).await.is_some());
    store.drop_session(&session(1, "i2")).await.unwrap();
    assert_eq!(read(1).await, None);

    assert_eq!(store.reserve(&sandbox("i3", 1), 9).await.unwrap(), Reservation::Made);
    store.put_session(&session(1, "i3")).await.unwrap();
    store.put_session(&session(2, "i4")).await.unwrap();
    assert_eq!(store.drop_sessions(NOW).await.unwrap(), 0);
    assert_eq!(store.drop_sessions(later).await.unwrap(), 1, "the one without a sandbox");
    assert!(read(1).await.is_some());
}

/// Two pause it at once, and a third begins to wake it before the second has noted that.
#[tokio::test]
async fn a_pause_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = furnished(&dir).await;
    let _ = store.reserve(&sandbox("ione", 1), 1_000).await.unwrap();
    let started = created(1, "ione", Timestamp::from_unix_micros(1));
    assert!(store.sandbox_started(&started).await.unwrap());
    let paused = |n| Event { event_id: KeyId::from_u128(n), kind: EventKind::Paused, ..started.clone() };
    let next = |n| Event { execution_id: "the next run".to_owned(), ..paused(n) };
    let run = Timestamp::from_unix_micros;
    let pause =
        async |at, event: Event| store.sandbox_paused(&id("ione"), run(at), Some(&event)).await.unwrap();
    let intent = async || store.sandbox(&id("ione")).await.unwrap().unwrap().intent;
    let wake = async || store.reserve_wake(&id("ione"), 10).await.unwrap();

    assert!(pause(1, paused(2)).await);
    assert_eq!(wake().await, Some(Reservation::Made));
    assert!(!pause(1, paused(3)).await, "told before");
    store.sandbox_woken(&id("ione"), run(5)).await.unwrap();
    assert_eq!(intent().await, Intent::Running, "it runs, whatever was said while it woke");
    assert!(!pause(1, paused(4)).await, "of a run that is over");
    assert_eq!(intent().await, Intent::Running);

    assert!(pause(5, next(5)).await);
    assert_eq!(wake().await, Some(Reservation::Made));
    assert!(!pause(5, next(6)).await, "told before");
    let last = Event { execution_id: "the last run".to_owned(), ..paused(7) };
    assert!(pause(9, last).await, "a pause that is noted before the wake that it follows");
    store.sandbox_woken(&id("ione"), run(9)).await.unwrap();
    assert_eq!(intent().await, Intent::Paused);
}

/// Pages of the store against a model: any order, any filter, while others come and go.
#[tokio::test]
async fn pages_follow_the_order_of_starts() {
    let dir = tempfile::tempdir().unwrap();
    let store = furnished(&dir).await;
    let team = TeamId::from_u128(1);
    let mut model = Vec::new();
    for n in 0..60_i64 {
        let name = format!("i{n}");
        let _ = store.reserve(&sandbox(&name, 1), 1_000).await.unwrap();
        // Few distinct moments, so that ties are common.
        let at = Timestamp::from_unix_micros(n * 7 % 5);
        assert!(store.sandbox_started(&created(n.unsigned_abs().into(), &name, at)).await.unwrap());
        if n % 4 == 0 {
            store.sandbox_paused(&id(&name), at, None).await.unwrap();
        }
        model.push((at, id(&name)));
    }
    for (newest_first, from, limit) in [(true, None, 7), (false, None, 1), (false, Some(2), 3)] {
        let from = from.map(Timestamp::from_unix_micros);
        let mut expected: Vec<_> =
            model.iter().filter(|(at, _)| from.is_none_or(|from| *at >= from)).cloned().collect();
        expected.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        if !newest_first {
            expected.reverse();
        }
        let filter = ListFilter { template: None, started_after: from };
        let mut seen: Vec<(Timestamp, SandboxId)> = Vec::new();
        loop {
            let after = seen.last().map(|(at, id)| (*at, id));
            let place = ListPlace { newest_first, after, limit };
            let rows = store.standing_from(team, filter, place).await.unwrap();
            let is_end = rows.is_empty();
            seen.extend(rows.into_iter().map(|(at, row)| (at, row.sandbox_id)));
            if is_end {
                break;
            }
        }
        assert_eq!(seen, expected, "newest first: {newest_first}, from {from:?}");
        assert_eq!(store.count_running(team, ListFilter::default()).await.unwrap(), 45);
    }
}
