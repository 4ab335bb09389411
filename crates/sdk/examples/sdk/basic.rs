//! One sandbox: a command, a file, some code.

use warren_sdk::{Config, Sandbox};

pub(crate) async fn run(config: &Config) -> super::Outcome {
    let sandbox = Sandbox::create_with(config, super::with_code()).await?.scoped();
    let output = sandbox.commands().run("echo hello from $(uname)").await?.success()?;
    println!("{}", output.stdout.trim());

    sandbox.files().write("notes/a.txt", "some text").await?;
    assert_eq!(sandbox.files().read("notes/a.txt").await?, "some text");

    sandbox.run_code("x = 6").await?;
    let execution = sandbox.run_code("x * 7").await?;
    assert_eq!(execution.text(), Some("42"));
    assert!(sandbox.close().await?);
    Ok(())
}
