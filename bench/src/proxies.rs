//! Our proxy beside nginx and HAProxy, and what control plane and proxy need when idle.
//!
//! Each proxy has one thread on processor 0; the backend (nginx, a fixed answer) and the
//! generators share processor 1. HTTP/1.1, kept connections on both sides, no access log; ours
//! routes and counts as always.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use http::{Method, StatusCode};
use rollway::load::{Load, LoadPlan, Mix};
use rollway::trial::free_address;
use rollway::unix_http;
use rollway_core::event::DeploymentState;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::{Bench, end, machine, say};

const CONNECTIONS: usize = 64;
/// One saturated run, in seconds.
const SATURATED_SECONDS: u64 = 5;
/// One run at half of that.
const HALF: Duration = Duration::from_secs(4);
const START_WAIT: Duration = Duration::from_secs(5);
const PROXY_CPU: &str = "0";
const OTHER_CPU: &str = "1";

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("rollway-bench-proxy-{}", std::process::id()));
        rollway::store::prepare_folder(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is in the temporary folder, and small.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One run of one proxy.
struct Run {
    per_second: f64,
    cpu_us: f64,
    cores: f64,
    p50_us: f64,
    p99_us: f64,
    half_cpu_us: f64,
    resident: u64,
}

/// nginx, HAProxy and ours in turn.
pub async fn compare(bench: &Bench) -> Result<()> {
    let folder = Folder::new()?;
    let (backend_at, listen) = (free_address()?, free_address()?);
    write(&folder.0, "backend.conf", &nginx_backend(&folder.0, backend_at))?;
    let arguments = nginx_arguments(&folder.0, "backend.conf");
    let mut backend = start(OTHER_CPU, "nginx", &arguments, backend_at).await?;
    let names = ["nginx", "haproxy", "rollway"];
    let mut runs: Vec<Vec<Run>> = names.iter().map(|_| Vec::new()).collect();
    let mut outcome = Ok(());
    'rounds: for _ in 0..bench.repeats(5) {
        for (index, name) in names.iter().enumerate() {
            match one(bench, &folder.0, (name, listen, backend_at)).await {
                Ok(run) => runs[index].push(run),
                Err(error) => {
                    outcome = Err(error.context((*name).to_owned()));
                    break 'rounds;
                }
            }
        }
    }
    // It is ours, and it has nothing to lose.
    let _ = backend.kill().await;
    outcome?;
    print(&names, &runs);
    Ok(())
}

async fn one(
    bench: &Bench,
    folder: &Path,
    (name, listen, backend): (&str, SocketAddr, SocketAddr),
) -> Result<Run> {
    let mut child = match name {
        "nginx" => {
            write(folder, "proxy.conf", &nginx_proxy(folder, listen, backend))?;
            start(PROXY_CPU, "nginx", &nginx_arguments(folder, "proxy.conf"), listen).await?
        }
        "haproxy" => {
            write(folder, "haproxy.cfg", &haproxy(listen, backend))?;
            let config = folder.join("haproxy.cfg").display().to_string();
            let arguments = ["-db", "-q", "-f", &config].map(str::to_owned);
            start(PROXY_CPU, "haproxy", &arguments, listen).await?
        }
        _ => ours(bench, folder, listen, backend).await?,
    };
    let measured = load(&child, listen).await;
    // Ended here, whatever came of it.
    let _ = child.kill().await;
    measured
}

async fn load(child: &Child, listen: SocketAddr) -> Result<Run> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).context("it has ended")?;
    wrk(listen, 1).await?;
    let (began, before) = (Instant::now(), machine::cpu(pid));
    let requests = wrk(listen, SATURATED_SECONDS).await?;
    let (cpu, wall) = (machine::cpu(pid).saturating_sub(before), began.elapsed());
    let per_second = requests / SATURATED_SECONDS as f64;
    let plan = LoadPlan {
        rate: (per_second / 2.0) as u32,
        duration: Some(HALF),
        connections: Mix { keep_alive: CONNECTIONS, fresh_share: 0.0 },
        cpu: Some(1),
        ..LoadPlan::to(listen)
    };
    let before = machine::cpu(pid);
    let report = Load::start(plan)?.finish().await;
    let half_cpu = machine::cpu(pid).saturating_sub(before);
    let summary = report.summary();
    if summary.failed > 0 {
        bail!("{} of {} requests failed", summary.failed, summary.requests);
    }
    Ok(Run {
        per_second,
        cpu_us: cpu.as_secs_f64() * 1e6 / requests,
        cores: cpu.as_secs_f64() / wall.as_secs_f64(),
        p50_us: summary.latency.p50_us as f64,
        p99_us: summary.latency.p99_us as f64,
        half_cpu_us: half_cpu.as_secs_f64() * 1e6 / summary.requests as f64,
        resident: machine::resident(pid),
    })
}

