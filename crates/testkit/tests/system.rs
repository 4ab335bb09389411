//! The system under test keeps its sandboxes over a restart and over a crash.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use model::{KilledBy, Resources};
use node::CreateSandbox;
use testkit::System;
use warren_testkit as testkit;

#[tokio::test]
async fn sandboxes_outlive_the_server() -> Result<()> {
    let mut system = System::start().await?;
    let template = system.node().templates().into_iter().find(|t| t.build_id == testkit::BASE);
    let template = template.context("the base template is there")?;
    let sandbox_id: model::SandboxId = "i1".parse()?;
    let request = CreateSandbox {
        sandbox_id: sandbox_id.clone(),
        template_id: template.template_id,
        build_id: template.build_id,
        resources: Resources::DEFAULT,
        env_vars: BTreeMap::new(),
        access_token: None,
        timeout: Duration::from_mins(5),
        wait_for_interpreter: false,
        policy: model::Policy::default(),
        from: None,
    };
    let made = system.node().create(request).await?;
    system.restart().await?;
    system.crash().await?;
    let adopted = system.node().get(&sandbox_id).context("it was adopted")?;
    assert_eq!((adopted.deadline, adopted.phase), (made.deadline, node::Phase::Running));
    system.node().kill(&sandbox_id, KilledBy::Client).await?;
    assert_eq!(system.world().inventory(), runtime::sim::Inventory::default());
    Ok(())
}
