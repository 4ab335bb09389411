//! Templates that wake: the second sandbox begins with the state of one that was
//! ready, and nothing of that shows; what cannot wake boots.

#![expect(clippy::unwrap_used, reason = "the lint does not see that helpers of tests are tests")]

mod support;

use std::collections::BTreeMap;

use model::{ByteSize, KilledBy, Resources};
use support::{BUILD, Host, request, sandbox_id, until};
use warren_node::{CreateSandbox, Handle, NodeOptions};

fn plain(n: u32) -> CreateSandbox {
    CreateSandbox { env_vars: BTreeMap::new(), access_token: Some(format!("token {n}")), ..request(n) }
}

/// The names of the generations that stand.
fn generations(host: &Host) -> Vec<String> {
    let entries = std::fs::read_dir(host.path().join("generations")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with('.')).collect()
}

fn init(host: &Host, n: u32) -> serde_json::Value {
    host.world.running(&sandbox_id(n)).unwrap().init().unwrap()
}

async fn open(host: &Host) -> Handle {
    host.open_with(NodeOptions { warm: true, ..host.options() }).await.0
}

/// Creates sandboxes from this number on until one wakes; gives its number.
async fn first_to_wake(host: &Host, handle: &Handle, from: u32) -> u32 {
    handle.create(plain(from)).await.unwrap();
    assert!(init(host, from)["woken"].is_null(), "there is no state yet");
    until("the state stands", || generations(host).len() == 1).await;
    until("its sandbox is gone", || handle.promised().slots == 1).await;
    handle.create(plain(from + 1)).await.unwrap();
    from + 1
}

#[tokio::test]
async fn the_second_sandbox_wakes_as_one_of_its_own() {
    let host = Host::new();
    let handle = open(&host).await;
    let woken = first_to_wake(&host, &handle, 1).await;
    let told = init(&host, woken);
    assert!(told["woken"]["machineId"].is_string() && told["woken"]["reseed"] == true, "{told}");
    assert_eq!((&told["sandboxId"], &told["accessToken"]), (&"i2".into(), &"token 2".into()));
    assert_eq!(told["envVars"]["FROM"], "template");
    assert_eq!(handle.list().len(), 2, "the sandbox of the state is in nobody's view");
    let other = handle.create(plain(3)).await.unwrap();
    assert_eq!(other.build_id, BUILD);
    assert_ne!(init(&host, 3)["woken"]["machineId"], told["woken"]["machineId"]);
}

#[tokio::test]
async fn what_differs_from_the_state_boots() {
    let host = Host::new();
    let handle = open(&host).await;
    first_to_wake(&host, &handle, 1).await;
    let small = Resources { cpu_count: 1, memory: ByteSize::mib(256), disk: ByteSize::gib(1) };
    for order in [request(3), CreateSandbox { resources: small, ..plain(4) }] {
        let id = order.sandbox_id.clone();
        handle.create(order).await.unwrap();
        let told = host.world.running(&id).unwrap().init().unwrap();
        assert!(told["woken"].is_null(), "{told}");
    }
}

#[tokio::test]
async fn a_damaged_state_is_never_run_and_costs_no_create() {
    let host = Host::new();
    let handle = open(&host).await;
    first_to_wake(&host, &handle, 1).await;
    let memory = host.path().join("generations").join(&generations(&host)[0]).join("memory");
    for file in std::fs::read_dir(memory).unwrap() {
        std::fs::write(file.unwrap().path(), "other").unwrap();
    }
    handle.create(plain(3)).await.unwrap();
    let told = init(&host, 3);
    assert!(told["woken"].is_null() && told["sandboxId"] == "i3", "it booted: {told}");
    until("the state is given up", || generations(&host).is_empty()).await;
    handle.create(plain(4)).await.unwrap();
    assert!(init(&host, 4)["woken"].is_null());
}

#[tokio::test]
async fn a_state_goes_with_its_build_and_with_its_server() {
    let host = Host::new();
    let handle = open(&host).await;
    let woken = first_to_wake(&host, &handle, 1).await;
    handle.abandon().await;
    let handle = open(&host).await;
    until("a server sweeps what another has left", || generations(&host).is_empty()).await;
    assert!(handle.get(&sandbox_id(woken)).is_some(), "who woke lives on");
    for n in [1, 2] {
        handle.kill(&sandbox_id(n), KilledBy::Client).await.unwrap();
    }
    first_to_wake(&host, &handle, 3).await;
    handle.forget_build(BUILD).await.unwrap();
    until("it goes with its build", || generations(&host).is_empty()).await;
}
