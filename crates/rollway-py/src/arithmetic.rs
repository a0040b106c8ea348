//! The core's arithmetic, for targets that Python code drives.

use pyo3::prelude::*;
use rollway_core::arithmetic::direct::{self, Decision, Rise};

/// The batches of a rolling deployment: where each begins, and where it ends.
#[pyfunction]
pub fn batches(total: usize, size: usize) -> Vec<(usize, usize)> {
    direct::batches(total, size).map(|batch| (batch.start, batch.end)).collect()
}

/// How many targets are on the new version when a stage of `percent` is reached.
#[pyfunction]
pub fn stage_targets(total: usize, percent: f64) -> usize {
    direct::stage_targets(total, percent)
}

/// The share that went well: 0 to 1.
#[pyfunction]
pub fn success_rate(well: usize, attempted: usize) -> f64 {
    direct::success_rate(well, attempted)
}

/// Whether a rate is good enough.
#[pyfunction]
pub fn holds(rate: f64, threshold: f64) -> bool {
    direct::holds(rate, threshold)
}

/// A rate as people read it: `66.7%`.
#[pyfunction]
pub fn percent(rate: f64) -> String {
    direct::percent(rate)
}

/// Whether a metric stays within its threshold, and its relative rise unless the baseline is 0.
#[pyfunction]
pub fn compare(baseline: f64, canary: f64, threshold: f64) -> (bool, Option<f64>) {
    let rise = Rise::of(baseline, canary);
    let relative = match rise {
        Rise::Relative(rise) => Some(rise),
        Rise::Absolute(_) => None,
    };
    (rise.is_within(threshold), relative)
}

/// `promote`, `rollback` or `continue`.
#[pyfunction]
pub fn decide(pass_rate: f64, promote: f64, rollback: f64) -> &'static str {
    match direct::decide(pass_rate, promote, rollback) {
        Decision::Promote => "promote",
        Decision::Rollback => "rollback",
        Decision::Continue => "continue",
    }
}
