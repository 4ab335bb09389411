//! Disks that are full: under a pause, a snapshot and a fork of real machines, at any step
//! of them. Nobody loses a byte, and each is told.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]
#![expect(clippy::print_stdout, reason = "what was enough is said")]

mod host;

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use host::memory::{HELD, LIFE, chain, held, on_host, until_generations, upper};
use host::{Host, request, sandbox_id};
use model::{ByteSize, KilledBy};
use node::{CreateSandbox, Error, Handle, Keep, Phase, Point, Sandboxes, Waking};
use testkit::Ground;

/// Leaves `free` bytes of the file system that `file` lies on, more or less.
fn fill(file: &Path, free: u64) {
    let open = File::create(file).unwrap();
    let left = || {
        let stat = rustix::fs::fstatvfs(&open).unwrap();
        (stat.f_bavail * stat.f_frsize).saturating_sub(free)
    };
    let (mut piece, mut len) = (64_u64 << 20, 0);
    while piece >= 64 << 10 {
        let allocated = piece <= left()
            && rustix::fs::fallocate(&open, rustix::fs::FallocateFlags::empty(), len, piece).is_ok();
        if allocated {
            len += piece;
        } else {
            piece /= 2;
        }
    }
}

/// Removes the file, and waits until the file system has given back what it held.
async fn make_room(file: &Path) {
    fs::remove_file(file).unwrap();
    for _ in 0..3000 {
        let synced = rustix::fs::syncfs(File::open(file.parent().unwrap()).unwrap());
        let stat = rustix::fs::statvfs(file.parent().unwrap()).unwrap();
        if synced.is_ok() && stat.f_bavail * stat.f_frsize > 4 * HELD && File::create(file).is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the file system never gives back what a removed file held");
}

/// The file system gets room for its own records before others take all: without it,
/// not a name could be made, and nothing would fail in the middle.
fn room_for_names(host: &Host) {
    let small = host.ground.bulk_dir().join("small");
    fs::create_dir(&small).unwrap();
    for n in 0..6000 {
        fs::write(small.join(n.to_string()), [7; 2000]).unwrap();
    }
    rustix::fs::syncfs(File::open(&small).unwrap()).unwrap();
}

async fn filled(host: &Host) {
    let node = host.open().await;
    node.create(request(1)).await.unwrap();
    // Something to write down, that is in no file.
    let memory = upper(host, 1);
    fs::write(memory.join("kept"), "yes").unwrap();
    room_for_names(host);
    let ballast = host.ground.bulk_dir().join("ballast");
    for free in [0, 128 << 10, HELD / 2] {
        fill(&ballast, free);
        let full = |error: Error, what: &str| {
            let said = chain(&error);
            assert!(matches!(error, Error::DiskFull { .. }), "{what}, {free} bytes left: {said}: {error:?}");
        };
        for keep in [Keep::Memory, Keep::Files] {
            match node.checkpoint(&sandbox_id(1), keep).await {
                Ok(_) => println!("{free} bytes are enough for {keep:?}"),
                Err(error) => full(error, "a snapshot"),
            }
        }
        match node.pause(&sandbox_id(1), Keep::Memory, true).await {
            Ok(_) => panic!("{free} bytes are enough"),
            Err(error) => full(error, "a pause"),
        }
        assert_eq!(node.get(&sandbox_id(1)).unwrap().phase, Phase::Running, "{free} bytes left");
        assert!(node.dialer(&sandbox_id(1)).is_some());
        until_generations(host, 0).await;
        make_room(&ballast).await;
    }
    let state = node.checkpoint(&sandbox_id(1), Keep::Memory).await.unwrap();
    node.create(CreateSandbox { from: Some(state.generation), ..request(2) }).await.unwrap();
    drop(state);
    node.pause(&sandbox_id(1), Keep::Memory, true).await.unwrap();
    node.resume(&sandbox_id(1), LIFE, Waking::Kept).await.unwrap();
    for n in [1, 2] {
        assert_eq!(fs::read_to_string(upper(host, n).join("kept")).unwrap(), "yes");
    }
    node.shutdown(Sandboxes::Kill).await;
}

#[test]
fn a_disk_that_is_full_in_the_middle_is_said_and_the_sandbox_goes_on() {
    Ground::run_on(22, ByteSize::mib(512), on_host(filled)).unwrap();
}

/// Others take all room at one step of a pause, and there the server goes on or dies.
async fn filled_at(host: &Host, mut node: Handle, point: Point, dies: bool) -> Handle {
    let (id, ballast) = (sandbox_id(1), host.ground.bulk_dir().join("ballast"));
    let filled = ballast.clone();
    host.script.act(point, move || fill(&filled, 0));
    let mut is_named = ![Point::BeforeCheckpoint, Point::BeforePublish].contains(&point);
    if dies {
        host.script.stop(Some(point));
        tokio::select! {
            done = node.pause(&id, Keep::Memory, true) => panic!("{point:?} was not passed: {done:?}"),
            () = host.script.stopped.notified() => {}
        }
        host.script.stop(None);
        node.abandon().await;
        node = host.open().await;
    } else {
        match node.pause(&id, Keep::Memory, true).await {
            // A manifest may find room where nothing larger does.
            Ok(_) if point == Point::BeforePublish => is_named = true,
            Ok(_) => assert!(is_named, "{point:?}"),
            Err(error) => {
                let said = chain(&error);
                assert!(matches!(error, Error::DiskFull { .. }) && !is_named, "{point:?}: {said}");
            }
        }
    }
    let now = node.get(&id).unwrap();
    let expected = if is_named { Phase::Paused } else { Phase::Running };
    assert_eq!((now.phase, now.keeps_memory), (expected, is_named), "{point:?}, dies: {dies}");
    assert_eq!(node.dialer(&id).is_some(), !is_named, "{point:?}, dies: {dies}");
    make_room(&ballast).await;
    if is_named {
        node.resume(&id, LIFE, Waking::Kept).await.unwrap();
    }
    node
}

async fn filled_at_every_step(host: &Host) {
    let mut node = host.open().await;
    node.create(request(1)).await.unwrap();
    room_for_names(host);
    // Knows what the first holds, and is left alone.
    let state = node.checkpoint(&sandbox_id(1), Keep::Memory).await.unwrap();
    node.create(CreateSandbox { from: Some(state.generation), ..request(2) }).await.unwrap();
    drop(state);
    for dies in [false, true] {
        for point in Point::CHECKPOINT.into_iter().chain(Point::PAUSE) {
            node = filled_at(host, node, point, dies).await;
        }
    }
    let (is, was) = (held(host, 1).await, held(host, 2).await);
    assert!(is == was && is.len() as u64 > HELD / 2, "{} bytes and {}", is.len(), was.len());
    until_generations(host, 0).await;
    node.shutdown(Sandboxes::Kill).await;
}

#[test]
fn a_disk_that_fills_at_any_step_of_a_pause_takes_nobodys_memory() {
    Ground::run_on(24, ByteSize::mib(512), on_host(filled_at_every_step)).unwrap();
}

/// What there is on the host, without processes: the source's come and go. Those of
/// machines are in their control groups.
fn but_for_processes(host: &Host) -> Vec<String> {
    let mut all = host.footprint();
    all.retain(|one| !one.starts_with("/proc/"));
    all
}

/// Takes the room for names and small files, too: attributes lie where they do.
fn fill_with_names(file: &Path) {
    let open = File::create(file).unwrap();
    let mut piece = 12_000;
    for n in 0.. {
        let flags = rustix::fs::XattrFlags::CREATE;
        while rustix::fs::fsetxattr(&open, format!("user.{n}"), &vec![7; piece], flags).is_err() {
            piece /= 2;
            if piece < 64 {
                return;
            }
        }
    }
}

/// Others take all room at a step of the first of two children that start side by side. Each
/// is told of the disk, or has all it needs. How many were refused.
async fn two_children(
    host: &Host,
    node: &Handle,
    child: impl Fn(u32) -> CreateSandbox,
    point: Point,
) -> usize {
    let (ballast, names) = (host.ground.bulk_dir().join("ballast"), host.ground.bulk_dir().join("names"));
    let before = but_for_processes(host);
    let filled = (ballast.clone(), names.clone());
    host.script.act(point, move || {
        fill(&filled.0, 0);
        fill_with_names(&filled.1);
    });
    let (second, third) = tokio::join!(node.create(child(2)), node.create(child(3)));
    let mut n_refused = 0;
    for (n, made) in [(2, second), (3, third)] {
        match made {
            Ok(_) => drop(node.kill(&sandbox_id(n), KilledBy::Client).await.unwrap()),
            Err(error) => {
                n_refused += 1;
                assert!(matches!(error, Error::DiskFull { .. }), "{point:?}: {}: {error:?}", chain(&error));
            }
        }
    }
    assert_eq!(node.get(&sandbox_id(1)).unwrap().phase, Phase::Running, "{point:?}");
    fs::remove_file(&names).unwrap();
    make_room(&ballast).await;
    fs::remove_file(&ballast).unwrap();
    for _ in 0..3000 {
        if but_for_processes(host) == before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(but_for_processes(host), before, "the disk was full at {point:?}");
    n_refused
}

async fn forked_onto_a_full_disk(host: &Host) {
    let node = host.open().await;
    node.create(request(1)).await.unwrap();
    room_for_names(host);
    let state = node.checkpoint(&sandbox_id(1), Keep::Memory).await.unwrap();
    let child = |n| CreateSandbox { from: Some(state.generation), ..request(n) };
    for point in [Point::BeforeRecord, Point::BeforePrepare, Point::BeforeInit, Point::BeforeReady] {
        let n_refused = two_children(host, &node, child, point).await;
        println!("full at {point:?}: {n_refused} of two are refused");
        // The last has but a record to write, which may find room.
        assert!(n_refused > 0 || point == Point::BeforeReady, "a full disk was no hindrance: {point:?}");
    }
    node.create(child(2)).await.unwrap();
    drop(state);
    let (is, was) = (held(host, 2).await, held(host, 1).await);
    assert!(is == was && is.len() as u64 > HELD / 2, "{} bytes and {}", is.len(), was.len());
    node.shutdown(Sandboxes::Kill).await;
}

#[test]
fn children_that_a_full_disk_does_not_take_fail_each_by_itself() {
    Ground::run_on(25, ByteSize::mib(512), on_host(forked_onto_a_full_disk)).unwrap();
}
