//! How soon a bad release is noticed, and how soon the traffic is back.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rollway::load::{Load, LoadPlan, Report};
use rollway::trial::{Trial, free_address};
use rollway_core::event::DeploymentState;
use rollway_core::view::EventView;
use serde_json::{Value, json};

use crate::{Bench, end, machine, say};

const SERVICE: &str = "shop";
const WAIT: Duration = Duration::from_secs(60);
/// The interval of the probes, and how many must fail.
const INTERVAL_MS: u64 = 500;
const THRESHOLD: u64 = 3;
const RATE: u32 = 1000;

pub async fn run(bench: &Bench) -> Result<()> {
    let mut rows = Vec::new();
    let mut facts = json!({ "bench": "rollback" });
    let crash = crashes(bench).await?;
    rows.push(("crash at start -> undo begins", machine::spread(&crash, "ms")));
    facts["crash_ms"] = json!(crash);
    let failing = failing(bench).await?;
    let due = THRESHOLD * INTERVAL_MS;
    rows.push(("never healthy: start -> undo begins", machine::spread(&failing, "ms")));
    rows.push(("  of which threshold x interval", format!("{due} ms")));
    facts["failing_ms"] = json!(failing);
    for strategy in ["canary", "blue_green"] {
        let (routed, last) = back(bench, strategy).await?;
        let name = if strategy == "canary" { "canary" } else { "blue-green, switched" };
        rows.push((
            name,
            format!("decision -> old split in effect: {}", machine::spread(&routed, "ms")),
        ));
        rows.push(("", format!("last request to the bad one: {}", machine::spread(&last, "ms"))));
        facts[strategy] = json!({ "routed_ms": routed, "last_bad_ms": last });
    }
    say::table(&rows, &facts);
    Ok(())
}

fn spec(command: &Value, listen: SocketAddr, strategy: &Value) -> Value {
    json!({
        "service": SERVICE,
        "instances": 3,
        "run": { "command": command, "env": { "SHOP_WITNESS": "{{env.WITNESS}}" } },
        "health": [{
            "http": { "path": "/healthz" },
            "interval": format!("{INTERVAL_MS}ms"), "failure_threshold": THRESHOLD,
        }],
        "update": { "max_surge": 1, "healthy_deadline": "30s" },
        "strategy": strategy,
        "traffic": { "listen": [listen.to_string()], "drain": "1s" },
    })
}

/// The spec, with the witness log of this trial written out.
fn filled(spec: &Value, trial: &Trial) -> Result<Value> {
    let witness = witness(trial).display().to_string();
    Ok(serde_json::from_str(&spec.to_string().replace("{{env.WITNESS}}", &witness))?)
}

fn witness(trial: &Trial) -> std::path::PathBuf {
    trial.folder().join("witness")
}

async fn good(trial: &Trial, spec: &Value, version: &str) -> Result<()> {
    let number = trial.deploy(spec, version).await?;
    let view = trial.ended(SERVICE, number, WAIT).await?;
    if view.state != DeploymentState::Completed {
        bail!("{} ended {}: {}", view.id, view.state.name(), view.reasons.join(": "));
    }
    Ok(())
}

/// Deploys a bad version; answers the events of its deployment.
async fn bad(trial: &Trial, spec: &Value, version: &str) -> Result<Vec<EventView>> {
    let number = trial.deploy(spec, version).await?;
    let view = trial.ended(SERVICE, number, WAIT).await?;
    if view.state != DeploymentState::RolledBack {
        bail!("{} ended {}, not rolled back", view.id, view.state.name());
    }
    let (events, _) = trial.events(SERVICE, 0, 0).await?;
    Ok(events.into_iter().filter(|event| event.deployment == Some(number)).collect())
}

fn at(events: &[EventView], kind: &str) -> Result<f64> {
    let found = events.iter().find(|event| event.kind == kind);
    Ok(found.with_context(|| format!("there is no event {kind}"))?.at_ms as f64)
}

/// When the witness log says that something happened to a version first, in milliseconds of the
/// wall clock.
fn witnessed(path: &Path, version: &str, event: &str) -> Result<f64> {
    let text = std::fs::read_to_string(path).context("there is no witness log")?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut of_version = lines.filter(|line| line["version"] == version && line["event"] == event);
    let line = of_version.next().with_context(|| format!("{version} had no {event}"))?;
    let mono = line["mono_ns"].as_i64().context("a line without a time")?;
    Ok((i128::from(mono) + machine::wall_minus_monotonic()) as f64 / 1e6)
}

