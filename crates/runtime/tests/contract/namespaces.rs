//! The same on machines of namespaces.

use std::path::PathBuf;
use std::sync::Arc;

use model::SandboxId;
use testkit::Ground;
use warren_runtime::Backend;

use crate::{Host, checkpoints, frozen, limits, promises, rounds};

impl Host for Ground {
    fn backend(&self) -> Arc<dyn Backend> {
        Self::backend(self).unwrap()
    }

    fn sandbox_dir(&self, id: &SandboxId) -> PathBuf {
        let dir = self.bulk_dir().join("sandboxes").join(id.as_str());
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn layers(&self) -> Vec<PathBuf> {
        vec![self.bulk_dir().join("layers/root")]
    }

    fn layers_dir(&self) -> PathBuf {
        self.bulk_dir().join("layers")
    }

    fn census(&self) -> Vec<String> {
        Self::census(self).unwrap()
    }
}

#[test]
fn namespaces_keep_the_promises() {
    Ground::run(0, |ground| async move { promises::hold(&*ground).await }).unwrap();
}

#[test]
fn namespaces_keep_checkpoints() {
    Ground::run(2, |ground| async move { checkpoints::hold(&*ground).await }).unwrap();
}

#[test]
fn namespaces_keep_memory() {
    Ground::run(3, |ground| async move { checkpoints::memory_goes_on(&*ground).await }).unwrap();
}

#[test]
fn namespaces_keep_everything() {
    Ground::run(4, |ground| async move { checkpoints::everything_goes_on(&*ground).await }).unwrap();
}

#[test]
fn namespaces_keep_memory_of_rounds() {
    Ground::run(6, |ground| async move { rounds::make_one_memory(&ground).await }).unwrap();
}

#[test]
fn limits_of_namespaces_hold() {
    Ground::run(1, |ground| async move { limits::hold(&ground).await }).unwrap();
}

#[test]
fn what_a_dead_server_left_standing_still_goes_on_or_ends() {
    Ground::run(7, |ground| async move { frozen::goes_on_or_ends(&ground).await }).unwrap();
}

#[test]
fn a_test_that_fails_leaves_nothing() {
    let (tell, told) = std::sync::mpsc::channel();
    let failed = std::panic::catch_unwind(|| {
        Ground::run(5, move |ground| async move {
            let (backend, spec) = (Host::backend(&*ground), crate::spec(&*ground, 1));
            let machine = crate::start(&*backend, &spec).await;
            tell.send((ground.dir().to_owned(), ground.processes().unwrap())).unwrap();
            std::mem::forget((machine, backend));
            panic!("as a test does");
        })
    });
    let Ok((dir, processes)) = told.recv() else { return assert!(failed.is_ok(), "it was skipped") };
    assert!(failed.is_err() && processes > 0);
    assert!(!dir.exists(), "{} is left", dir.display());
    Ground::run(5, |ground| async move { assert_eq!(ground.processes().unwrap(), 0) }).unwrap();
}
