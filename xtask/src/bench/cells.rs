//! The interpreter: its first cell, warm cells, new contexts, output; beside it
//! the same kernel driven by Python's own client, `jupyter_client`, as reference.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::floor;
use super::measure::Series;
use super::target::Target;
use crate::raw::Sandbox;

const MIB: usize = 1024 * 1024;
/// What one cell prints.
const OUTPUT: usize = 10 * MIB;
/// Contexts that are wanted one right after the other.
const BURSTS: [u32; 2] = [4, 8];
const PLOT: &str = "import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])\nplt.show()";
/// Cells of the reference.
const REFERENCE: &str = include_str!("reference.py");

/// Creates with an interpreter, and until its first answer. Where the create waits
/// for the kernel, the first cell alone is a row of its own.
pub(super) fn create(
    target: &Target,
    rounds: u32,
    names: [&str; 2],
    alone: bool,
    rows: &mut Vec<Series>,
) -> anyhow::Result<()> {
    let [mut create, mut answer] = names.map(Series::ms);
    let mut cell = Series::ms("the first cell of such a sandbox, alone").promised(10.0);
    for _ in 0..rounds {
        let start = Instant::now();
        let mut sandbox = create.time(|| target.create("code-interpreter-v1"))?;
        let text = cell.time(|| sandbox.cell("1+1")).context("run the first cell")?;
        anyhow::ensure!(text == "2", "1+1 is not 2");
        answer.push(start.elapsed());
        sandbox.kill()?;
    }
    rows.extend([create, answer]);
    rows.extend(alone.then_some(cell));
    Ok(())
}

/// Cells in a context that has run some, new contexts, and the reference.
pub(super) fn measure(target: &Target, rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let mut sandbox = target.create("code-interpreter-v1")?;
    for _ in 0..5 {
        sandbox.cell("1+1")?;
    }
    warm(&mut sandbox, rounds, rows)?;
    contexts(&mut sandbox, rounds.div_ceil(10).clamp(3, 10), rows)?;
    reference(&mut sandbox, rounds, rows)?;
    sandbox.kill()
}

fn warm(sandbox: &mut Sandbox, rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let mut cell = Series::ms("warm cell `1+1`").over(floor::ROUND_TRIP).promised(2.5);
    for _ in 0..rounds {
        anyhow::ensure!(cell.time(|| sandbox.cell("1+1"))? == "2", "1+1 is not 2");
    }
    let mut plot = Series::ms("a small plot, as picture and chart");
    sandbox.cell(PLOT)?;
    for _ in 0..rounds.clamp(3, 20) {
        plot.time(|| sandbox.cell(PLOT))?;
    }
    let mut output = Series::rate("10 MiB of a cell's output", OUTPUT);
    let code = format!("for _ in range({}): print('x' * 1023)", OUTPUT / 1024);
    for _ in 0..rounds.clamp(3, 10) {
        output.time(|| sandbox.cell(&code))?;
    }
    rows.extend([cell, plot, output]);
    Ok(())
}

/// One at a time, with a pause in which the next kernel is made ready; then several at once.
fn contexts(sandbox: &mut Sandbox, rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let mut calm = Series::ms("a new context, made ready by the cells before").promised(30.0);
    let mut import = Series::ms("… and its first cell, `import pandas`").promised(30.0);
    for _ in 0..rounds {
        std::thread::sleep(Duration::from_secs(2));
        let context = calm.time(|| sandbox.new_context())?;
        import.time(|| sandbox.cell_in(&context, "import pandas"))?;
        sandbox.end_context(&context)?;
    }
    rows.extend([calm, import]);
    for size in BURSTS {
        rows.push(burst(sandbox, rounds.div_ceil(3), size)?);
    }
    Ok(())
}

fn burst(sandbox: &mut Sandbox, rounds: u32, size: u32) -> anyhow::Result<Series> {
    let mut each = Series::ms(format!("each of {size} new contexts in a row"));
    for _ in 0..rounds {
        std::thread::sleep(Duration::from_secs(2));
        let made = (0..size).map(|_| each.time(|| sandbox.new_context()));
        let made = made.collect::<anyhow::Result<Vec<_>>>()?;
        made.iter().try_for_each(|context| sandbox.end_context(context))?;
    }
    Ok(each)
}

/// The same kernel in the same sandbox, asked by `jupyter_client`.
fn reference(sandbox: &mut Sandbox, rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    sandbox.write("/tmp/reference.py", REFERENCE.as_bytes())?;
    let command = format!("/usr/local/bin/python /tmp/reference.py {rounds} {OUTPUT}");
    let (code, told) = sandbox.run(&command, false)?;
    anyhow::ensure!(code == 0, "the reference ended with {code}");
    let told: serde_json::Value = serde_json::from_slice(&told).context("read the reference's times")?;
    let times = |name: &str| -> Vec<Duration> {
        let seconds = told[name].as_array().into_iter().flatten().filter_map(serde_json::Value::as_f64);
        seconds.map(Duration::from_secs_f64).collect()
    };
    for (name, key) in [
        ("reference: a kernel started by `jupyter_client`", "start"),
        ("reference: its first cell, `import pandas`", "import"),
        ("reference: its warm cell `1+1`", "cell"),
    ] {
        let mut series = Series::ms(name);
        for time in times(key) {
            series.push(time);
        }
        rows.push(series);
    }
    let mut output = Series::rate("reference: 10 MiB of its output", OUTPUT);
    for time in times("output") {
        output.push(time);
    }
    rows.push(output);
    Ok(())
}
