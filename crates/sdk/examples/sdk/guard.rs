//! A sandbox that never outlives its scope, also when something fails in it.

use warren_sdk::{Config, ErrorKind, Language, Sandbox, SandboxManager};

pub(crate) async fn run(config: &Config) -> super::Outcome {
    let mut id = String::new();
    let failed = SandboxManager::scope(config, async |manager| {
        manager.sandbox().id().clone_into(&mut id);
        let done = manager.execute(Language::Bash, "echo working; exit 3").await?;
        println!("it said {:?} and ended with {:?}", done.stdout.trim(), done.error);
        manager.sandbox().files().read("/nowhere").await
    })
    .await;
    assert_eq!(failed.err().map(|e| e.kind()), Some(ErrorKind::FileNotFound));
    let gone = Sandbox::info_of(config, &id).await.err().map(|e| e.kind());
    assert_eq!(gone, Some(ErrorKind::SandboxNotFound));
    Ok(())
}
