//! Every bound of the daemon, gone beyond: small ones, so that it costs little.
//! What is refused is told, and what was there before goes on.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

#[allow(dead_code, reason = "shared by several test binaries; none uses all of it")]
mod common;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{Guest, with_bounds};
use serde_json::json;
use warren_guest::Bounds;

fn shell(script: &str) -> String {
    json!({"process": {"cmd": "/bin/sh", "args": ["-c", script]}, "stdin": true}).to_string()
}

async fn kill(guest: Guest, pid: u64) {
    let kill = json!({"process": {"pid": pid}, "signal": "SIGNAL_SIGKILL"}).to_string();
    assert_eq!(guest.call("/process.Process/SendSignal", &kill).await.status, 200);
}

async fn n_processes(guest: Guest) -> usize {
    guest.call("/process.Process/List", "{}").await.json()["processes"].as_array().map_or(0, Vec::len)
}

#[test]
fn processes() {
    with_bounds(Bounds { processes: 2, ..Bounds::default() }, async |guest| {
        let first = guest.start_and_leave(&shell("exec sleep 60")).await;
        let second = guest.start_and_leave(&shell("exec sleep 60")).await;
        let (_, record) = guest.stream("/process.Process/Start", &shell("true"), &[]).await;
        assert_eq!(record["error"]["code"], "resource_exhausted", "{record}");
        kill(guest, first).await;
        while n_processes(guest).await == 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (messages, record) = guest.stream("/process.Process/Start", &shell("true"), &[]).await;
        assert_eq!((messages.len(), record), (2, json!({})));
        kill(guest, second).await;
    });
}

#[test]
fn ends_that_can_be_asked_for() {
    with_bounds(Bounds { ends: 1, ..Bounds::default() }, async |guest| {
        let mut pids = Vec::new();
        for _ in 0..2 {
            let (messages, _) = guest.stream("/process.Process/Start", &shell("exit 4"), &[]).await;
            pids.push(messages[0]["event"]["start"]["pid"].as_u64().unwrap());
        }
        let ask = async |pid: u64| {
            let selector = json!({"process": {"pid": pid}}).to_string();
            guest.stream("/process.Process/Connect", &selector, &[]).await
        };
        assert_eq!(ask(pids[0]).await.1["error"]["code"], "not_found");
        assert_eq!(ask(pids[1]).await.0[1]["event"]["end"]["exitCode"], 4);
    });
    with_bounds(Bounds { end_age: Duration::ZERO, ..Bounds::default() }, async |guest| {
        let (messages, _) = guest.stream("/process.Process/Start", &shell("true"), &[]).await;
        let selector = json!({"process": {"pid": messages[0]["event"]["start"]["pid"]}}).to_string();
        let (_, record) = guest.stream("/process.Process/Connect", &selector, &[]).await;
        assert_eq!(record["error"]["code"], "not_found", "an end is forgotten in time");
    });
}

#[test]
fn a_subscriber_that_takes_nothing_is_cut_off_and_the_process_goes_on() {
    with_bounds(Bounds::default(), async |guest| {
        let init = json!({"outputPatienceMs": 300}).to_string();
        assert_eq!(guest.control("POST", "/init", &init).await.status, 200);
        let marker = tempfile::NamedTempFile::new().unwrap();
        let path = marker.path().display();
        let unread =
            guest.start_unread(&shell(&format!("head -c 60000000 /dev/zero; echo on > {path}"))).await;
        while std::fs::read(marker.path()).unwrap() != b"on\n" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (messages, record) = unread.read().await;
        assert_eq!(record["error"]["code"], "resource_exhausted", "{record}");
        assert!(messages.len() > 2, "it gets what was on its way");
    });
}

