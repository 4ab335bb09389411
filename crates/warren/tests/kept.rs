//! States with memory on real machines, written by the real tool: who can read them,
//! what a changed byte of each of their files does, and what a full disk does.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]
#![expect(clippy::print_stdout, reason = "what does not run is announced, and what was measured said")]

mod host;

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use host::{Host, request, sandbox_id};
use model::{ByteSize, KilledBy};
use node::{CreateSandbox, Error, Handle, Keep, Phase, Point, Sandboxes, Waking};
use testkit::Ground;

const LIFE: Duration = Duration::from_mins(5);

/// Holds 16 MiB of random numbers that are nowhere but in its memory, and writes all but
/// the first line as soon as something is in `/box`. That is a directory which it made
/// itself: what is written below an overlay's others from outside may never show.
const HOLDER: &str = "mkdir /box; dd if=/dev/urandom bs=16M count=1 iflag=fullblock | \
    { read -r line; touch /filled; while [ -z \"$(ls /box)\" ]; do sleep 0.05; done; cat > /out.new; touch /out; }";
const HELD: u64 = 16 << 20;

/// A host whose backend keeps memory; announced where it does not.
fn host(ground: Arc<Ground>) -> Option<Host> {
    if let Err(reason) = ground.backend().unwrap().memory_checkpoints() {
        println!("skipped: checkpoints with memory: {reason}");
        return None;
    }
    let start = serde_json::json!({ "command": HOLDER, "ready": "cat /filled" });
    Some(Host::with_start(ground, &start))
}

/// A test on such a host.
fn on_host(
    test: impl AsyncFnOnce(&Host) + Send + 'static,
) -> impl FnOnce(Arc<Ground>) -> Pin<Box<dyn Future<Output = ()>>> + Send + 'static {
    move |ground| {
        Box::pin(async move {
            if let Some(host) = host(ground) {
                test(&host).await;
            }
        })
    }
}

fn generations(host: &Host) -> PathBuf {
    host.ground.bulk_dir().join("generations")
}

/// The only generation there.
fn generation(host: &Host) -> PathBuf {
    let mut all: Vec<_> =
        fs::read_dir(generations(host)).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// The files that the sandbox has written.
fn upper(host: &Host, n: u32) -> PathBuf {
    let dir = host.ground.bulk_dir().join("sandboxes").join(sandbox_id(n).as_str());
    runtime::storage::WritableLayer::of(&dir.join("machine")).upper
}

/// An error with all its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Changes a byte in the middle, and hides it as well as that can be done.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let times = FileTimes::new().set_modified(fs::metadata(path).unwrap().modified().unwrap());
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let mut file = File::options().write(true).open(path).unwrap();
    file.write_all(&bytes).unwrap();
    file.set_times(times).unwrap();
}

