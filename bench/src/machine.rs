//! The machine that is measured on, and what processes cost on it.

use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::say;

/// Prints what the figures are from.
pub fn print() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let information = read("/proc/cpuinfo");
    let model = information.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("", |text| text.trim_start_matches([' ', '\t', ':']));
    say::line(&format!("machine: {cores} cores, {model}, Linux {}", kernel.trim()));
}

/// How busy the machine has been in the last minute.
pub fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// The processor time of all threads of a process, to the nanosecond; that of threads which have
/// ended comes in clock ticks.
pub fn cpu(pid: i32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let exact: u64 = tasks
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|task| on_cpu(&task.path().join("schedstat")))
        .sum();
    let coarse = ticks(pid).unwrap_or(0) * 1_000_000_000 / ticks_per_second();
    // Where threads have ended, the whole process has the larger number, though a coarse one.
    let tick = 1_000_000_000 / ticks_per_second();
    Duration::from_nanos(if coarse > exact + 2 * tick { coarse } else { exact })
}

fn on_cpu(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.split(' ').next()?.parse().ok()
}

fn ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second()
}

/// User and system time in clock ticks.
fn ticks(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

/// Memory in use, in bytes.
pub fn resident(pid: i32) -> u64 {
    status(pid, "VmRSS:")
}

/// The most memory that was ever in use, in bytes.
pub fn resident_peak(pid: i32) -> u64 {
    status(pid, "VmHWM:")
}

fn status(pid: i32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let kilobytes = line.split_whitespace().next().and_then(|text| text.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// How far the wall clock is ahead of the monotonic one, in nanoseconds.
pub fn wall_minus_monotonic() -> i128 {
    let read = |clock| {
        let now = clock_gettime(clock);
        i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)
    };
    read(ClockId::Realtime) - read(ClockId::Monotonic)
}

/// The value in the middle; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value that so large a share is not above; 0 of none.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let place = (last as f64 * share).ceil() as usize;
    sorted.get(place.min(last)).copied().unwrap_or(0.0)
}

/// The middle, and the range, in words.
pub fn spread(values: &[f64], unit: &str) -> String {
    let (low, high) = (quantile(values, 0.0), quantile(values, 1.0));
    let middle = median(values);
    format!("median {middle:.1} {unit} [{low:.1} to {high:.1}], {} runs", values.len())
}
