//! What only real machines have: limits, user ids, failures of their own.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use model::ByteSize;
use testkit::Ground;
use warren_runtime::{Backend, Exit, MachineSpec};

use crate::{Host, PATIENCE, echo, end, settled, spec_of, start, undo};

/// Runs all of them on an empty host.
pub(crate) async fn hold(host: &Ground) {
    what_is_written_keeps_its_ids(host).await;
    a_hungry_child_dies_and_the_first_process_lives(host).await;
    a_hungry_first_process_is_reported(host).await;
    a_fork_bomb_fizzles_out(host).await;
    the_disk_is_bounded(host).await;
    a_boot_that_fails_says_where(host).await;
    a_machine_that_ends_by_itself_is_noticed(host).await;
}

const ECHO: &str = "exec nc -ll -p 7 -e cat";

/// Waits until the machine has written a file, and reads it.
async fn written(backend: &dyn Backend, spec: &MachineSpec, name: &str) -> String {
    let path = backend.upper_dir(spec).join(name);
    let waiting = async {
        loop {
            match std::fs::read_to_string(&path) {
                Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(3 * PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{name} is never written"))
}

async fn what_is_written_keeps_its_ids(host: &Ground) {
    let backend = Host::backend(host);
    let line = "touch /root-file; touch /user-file; chown 1000:1001 /user-file; id -u > /done";
    let spec = spec_of(host, 1, &format!("{line}; {ECHO}"));
    let machine = start(&*backend, &spec).await;
    assert_eq!(written(&*backend, &spec, "done").await, "0");
    let owner = |name: &str| {
        let meta = std::fs::metadata(backend.upper_dir(&spec).join(name)).unwrap();
        (meta.uid(), meta.gid())
    };
    assert_eq!((owner("root-file"), owner("user-file")), ((0, 0), (1000, 1001)));
    end(host, &*backend, &spec, machine).await;
}

async fn a_hungry_child_dies_and_the_first_process_lives(host: &Ground) {
    let backend = Host::backend(host);
    let eat = "dd if=/dev/zero of=/dev/null bs=512M count=1; echo $? > /done";
    let spec = spec_of(host, 1, &format!("({eat}) & {ECHO}"));
    let machine = start(&*backend, &spec).await;
    echo(&*machine.dialer()).await;
    machine.settle().await.unwrap();
    assert_eq!(written(&*backend, &spec, "done").await, "137", "killed");
    let usage = machine.usage().await.unwrap();
    assert!(usage.oom_kills >= 1 && usage.memory_peak <= spec.resources.memory, "{usage:?}");
    echo(&*machine.dialer()).await;
    machine.kill().await.unwrap();
    assert_eq!(machine.exited().await, Exit::Ended, "a kill is no starvation");
    end(host, &*backend, &spec, machine).await;
}

async fn a_hungry_first_process_is_reported(host: &Ground) {
    let backend = Host::backend(host);
    let spec = spec_of(host, 1, "exec dd if=/dev/zero of=/dev/null bs=512M count=1");
    let machine = start(&*backend, &spec).await;
    let exit = tokio::time::timeout(PATIENCE, machine.exited()).await.unwrap();
    assert_eq!(exit, Exit::OutOfMemory);
    end(host, &*backend, &spec, machine).await;
}

async fn a_fork_bomb_fizzles_out(host: &Ground) {
    let backend = Host::backend(host);
    // A shell ends at the first fork that fails, but a bomb does not care.
    let bomb = "while :; do (while :; do sleep 1000 & done) 2>/dev/null; done";
    let mut spec = spec_of(host, 1, &format!("({bomb}) & ({bomb}) & {ECHO}"));
    spec.resources.memory = ByteSize::gib(2);
    let machine = start(&*backend, &spec).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Some come and go while they are counted.
    let n = host.processes().unwrap();
    assert!(n <= 5000, "{n} processes");
    tokio::time::timeout(PATIENCE, machine.kill()).await.unwrap().unwrap();
    assert_eq!(host.processes().unwrap(), 0);
    end(host, &*backend, &spec, machine).await;
}

async fn the_disk_is_bounded(host: &Ground) {
    let backend = Host::backend(host);
    // It answers only if the write failed.
    let line = format!("dd if=/dev/zero of=/fill bs=1M count=200 && exec sleep 1000; {ECHO}");
    let spec = spec_of(host, 1, &line);
    let machine = start(&*backend, &spec).await;
    echo(&*machine.dialer()).await;
    let usage = machine.usage().await.unwrap();
    assert!(usage.disk <= ByteSize::mib(80), "{usage:?}");
    end(host, &*backend, &spec, machine).await;
}

async fn a_boot_that_fails_says_where(host: &Ground) {
    let backend = Host::backend(host);
    let mut spec = spec_of(host, 1, "");
    spec.command = vec!["/bin/nothing".to_owned()];
    let text = boot_failure(&*backend, &spec).await;
    assert!(text.contains("executing the first process") && text.contains("No such file"), "{text}");
    undo(&*backend, &spec).await;
    settled(host, &[]).await;

    spec.command = vec!["/bin/sh".to_owned()];
    spec.layers = vec![Path::new("/nowhere").to_owned()];
    boot_failure(&*backend, &spec).await;
    undo(&*backend, &spec).await;
    undo(&*backend, &spec).await;
    settled(host, &[]).await;
}

async fn boot_failure(backend: &dyn Backend, spec: &MachineSpec) -> String {
    backend.reserve(spec).await.unwrap();
    backend.prepare(spec).await.unwrap();
    let failed = backend.boot(spec).await.unwrap_err();
    format!("{failed}: {}", failed.source)
}

async fn a_machine_that_ends_by_itself_is_noticed(host: &Ground) {
    let backend = Host::backend(host);
    let spec = spec_of(host, 1, "sleep 1000 & setsid sleep 1000 & sleep 0.05");
    let machine = start(&*backend, &spec).await;
    let exit = tokio::time::timeout(PATIENCE, machine.exited()).await.unwrap();
    assert_eq!(exit, Exit::Ended);
    end(host, &*backend, &spec, machine).await;
}
