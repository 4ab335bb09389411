//! Pauses, snapshots and forks: what each takes, how long the sandbox stands still
//! for it, and what it leaves on the disk.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::measure::Series;
use super::target::Target;
use super::{floor, tool};
use crate::raw::Sandbox;

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// What a shared machine bears.
    Small,
    /// With gigabytes of memory and disk.
    Large,
}

/// A sandbox in a state worth keeping.
struct Subject {
    /// As rows call it.
    name: &'static str,
    template: &'static str,
    /// A cell that brings it into that state, and another that shows that it is.
    cells: Option<[&'static str; 2]>,
    /// Promised medians: pause, standing still, resume.
    promised: [Option<f64>; 3],
    size: Size,
}

const SUBJECTS: [Subject; 3] = [
    Subject {
        name: "an idle `base`",
        template: "base",
        cells: None,
        promised: [Some(80.0), None, Some(80.0)],
        size: Size::Small,
    },
    Subject {
        name: "an interpreter with pandas",
        template: "code-interpreter-v1",
        cells: Some(["import pandas\nframe = pandas.DataFrame({'a': range(1000)})", "frame.a.sum()"]),
        promised: [None, Some(200.0), Some(200.0)],
        size: Size::Small,
    },
    Subject {
        name: "a heap of 1 GiB",
        template: "code-interpreter-v1",
        // Numbers that nothing can compress, as those of a model are.
        cells: Some([
            "import numpy\nheap = numpy.random.default_rng(1).standard_normal(1 << 27)",
            "len(heap) + (heap[-1] == heap[-1])",
        ]),
        promised: [None; 3],
        size: Size::Large,
    },
];

/// Rounds of what moves gigabytes.
const HEAVY: u32 = 3;
/// Forks of one call.
const MANY: usize = 50;

/// Adds the rows; none where the server cannot keep memory.
pub(super) fn measure(
    target: &Target,
    rounds: u32,
    size: Size,
    rows: &mut Vec<Series>,
) -> anyhow::Result<()> {
    files(target, rounds, rows)?;
    for subject in SUBJECTS.iter().filter(|subject| size == Size::Large || subject.size == Size::Small) {
        let mut sandbox = subject.create(target)?;
        if let Some(reason) = cannot(target, &mut sandbox) {
            println!("    memory is not kept here ({reason}): its rows are left out");
            return sandbox.kill();
        }
        crate::command::say(&format!("Pausing, keeping and forking {}", subject.name));
        let rounds = if subject.size == Size::Large { rounds.min(HEAVY) } else { rounds };
        subject.measure(target, sandbox, rounds, rows).context(subject.name)?;
    }
    if size == Size::Large { many(target, rounds.min(HEAVY), rows) } else { Ok(()) }
}

/// Why memory is not kept, if it is not. The first attempt also makes what the later ones share.
fn cannot(target: &Target, sandbox: &mut Sandbox) -> Option<String> {
    let taken = sandbox.steer("POST", "/snapshots", &json!({})).and_then(|taken| taken.json());
    let gone = taken.and_then(|taken| target.delete_snapshot(snapshot_id(&taken)?));
    gone.err().map(|error| format!("{:#}", error.root_cause()))
}

fn snapshot_id(taken: &Value) -> anyhow::Result<&str> {
    taken["snapshotID"].as_str().context("a snapshot has an id")
}

/// Without memory.
fn files(target: &Target, rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let mut pause = Series::ms("pause of an idle `base`, files only").over(floor::MACHINE).promised(30.0);
    let mut resume = Series::ms("… and its resume, a boot").over(floor::MACHINE);
    let mut sandbox = target.create("base")?;
    for _ in 0..rounds {
        pause.time(|| sandbox.steer("POST", "/pause", &json!({ "memory": false })))?;
        sandbox = sandbox.over(target.connect()?);
        resume.time(|| sandbox.steer("POST", "/resume", &json!({ "timeout": 600 })))?;
    }
    rows.extend([pause, resume]);
    sandbox.kill()
}

impl Subject {
    fn create(&self, target: &Target) -> anyhow::Result<Sandbox> {
        let mut sandbox = target.create(self.template)?;
        if let Some([cell, _]) = self.cells {
            sandbox.cell(cell)?;
            self.show(&mut sandbox)?;
        }
        Ok(sandbox)
    }

