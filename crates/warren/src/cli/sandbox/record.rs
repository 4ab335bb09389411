//! What `warren sandbox info` shows of a sandbox that ended.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use wire::rest::{OomVictim, SandboxRecord};

use super::super::form::{Form, print_json, print_lines};

/// Shows the record.
pub(super) fn print(record: &SandboxRecord, form: Form) -> Result<ExitCode> {
    if form.json {
        print_json(&as_json(record))?;
    } else if form.quiet {
        println!("ended");
    } else {
        print_lines(facts(record).iter().map(|(name, value)| format!("{name:<10} {value}")));
    }
    Ok(ExitCode::SUCCESS)
}

fn facts(record: &SandboxRecord) -> Vec<(&'static str, String)> {
    let mut facts = measures(record);
    if record.oom_kills > 0 {
        facts.push(("oom kills", record.oom_kills.to_string()));
    }
    facts.extend(record.oom_victims.iter().map(|victim| ("", victim_line(victim))));
    facts
}

fn victim_line(OomVictim { pid, name, user, at, itself }: &OomVictim) -> String {
    let whose = if *itself { "" } else { "a child of " };
    format!("{whose}{name} (pid {pid}, {user}), {at}")
}

fn measures(record: &SandboxRecord) -> Vec<(&'static str, String)> {
    let mib = |bytes: u64| format!("{} MiB at most", bytes.div_ceil(1 << 20));
    let started = record.started_at.map_or_else(|| "–".to_owned(), |at| at.to_string());
    vec![
        ("sandbox", record.sandbox_id.clone()),
        ("template", record.template_id.clone()),
        ("state", format!("ended: {}", record.message)),
        ("started", started),
        ("ended", record.ended_at.to_string()),
        ("memory", mib(record.peak_memory_bytes)),
        ("disk", mib(record.peak_disk_bytes)),
        ("processor", format!("{:.3} s", Duration::from_micros(record.cpu_micros).as_secs_f64())),
    ]
}

fn as_json(record: &SandboxRecord) -> serde_json::Value {
    serde_json::json!({
        "sandboxId": record.sandbox_id,
        "templateId": record.template_id,
        "state": "ended",
        "cause": record.cause,
        "message": record.message,
        "startedAt": record.started_at,
        "endedAt": record.ended_at,
        "peakMemoryBytes": record.peak_memory_bytes,
        "peakDiskBytes": record.peak_disk_bytes,
        "cpuSeconds": Duration::from_micros(record.cpu_micros).as_secs_f64(),
        "oomKills": record.oom_kills,
        "oomVictims": record.oom_victims,
    })
}
