//! What every backend promises of checkpoints.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use warren_runtime::{Backend, CheckpointTo, Checkpointed, ErrorKind, FILES, Machine, MachineSpec, Then};

use crate::{Host, PATIENCE, echo, end, settled, spec, undo};

/// Runs all of them on an empty host.
pub(crate) async fn hold(host: &dyn Host) {
    files_are_kept_as_they_were(host).await;
    a_stop_ends_the_machine(host).await;
    what_fails_leaves_the_machine_running(host).await;
}

/// What only processes know: a shell counts, and goes on where it was.
pub(crate) async fn memory_goes_on(host: &dyn Host) {
    let backend = host.backend();
    if let Err(reason) = backend.memory_checkpoints() {
        return testkit::skip(&format!("checkpoints with memory: {reason}"));
    }
    // A line is there or not, at whatever moment somebody looks.
    let count = "i=0; while :; do i=$((i+1)); echo $i >> /count; sleep 0.02; done";
    let line = format!("({count}) & exec nc -ll -p 7 -e cat");
    let source = crate::spec_of(host, 21, &line);
    let machine = crate::start(&*backend, &source).await;
    echo(&*machine.dialer()).await;
    machine.settle().await.unwrap();
    counted(&*backend, &source, 10).await;

    let (layer, memory) = (layer(host, "awake"), host.layers_dir().join("awake-memory"));
    let to = CheckpointTo { layer: &layer, memory: Some(&memory) };
    let done = backend
        .checkpoint(&source, &machine, to, Then::Continue)
        .await
        .unwrap_or_else(|e| panic!("{e}: {}", e.source));
    println!("{done:?}");
    let then = count_in(&layer.join(FILES));
    assert!(then >= 10 && done.memory_bytes.as_u64() > 0, "{then} {done:?}");
    echo(&*machine.dialer()).await;
    counted(&*backend, &source, then + 10).await;

    let mut copies = Vec::new();
    for n in [22, 23] {
        let spec = MachineSpec { layers: source.layers.clone(), ..crate::spec_of(host, n, &line) };
        backend.reserve(&spec).await.unwrap();
        backend.prepare_from(&spec, &layer).await.unwrap();
        let began = std::time::Instant::now();
        let copy = backend.restore(&spec, &memory).await.unwrap_or_else(|e| panic!("{e}: {}", e.source));
        println!("restored in {:?}", began.elapsed());
        echo(&*copy.dialer()).await;
        copy.settle().await.unwrap();
        counted(&*backend, &spec, then + 10).await;
        copies.push((spec, copy));
    }
    end_all(&*backend, copies).await;
    end(host, &*backend, &source, machine).await;
    backend.remove_layer(&layer).await.unwrap();
    std::fs::remove_dir_all(&memory).unwrap();
}

/// A program that holds one of everything goes on under another slot, on two
/// machines at once, and one that holds what cannot be kept runs on.
pub(crate) async fn everything_goes_on(host: &dyn Host) {
    let backend = host.backend();
    if backend.memory_checkpoints().is_err() || !std::path::Path::new("/usr/bin/python3").exists() {
        return testkit::skip("needs checkpoints with memory, and python3");
    }
    let (source, machine) = python(host, &*backend, 24, "").await;
    machine.settle().await.unwrap();
    // A client outside holds a connection: it is no reason to fail.
    let client = machine.dialer().dial(crate::ECHO_PORT).await.unwrap();
    let (layer, memory) = (layer(host, "python"), host.layers_dir().join("python-memory"));
    let to = CheckpointTo { layer: &layer, memory: Some(&memory) };
    let done = stop(&*backend, &source, &machine, to).await;
    let done = done.unwrap_or_else(|e| panic!("{e}: {}", e.source));
    println!("a Python: {done:?}");
    drop((client, machine));
    undo(&*backend, &source).await;
    settled(host, &[]).await;
    let then = count_in(&layer.join(FILES));

    let mut copies = Vec::new();
    for n in [25, 26] {
        let sandbox = crate::spec_of(host, n, "");
        let spec = MachineSpec {
            slot: sandbox.slot,
            sandbox_id: sandbox.sandbox_id,
            dir: sandbox.dir,
            hostname: "another".to_owned(),
            ..source.clone()
        };
        backend.reserve(&spec).await.unwrap();
        backend.prepare_from(&spec, &layer).await.unwrap();
        let copy = backend.restore(&spec, &memory).await.unwrap_or_else(|e| panic!("{e}: {}", e.source));
        counted(&*backend, &spec, then + 5).await;
        copies.push((spec, copy));
    }
    // A copy is as good as what it was made from.
    let (spec, copy) = &copies[0];
    let (again, more) = (host.layers_dir().join("again"), host.layers_dir().join("again-memory"));
    let to = CheckpointTo { layer: &again, memory: Some(&more) };
    backend.checkpoint(spec, copy, to, Then::Continue).await.unwrap_or_else(|e| panic!("{e}: {}", e.source));
    counted(&*backend, spec, count_in(&again.join(FILES)) + 5).await;
    end_all(&*backend, copies).await;
    settled(host, &[]).await;
    for (layer, memory) in [(&layer, &memory), (&again, &more)] {
        backend.remove_layer(layer).await.unwrap();
        std::fs::remove_dir_all(memory).unwrap();
    }
    what_cannot_be_kept_is_named(host, &*backend).await;
}

