//! Many sandboxes at once, a bounded number at a time, from a pool.

use warren_sdk::{Config, Error, PoolOptions, SandboxPool, run_all};

pub(crate) async fn run(config: &Config) -> super::Outcome {
    let pool = SandboxPool::start(config, PoolOptions { min: 2, max: 3, ..PoolOptions::default() })?;
    pool.ready().await;
    let tasks = (0..6).map(|number| {
        let pool = &pool;
        async move {
            let sandbox = pool.acquire().await?;
            let line = format!("echo $(({number} * {number}))");
            Ok::<_, Error>(sandbox.commands().run(line).await?.stdout.trim().to_owned())
        }
    });
    let squares: Result<Vec<String>, Error> = run_all(3, tasks).await.into_iter().collect();
    let squares = squares?;
    println!("squares: {squares:?}");
    assert_eq!(squares, ["0", "1", "4", "9", "16", "25"]);
    pool.close().await;
    Ok(())
}
