//! What the control plane and the proxy cost by themselves: on simulated
//! machines, and with a server of our own behind the proxy.

use std::time::Duration;

use super::measure::Series;
use crate::build;
use crate::command::{capture, cargo};
use crate::simulated::{Simulated, load};

/// Sandboxes on the page that is timed.
const PAGE: usize = 100;

/// Creates, lists, and a crowd.
pub(super) fn measure(rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let simulated = Simulated::start(&build::warren()?)?;
    let mut caller = load::Caller::open(&simulated.server)?;
    let mut create = Series::ms("create over REST on a simulated machine").promised(1.0);
    let mut kill = Series::ms("kill of one");
    let mut list = Series::ms(format!("a list of {PAGE}")).promised(2.0);
    let mut look = Series::ms("a look at one");
    for _ in 0..rounds {
        let id = create.time(|| caller.create())?;
        look.time(|| caller.ask("GET", &format!("/sandboxes/{id}"), "")?.ok())?;
        kill.time(|| caller.ask("DELETE", &format!("/sandboxes/{id}"), "")?.ok())?;
    }
    let ids = (0..PAGE).map(|_| caller.create()).collect::<anyhow::Result<Vec<_>>>()?;
    for _ in 0..rounds {
        let page = list.time(|| caller.ask("GET", "/v2/sandboxes?limit=100", ""))?.json()?;
        anyhow::ensure!(page.as_array().map_or(0, Vec::len) == PAGE, "a page of another length");
    }
    for id in ids {
        caller.ask("DELETE", &format!("/sandboxes/{id}"), "")?.ok()?;
    }
    let mut crowd = Series::ms("one of 1,000 calls at once (list, look, timeout), 300 sandboxes");
    load::run(&simulated.server, load::SHORT)?.into_iter().for_each(|took: Duration| crowd.push(took));
    simulated.stop()?;
    rows.extend([create, look, kill, list, crowd]);
    Ok(())
}

/// The proxy against a direct connection and a bare relay, as a table of its own.
pub(super) fn proxy() -> anyhow::Result<String> {
    let bench = ["bench", "--quiet", "--package", "warren-proxy", "--bench", "added"];
    capture(cargo().args(bench))
}
