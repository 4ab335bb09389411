//! The real server in a process of its own on simulated machines, used through
//! the client library. Needs no root.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod full_disk;
mod server;
mod traces;

use std::time::Duration;

use sdk::{CreateOptions, ErrorKind, Sandbox};
use server::{Server, not_found, template};

#[tokio::test]
async fn a_sandbox_lives_and_ends_as_its_client_says() {
    let state = tempfile::tempdir().unwrap();
    template(state.path());
    let server = Server::start(state.path());
    let options = CreateOptions::new().metadata("a b", "c&d=é").timeout(Duration::from_mins(10));
    let sandbox = Sandbox::create_with(&server.config, options).await.unwrap();
    assert!(sandbox.is_running().await.unwrap());

    let listed = Sandbox::list(&server.config).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].metadata.get("a b").map(String::as_str), Some("c&d=é"));
    assert_eq!(listed[0].isolation.as_deref(), Some("sim"));

    let before = sandbox.info().await.unwrap();
    sandbox.set_timeout(Duration::from_mins(30)).await.unwrap();
    assert!(sandbox.info().await.unwrap().end_at > before.end_at);
    let again = Sandbox::connect(&server.config, sandbox.id(), Duration::from_secs(1)).await.unwrap();
    assert!(again.info().await.unwrap().end_at > before.end_at, "connecting never shortens");

    assert!(sandbox.kill().await.unwrap());
    assert!(!sandbox.kill().await.unwrap());
    assert!(!sandbox.is_running().await.unwrap());
    let gone = sandbox.info().await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::SandboxNotFound);
    assert!(gone.to_string().contains("killed by a request"), "{gone}");
}

#[tokio::test]
async fn failures_have_their_kinds() {
    let state = tempfile::tempdir().unwrap();
    template(state.path());
    let server = Server::start(state.path());
    let create = |template: &str| {
        let options = CreateOptions::new().template(template);
        let config = server.config.clone();
        async move { Sandbox::create_with(&config, options).await.unwrap_err() }
    };
    let unknown = create("nothing-like-it").await;
    assert_eq!((unknown.kind(), unknown.status()), (ErrorKind::NotFound, Some(404)));
    assert_eq!(create("!").await.kind(), ErrorKind::InvalidArgument);

    let mut stranger = server.config.clone();
    stranger.api_key = "e2b_0000000000000000000000000000000000000000".to_owned();
    let refused = Sandbox::list(&stranger).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Authentication);

    let missing = Sandbox::connect(&server.config, "i00000000000000000000", None).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::SandboxNotFound);

    let restricted = CreateOptions::new().allow_internet_access(false);
    let restricted = Sandbox::create_with(&server.config, restricted).await.unwrap_err();
    assert_eq!(restricted.status(), Some(501), "a field that restricts is never ignored");
}

#[tokio::test]
async fn a_lost_machine_leaves_a_record_over_a_restart() {
    let state = tempfile::tempdir().unwrap();
    template(state.path());
    let sandbox = {
        let server = Server::start(state.path());
        Sandbox::create(&server.config).await.unwrap().id().to_owned()
        // Killed here; simulated machines go with their server, as a host's would.
    };
    let server = Server::start(state.path());
    assert!(Sandbox::list(&server.config).await.unwrap().is_empty());
    let lost = not_found(&server.config, &sandbox).await;
    assert!(lost.to_string().contains("its host was restarted or lost it"), "{lost}");
}
