//! States with memory on real machines, written by the real tool: who can read them,
//! what a changed byte of each of their files does, and what they share on the disk.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]
#![expect(clippy::print_stdout, reason = "what was measured is said")]

mod host;

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use host::memory::{HELD, LIFE, chain, generations, held, on_host, until_generations, upper};
use host::{Host, request, sandbox_id};
use model::KilledBy;
use node::{CreateSandbox, Handle, Keep, Phase, Sandboxes, Waking};
use testkit::Ground;

/// The only generation there.
fn generation(host: &Host) -> PathBuf {
    let mut all: Vec<_> =
        fs::read_dir(generations(host)).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
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

/// Bytes of the state file system that are taken.
fn used(host: &Host) -> u64 {
    let dir = File::open(host.ground.bulk_dir()).unwrap();
    rustix::fs::syncfs(&dir).unwrap();
    let stat = rustix::fs::fstatvfs(&dir).unwrap();
    (stat.f_blocks - stat.f_bfree) * stat.f_frsize
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

/// Stops whoever holds one of these processes, and says who that was.
fn stop_tracer(processes: &[String]) -> rustix::process::Pid {
    for _ in 0..60_000 {
        for process in processes {
            let status = fs::read_to_string(Path::new(process).join("status")).unwrap_or_default();
            let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
            let tracer = tracer.and_then(|pid| rustix::process::Pid::from_raw(pid.trim().parse().unwrap()));
            if let Some(tracer) = tracer {
                rustix::process::kill_process(tracer, rustix::process::Signal::STOP).unwrap();
                return tracer;
            }
        }
        std::thread::sleep(std::time::Duration::from_micros(500));
    }
    panic!("the tool never holds a process");
}

async fn killed_under_the_tool(host: &Host) {
    let node = host.open().await;
    let before = host.footprint();
    node.create(request(1)).await.unwrap();
    let mut processes = host.footprint();
    processes.retain(|one| one.starts_with("/proc/"));
    let id = sandbox_id(1);
    let killing = async {
        let tool = tokio::task::spawn_blocking(move || stop_tracer(&processes)).await.unwrap();
        node.kill(&id, KilledBy::Client).await.unwrap();
        tool
    };
    let (kept, tool) = tokio::join!(node.checkpoint(&id, Keep::Memory), killing);
    assert!(kept.is_err(), "what was killed is not kept");
    host.settled(&before, "a kill under a tool that hangs").await;
    let tool = Path::new("/proc").join(tool.as_raw_nonzero().to_string());
    for _ in 0..3000 {
        if !tool.exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(!tool.exists(), "the tool hangs on");
    until_generations(host, 0).await;
    node.shutdown(Sandboxes::Kill).await;
}

#[test]
fn a_kill_ends_a_sandbox_that_the_checkpoint_tool_holds_and_hangs() {
    Ground::run(26, on_host(killed_under_the_tool)).unwrap();
}
