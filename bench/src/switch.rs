//! 40 switches under load: blue-green and canary steps, the old instances gone at once.
//!
//! As soon as the command that makes the last switch of a deployment has returned, the old
//! instances get SIGTERM from here, as from a tool that trusts the return; the shop finishes what
//! it has in flight, and takes nothing new.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rollway::load::{Load, LoadPlan, Mix, Report};
use rollway::trial::{Trial, free_address, signal};
use rollway_core::event::DeploymentState;
use rollway_core::view::VerbArgs;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{Bench, end, machine, say};

const SERVICE: &str = "shop";
const RATE: u32 = 2000;
/// Each round is a blue-green deployment of one switch and a canary of two.
const ROUNDS: usize = 14;
/// Between two deployments, so that 40 switches come to 200,000 requests.
const PAUSE: Duration = Duration::from_millis(3500);
const WAIT: Duration = Duration::from_secs(30);

/// One switch.
struct Switch {
    old: String,
    called: Instant,
    returned: Instant,
    /// Whether the new release has all the traffic from then on.
    whole: bool,
}

pub async fn run(bench: &Bench) -> Result<()> {
    let trial = bench.trial("bench").await?;
    let result = measure(bench, &trial).await;
    let ended = end(trial).await;
    result.and(ended)
}

async fn measure(bench: &Bench, trial: &Trial) -> Result<()> {
    let listen = free_address()?;
    let first = trial.deploy(&spec(bench, listen, json!("rolling")), "v0").await?;
    completed(trial, first).await?;
    let load = Load::start(LoadPlan {
        rate: RATE,
        connections: Mix { keep_alive: 64, fresh_share: 0.5 },
        ..LoadPlan::to(listen)
    })?;
    let mut switches = Vec::new();
    let blue_green = json!({"blue_green": {"auto_promote": false, "scale_down_delay": "0s"}});
    // At 75 % both instances of the new release run: what is promoted is a switch, and no start.
    let steps = json!([{"weight": 75}, {"approve": "step"}]);
    let canary = json!({"canary": {"steps": steps}});
    let mut old = "v0".to_owned();
    for number in 0..2 * bench.repeats(ROUNDS) {
        tokio::time::sleep(PAUSE).await;
        let version = format!("v{}", number + 1);
        let strategy = if number % 2 == 0 { &blue_green } else { &canary };
        let spec = spec(bench, listen, strategy.clone());
        switches.extend(one(trial, &spec, (&old, &version)).await?);
        say::note(&format!("{version}: {} switches so far", switches.len()));
        old = version;
    }
    tokio::time::sleep(PAUSE).await;
    print(&switches, &load.stop().await)
}

fn spec(bench: &Bench, listen: std::net::SocketAddr, strategy: Value) -> Value {
    json!({
        "service": SERVICE,
        "instances": 2,
        "run": { "command": bench.command(&["--latency=20ms"]), "restart": {"policy": "never"} },
        "health": [{ "http": { "path": "/healthz" } }],
        "strategy": strategy,
        "traffic": { "listen": [listen.to_string()], "drain": "5s" },
    })
}

async fn completed(trial: &Trial, number: u64) -> Result<()> {
    let view = trial.ended(SERVICE, number, WAIT).await?;
    if view.state != DeploymentState::Completed {
        bail!("{} ended {}: {}", view.id, view.state.name(), view.reasons.join(": "));
    }
    Ok(())
}

/// Deploys one version and promotes it; answers the switches.
async fn one(trial: &Trial, spec: &Value, (old, new): (&str, &str)) -> Result<Vec<Switch>> {
    let before = trial.instances(SERVICE).await?;
    let pids = before.iter().filter_map(|one| one.incarnation.split(':').next()?.parse().ok());
    let pids: Vec<i32> = pids.collect();
    let number = trial.deploy(spec, new).await?;
    let mut switches = Vec::new();
    // The canary's first step goes by itself; its approval is a switch to all.
    let until = Instant::now() + WAIT;
    let promote = VerbArgs { wait: true, ..VerbArgs::default() };
    loop {
        let called = Instant::now();
        // Refused until the gate is reached, which is what is waited for.
        let answered = trial.verb(SERVICE, "promote", &promote).await;
        let returned = Instant::now();
        if answered.is_ok() {
            // The old ones go at once, whatever the control plane does with them.
            pids.iter().for_each(|pid| signal(*pid, Signal::TERM));
            switches.push(Switch { old: old.to_owned(), called, returned, whole: true });
            break;
        }
        if returned > until {
            answered.context("the gate did not open")?;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    completed(trial, number).await?;
    if spec["strategy"].get("canary").is_some() {
        // The step to 75 % was made by the deployment itself, with no command to time.
        let called = switches[0].called;
        switches.insert(0, Switch { old: old.to_owned(), called, returned: called, whole: false });
    }
    Ok(switches)
}

fn print(switches: &[Switch], report: &Report) -> Result<()> {
    let commands: Vec<&Switch> = switches.iter().filter(|switch| switch.whole).collect();
    let times: Vec<f64> = commands
        .iter()
        .map(|one| one.returned.duration_since(one.called).as_secs_f64() * 1000.0)
        .collect();
    let stale: u64 = commands.iter().map(|one| report.answers_of(&one.old, one.returned)).sum();
    let summary = report.summary();
    let closed = summary.kept_closed_idle;
    let (median, p99) = (machine::median(&times), machine::quantile(&times, 0.99));
    let rows = [
        ("switches", format!("{}, {} by command", switches.len(), commands.len())),
        ("requests", format!("{} at {RATE}/s, half on fresh connections", summary.requests)),
        ("failed", summary.failed.to_string()),
        ("answered by old after return", stale.to_string()),
        ("client connections closed by us", closed.to_string()),
        ("switch through the API", format!("median {median:.2} ms, p99 {p99:.2} ms")),
        (
            "latency",
            format!(
                "p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms (the shop takes 20 ms)",
                summary.latency.p50_us as f64 / 1e3,
                summary.latency.p99_us as f64 / 1e3,
                summary.latency.max_us as f64 / 1e3
            ),
        ),
        ("generator late by", format!("{:.2} ms (p99)", summary.lateness_p99_us as f64 / 1e3)),
    ];
    let facts = json!({
        "bench": "switch", "switches": switches.len(), "commands": commands.len(),
        "requests": summary.requests, "failed": summary.failed, "outcomes": summary.outcomes,
        "old_after_return": stale, "closed_by_us": closed, "times_ms": times,
        "switch_ms_median": median, "switch_ms_p99": p99, "latency": summary.latency,
    });
    say::table(&rows, &facts);
    for failure in report.failures.iter().take(5) {
        let at = failure.at_us as f64 / 1e6;
        say::line(&format!("  failed at {at:.3} s: {} ({})", failure.why, failure.outcome));
    }
    Ok(())
}