async fn what_cannot_be_kept_is_named(host: &dyn Host, backend: &dyn Backend) {
    let (spec, machine) = python(host, backend, 27, "traced").await;
    let (layer, memory) = (layer(host, "traced"), host.layers_dir().join("traced-memory"));
    for stops in [true, false] {
        let to = CheckpointTo { layer: &layer, memory: Some(&memory) };
        let done = if stops {
            stop(backend, &spec, &machine, to).await
        } else {
            backend.checkpoint(&spec, &machine, to, Then::Continue).await
        };
        let error = done.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported, "{error}: {}", error.source);
        // What it is of, and that it is traced: whose own words these are is said, too.
        let reason = error.source.to_string();
        for words in ["the checkpoint tool says: ", "Unseizable", "state t"] {
            assert!(reason.contains(words), "{words}: {reason}");
        }
        assert!(!layer.exists() && !memory.exists());
        counted(backend, &spec, count_in(&backend.upper_dir(&spec)) + 5).await;
    }
    end(host, backend, &spec, machine).await;
}

/// A machine with the host's programs below it, that runs `everything.py`.
async fn python(
    host: &dyn Host,
    backend: &dyn Backend,
    n: u32,
    argument: &str,
) -> (MachineSpec, Arc<dyn Machine>) {
    let line = format!("/usr/bin/python3 /everything.py {argument} & exec nc -ll -p 7 -e cat");
    let mut spec = crate::spec_of(host, n, &line);
    spec.layers.push(PathBuf::from("/"));
    backend.reserve(&spec).await.unwrap();
    backend.prepare(&spec).await.unwrap();
    std::fs::write(backend.upper_dir(&spec).join("everything.py"), include_str!("everything.py")).unwrap();
    let machine = backend.boot(&spec).await.unwrap();
    echo(&*machine.dialer()).await;
    counted(backend, &spec, 5).await;
    (spec, machine)
}

pub(crate) async fn end_all(backend: &dyn Backend, machines: Vec<(MachineSpec, Arc<dyn Machine>)>) {
    for (spec, machine) in machines {
        machine.kill().await.unwrap();
        drop(machine);
        undo(backend, &spec).await;
    }
}

pub(crate) fn count_in(files: &std::path::Path) -> u64 {
    let text = std::fs::read_to_string(files.join("count")).unwrap_or_default();
    text.lines().last().and_then(|last| last.parse().ok()).unwrap_or(0)
}

/// Waits until the shell has counted so far.
async fn counted(backend: &dyn Backend, spec: &MachineSpec, n: u64) {
    counted_within(backend, spec, n, PATIENCE).await;
}

