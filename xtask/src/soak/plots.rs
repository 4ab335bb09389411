//! Many sandboxes that draw at the same moment: each answers with its own plot, as a
//! picture and as a chart, and nothing of another's.

use std::sync::{Barrier, Mutex, PoisonError};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::census::Census;
use crate::raw::Sandbox;
use crate::server::Server;

/// The form that every test run includes.
pub(crate) const SHORT: u32 = 6;

/// Creates at a time: a kernel takes a processor while it starts.
const CREATES: usize = 4;
/// How long a sandbox lives at most, which ends a run that sticks.
const TIMEOUT_S: u32 = 1200;
/// A picture, as it begins in base64.
const PNG: &str = "iVBORw0KGgo";

/// Creates `count` sandboxes, draws in all of them at once, twice, and kills them;
/// then the host looks as before.
pub(crate) fn run(server: &Server, count: u32) -> anyhow::Result<()> {
    Sandbox::create(server, "code-interpreter-v1", 60)?.kill()?;
    let before = Census::take()?;
    let turns: [Mutex<()>; CREATES] = Default::default();
    let (turns, all_there) = (&turns, &Barrier::new(usize::try_from(count).context("count sandboxes")?));
    std::thread::scope(|scope| {
        let all: Vec<_> =
            (0..count).map(|number| scope.spawn(move || live(server, number, turns, all_there))).collect();
        all.into_iter().try_for_each(|one| one.join().expect("a sandbox's client does not panic"))
    })?;
    before.settle()
}

fn live(
    server: &Server,
    number: u32,
    turns: &[Mutex<()>; CREATES],
    all_there: &Barrier,
) -> anyhow::Result<()> {
    let created = {
        let turn = &turns[usize::try_from(number).unwrap_or_default() % CREATES];
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        Sandbox::create(server, "code-interpreter-v1", TIMEOUT_S)
    };
    // One that was not created must not keep the others waiting.
    all_there.wait();
    let mut sandbox = created.with_context(|| format!("create sandbox {number}"))?;
    for round in 0..2 {
        draw(&mut sandbox, number, round).with_context(|| format!("sandbox {number}, plot {round}"))?;
    }
    sandbox.kill()
}

/// One plot, whose title and points no other has.
fn draw(sandbox: &mut Sandbox, number: u32, round: u32) -> anyhow::Result<()> {
    let title = format!("plot {round} of sandbox {number}");
    let code = format!(
        "import matplotlib.pyplot as plt\n\
         plt.plot([0, 1, 2], [{number}, {round}, {number} + 0.5], label='own')\n\
         plt.title('{title}')\nplt.legend()\nplt.show()\nprint('{title}')"
    );
    let items = sandbox.items(&json!({ "code": code }))?;
    let of = |kind: &str| items.iter().filter(|item| item["type"] == kind).collect::<Vec<_>>();
    anyhow::ensure!(of("error").is_empty(), "the cell failed: {items:?}");
    let printed: String = of("stdout").iter().filter_map(|item| item["text"].as_str()).collect();
    anyhow::ensure!(printed == format!("{title}\n"), "it printed {printed:?}");
    let results = of("result");
    anyhow::ensure!(results.len() == 1, "{} results", results.len());
    anyhow::ensure!(
        results[0]["png"].as_str().is_some_and(|png| png.starts_with(PNG) && png.len() > 1000),
        "no picture"
    );
    let chart = &results[0]["chart"];
    let points = json!([[0.0, f64::from(number)], [1.0, f64::from(round)], [2.0, f64::from(number) + 0.5]]);
    anyhow::ensure!(
        chart["title"] == title.as_str() && numbers(&chart["elements"][0]["points"]) == numbers(&points),
        "another chart: {chart}"
    );
    Ok(())
}

/// Points as numbers: whether one is written `1` or `1.0` makes no difference.
fn numbers(points: &Value) -> Vec<Option<f64>> {
    points.as_array().into_iter().flatten().flat_map(|point| [point[0].as_f64(), point[1].as_f64()]).collect()
}
