//! What the proxy tells of itself: counts and latencies for analysis, and its own health.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;

use super::control::Control;
use super::endpoint::Kind;
use super::service::Service;
use super::stats::{Counts, FORMULA, bucket_start};

/// Everything that is counted.
#[derive(Debug, Serialize)]
pub struct Report {
    /// By service.
    pub services: BTreeMap<String, ServiceReport>,
    /// Requests that belonged to no service, or made no sense.
    pub unrouted: BTreeMap<String, u64>,
    /// How the latency's indices are read.
    pub latency_formula: &'static str,
}

/// The counts of a service.
#[derive(Debug, Serialize)]
pub struct ServiceReport {
    /// By release.
    pub releases: BTreeMap<u64, ReleaseReport>,
    /// What failed before a release was chosen.
    pub faults: BTreeMap<String, u64>,
    /// How often the table was changed.
    pub switches: u64,
    /// Requests that are held at the moment.
    pub held: u64,
}

/// The counts of a release.
#[derive(Debug, Serialize)]
pub struct ReleaseReport {
    /// The user's name for it.
    pub version: String,
    /// What it has to do at the moment.
    pub in_flight: u64,
    /// What it did.
    #[serde(flatten)]
    pub counts: Counts,
}

/// How the process is.
#[derive(Debug, Serialize)]
pub struct Health {
    /// Its number.
    pub pid: u32,
    /// How long it runs.
    pub uptime_ms: u64,
    /// How many threads serve.
    pub workers: usize,
    /// Memory in use, in bytes.
    pub rss_bytes: u64,
    /// Client connections.
    pub connections: usize,
    /// Connections refused because there were too many.
    pub connections_refused: u64,
    /// Lines that the access log could not take.
    pub access_log_dropped: u64,
    /// The addresses that are listened on.
    pub listen: Vec<String>,
    /// The process that handed over still finishes what it had begun.
    pub predecessor: bool,
    /// What must not be missed.
    pub alarms: Vec<String>,
}

/// All counts.
pub fn report(control: &Control) -> Report {
    let services = control.services();
    let services = services.iter().map(|one| (one.name.clone(), service_report(one))).collect();
    let unrouted = control.shared.stats.counts().faults;
    Report { services, unrouted, latency_formula: FORMULA }
}

/// The counts of one service.
pub fn report_of(control: &Control, service: &str) -> Report {
    let service = control.service(service);
    let services = service.iter().map(|one| (one.name.clone(), service_report(one))).collect();
    Report { services, unrouted: BTreeMap::new(), latency_formula: FORMULA }
}

fn service_report(service: &Service) -> ServiceReport {
    let mut in_flight: BTreeMap<u64, u64> = BTreeMap::new();
    for endpoint in service.endpoints() {
        *in_flight.entry(endpoint.release).or_default() +=
            endpoint.in_flight(Kind::Request) + endpoint.in_flight(Kind::Stream);
    }
    let release =
        |(release, version, stats): (u64, String, std::sync::Arc<super::stats::Stats>)| {
            let in_flight = in_flight.get(&release).copied().unwrap_or(0);
            (release, ReleaseReport { version, in_flight, counts: stats.counts() })
        };
    ServiceReport {
        releases: service.releases().into_iter().map(release).collect(),
        faults: service.stats.counts().faults,
        switches: service.switches.load(Relaxed),
        held: service.held.load(Relaxed),
    }
}

/// How the process is.
pub fn health(control: &Control, predecessor: bool) -> Health {
    let shared = &control.shared;
    let uptime = shared.started.elapsed().as_millis();
    let log = shared.access_log.as_ref();
    Health {
        pid: std::process::id(),
        uptime_ms: u64::try_from(uptime).unwrap_or(u64::MAX),
        workers: shared.workers,
        rss_bytes: rss_bytes().unwrap_or(0),
        connections: shared.connections.load(Relaxed),
        connections_refused: shared.refused.load(Relaxed),
        access_log_dropped: log.map_or(0, |log| log.dropped.load(Relaxed)),
        listen: control.listeners().iter().map(|one| one.address.to_string()).collect(),
        predecessor,
        alarms: shared.alarms(),
    }
}

fn rss_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// The same as Prometheus reads it.
pub fn prometheus(report: &Report) -> String {
    let mut text = String::new();
    let mut out = |line: std::fmt::Arguments<'_>| {
        text.write_fmt(line).expect("writing to a string does not fail");
        text.push('\n');
    };
    out(format_args!("# TYPE rollway_proxy_requests_total counter"));
    each(report, |labels, release| {
        for (class, count) in &release.counts.classes {
            out(format_args!("rollway_proxy_requests_total{{{labels},class=\"{class}\"}} {count}"));
        }
    });
    out(format_args!("# TYPE rollway_proxy_faults_total counter"));
    each(report, |labels, release| {
        for (kind, count) in &release.counts.faults {
            out(format_args!("rollway_proxy_faults_total{{{labels},kind=\"{kind}\"}} {count}"));
        }
    });
    out(format_args!("# TYPE rollway_proxy_failed_total counter"));
    each(report, |labels, release| {
        out(format_args!("rollway_proxy_failed_total{{{labels}}} {}", release.counts.failed));
    });
    out(format_args!("# TYPE rollway_proxy_retries_total counter"));
    each(report, |labels, release| {
        let count = release.counts.retried;
        out(format_args!("rollway_proxy_retries_total{{{labels}}} {count}"));
    });
    out(format_args!("# TYPE rollway_proxy_in_flight gauge"));
    each(report, |labels, release| {
        out(format_args!("rollway_proxy_in_flight{{{labels}}} {}", release.in_flight));
    });
    out(format_args!("# TYPE rollway_proxy_latency_seconds histogram"));
    each(report, |labels, release| {
        let name = "rollway_proxy_latency_seconds";
        let counts = &release.counts;
        let mut sum = 0;
        for (index, count) in &counts.latency {
            sum += count;
            let upper = seconds(bucket_start(index + 1));
            out(format_args!("{name}_bucket{{{labels},le=\"{upper}\"}} {sum}"));
        }
        out(format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {sum}"));
        out(format_args!("{name}_sum{{{labels}}} {}", seconds(counts.latency_microseconds)));
        out(format_args!("{name}_count{{{labels}}} {sum}"));
    });
    out(format_args!("# TYPE rollway_proxy_switches_total counter"));
    for (service, counts) in &report.services {
        let count = counts.switches;
        out(format_args!("rollway_proxy_switches_total{{service=\"{service}\"}} {count}"));
    }
    text
}

fn each(report: &Report, mut line: impl FnMut(&str, &ReleaseReport)) {
    for (service, counts) in &report.services {
        for (number, release) in &counts.releases {
            // A version has no characters that would need escaping, but it comes from outside.
            let version = release.version.replace(['"', '\\', '\n'], "_");
            let labels =
                format!("service=\"{service}\",release=\"{number}\",version=\"{version}\"");
            line(&labels, release);
        }
    }
}

fn seconds(microseconds: u64) -> String {
    format!("{}.{:06}", microseconds / 1_000_000, microseconds % 1_000_000)
}
