//! What a rolling update costs: real processes one at a time, and targets on which nothing runs.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rollway::trial::Trial;
use rollway_core::event::DeploymentState;
use serde_json::{Value, json};

use crate::{Bench, end, machine, say};

const SERVICE: &str = "shop";
const WAIT: Duration = Duration::from_secs(300);
/// So many processes, as in the comparison with other tools.
const INSTANCES: u32 = 50;

/// What one update took.
struct Took {
    wall: Duration,
    cpu: Duration,
}

async fn update(trial: &Trial, spec: &Value, version: &str) -> Result<Took> {
    let (began, cpu) = (Instant::now(), machine::cpu(trial.pid()));
    let number = trial.deploy(spec, version).await?;
    let view = trial.ended(SERVICE, number, WAIT).await?;
    let took = Took { wall: began.elapsed(), cpu: machine::cpu(trial.pid()).saturating_sub(cpu) };
    if view.state != DeploymentState::Completed {
        bail!("{} ended {}: {}", view.id, view.state.name(), view.reasons.join(": "));
    }
    Ok(took)
}

/// 50 processes, one at a time; without and with traffic, beside a shell loop.
pub async fn processes(bench: &Bench) -> Result<()> {
    let mut rows = Vec::new();
    let mut facts = json!({ "bench": "rolling", "instances": INSTANCES });
    for traffic in [false, true] {
        let trial = bench.trial("bench").await?;
        let measured = rounds(bench, &trial, traffic).await;
        let ended = end(trial).await;
        let (walls, cpus) = measured?;
        ended?;
        let name = if traffic { "behind the proxy" } else { "without traffic" };
        let cpu = machine::median(&cpus);
        let cpu = format!("{cpu:.2} ms of processor an instance");
        rows.push((name, format!("{}; control plane {cpu}", machine::spread(&walls, "ms"))));
        facts[name] = json!({ "wall_ms": walls, "cpu_ms_each": cpus });
    }
    let loops = shell_loops(bench).await?;
    rows.push(("shell loop", machine::spread(&loops, "ms")));
    facts["shell loop"] = json!({ "wall_ms": loops });
    say::table(&rows, &facts);
    Ok(())
}

async fn rounds(bench: &Bench, trial: &Trial, traffic: bool) -> Result<(Vec<f64>, Vec<f64>)> {
    let listen = rollway::trial::free_address()?;
    let mut spec = json!({
        "service": SERVICE,
        "instances": INSTANCES,
        "run": { "command": bench.command(&[]) },
        "health": [{ "http": { "path": "/healthz" }, "success_threshold": 1 }],
        "update": { "max_surge": 1, "max_parallel": 1, "min_healthy_time": "0s" },
    });
    if traffic {
        spec["traffic"] = json!({ "listen": [listen.to_string()], "drain": "5s" });
    }
    let mut first = spec.clone();
    first["update"] = json!({ "max_surge": "100%" });
    update(trial, &first, "v0").await?;
    let (mut walls, mut cpus) = (Vec::new(), Vec::new());
    for round in 1..=bench.repeats(5) {
        let took = update(trial, &spec, &format!("v{round}")).await?;
        walls.push(took.wall.as_secs_f64() * 1000.0);
        cpus.push(took.cpu.as_secs_f64() * 1000.0 / f64::from(INSTANCES));
    }
    Ok((walls, cpus))
}

/// Stops a process, starts another, asks until it is well, goes on to the next: nothing else.
const SHELL_LOOP: &str = r#"
set -u
shop=$1; n=$2; base=$3
declare -a pids
start() { "$shop" --port $((base + $1)) --version "$2" >/dev/null 2>&1 & pids[$1]=$!; }
well() {
  until { exec 3<>/dev/tcp/127.0.0.1/$((base + $1)); } 2>/dev/null; do sleep 0.001; done
  printf 'GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n' >&3
  read -r line <&3; exec 3<&- 3>&-
  [[ $line == *200* ]]
}
trap 'kill "${pids[@]}" 2>/dev/null; wait' EXIT
for ((i = 0; i < n; i++)); do start $i v1; done
for ((i = 0; i < n; i++)); do well $i; done
began=$(date +%s%N)
for ((i = 0; i < n; i++)); do
  kill "${pids[$i]}"; wait "${pids[$i]}"
  start $i v2
  until well $i; do sleep 0.001; done
done
echo $(( ($(date +%s%N) - began) / 1000 ))
"#;

async fn shell_loops(bench: &Bench) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for _ in 0..bench.repeats(3) {
        // Ports above what the kernel gives out, and below what is reserved.
        let base = 61_000;
        let done = tokio::process::Command::new("bash")
            .args(["-c", SHELL_LOOP, "loop"])
            .arg(&bench.shop)
            .args([INSTANCES.to_string(), base.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        let done = tokio::time::timeout(WAIT, done).await.context("the loop did not end")??;
        let text = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        let micros: f64 = text.parse().with_context(|| format!("the loop said {text:?}"))?;
        times.push(micros / 1000.0);
    }
    Ok(times)
}

/// 100, 1,000 and 10,000 targets that are only recorded, 100 at once.
pub async fn null(bench: &Bench) -> Result<()> {
    let mut rows = Vec::new();
    let mut facts = json!({ "bench": "null" });
    for (name, targets) in [("100 targets", 100), ("1,000", 1_000), ("10,000", 10_000_u32)] {
        let trial = bench.trial("bench").await?;
        let measured = null_rounds(bench, &trial, targets).await;
        let ended = end(trial).await;
        let (each, walls, peak) = measured?;
        ended?;
        let micros = machine::median(&each);
        let wall = machine::median(&walls);
        let megabytes = peak as f64 / 1e6;
        rows.push((
            name,
            format!("{micros:.1} us of processor a target, {wall:.0} ms, peak {megabytes:.0} MB"),
        ));
        facts[targets.to_string()] =
            json!({ "cpu_us_each": each, "wall_ms": walls, "peak_bytes": peak });
    }
    say::table(&rows, &facts);
    Ok(())
}

async fn null_rounds(
    bench: &Bench,
    trial: &Trial,
    targets: u32,
) -> Result<(Vec<f64>, Vec<f64>, u64)> {
    let spec = json!({
        "service": SERVICE,
        "instances": targets,
        "run": { "driver": "null" },
        "update": { "max_surge": 100, "max_parallel": 100, "min_healthy_time": "0s" },
    });
    update(trial, &spec, "v0").await?;
    let (mut each, mut walls) = (Vec::new(), Vec::new());
    for round in 1..=bench.repeats(5) {
        let took = update(trial, &spec, &format!("v{round}")).await?;
        each.push(took.cpu.as_secs_f64() * 1e6 / f64::from(targets));
        walls.push(took.wall.as_secs_f64() * 1000.0);
    }
    Ok((each, walls, machine::resident_peak(trial.pid())))
}