#[test]
fn output_of_all_processes_together() {
    let bounds = Bounds { output_bytes: 64 << 10, ..Bounds::default() };
    with_bounds(bounds, async |guest| {
        // One that nobody reads takes all the room there is; the other then waits.
        let unread = guest.start_unread(&shell("exec yes")).await;
        let held_back = async |pid: u64| {
            let written = || std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
            let mut before = String::new();
            while before != written() || before.is_empty() {
                before = written();
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        while n_processes(guest).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let list = guest.call("/process.Process/List", "{}").await.json();
        let first = list["processes"][0]["pid"].as_u64().unwrap();
        held_back(first).await;
        let waits = guest.start_unread(&shell("exec head -c 3000000 /dev/zero")).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(n_processes(guest).await, 2, "it waits for room");
        // Its end gives the room back, also to those that read.
        kill(guest, first).await;
        let (messages, _) = unread.read().await;
        assert_eq!(messages.last().unwrap()["event"]["end"]["status"], "signal: killed");
        let (messages, record) = waits.read().await;
        let pieces = messages.iter().filter_map(|message| message["event"]["data"]["stdout"].as_str());
        let n_bytes: usize = pieces.map(|piece| STANDARD.decode(piece).unwrap().len()).sum();
        assert_eq!((n_bytes, record), (3_000_000, json!({})));
    });
}

#[test]
fn large_messages_together() {
    let bounds = Bounds {
        message_bytes: 100 << 10,
        message_patience: Duration::from_millis(300),
        ..Bounds::default()
    };
    with_bounds(bounds, async |guest| {
        let pid = guest.start_and_leave(&shell("exec sleep 60")).await;
        let input = |bytes: usize| {
            let text = STANDARD.encode(vec![b'x'; bytes]);
            json!({"process": {"pid": pid}, "input": {"stdin": text}}).to_string()
        };
        // Far more than the pipe holds: this one stays under way, with all the room.
        let (first, second) = (input(300 << 10), input(30 << 10));
        let stuck = guest.call("/process.Process/SendInput", &first);
        let other = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let refused = guest.call("/process.Process/SendInput", &second).await;
            assert_eq!((refused.status, refused.json()["code"].clone()), (429, json!("resource_exhausted")));
            // Small ones need no room.
            assert_eq!(n_processes(guest).await, 1);
            kill(guest, pid).await;
        };
        let (broken, ()) = tokio::join!(stuck, other);
        assert_eq!(broken.json()["code"], "internal", "nobody reads it any more");
        let pid = guest.start_and_leave(&shell("exec cat > /dev/null")).await;
        let text = STANDARD.encode(vec![b'x'; 300 << 10]);
        let again = json!({"process": {"pid": pid}, "input": {"stdin": text}}).to_string();
        assert_eq!(guest.call("/process.Process/SendInput", &again).await.status, 200);
        kill(guest, pid).await;
    });
}

#[test]
fn entries_of_a_listing() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    let ask = json!({"path": dir.path()}).to_string();
    for (entries, status) in [(3, 200), (2, 429)] {
        with_bounds(Bounds { entries, ..Bounds::default() }, async |guest| {
            assert_eq!(guest.call("/filesystem.Filesystem/ListDir", &ask).await.status, status);
        });
    }
}

#[test]
fn watchers_and_what_they_watch() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
    let ask = |recursive: bool| json!({"path": dir.path(), "recursive": recursive}).to_string();
    with_bounds(Bounds { watchers: 1, watched: 2, ..Bounds::default() }, async |guest| {
        let create =
            async |recursive| guest.call("/filesystem.Filesystem/CreateWatcher", &ask(recursive)).await;
        assert_eq!(create(true).await.json()["code"], "resource_exhausted", "three directories");
        let watcher = create(false).await;
        assert_eq!(watcher.status, 200, "what was armed in vain is given back");
        assert_eq!(create(false).await.json()["code"], "resource_exhausted", "two watchers");
        let body = String::from_utf8(watcher.body.to_vec()).unwrap();
        assert_eq!(guest.call("/filesystem.Filesystem/RemoveWatcher", &body).await.status, 200);
        assert_eq!(create(false).await.status, 200);
    });
}

#[test]
fn events_that_wait_for_a_watcher() {
    let dir = tempfile::tempdir().unwrap();
    with_bounds(Bounds { events: 4, ..Bounds::default() }, async |guest| {
        let ask = json!({"path": dir.path()}).to_string();
        let watcher = guest.call("/filesystem.Filesystem/CreateWatcher", &ask).await;
        let watcher = String::from_utf8(watcher.body.to_vec()).unwrap();
        let events = async || guest.call("/filesystem.Filesystem/GetWatcherEvents", &watcher).await;
        let make = |name: &str| std::fs::create_dir(dir.path().join(name)).unwrap();
        ["a", "b", "c", "d"].into_iter().for_each(make);
        assert_eq!(events().await.json()["events"].as_array().map(Vec::len), Some(4));
        ["e", "f", "g", "h", "i"].into_iter().for_each(make);
        for _ in 0..2 {
            let refused = events().await;
            assert_eq!(
                (refused.status, refused.json()["code"].clone()),
                (500, json!("internal")),
                "it stays"
            );
        }
    });
}

