//! An agent: it writes code, sees what came of it, and mends it. The model is a
//! list of answers here.

use warren_sdk::{Config, Language, Repeat, SandboxManager};

/// What the model would be asked: the task, and the last failure.
fn model(failure: Option<&str>) -> &'static str {
    match failure {
        None => "values = [3, 1, 2]\nprint(sorted(value))",
        Some(_) => "values = [3, 1, 2]\nprint(sorted(values))",
    }
}

pub(crate) async fn run(config: &Config) -> super::Outcome {
    let manager = SandboxManager::builder(config).on_error(|e| println!("failed: {e}")).start().await?;
    let mut failure: Option<String> = None;
    for turn in 1..=3 {
        let code = model(failure.as_deref());
        let done = manager.execute_with_retry(Language::Python, code, Repeat::WhenNothingRan).await?;
        match done.error {
            None => {
                println!("turn {turn}: {}", done.stdout.trim());
                assert_eq!((turn, done.stdout.as_str()), (2, "[1, 2, 3]\n"));
                break;
            }
            Some(error) => {
                println!("turn {turn}: {error}");
                failure = Some(error);
            }
        }
    }
    manager.close().await?;
    Ok(())
}
