//! A machine that stands still because the server that ordered it has died.

use std::path::{Path, PathBuf};
use std::time::Duration;

use testkit::Ground;

use crate::{Host, echo, echo_once, end, settled, spec, start, undo};

/// It goes on when the next server finds it, and ends when it is ended.
pub(crate) async fn goes_on_or_ends(ground: &Ground) {
    let backend = Host::backend(ground);
    let found = spec(ground, 31);
    let machine = start(&*backend, &found).await;
    echo(&*machine.dialer()).await;
    freeze(found.sandbox_id.as_str());
    let dialer = machine.dialer();
    let answer = tokio::time::timeout(Duration::from_millis(300), echo_once(&*dialer)).await;
    assert!(answer.is_err(), "it stands still");
    let next = Host::backend(ground);
    let again = next.adopt(&found).await.unwrap().expect("it is there");
    echo(&*again.dialer()).await;
    drop(machine);
    end(ground, &*next, &found, again).await;

    let unfound = spec(ground, 32);
    let machine = start(&*backend, &unfound).await;
    echo(&*machine.dialer()).await;
    freeze(unfound.sandbox_id.as_str());
    drop(machine);
    undo(&*backend, &unfound).await;
    settled(ground, &[]).await;
}

/// Orders it as a checkpoint does, on whichever version it is done.
fn freeze(id: &str) {
    let groups = named(Path::new("/sys/fs/cgroup"), id, 5);
    let switch = |group: &PathBuf| {
        let switches = [("cgroup.freeze", "1"), ("freezer.state", "FROZEN")];
        switches.map(|(file, word)| (group.join(file), word)).into_iter().find(|(file, _)| file.exists())
    };
    let (file, word) = groups.iter().find_map(switch).expect("a group that can be frozen");
    std::fs::write(file, word).unwrap();
}

fn named(dir: &Path, name: &str, depth: u8) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let below = entries.filter(|entry| depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let in_each = below.flat_map(|entry| {
        let is_it = entry.file_name() == name;
        if is_it { vec![entry.path()] } else { named(&entry.path(), name, depth - 1) }
    });
    in_each.collect()
}
