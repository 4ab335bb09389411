//! Many sandboxes: filtered, ordered, in pages.

use std::collections::BTreeMap;

use model::{TemplateName, Timestamp};
use node::Phase;
use store::{ListFilter, ListPlace};

use super::page::{Key, Order};
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

/// Rows that are read at once, where some of them may be left out.
const CHUNK: u32 = 256;

impl App {
    /// One page of the caller's sandboxes. Reads from the page's place on until
    /// it is full: every row only where metadata decide, or who sleeps, which its node
    /// knows before its row does.
    pub(crate) async fn list(
        &self,
        caller: &Caller,
        query: &ListQuery,
        page: &PageRequest,
    ) -> Result<Listed, Error> {
        let template = match &query.template {
            None => None,
            Some(name) => {
                let Some(resolved) = self.template_named(caller, name).await? else {
                    let total_running = query.running.then_some(0);
                    return Ok(Listed { items: Vec::new(), next: None, total_running });
                };
                Some(resolved.template.template_id)
            }
        };
        let filter = ListFilter { template: template.as_ref(), started_after: query.started_after };
        let (items, next) = self.page(caller, query, filter, page).await?;
        let total_running =
            if query.running { Some(self.total_running(caller, query, filter).await?) } else { None };
        Ok(Listed { items, next, total_running })
    }

    async fn page(
        &self,
        caller: &Caller,
        query: &ListQuery,
        filter: ListFilter<'_>,
        page: &PageRequest,
    ) -> Result<(Vec<Live>, Option<Key>), Error> {
        let (mut items, mut last, mut read) = (Vec::new(), None, page.after.clone());
        loop {
            // One more than the page holds tells whether there is another.
            let wanted = u32::try_from(page.limit - items.len() + 1).unwrap_or(u32::MAX);
            let takes_all = query.metadata.is_empty() && query.running;
            let limit = if takes_all { wanted.min(1024) } else { CHUNK };
            let after = read.as_ref().map(|key| (key.started_at, &key.sandbox_id));
            let place = ListPlace { newest_first: page.order == Order::NewestFirst, after, limit };
            let rows = self.store().standing_from(caller.team.team_id, filter, place).await?;
            let is_end = rows.len() < limit as usize;
            for (started_at, row) in rows {
                let key = Key { started_at, sandbox_id: row.sandbox_id.clone() };
                read = Some(key.clone());
                let Some(live) = self.shown(row, query) else { continue };
                if items.len() == page.limit {
                    return Ok((items, last));
                }
                items.push(live);
                last = Some(key);
            }
            if is_end {
                return Ok((items, None));
            }
        }
    }

    /// A row as it is listed, if the query wants it. Its node is asked after the
    /// row was read: whoever ends in between is left out, not shown dead.
    fn shown(&self, row: store::Sandbox, query: &ListQuery) -> Option<Live> {
        if !has_all(row.metadata.as_ref(), &query.metadata) {
            return None;
        }
        let observation = self.node().get(&row.sandbox_id)?;
        let is_running = observation.phase == Phase::Running;
        let wanted = observation.phase.stands() && if is_running { query.running } else { query.paused };
        // Lists carry no tokens.
        wanted.then_some(Live { row, observation, token: None })
    }

    /// How many run and match, on all pages.
    async fn total_running(
        &self,
        caller: &Caller,
        query: &ListQuery,
        filter: ListFilter<'_>,
    ) -> Result<u64, Error> {
        if query.metadata.is_empty() {
            return Ok(self.store().count_running(caller.team.team_id, filter).await?);
        }
        let running = ListQuery { paused: false, ..query.clone() };
        let all = PageRequest { order: Order::OldestFirst, after: None, limit: usize::MAX - 1 };
        Ok(self.page(caller, &running, filter, &all).await?.0.len() as u64)
    }
}

fn has_all(metadata: Option<&BTreeMap<String, String>>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| metadata.is_some_and(|own| own.get(key) == Some(value)))
}
