//! The store and the node disagree; a while later they do not.

use std::time::Duration;

use model::{EndCause, SandboxId};
use tokio_util::sync::CancellationToken;
use warren_control::App;

use crate::world::World;

/// Lets the control plane run until a condition holds, at most 5 s.
pub(crate) async fn until(app: &App, condition: impl AsyncFn() -> bool) {
    let stop = CancellationToken::new();
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stop.cancel();
    };
    let both = async { tokio::join!(app.run(stop.clone()), waiting) };
    tokio::time::timeout(Duration::from_secs(5), both).await.expect("it does not come to rest");
}

#[tokio::test]
async fn what_ended_moves_to_its_record_and_frees_its_place() {
    let world = World::with(|options| options.max_sandboxes = 1).await;
    let id = world.create_base().await;
    world.node.end(&id, Some(EndCause::OutOfMemory));
    until(&world.app, async || world.post("/v2/sandboxes", r#"{"templateID":"base"}"#).await.status == 201)
        .await;
    let message = world.get(&format!("/sandboxes/{id}")).await.error(404)["message"].to_string();
    assert!(message.contains("ran out of memory"), "{message}");
}

#[tokio::test]
async fn what_the_host_lost_is_said_to_be_lost() {
    let world = World::new().await;
    let id = world.create_base().await;
    world.node.end(&id, None);
    until(&world.app, async || {
        world.get(&format!("/sandboxes/{id}")).await.text.contains("its host was restarted or lost it")
    })
    .await;
}

#[tokio::test]
async fn nobodys_sandbox_is_killed() {
    let world = World::new().await;
    let own = world.create_base().await;
    let planted: SandboxId = "iplanted".parse().unwrap();
    world.node.plant(&planted);
    until(&world.app, async || world.node.ids() == [own.clone()]).await;
}

#[tokio::test]
async fn a_create_that_an_old_server_never_answered_is_undone() {
    let world = World::with(|options| options.max_sandboxes = 1).await;
    world.node.hang_creates();
    let path = world.request("POST", "/v2/sandboxes", r#"{"templateID":"base"}"#);
    tokio::select! {
        biased;
        answer = world.send(path) => panic!("it hangs: {}", answer.text),
        () = world.node.asked_to_create() => {}
    }
    assert_eq!(world.node.ids().len(), 1);
    // The old server's memory of the create is gone with it.
    let restarted = world.restarted();
    until(&restarted, async || world.node.ids().is_empty()).await;
}