/// Closed loop on all connections; answers how many requests were done.
async fn wrk(target: SocketAddr, seconds: u64) -> Result<f64> {
    let done = Command::new("taskset")
        .args(["-c", OTHER_CPU, "wrk", "-t1"])
        .arg(format!("-c{CONNECTIONS}"))
        .arg(format!("-d{seconds}s"))
        .arg(format!("http://{target}/"))
        .kill_on_drop(true)
        .output()
        .await
        .context("could not run wrk; `apt-get install wrk` has it")?;
    let text = String::from_utf8_lossy(&done.stdout);
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        bail!("wrk had failures: {text}");
    }
    let requests = text.lines().find_map(|line| line.split_once(" requests in "));
    let (requests, _) = requests.with_context(|| format!("wrk said {text:?}"))?;
    requests.trim().parse().with_context(|| format!("wrk said {text:?}"))
}

async fn start(cpu: &str, program: &str, arguments: &[String], at: SocketAddr) -> Result<Child> {
    let mut child = Command::new("taskset")
        .args(["-c", cpu, program])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("could not start {program}; is it installed?"))?;
    let until = Instant::now() + START_WAIT;
    while tokio::net::TcpStream::connect(at).await.is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("{program} ended at once: {status}");
        }
        if Instant::now() > until {
            bail!("{program} did not listen on {at}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(child)
}

async fn ours(
    bench: &Bench,
    folder: &Path,
    listen: SocketAddr,
    backend: SocketAddr,
) -> Result<Child> {
    let state = folder.join("ours");
    // Of the round before.
    let _ = std::fs::remove_dir_all(&state);
    rollway::store::prepare_folder(&state)?;
    let child = Command::new("taskset")
        .args(["-c", PROXY_CPU])
        .arg(&bench.rollway)
        .args(["proxy", "--workers", "1", "--state-dir"])
        .arg(&state)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let table = json!({
        "service": "bench", "generation": 1, "revision": 1, "listen": [listen.to_string()],
        "arms": [{
            "release": 1, "version": "v1", "weight": 100,
            "members": [{ "instance": "r1-0", "address": backend.to_string() }],
        }],
    });
    let until = Instant::now() + START_WAIT;
    loop {
        let socket = (state.as_path(), rollway::traffic::embedded::SOCKET);
        let body = table.to_string().into_bytes();
        match unix_http::request(socket, Method::PUT, "/v1/services/bench", body).await {
            Ok((StatusCode::OK, _)) => return Ok(child),
            Ok((status, body)) => bail!("refused: {status} {}", String::from_utf8_lossy(&body)),
            Err(failure) if Instant::now() > until => bail!("{}", failure.chain()),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    std::fs::write(folder.join(name), text).with_context(|| format!("could not write {name}"))
}

fn nginx_arguments(folder: &Path, config: &str) -> [String; 4] {
    let (folder, config) = (folder.display().to_string(), folder.join(config));
    ["-p".to_owned(), folder, "-c".to_owned(), config.display().to_string()]
}

/// What both uses of nginx share: one process, nothing outside of the folder.
fn nginx(folder: &Path, name: &str, http: &str) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process off; worker_processes 1; pid {folder}/{name}.pid;\n\
         error_log {folder}/{name}.log crit;\nevents {{ worker_connections 4096; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; tcp_nodelay on;\n\
         client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxied;\n\
         fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n\
         {http} }}\n"
    )
}

fn nginx_backend(folder: &Path, listen: SocketAddr) -> String {
    let server = format!("server {{ listen {listen}; location / {{ return 200 \"ok\\n\"; }} }}");
    nginx(folder, "backend", &server)
}

fn nginx_proxy(folder: &Path, listen: SocketAddr, backend: SocketAddr) -> String {
    let server = format!(
        "upstream backend {{ server {backend}; keepalive 128; keepalive_requests 1000000000; }}\n\
         server {{ listen {listen}; location / {{ proxy_pass http://backend;\n\
         proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }}"
    );
    nginx(folder, "proxy", &server)
}

fn haproxy(listen: SocketAddr, backend: SocketAddr) -> String {
    format!(
        "global\n  nbthread 1\n  maxconn 4096\ndefaults\n  mode http\n  http-reuse always\n  \
         timeout client 60s\n  timeout server 60s\n  timeout connect 5s\n\
         frontend front\n  bind {listen}\n  default_backend back\n\
         backend back\n  server one {backend}\n"
    )
}

fn print(names: &[&str], runs: &[Vec<Run>]) {
    let of = |runs: &[Run], read: &dyn Fn(&Run) -> f64| {
        machine::median(&runs.iter().map(read).collect::<Vec<f64>>())
    };
    let cpu: Vec<f64> = runs.iter().map(|runs| of(runs, &|run| run.cpu_us)).collect();
    let p99: Vec<f64> = runs.iter().map(|runs| of(runs, &|run| run.p99_us)).collect();
    let best = |values: &[f64]| values.iter().take(2).copied().fold(f64::INFINITY, f64::min);
    let mut rows = Vec::new();
    let mut facts = json!({ "bench": "proxy", "rounds": runs[0].len() });
    for (index, (name, runs)) in names.iter().zip(runs).enumerate() {
        let all: Vec<f64> = runs.iter().map(|run| run.cpu_us).collect();
        rows.push((
            *name,
            format!(
                "{:.1} us of processor a request [{:.1} to {:.1}], {:.0} requests/s of {:.2} \
                 cores; at half: p50 {:.0} us, p99 {:.0} us, {:.1} us of processor; {:.0} MB",
                cpu[index],
                machine::quantile(&all, 0.0),
                machine::quantile(&all, 1.0),
                of(runs, &|run| run.per_second),
                of(runs, &|run| run.cores),
                of(runs, &|run| run.p50_us),
                p99[index],
                of(runs, &|run| run.half_cpu_us),
                of(runs, &|run| run.resident as f64) / 1e6,
            ),
        ));
        facts[*name] = json!({
            "cpu_us": all, "per_second": of(runs, &|run| run.per_second),
            "p50_us": of(runs, &|run| run.p50_us), "p99_us": p99[index],
            "half_cpu_us": of(runs, &|run| run.half_cpu_us),
        });
    }
    let (by_cpu, by_p99) = (cpu[2] / best(&cpu), p99[2] / best(&p99));
    rows.push(("ours to the better", format!("processor x {by_cpu:.2}, p99 x {by_p99:.2}")));
    facts["cpu_ratio"] = json!(by_cpu);
    facts["p99_ratio"] = json!(by_p99);
    say::table(&rows, &facts);
}

/// The memory of a control plane and a proxy that serve one small service without requests.
pub async fn idle(bench: &Bench) -> Result<()> {
    let trial = bench.trial("bench").await?;
    let measured = async {
        let fresh = machine::resident(trial.pid());
        let spec: Value = json!({
            "service": "shop", "instances": 2,
            "run": { "command": bench.command(&[]) },
            "health": [{ "http": { "path": "/healthz" } }],
            "traffic": { "listen": [free_address()?.to_string()] },
        });
        let number = trial.deploy(&spec, "v1").await?;
        let view = trial.ended("shop", number, START_WAIT).await?;
        if view.state != DeploymentState::Completed {
            bail!("it ended {}: {}", view.state.name(), view.reasons.join(": "));
        }
        // Let it come to rest, then look at what it does when nobody asks for anything.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let proxy = trial.proxy_pid().await.context("no proxy answers")?;
        let before = (machine::cpu(trial.pid()), machine::cpu(proxy));
        tokio::time::sleep(START_WAIT).await;
        let share = |now: Duration, before: Duration| {
            100.0 * now.saturating_sub(before).as_secs_f64() / START_WAIT.as_secs_f64()
        };
        let plane_share = share(machine::cpu(trial.pid()), before.0);
        let proxy_share = share(machine::cpu(proxy), before.1);
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let plane = megabytes(machine::resident(trial.pid()));
        let proxy = megabytes(machine::resident(proxy));
        let rows = [
            ("control plane, fresh", format!("{:.1} MB", megabytes(fresh))),
            ("control plane, 2 instances", format!("{plane:.1} MB, {plane_share:.2} % of a core")),
            ("proxy, 1 service", format!("{proxy:.1} MB, {proxy_share:.2} % of a core")),
        ];
        let facts = json!({
            "bench": "idle", "control_plane_mb": plane, "proxy_mb": proxy,
            "control_plane_fresh_mb": megabytes(fresh),
            "control_plane_cpu_percent": plane_share, "proxy_cpu_percent": proxy_share,
        });
        say::table(&rows, &facts);
        anyhow::Ok(())
    };
    let measured = measured.await;
    let ended = end(trial).await;
    measured.and(ended)
}