/// The same with another patience.
pub(crate) async fn counted_within(
    backend: &dyn Backend,
    spec: &MachineSpec,
    n: u64,
    limit: std::time::Duration,
) {
    let waiting = async {
        let files = backend.upper_dir(spec);
        while count_in(&files) < n {
            if let Ok(failed) = std::fs::read_to_string(files.join("failed")) {
                panic!("inside: {failed}");
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(limit, waiting).await.expect("it counts");
}

/// A started machine whose files are `words`.
async fn started(host: &dyn Host, n: u32) -> (Arc<dyn Backend>, MachineSpec, Arc<dyn Machine>) {
    let (backend, spec) = (host.backend(), spec(host, n));
    backend.reserve(&spec).await.unwrap();
    backend.prepare(&spec).await.unwrap();
    std::fs::write(backend.upper_dir(&spec).join("words"), "before").unwrap();
    let machine = backend.boot(&spec).await.unwrap();
    echo(&*machine.dialer()).await;
    (backend, spec, machine)
}

pub(crate) fn layer(host: &dyn Host, name: &str) -> PathBuf {
    host.layers_dir().join(name)
}

async fn files_are_kept_as_they_were(host: &dyn Host) {
    let (backend, spec, machine) = started(host, 11).await;
    let layer = layer(host, "kept");
    let to = CheckpointTo { layer: &layer, memory: None };
    let done = backend.checkpoint(&spec, &machine, to, Then::Continue).await.unwrap();
    assert!(done.frozen < PATIENCE && done.memory_bytes.as_u64() == 0, "{done:?}");
    echo(&*machine.dialer()).await;
    std::fs::write(backend.upper_dir(&spec).join("words"), "after").unwrap();
    assert_eq!(std::fs::read_to_string(layer.join(FILES).join("words")).unwrap(), "before");
    end(host, &*backend, &spec, machine).await;

    // Two start from it, and neither sees what the other wrote.
    let (a, b) = (crate::spec(host, 12), crate::spec(host, 13));
    let mut machines = Vec::new();
    for spec in [&a, &b] {
        backend.reserve(spec).await.unwrap();
        backend.prepare_from(spec, &layer).await.unwrap();
        let words = backend.upper_dir(spec).join("words");
        assert_eq!(std::fs::read_to_string(&words).unwrap(), "before");
        std::fs::write(words, "mine").unwrap();
        let machine = backend.boot(spec).await.unwrap();
        echo(&*machine.dialer()).await;
        machines.push(machine);
    }
    for (spec, machine) in [&a, &b].into_iter().zip(machines) {
        machine.kill().await.unwrap();
        drop(machine);
        undo(&*backend, spec).await;
    }
    settled(host, &[]).await;
    assert_eq!(std::fs::read_to_string(layer.join(FILES).join("words")).unwrap(), "before");
    backend.remove_layer(&layer).await.unwrap();
    backend.remove_layer(&layer).await.unwrap();
    assert!(!layer.exists());
}

/// Writes a machine down and has it end; when it is asked, all is there.
pub(crate) async fn stop(
    backend: &dyn Backend,
    spec: &MachineSpec,
    machine: &Arc<dyn Machine>,
    to: CheckpointTo<'_>,
) -> Result<Checkpointed, warren_runtime::Error> {
    let (then, standing) = Then::stop();
    let end = async {
        if let Ok(standing) = standing.await {
            assert!(to.layer.exists() && to.memory.is_none_or(Path::exists));
            assert_eq!(standing.memory_bytes.as_u64() > 0, to.memory.is_some());
            // Whoever is asked gives it its name before the machine ends.
            if let Some(memory) = to.memory {
                std::fs::rename(memory, memory.with_extension("named")).unwrap();
            }
            standing.end();
        }
    };
    let (done, ()) = tokio::join!(backend.checkpoint(spec, machine, to, then), end);
    if let Some((memory, _)) = to.memory.zip(done.as_ref().ok()) {
        std::fs::rename(memory.with_extension("named"), memory).unwrap();
    }
    done
}

async fn a_stop_ends_the_machine(host: &dyn Host) {
    let (backend, spec, machine) = started(host, 11).await;
    let layer = layer(host, "stopped");
    let to = CheckpointTo { layer: &layer, memory: None };
    // It was asked for, and then it is not wanted: it goes on, and nothing is there.
    let (then, standing) = Then::stop();
    let unwanted = async { drop(standing.await.unwrap()) };
    let (done, ()) = tokio::join!(backend.checkpoint(&spec, &machine, to, then), unwanted);
    assert!(done.is_err() && !layer.exists(), "{done:?}");
    echo(&*machine.dialer()).await;
    stop(&*backend, &spec, &machine, to).await.unwrap();
    tokio::time::timeout(PATIENCE, machine.exited()).await.unwrap();
    drop(machine);
    undo(&*backend, &spec).await;
    undo(&*backend, &spec).await;
    settled(host, &[]).await;
    assert!(layer.join(FILES).join("words").exists());
    backend.remove_layer(&layer).await.unwrap();
}

async fn what_fails_leaves_the_machine_running(host: &dyn Host) {
    let (backend, spec, machine) = started(host, 11).await;
    let nowhere = host.layers_dir().join("no/such/place");
    let to = CheckpointTo { layer: &nowhere, memory: None };
    let (then, standing) = Then::stop();
    for then in [then, Then::Continue] {
        backend.checkpoint(&spec, &machine, to, then).await.unwrap_err();
        echo(&*machine.dialer()).await;
    }
    assert!(standing.await.is_err(), "nobody is asked whether it is to end");
    end(host, &*backend, &spec, machine).await;
}