/// Waits until there are so many generations, whole or not.
async fn until_generations(host: &Host, n: usize) {
    for _ in 0..3000 {
        if fs::read_dir(generations(host)).unwrap().count() == n {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never {n} generations: {:?}", fs::read_dir(generations(host)).unwrap().collect::<Vec<_>>());
}

/// One file of each kind that a memory consists of: `core-7.img` and `core-9.img` are
/// of one kind.
fn one_of_each_kind(memory: &Path) -> BTreeMap<String, PathBuf> {
    let mut kinds = BTreeMap::new();
    for entry in fs::read_dir(memory.join("images")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if fs::metadata(&path).unwrap().len() > 0 {
            kinds.insert(name.replace(|c: char| c.is_ascii_digit(), ""), path);
        }
    }
    kinds
}

async fn damaged(host: &Host) {
    let node = host.open().await;
    node.create(request(1)).await.unwrap();
    fs::write(upper(host, 1).join("kept"), "yes").unwrap();
    node.pause(&sandbox_id(1), Keep::Memory, true).await.unwrap();
    let generation = generation(host);
    let kinds = one_of_each_kind(&generation.join("memory"));
    for kind in ["pages-.img", "pagemap-.img", "mm-.img", "core-.img", "files.img", "inventory.img"] {
        assert!(kinds.contains_key(kind), "{kind}: {kinds:?}");
    }
    println!("kinds of files: {:?}", kinds.keys().collect::<Vec<_>>());
    for path in kinds.values() {
        flip(path);
        let refused = chain(&node.resume(&sandbox_id(1), LIFE, Waking::Kept).await.unwrap_err());
        let name = format!("images/{}", path.file_name().unwrap().to_string_lossy());
        assert!(refused.contains(&format!("{name:?} was changed")), "{refused}");
        assert_eq!(node.get(&sandbox_id(1)).unwrap().phase, Phase::Paused, "{name}");
        assert_eq!(host.ground.processes().unwrap(), 0, "nothing of it ran: {name}");
        flip(path);
    }
    for name in ["manifest.json", "manifest.sha256"] {
        flip(&generation.join(name));
        let refused = chain(&node.resume(&sandbox_id(1), LIFE, Waking::Kept).await.unwrap_err());
        assert!(
            refused.contains("the manifest of generation") && refused.ends_with("was changed"),
            "{refused}"
        );
        flip(&generation.join(name));
    }
    // Whole again, it wakes with its memory; damaged, it wakes from its files.
    let woken = node.resume(&sandbox_id(1), LIFE, Waking::Kept).await.unwrap();
    assert_eq!(
        (woken.phase, fs::read_to_string(upper(host, 1).join("kept")).unwrap()),
        (Phase::Running, "yes".into())
    );
    node.pause(&sandbox_id(1), Keep::Memory, true).await.unwrap();
    until_generations(host, 1).await;
    flip(&one_of_each_kind(&self::generation(host).join("memory"))["pages-.img"]);
    node.resume(&sandbox_id(1), LIFE, Waking::Kept).await.unwrap_err();
    node.resume(&sandbox_id(1), LIFE, Waking::Reboot).await.unwrap();
    assert_eq!(fs::read_to_string(upper(host, 1).join("kept")).unwrap(), "yes");
    damaged_after_a_good_wake(host, &node).await;
    node.shutdown(Sandboxes::Kill).await;
}

async fn damaged_after_a_good_wake(host: &Host, node: &Handle) {
    until_generations(host, 0).await;
    let state = node.checkpoint(&sandbox_id(1), Keep::Memory).await.unwrap();
    let fork = |n| CreateSandbox { from: Some(state.generation), ..request(n) };
    node.create(fork(2)).await.unwrap();
    let pages = one_of_each_kind(&generation(host).join("memory")).remove("pages-.img").unwrap();
    flip(&pages);
    let refused = chain(&node.create(fork(3)).await.unwrap_err());
    assert!(refused.contains("was changed"), "{refused}");
    flip(&pages);
    node.create(fork(4)).await.unwrap();
    assert_eq!(fs::read_to_string(upper(host, 4).join("kept")).unwrap(), "yes");
    for n in [2, 4] {
        node.kill(&sandbox_id(n), KilledBy::Client).await.unwrap();
    }
    drop(state);
    until_generations(host, 0).await;
}

#[test]
fn a_changed_byte_in_any_kind_of_file_of_a_memory_is_named_and_never_run() {
    Ground::run(20, on_host(damaged)).unwrap();
}

/// What another user can open or list below the working directory.
fn opened_by(user: &str, dir: &Path) -> Vec<String> {
    let names = Command::new("find").arg(".").current_dir(dir).output().unwrap();
    let names = String::from_utf8(names.stdout).unwrap();
    let script = r#"while read -r path; do
        if [ -d "$path" ]; then ls "$path"; else cat "$path"; fi > /dev/null 2>&1 && echo "$path"
    done; true"#;
    // Whoever is led into the directory needs no way to it.
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--reuid", user, "--regid", user, "--clear-groups", "sh", "-c", script]).current_dir(dir);
    let mut child =
        setpriv.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(names.as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap();
    assert!(said.status.success());
    String::from_utf8(said.stdout).unwrap().lines().map(str::to_owned).collect()
}

async fn private(host: &Host) {
    let node = host.open().await;
    node.create(request(1)).await.unwrap();
    node.pause(&sandbox_id(1), Keep::Memory, true).await.unwrap();
    let generation = generation(host);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!([&generation, &generation.join("memory")].map(|dir| mode(dir)), [0o700; 2]);
    assert_eq!(mode(&generation.join("manifest.json")), 0o600);
    let own = opened_by("0", &generations(host));
    assert!(own.iter().filter(|path| path.contains("/images/")).count() > 10, "{own:?}");
    // Somebody on the host, and the users of a sandbox: its root and its first one.
    let first = 2_100_000_000_u32 + 21 * 10_000_000;
    for user in [65_534, first, first + 1000] {
        assert_eq!(opened_by(&user.to_string(), &generations(host)), ["."], "as {user}");
    }
    node.shutdown(Sandboxes::Kill).await;
}

#[test]
fn a_state_is_the_servers_own_down_to_the_last_file() {
    Ground::run(21, on_host(private)).unwrap();
}

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

/// Bytes of the state file system that are taken.
fn used(host: &Host) -> u64 {
    let dir = File::open(host.ground.bulk_dir()).unwrap();
    rustix::fs::syncfs(&dir).unwrap();
    let stat = rustix::fs::fstatvfs(&dir).unwrap();
    (stat.f_blocks - stat.f_bfree) * stat.f_frsize
}

/// What its holder held.
async fn held(host: &Host, n: u32) -> Vec<u8> {
    fs::write(upper(host, n).join("box/go"), "").unwrap();
    for _ in 0..3000 {
        if upper(host, n).join("out").exists() {
            return fs::read(upper(host, n).join("out.new")).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never writes what it held");
}

async fn shared(host: &Host) {
    let node = host.open().await;
    node.create(request(1)).await.unwrap();
    let first = node.checkpoint(&sandbox_id(1), Keep::Memory).await.unwrap();
    let before = used(host);
    let second = node.checkpoint(&sandbox_id(1), Keep::Memory).await.unwrap();
    let took = used(host) - before;
    println!("of {} bytes, {took} are stored again", second.size.as_u64());
    assert!(second.size.as_u64() > HELD && took < HELD / 2, "{took} bytes of {}", second.size);
    let build = model::BuildId::from_u128(0xabc);
    node.keep_checkpoint(&second, &"snapshotsnapshotsnap".parse().unwrap(), build).await.unwrap();
    drop((first, second));
    until_generations(host, 1).await;
    node.abandon().await;

    // The older one is gone; the next server reads all of it from the disk.
    for entry in fs::read_dir(generation(host).join("memory/images")).unwrap() {
        let file = File::open(entry.unwrap().path()).unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
    let node = host.open().await;
    node.create(CreateSandbox { build_id: build, ..request(2) }).await.unwrap();
    let (is, was) = (held(host, 2).await, held(host, 1).await);
    assert!(is == was && is.len() as u64 > HELD / 2, "{} bytes and {}", is.len(), was.len());
    node.shutdown(Sandboxes::Kill).await;
}

#[test]
fn a_memory_shares_its_pages_with_the_one_before_and_outlives_it() {
    Ground::run(23, on_host(shared)).unwrap();
}
