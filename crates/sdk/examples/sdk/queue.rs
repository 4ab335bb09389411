//! Jobs that wait in a queue and run in one sandbox, in their order.

use std::time::Duration;

use warren_sdk::{Config, ErrorKind, LongRunningService, Sandbox, ServiceOptions};

pub(crate) async fn run(config: &Config) -> super::Outcome {
    let sandbox = Sandbox::create(config).await?.scoped();
    let options = ServiceOptions { queue: 16, workers: 2, task_timeout: Duration::from_secs(20) };
    let service = LongRunningService::start(&sandbox, options);
    let mut tickets = Vec::new();
    for number in 0..5 {
        let job = move |sandbox: Sandbox| async move {
            let output = sandbox.commands().run(format!("echo job {number}; exit {}", number / 4)).await?;
            Ok(output.success()?.stdout)
        };
        tickets.push(service.submit(job).await?);
    }
    // Takes no more, ends what waits.
    service.stop().await;
    let mut done = 0;
    for (number, ticket) in tickets.into_iter().enumerate() {
        match ticket.await {
            Ok(text) => {
                assert_eq!(text, format!("job {number}\n"));
                done += 1;
            }
            Err(e) => assert_eq!(e.kind(), ErrorKind::CommandExit),
        }
    }
    println!("{done} of 5 jobs succeeded");
    assert_eq!(done, 4);
    sandbox.close().await?;
    Ok(())
}
