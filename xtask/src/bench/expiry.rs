//! How late a timeout comes: from the moment that the server told as the end of a
//! sandbox to the one at which there is a record of it, which is when nothing is
//! left. Many end at once, as after a burst of creates.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde_json::{Value, json};
use wire::rest::Rfc3339;

use super::measure::Series;
use super::target::Target;

/// Sandboxes that end at once.
const AT_ONCE: usize = 20;
/// Long enough to read all ends before the first comes.
const TIMEOUT_S: u64 = 3;
/// A timeout that does not come by then is a failure, not a measurement.
const PATIENCE: Duration = Duration::from_mins(1);

/// Lets sandboxes of `base` time out, `rounds` times.
pub(super) fn measure(target: &Target, rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let mut late =
        Series::ms(format!("a timeout, until nothing is left: {AT_ONCE} at once")).promised(1000.0);
    for _ in 0..rounds {
        one(target, &mut late)?;
    }
    rows.push(late);
    Ok(())
}

fn one(target: &Target, late: &mut Series) -> anyhow::Result<()> {
    let sandboxes = (0..AT_ONCE).map(|_| target.create("base")).collect::<anyhow::Result<Vec<_>>>()?;
    for sandbox in &sandboxes {
        target.call(
            "POST",
            &format!("/sandboxes/{}/timeout", sandbox.id),
            &json!({ "timeout": TIMEOUT_S }),
        )?;
    }
    let mut waiting = Vec::new();
    for sandbox in &sandboxes {
        let info = target.call("GET", &format!("/sandboxes/{}", sandbox.id), &Value::Null)?;
        let end: Rfc3339 = serde_json::from_value(info["endAt"].clone()).context("read endAt")?;
        waiting.push((sandbox.id.clone(), end));
    }
    let began = Instant::now();
    let mut asking = target.connect()?;
    while !waiting.is_empty() {
        anyhow::ensure!(began.elapsed() < PATIENCE, "{} sandboxes outlive their timeout", waiting.len());
        let mut still = Vec::new();
        for (id, end) in waiting {
            let answer = asking.request("GET", &format!("/sandboxes/{id}/record"), &target.key(), b"")?;
            if answer.status != 200 {
                still.push((id, end));
                continue;
            }
            let now = SystemTime::now().duration_since(UNIX_EPOCH).context("read the clock")?;
            let end = Duration::from_micros(u64::try_from(end.unix_micros()).unwrap_or_default());
            late.push(now.saturating_sub(end));
        }
        waiting = still;
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
