//! A trial of checkpoints: what it finds, and that nothing of it is left.

use std::sync::Arc;

use model::{ByteSize, Slot};
use warren_runtime::sim::{Act as SimAct, Fault, Sim, TRIAL_PORT, World};
use warren_runtime::trial::{Act, Failed, Trial};

struct Simulation {
    world: Arc<World>,
    dir: tempfile::TempDir,
}

impl Simulation {
    fn new() -> Self {
        Self { world: World::new(), dir: tempfile::tempdir().unwrap() }
    }

    fn backend(&self) -> Sim {
        Sim::new(Arc::clone(&self.world))
    }

    fn trial(&self) -> Trial {
        Trial {
            dir: self.dir.path().join("trial"),
            program: self.dir.path().to_owned(),
            command: Vec::new(),
            port: TRIAL_PORT,
            slots: [Slot(3), Slot(4)],
        }
    }

    fn nothing_is_left(&self, when: &str) {
        assert_eq!(self.world.inventory(), World::new().inventory(), "{when}");
        assert!(!self.trial().dir.exists(), "{when}");
        assert!(self.trial().left().is_none(), "{when}");
    }
}

#[tokio::test]
async fn what_works_is_found_and_removed() {
    let host = Simulation::new();
    let passed = host.trial().run(&host.backend()).await.unwrap();
    assert!(passed.memory > ByteSize::bytes(0) && passed.took >= passed.restored_in, "{passed:?}");
    host.nothing_is_left("after a trial that passed");
}

#[tokio::test]
async fn each_step_that_fails_is_named_and_leaves_nothing() {
    let steps = [
        (SimAct::Reserve, Act::Start),
        (SimAct::Prepare, Act::Start),
        (SimAct::Boot, Act::Start),
        (SimAct::Booted, Act::Start),
        (SimAct::Checkpoint, Act::Write),
        (SimAct::Checkpointed, Act::Write),
        (SimAct::PrepareFrom, Act::Restore),
        (SimAct::Restore, Act::Restore),
        (SimAct::Restored, Act::Restore),
    ];
    for (fault, act) in steps {
        let host = Simulation::new();
        host.world.inject(fault, Fault::Fail);
        let failed = host.trial().run(&host.backend()).await.unwrap_err();
        assert_eq!(failed.act, act, "{fault:?}: {failed}");
        assert!(failed.reason.contains("an injected fault"), "{failed}");
        assert_eq!(failed.disproves(), act != Act::Start, "{failed}");
        host.nothing_is_left(&format!("{fault:?}"));
    }
}

#[tokio::test]
async fn a_machine_without_memory_is_found_out() {
    let host = Simulation::new();
    host.world.set_memory(false);
    let failed = host.trial().run(&host.backend()).await.unwrap_err();
    assert_eq!(failed.act, Act::Write);
    host.nothing_is_left("without memory");
}

/// As after `kill -9`: whoever carried it out is gone, and the next server is told
/// nothing but the directory.
#[tokio::test]
async fn what_was_cut_off_anywhere_is_swept_by_the_next() {
    let moments = [
        SimAct::Reserve,
        SimAct::Prepare,
        SimAct::Boot,
        SimAct::Booted,
        SimAct::Checkpoint,
        SimAct::Checkpointed,
        SimAct::PrepareFrom,
        SimAct::Restore,
        SimAct::Restored,
    ];
    for moment in moments {
        let host = Simulation::new();
        host.world.inject(moment, Fault::Hang);
        let (trial, backend) = (host.trial(), host.backend());
        let cut_off = async {
            // Until it hangs: nothing moves any more then.
            let mut before = None;
            loop {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                let now = (host.world.inventory(), trial.dir.join("memory").exists());
                if before.as_ref() == Some(&now) {
                    return;
                }
                before = Some(now);
            }
        };
        tokio::select! {
            done = trial.run(&backend) => panic!("{moment:?} did not hang: {done:?}"),
            () = cut_off => {}
        }
        let other = Trial { slots: [Slot(8), Slot(9)], ..host.trial() };
        let left = other.left().unwrap();
        assert_eq!(left.slots, [Slot(3), Slot(4)], "the slots are those that were taken");
        left.sweep(&host.backend()).await.unwrap();
        left.sweep(&host.backend()).await.unwrap();
        host.nothing_is_left(&format!("{moment:?}"));
    }
}

#[tokio::test]
async fn what_a_passing_shortage_says_is_no_verdict() {
    let failed = Failed { act: Act::Write, reason: "no room".to_owned(), passing: true };
    assert!(!failed.disproves());
    let tcp = Failed {
        act: Act::Write,
        reason: "the checkpoint tool says: tcp: Can't dump".to_owned(),
        passing: false,
    };
    assert!(tcp.disproves() && tcp.advice().contains("4.2.1"));
}
