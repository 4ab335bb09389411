//! `POST /execute`: picks the context, answers the headers at once, runs behind.

use std::sync::Arc;

use wire::execute::Execute;

use super::context::Context;
use super::contexts::{Contexts, Error};
use super::language::{Dialect, Language};
use super::lines::{LineBody, lines};
use super::run::{Task, run};

/// Why code is not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// Two ways to name the context.
    #[error("Only one of context_id or language can be provided")]
    Both,
    /// The context cannot be had.
    #[error(transparent)]
    Context(#[from] Error),
}

/// Starts the execution; its lines come out of the body. Dropping the body
/// interrupts the code.
pub(super) fn execute(
    contexts: &Contexts,
    envs: std::collections::BTreeMap<String, String>,
    request: Execute,
) -> Result<LineBody, Refusal> {
    let context = choose(contexts, &request)?;
    if context.dialect == Dialect::Python {
        contexts.nursery.wake();
    }
    let (writer, body) = lines();
    let task = Task { code: request.code, env_vars: request.env_vars.unwrap_or_default(), envs };
    contexts.tasks.spawn(async move { run(&context, task, writer).await });
    Ok(body)
}

fn choose(contexts: &Contexts, request: &Execute) -> Result<Arc<Context>, Refusal> {
    let id = request.context_id.as_deref().filter(|id| !id.is_empty());
    let language = request.language.as_deref().filter(|language| !language.is_empty());
    match (id, language) {
        (Some(_), Some(_)) => Err(Refusal::Both),
        (Some(id), None) => Ok(contexts.get(id)?),
        (None, language) => Ok(contexts.default_of(&Language::parse(language))?),
    }
}