async fn crashes(bench: &Bench) -> Result<Vec<f64>> {
    let trial = bench.trial("bench").await?;
    let measured = async {
        let listen = free_address()?;
        let rolling = json!("rolling");
        good(&trial, &filled(&spec(&bench.command(&[]), listen, &rolling), &trial)?, "v0").await?;
        let broken =
            filled(&spec(&bench.command(&["--crash-at-start"]), listen, &rolling), &trial)?;
        let mut times = Vec::new();
        for round in 1..=bench.repeats(20) {
            let version = format!("crash{round}");
            let events = bad(&trial, &broken, &version).await?;
            let crashed = witnessed(&witness(&trial), &version, "stop")?;
            times.push(at(&events, "undo_began")? - crashed);
        }
        anyhow::Ok(times)
    };
    let measured = measured.await;
    let ended = end(trial).await;
    let times = measured?;
    ended?;
    Ok(times)
}

async fn failing(bench: &Bench) -> Result<Vec<f64>> {
    let trial = bench.trial("bench").await?;
    let measured = async {
        let listen = free_address()?;
        let rolling = json!("rolling");
        good(&trial, &filled(&spec(&bench.command(&[]), listen, &rolling), &trial)?, "v0").await?;
        let broken = filled(&spec(&bench.command(&["--never-healthy"]), listen, &rolling), &trial)?;
        let mut times = Vec::new();
        for round in 1..=bench.repeats(10) {
            let version = format!("sick{round}");
            let events = bad(&trial, &broken, &version).await?;
            let started = witnessed(&witness(&trial), &version, "start")?;
            times.push(at(&events, "undo_began")? - started);
        }
        anyhow::Ok(times)
    };
    let measured = measured.await;
    let ended = end(trial).await;
    let times = measured?;
    ended?;
    Ok(times)
}

/// A release that becomes unhealthy while it has traffic; how long the way back took, by the
/// events and by what clients saw.
async fn back(bench: &Bench, strategy: &str) -> Result<(Vec<f64>, Vec<f64>)> {
    let trial = bench.trial("bench").await?;
    let measured = async {
        let listen = free_address()?;
        let rolling = json!("rolling");
        good(&trial, &filled(&spec(&bench.command(&[]), listen, &rolling), &trial)?, "v0").await?;
        let sick = bench.command(&["--unhealthy-after=1s"]);
        let strategy = match strategy {
            "canary" => {
                let steps = json!([{"weight": 50}, {"hold": "30s"}]);
                json!({ "canary": { "steps": steps } })
            }
            _ => json!({ "blue_green": { "scale_down_delay": "30s" } }),
        };
        let mut broken = filled(&spec(&sick, listen, &strategy), &trial)?;
        if strategy.get("blue_green").is_some() {
            // Blue-green is complete with the switch; what fails later fails the deployment only
            // while it is not: a slow hook after the switch keeps it open.
            broken["hooks"] = json!({ "after_switch": { "command": ["sleep", "10"] } });
        }
        let (mut routed, mut last) = (Vec::new(), Vec::new());
        for round in 1..=bench.repeats(10) {
            let version = format!("sick{round}");
            let plan = LoadPlan { rate: RATE, ..LoadPlan::to(listen) };
            let load = Load::start(plan)?;
            let events = bad(&trial, &broken, &version).await;
            let report = load.stop().await;
            let events = events?;
            let decided = at(&events, "undo_began")?;
            let after = events.iter().skip_while(|event| event.kind != "undo_began");
            let after: Vec<EventView> = after.cloned().collect();
            routed.push(at(&after, "routed")? - decided);
            last.push(last_sent(&report, &version) - decided);
        }
        anyhow::Ok((routed, last))
    };
    let measured = measured.await;
    let ended = end(trial).await;
    let times = measured?;
    ended?;
    Ok(times)
}

/// When the last request was sent that a version answered, in milliseconds of the wall clock.
fn last_sent(report: &Report, version: &str) -> f64 {
    let of_version = report.answers().filter(|answer| answer.version == Some(version));
    let last = of_version.map(|answer| answer.sent).max().unwrap_or_default();
    let since_start = last.as_nanos() as i128 + i128::from(report.started_mono_ns);
    (since_start + machine::wall_minus_monotonic()) as f64 / 1e6
}
