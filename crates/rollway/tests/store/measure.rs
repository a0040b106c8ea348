//! How fast and how dear a step is; printed, and only when slow tests are asked for.

#![expect(clippy::print_stderr, reason = "its figures are what it is for")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use rollway::store::Store;
use serde_json::json;

use crate::support::*;

/// A usual step: two events, the engine's state, the deployment.
fn usual(name: &str, seq: u64) -> rollway::store::Batch {
    let mut batch = step(name, seq, &["instance_started", "instance_healthy"]);
    batch.put_state = Some(json!({ "stage": 2, "since": seq, "slots": [1, 2, 3] }));
    batch.put_deployment = Some(deployment(1, "in_progress", true));
    batch
}

fn cpu() -> Duration {
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(usage.tv_sec).expect("a small number"),
        u32::try_from(usage.tv_nsec).expect("a small number"),
    )
}

async fn one_after_the_other(store: &Store, count: u64) {
    let mut times = Vec::new();
    let (begun, used) = (Instant::now(), cpu());
    let mut seq = 0;
    for _ in 0..count {
        let start = Instant::now();
        seq = commit(store, usual("shop", seq)).await.last_seq;
        times.push(start.elapsed());
    }
    let used = (cpu() - used).as_secs_f64() * 1000.0 / times.len() as f64;
    let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
    times.sort();
    let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    eprintln!("sequential: {rate:.0}/s, p50 {p50:?}, p99 {p99:?}, {used:.3} ms CPU each");
}

async fn side_by_side(store: &Arc<Store>, services: u64, count: u64) {
    let (begun, used) = (Instant::now(), cpu());
    let tasks: Vec<_> = (0..services)
        .map(|number| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let name = format!("service-{number}");
                let mut seq = 0;
                for _ in 0..count {
                    seq = commit(&store, usual(&name, seq)).await.last_seq;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a task");
    }
    let total = (services * count) as f64;
    let rate = total / begun.elapsed().as_secs_f64();
    let used = (cpu() - used).as_secs_f64() * 1000.0 / total;
    eprintln!("{services} services: {rate:.0}/s, {used:.3} ms CPU each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_per_second() {
    if std::env::var_os("RUN_SLOW_TESTS").is_none() {
        return;
    }
    let folder = folder();
    let store = Arc::new(open(folder.path()).await);
    let count = 5000;
    one_after_the_other(&store, count).await;
    side_by_side(&store, 16, count / 16).await;
    let start = Instant::now();
    assert!(store.verify().await.expect("verify").is_whole());
    eprintln!("verify of {} events: {:?}", 4 * count, start.elapsed());
    let store = Arc::into_inner(store).expect("the tasks have ended");
    store.close().await;
    let start = Instant::now();
    let store = open(folder.path()).await;
    let size = std::fs::metadata(folder.path().join("rollway.db")).expect("there").len() >> 20;
    eprintln!("opening {size} MiB: {:?}", start.elapsed());
    store.services().await.expect("services");
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let memory = status.lines().find(|line| line.starts_with("VmRSS"));
    eprintln!("{}", memory.unwrap_or_default());
}
