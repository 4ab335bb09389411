//! Many sandboxes: filtered, ordered, in pages.

use std::collections::{BTreeMap, HashMap};

use model::{SandboxId, TemplateName, Timestamp};
use node::{Observation, Phase};

use super::page::{self, Key};
use super::read::Live;
use super::{App, Caller, Error, PageRequest};

/// What to list.
#[derive(Debug, Clone)]
pub(crate) struct ListQuery {
    pub(crate) running: bool,
    pub(crate) paused: bool,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) started_after: Option<Timestamp>,
    pub(crate) template: Option<TemplateName>,
}

/// One page.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) items: Vec<Live>,
    /// Where the next page starts, if there is one.
    pub(crate) next: Option<Key>,
    /// How many run and match, on all pages; `None` if running ones were not asked for.
    pub(crate) total_running: Option<u64>,
}

impl App {
    /// One page of the caller's sandboxes.
    pub(crate) async fn list(
        &self,
        caller: &Caller,
        query: &ListQuery,
        page: &PageRequest,
    ) -> Result<Listed, Error> {
        let items = self.matching(caller, query).await?;
        let running = items.iter().filter(|live| live.observation.phase == Phase::Running).count();
        let total_running = query.running.then_some(running as u64);
        let (items, next) = page::cut(items, page, |live| Key {
            started_at: live.observation.started_at,
            sandbox_id: live.row.sandbox_id.clone(),
        });
        Ok(Listed { items, next, total_running })
    }

    async fn matching(&self, caller: &Caller, query: &ListQuery) -> Result<Vec<Live>, Error> {
        let template = match &query.template {
            None => None,
            Some(name) => match self.template_named(caller, name).await? {
                Some(resolved) => Some(resolved.template.template_id),
                None => return Ok(Vec::new()),
            },
        };
        let rows = self.store().standing_of_team(caller.team.team_id).await?;
        // After the rows: whoever ends in between is left out, not shown dead.
        let mut observed: HashMap<SandboxId, Observation> =
            self.node().list().into_iter().map(|seen| (seen.sandbox_id.clone(), seen)).collect();
        let live = rows.into_iter().filter_map(|row| {
            let observation = observed.remove(&row.sandbox_id)?;
            let is_running = observation.phase == Phase::Running;
            let wanted = observation.phase.stands()
                && if is_running { query.running } else { query.paused }
                && query.started_after.is_none_or(|moment| observation.started_at >= moment)
                && template.as_ref().is_none_or(|id| *id == row.template_id)
                && has_all(row.metadata.as_ref(), &query.metadata);
            // Lists carry no tokens.
            wanted.then_some(Live { row, observation, token: None })
        });
        Ok(live.collect())
    }
}

fn has_all(metadata: Option<&BTreeMap<String, String>>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| metadata.is_some_and(|own| own.get(key) == Some(value)))
}