    /// Whether it is in its state: whoever only answers quickly would be found out.
    fn show(&self, sandbox: &mut Sandbox) -> anyhow::Result<()> {
        let Some([_, cell]) = self.cells else { return sandbox.health() };
        let shown = sandbox.cell(cell)?;
        anyhow::ensure!(!shown.is_empty(), "it has lost its state");
        Ok(())
    }

    fn measure(
        &self,
        target: &Target,
        mut sandbox: Sandbox,
        rounds: u32,
        rows: &mut Vec<Series>,
    ) -> anyhow::Result<()> {
        let name = self.name;
        let dumped = |series: Series| series.over(tool::DUMP);
        let brought = |series: Series| series.over(tool::RESTORE);
        let [pause_in, still_for, resume_in] = self.promised;
        let mut pause = dumped(Series::ms(format!("pause of {name}"))).perhaps(pause_in);
        let mut resume = brought(Series::ms("… its resume")).perhaps(resume_in);
        let mut snapshot = dumped(Series::ms(format!("snapshot of {name}, which goes on")));
        let mut still = dumped(Series::ms("… for which it stands still")).perhaps(still_for);
        let mut bytes = Series::mib("… its memory on disk");
        let mut create = brought(Series::ms("… create from it, until usable"));
        let mut fork = dumped(Series::ms(format!("fork of {name}, once")));
        for _ in 0..rounds {
            pause.time(|| sandbox.steer("POST", "/pause", &json!({})))?;
            sandbox = sandbox.over(target.connect()?);
            resume.time(|| sandbox.steer("POST", "/resume", &json!({ "timeout": 600 })))?;
            self.show(&mut sandbox)?;
            let taken = snapshot.time(|| sandbox.steer("POST", "/snapshots", &json!({})))?.json()?;
            still.push(stood_still(&mut sandbox)?);
            bytes.push_bytes(taken["sizeBytes"].as_u64().context("a snapshot has a size")?);
            let id = snapshot_id(&taken)?;
            let mut other = create.time(|| target.create(id))?;
            self.show(&mut other)?;
            other.kill()?;
            target.delete_snapshot(id)?;
            let body = json!({ "timeout": 600 });
            let forks = fork.time(|| sandbox.steer("POST", "/fork", &body))?.json()?;
            for mut child in children(target, &forks)? {
                self.show(&mut child)?;
                child.kill()?;
            }
        }
        rows.extend([pause, resume, snapshot, still, bytes, create, fork]);
        sandbox.kill()
    }
}

/// Fifty at once.
fn many(target: &Target, rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let subject = &SUBJECTS[0];
    crate::command::say(&format!("Forking {} {MANY} times at once", subject.name));
    let mut all = Series::ms(format!("fork of {}, {MANY} of it", subject.name)).over(tool::RESTORE);
    for _ in 0..rounds {
        let mut sandbox = subject.create(target)?;
        let body = json!({ "timeout": 600, "count": MANY });
        let forks = all.time(|| sandbox.steer("POST", "/fork", &body))?.json()?;
        let made = children(target, &forks)?;
        anyhow::ensure!(made.len() == MANY, "{} of {MANY} forks came about: {forks}", made.len());
        for mut child in made {
            subject.show(&mut child)?;
            child.kill()?;
        }
        sandbox.kill()?;
    }
    rows.push(all);
    Ok(())
}

/// The sandboxes of a fork's answer; those that did not come about are left out.
fn children(target: &Target, forks: &Value) -> anyhow::Result<Vec<Sandbox>> {
    let made = forks.as_array().into_iter().flatten().filter_map(|fork| fork.get("sandbox"));
    made.map(|made| {
        let text = |name: &str| made[name].as_str().context("a fork has an id and a token");
        let (id, token) = (text("sandboxID")?, text("envdAccessToken")?);
        Ok(Sandbox::known(target.connect()?, target.api_key(), id, token))
    })
    .collect()
}

/// How long the last snapshot let the sandbox stand still, as the server tells in its log.
fn stood_still(sandbox: &mut Sandbox) -> anyhow::Result<std::time::Duration> {
    let told = sandbox.steer("GET", "/logs", &json!({}))?.json()?;
    let entries = told["logEntries"].as_array().into_iter().flatten();
    let last = entries.filter_map(|entry| entry["fields"]["frozen_us"].as_str()?.parse().ok()).next_back();
    last.map(std::time::Duration::from_micros).context("the log tells how long it stood still")
}