#[test]
fn events_that_the_kernel_drops() {
    let dir = tempfile::tempdir().unwrap();
    let queue = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let n: usize = queue.trim().parse().unwrap();
    with_bounds(Bounds { events: 2 * n, ..Bounds::default() }, async |guest| {
        let ask = json!({"path": dir.path()}).to_string();
        let watcher = guest.call("/filesystem.Filesystem/CreateWatcher", &ask).await;
        let watcher = String::from_utf8(watcher.body.to_vec()).unwrap();
        // The daemon is on this thread: it reads none of them meanwhile.
        for _ in 0..=n / 2 {
            std::fs::create_dir(dir.path().join("d")).unwrap();
            std::fs::remove_dir(dir.path().join("d")).unwrap();
        }
        let refused = loop {
            let told = guest.call("/filesystem.Filesystem/GetWatcherEvents", &watcher).await;
            if told.status != 200 {
                break told;
            }
        };
        assert_eq!(refused.json()["code"], "internal");
        assert!(refused.json()["message"].as_str().unwrap().contains("overflowed"), "{:?}", refused.body);
        // Others begin anew.
        assert_eq!(guest.call("/filesystem.Filesystem/CreateWatcher", &ask).await.status, 200);
    });
}

#[test]
fn files_of_one_request() {
    let dir = tempfile::tempdir().unwrap();
    with_bounds(Bounds { files: 2, ..Bounds::default() }, async |guest| {
        let upload = async |names: &[&str]| {
            let parts = names.iter().map(|name| {
                let path = dir.path().join(name).display().to_string();
                format!(
                    "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{path}\"\r\n\r\nx\r\n"
                )
            });
            let body = parts.collect::<String>() + "--B--\r\n";
            let media = [("content-type", "multipart/form-data; boundary=B")];
            guest.post("/files?username=root", &media, body.as_bytes()).await
        };
        assert_eq!(upload(&["a", "b"]).await.json().as_array().map(Vec::len), Some(2));
        let refused = upload(&["a", "b", "c"]).await;
        assert_eq!((refused.status, refused.json()["code"].clone()), (400, json!(400)));
        assert!(!dir.path().join("c").exists());
        let sources: Vec<_> = ["a", "b", "b"].iter().map(|name| dir.path().join(name)).collect();
        let compose =
            json!({"source_paths": sources, "destination": dir.path().join("d"), "username": "root"});
        let refused = guest.post("/files/compose", &[], compose.to_string().as_bytes()).await;
        assert_eq!(refused.status, 400);
    });
}

#[test]
fn an_upload_that_brings_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = Bounds { upload_silence: Duration::from_millis(200), ..Bounds::default() };
    with_bounds(bounds, async |guest| {
        let path = dir.path().join("half");
        let target = format!("/files?username=root&path={}", path.display());
        assert_eq!(guest.half_an_upload(&target, b"half").await, 408);
        assert_eq!(std::fs::read(path).unwrap(), b"half", "what came stays");
    });
}

#[test]
fn connections() {
    with_bounds(Bounds { connections: 2, ..Bounds::default() }, async |guest| {
        let held = [guest.hold().await, guest.hold().await];
        let waits = tokio::time::timeout(Duration::from_millis(300), guest.get("/health", &[])).await;
        assert!(waits.is_err(), "the third waits");
        drop(held);
        assert_eq!(guest.get("/health", &[]).await.status, 204);
    });
}

/// The numbers that people read are the ones in force.
#[test]
fn the_specification_tells_the_bounds_in_force() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../SPECIFICATION.md");
    let text = std::fs::read_to_string(path).unwrap();
    let section = text.split("### Daemon in a sandbox").nth(1).unwrap().split("\n### ").next().unwrap();
    let Bounds {
        connections,
        processes,
        ends,
        end_age,
        output_bytes,
        message_bytes,
        message_patience,
        upload_silence,
        files,
        entries,
        watched,
        watchers,
        events,
    } = Bounds::default();
    let mib = |bytes: usize| format!("{} MiB", bytes >> 20);
    for (row, value) in [
        ("connections", thousands(connections)),
        ("processes at a time", format!("{} from the daemon", thousands(processes))),
        ("an end can be asked for", format!("{} s, {} ends", end_age.as_secs(), thousands(ends))),
        ("output waiting for all subscribers", mib(output_bytes)),
        (
            "large messages at a time",
            format!("{} together, {} s", mib(message_bytes), message_patience.as_secs()),
        ),
        ("upload without a byte", format!("{} s", upload_silence.as_secs())),
        ("files of one request", thousands(files)),
        ("entries of a list", thousands(entries)),
        ("watched directories, polling watchers", format!("{}, {}", thousands(watched), thousands(watchers))),
        ("events waiting for a watcher", thousands(events)),
    ] {
        let found = section.lines().find(|line| line.starts_with(&format!("| {row}")));
        let found = found.unwrap_or_else(|| panic!("no row {row}"));
        assert!(found.contains(&value), "{found}: {value} is in force");
    }
}

fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let cut = digits.len().saturating_sub(3);
    if cut == 0 { digits } else { format!("{},{}", &digits[..cut], &digits[cut..]) }
}
