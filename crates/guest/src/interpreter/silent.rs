//! The service's own snippets inside a kernel: environment variables.
//!
//! They run as requests of their own rather than in front of the user's code, so
//! that line numbers in tracebacks stay the user's.

use std::collections::BTreeMap;
use std::path::Path;

use tokio::time::timeout;

use super::config::SNIPPET;
use super::kernel::Kernel;
use super::link::Ask;

/// Variables and their new values; `None` removes.
pub(super) type Changes = BTreeMap<String, Option<String>>;

/// A snippet did not finish: the kernel died or is stuck.
#[derive(Debug, thiserror::Error)]
#[error("the kernel did not take its environment variables")]
pub(super) struct Stuck;

/// Brings the kernel's variables from what they are to the sandbox's.
pub(super) async fn follow(kernel: &mut Kernel, sandbox: BTreeMap<String, String>) -> Result<(), Stuck> {
    let changes = difference(&kernel.envs, &sandbox);
    apply(kernel, &changes).await?;
    kernel.envs = sandbox;
    Ok(())
}

/// Sets variables for one execution; the answer takes them back.
pub(super) async fn overlay(
    kernel: &mut Kernel,
    request: &BTreeMap<String, String>,
) -> Result<Changes, Stuck> {
    let set = request.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
    apply(kernel, &set).await?;
    Ok(request.keys().map(|name| (name.clone(), kernel.envs.get(name).cloned())).collect())
}

/// Changes to a directory, if it is there.
pub(super) async fn change_directory(kernel: &mut Kernel, cwd: &Path) -> Result<(), Stuck> {
    settle(kernel, Ask::Directory(cwd)).await
}

/// Runs one snippet, if there is anything to change.
pub(super) async fn apply(kernel: &mut Kernel, changes: &Changes) -> Result<(), Stuck> {
    if changes.is_empty() {
        return Ok(());
    }
    settle(kernel, Ask::Variables(changes)).await
}

async fn settle(kernel: &mut Kernel, ask: Ask<'_>) -> Result<(), Stuck> {
    kernel.ask(ask).await.map_err(|_| Stuck)?;
    let done = timeout(SNIPPET, kernel.both_halves()).await;
    kernel.forget();
    if done == Ok(true) { Ok(()) } else { Err(Stuck) }
}

fn difference(from: &BTreeMap<String, String>, to: &BTreeMap<String, String>) -> Changes {
    let set = to.iter().filter(|(name, value)| from.get(*name) != Some(*value));
    let gone = from.keys().filter(|name| !to.contains_key(*name));
    set.map(|(name, value)| (name.clone(), Some(value.clone())))
        .chain(gone.map(|name| (name.clone(), None)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_changes() {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let changes = difference(
            &map(&[("a", "1"), ("b", "2"), ("c", "3")]),
            &map(&[("a", "1"), ("b", "9"), ("d", "4")]),
        );
        let expected: Changes = [("b", Some("9")), ("c", None), ("d", Some("4"))]
            .map(|(name, value)| (name.to_owned(), value.map(str::to_owned)))
            .into();
        assert_eq!(changes, expected);
    }
}
