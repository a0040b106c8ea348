//! Health checks by the probes that deployments use.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rollway::os::run::{Job, run_apart};
use rollway::probe::url::{Question, ask};
use rollway::probe::{Subject, disk, memory};
use rollway_core::spec::{Check, Probe, TcpCheck};
use rollway_core::units::Millis;

use crate::Failed;
use crate::runtime::wait;

/// So much of a command's output is looked at.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

fn duration(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| PyValueError::new_err("timeout: expected a number of seconds above 0"))
}

fn milliseconds(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1000.0
}

/// Status and body, or why there is no answer; and the milliseconds that it took.
type Fetched = (Option<u16>, Vec<u8>, String, f64);

/// Asks a URL once.
#[pyfunction]
pub fn http_check(
    py: Python<'_>,
    url: String,
    method: String,
    headers: Vec<(String, String)>,
    limits: (u16, f64),
) -> PyResult<Fetched> {
    let (expected, timeout) = limits;
    let question = Question { url, method, headers, expected, longest: duration(timeout)? };
    wait(py, async move {
        let began = Instant::now();
        match ask(&question).await {
            Ok(answer) => (Some(answer.status), answer.body, String::new(), milliseconds(began)),
            Err(why) => (None, Vec::new(), why, milliseconds(began)),
        }
    })
}

/// Whether a port is open, why not, and the milliseconds that it took.
#[pyfunction]
pub fn tcp_check(
    py: Python<'_>,
    host: String,
    port: u16,
    timeout: f64,
) -> PyResult<(bool, String, f64)> {
    let limit = duration(timeout)?;
    wait(py, async move {
        let began = Instant::now();
        let found = tokio::time::timeout(limit, reach(&host, port, limit)).await;
        let (open, why) = found.unwrap_or_else(|_| (false, format!("no answer within {limit:?}")));
        (open, why, milliseconds(began))
    })
}

async fn reach(host: &str, port: u16, limit: Duration) -> (bool, String) {
    let addresses = match tokio::net::lookup_host((host, port)).await {
        Ok(addresses) => addresses,
        Err(error) => return (false, format!("could not look up {host:?}: {error}")),
    };
    let mut why = format!("{host:?} has no address");
    let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
    let probe = Probe {
        name: None,
        check: Check::Tcp(TcpCheck::default()),
        interval: Millis::seconds(1),
        timeout: Millis(millis),
        success_threshold: 1,
        failure_threshold: 1,
        start_period: Millis::ZERO,
    };
    let (env, working_folder) = (BTreeMap::new(), PathBuf::from("/"));
    for address in addresses {
        let subject =
            Subject { address: Some(address), env: &env, working_folder: &working_folder };
        let verdict = rollway::probe::check(&probe, &subject).await;
        if verdict.ok {
            return (true, verdict.reason);
        }
        why = verdict.reason;
    }
    (false, why)
}

/// Exit code, whether its time was over, both outputs, and the milliseconds that it took.
type Ended = (Option<i32>, bool, Vec<u8>, Vec<u8>, f64);

/// Runs a command to its end.
#[pyfunction]
pub fn command_check(py: Python<'_>, argv: Vec<String>, timeout: f64) -> PyResult<Ended> {
    let readable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let job = Job {
        argv,
        env: std::env::vars_os().filter_map(readable).collect(),
        working_folder: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
        longest: duration(timeout)?,
        output_bytes_max: OUTPUT_BYTES_MAX,
    };
    let ran = wait(py, async move {
        let began = Instant::now();
        run_apart(job).await.map(|(ran, errors)| (ran, errors, milliseconds(began)))
    })?;
    let (ran, errors, took) = ran.map_err(|error| Failed::new_err(error.to_string()))?;
    // As a shell tells it: 128 and the number of the signal.
    let code = ran.code.or_else(|| ran.signal.map(|signal| -signal));
    Ok((code, ran.timed_out, ran.output, errors, took))
}

/// Available and all memory, in bytes.
#[pyfunction]
pub fn memory_figures() -> PyResult<(u64, u64)> {
    let memory::Figures { available, total } = memory::figures().map_err(Failed::new_err)?;
    Ok((available, total))
}

/// Free, used and all room of the file system that holds a path, in bytes.
#[pyfunction]
pub fn disk_figures(py: Python<'_>, path: PathBuf, timeout: f64) -> PyResult<(u64, u64, u64)> {
    let limit = duration(timeout)?;
    let found = wait(py, async move {
        // A file system that does not answer holds up a thread of its own, and not us.
        let looking = tokio::task::spawn_blocking(move || disk::figures(&path));
        match tokio::time::timeout(limit, looking).await {
            Ok(Ok(figures)) => figures,
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {limit:?}")),
        }
    })?;
    let disk::Figures { free, used, total } = found.map_err(Failed::new_err)?;
    Ok((free, used, total))
}
