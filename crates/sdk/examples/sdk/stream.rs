//! The output of a program in the background, line by line while it runs.

use futures_util::TryStreamExt as _;
use warren_sdk::{CommandEvent, Config, Sandbox};

pub(crate) async fn run(config: &Config) -> super::Outcome {
    let sandbox = Sandbox::create(config).await?.scoped();
    let line = "for n in 1 2 3; do echo line $n; sleep 0.05; done";
    let handle = sandbox.commands().run(line).timeout(None).background().await?;
    println!("process {}", handle.pid());
    let mut events = Box::pin(handle.into_stream());
    let (mut text, mut status) = (Vec::new(), None);
    while let Some(event) = events.try_next().await? {
        match event {
            CommandEvent::Stdout(piece) => {
                println!("  {}", String::from_utf8_lossy(&piece).trim());
                text.extend_from_slice(&piece);
            }
            CommandEvent::End { exit_code, .. } => status = Some(exit_code),
            _ => {}
        }
    }
    assert_eq!((&text[..], status), (&b"line 1\nline 2\nline 3\n"[..], Some(0)));
    sandbox.close().await?;
    Ok(())
}
