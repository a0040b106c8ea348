//! kill -9: of the control plane in the middle of a deployment, and of the proxy under load.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rollway::load::{Load, LoadPlan};
use rollway::trial::{Trial, free_address, signal};
use rollway_core::event::DeploymentState;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{Bench, end, machine, say};

const SERVICE: &str = "shop";
const INSTANCES: u32 = 20;
const WAIT: Duration = Duration::from_secs(60);
const RATE: u32 = 1000;

pub async fn run(bench: &Bench) -> Result<()> {
    let mut trial = bench.trial("bench").await?;
    let result = measure(bench, &mut trial).await;
    let ended = end(trial).await;
    result.and(ended)
}

/// What was measured.
#[derive(Default)]
struct Seen {
    answers: Vec<f64>,
    acts: Vec<f64>,
    proxy_gaps: Vec<f64>,
    requests: u64,
    lost: u64,
    lost_with_proxy: u64,
    other_pids: u64,
}

async fn measure(bench: &Bench, trial: &mut Trial) -> Result<()> {
    let listen = free_address()?;
    let spec = json!({
        "service": SERVICE,
        "instances": INSTANCES,
        "run": { "command": bench.command(&["--latency=5ms"]) },
        "health": [{ "http": { "path": "/healthz" } }],
        "update": { "max_surge": 1, "min_healthy_time": "50ms" },
        "traffic": { "listen": [listen.to_string()], "drain": "5s" },
    });
    let mut first = spec.clone();
    first["update"] = json!({ "max_surge": "100%" });
    let number = trial.deploy(&first, "v0").await?;
    completed(trial, number).await?;
    let mut seen = Seen::default();
    for round in 1..=bench.repeats(10) {
        let load = Load::start(LoadPlan { rate: RATE, ..LoadPlan::to(listen) })?;
        kill_control_plane(trial, &spec, &format!("v{round}"), &mut seen).await?;
        let report = load.stop().await;
        seen.requests += report.tally.issued;
        seen.lost += report.tally.failed();
    }
    for _ in 1..=bench.repeats(10) {
        let load = Load::start(LoadPlan { rate: RATE, ..LoadPlan::to(listen) })?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let old = trial.proxy_pid().await.context("no proxy answers")?;
        signal(old, Signal::KILL);
        let until = Instant::now() + WAIT;
        while trial.proxy_pid().await.is_none_or(|pid| pid == old) && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let report = load.stop().await;
        seen.proxy_gaps.push(report.longest_gap().as_secs_f64() * 1000.0);
        seen.lost_with_proxy += report.tally.failed();
    }
    let verified: Value = trial.get("/v1/history/verify").await?;
    print(&seen, &verified);
    Ok(())
}

async fn completed(trial: &Trial, number: u64) -> Result<()> {
    let view = trial.ended(SERVICE, number, WAIT).await?;
    if view.state != DeploymentState::Completed {
        bail!("{} ended {}: {}", view.id, view.state.name(), view.reasons.join(": "));
    }
    Ok(())
}

/// Kills it in the middle of a rolling deployment, and starts it again.
async fn kill_control_plane(
    trial: &mut Trial,
    spec: &Value,
    version: &str,
    seen: &mut Seen,
) -> Result<()> {
    let number = trial.deploy(spec, version).await?;
    let (_, mut last) = trial.events(SERVICE, 0, 0).await?;
    let mut healthy = 0;
    while healthy < INSTANCES / 2 {
        let (events, newest) = trial.events(SERVICE, last, 1000).await?;
        healthy += events.iter().filter(|one| one.kind == "instance_healthy").count() as u32;
        last = newest;
    }
    let before = running(trial).await?;
    trial.kill().await;
    let began = Instant::now();
    trial.serve().await?;
    seen.answers.push(began.elapsed().as_secs_f64() * 1000.0);
    let after = running(trial).await?;
    seen.other_pids += before.difference(&after).count() as u64;
    let act = trial.event(SERVICE, WAIT, |one| {
        one.deployment == Some(number) && one.seq > last && one.kind == "intended"
    });
    act.await?;
    seen.acts.push(began.elapsed().as_secs_f64() * 1000.0);
    completed(trial, number).await
}

/// The processes of the instances that run, are healthy and get traffic.
async fn running(trial: &Trial) -> Result<BTreeSet<String>> {
    let instances = trial.instances(SERVICE).await?;
    let routed = instances.into_iter().filter(|one| one.life == "running" && one.routed);
    Ok(routed.map(|one| format!("{} {}", one.instance, one.incarnation)).collect())
}

fn print(seen: &Seen, verified: &Value) {
    let whole = verified.get("ok").and_then(Value::as_bool).unwrap_or(false);
    let rows = [
        ("control plane: start -> answers", machine::spread(&seen.answers, "ms")),
        ("control plane: start -> acts", machine::spread(&seen.acts, "ms")),
        ("requests lost meanwhile", format!("{} of {}", seen.lost, seen.requests)),
        ("instances with another process", seen.other_pids.to_string()),
        ("history verifies", whole.to_string()),
        ("proxy: longest time without an answer", machine::spread(&seen.proxy_gaps, "ms")),
        ("requests lost with it", format!("{} at {RATE}/s", seen.lost_with_proxy)),
    ];
    let facts = json!({
        "bench": "recover", "answers_ms": seen.answers, "acts_ms": seen.acts,
        "requests": seen.requests, "lost": seen.lost, "other_pids": seen.other_pids,
        "verified": whole, "proxy_gap_ms": seen.proxy_gaps,
        "lost_with_proxy": seen.lost_with_proxy,
    });
    say::table(&rows, &facts);
}
