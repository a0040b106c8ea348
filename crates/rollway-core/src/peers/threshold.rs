//! Argo's analysis of thresholds: measurements, counters, limits, the phase of a run.
//!
//! A fold: [`Counters`] and one [`Phase`] of a measurement give the next [`Counters`]; what those
//! come to under a metric's [`Limits`] is [`Limits::assess`]. The answers are those of Argo
//! Rollouts' `analysis.go`, also where its documentation says otherwise: a metric without any
//! condition is `Successful` in its code and `Inconclusive` in its documentation.

use serde::{Deserialize, Serialize};

use super::expression::{Condition, Value};
use crate::problem::Problem;

/// How long after an error the next measurement is due, in seconds, where no interval is shorter.
pub const ERROR_RETRY_SECONDS: u64 = 10;
/// How many errors in a row are borne where the metric does not say.
pub const CONSECUTIVE_ERROR_LIMIT: u32 = 4;

/// What a measurement, a metric or a run has come to, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Good.
    Successful,
    /// Not over.
    Running,
    /// Not begun.
    Pending,
    /// Neither good nor bad.
    Inconclusive,
    /// It could not be measured.
    Error,
    /// Bad.
    Failed,
}

impl Phase {
    /// Whether nothing will change any more.
    #[must_use]
    pub const fn is_over(self) -> bool {
        match self {
            Self::Successful | Self::Inconclusive | Self::Error | Self::Failed => true,
            Self::Running | Self::Pending => false,
        }
    }
}

/// What is good, what is bad.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conditions {
    /// Holds of a good result.
    pub success: Option<Condition>,
    /// Holds of a bad result.
    pub failure: Option<Condition>,
}

impl Conditions {
    /// Reads both; an empty text is none.
    ///
    /// # Errors
    /// The first mistake in either.
    pub fn parse(success_condition: &str, failure_condition: &str) -> Result<Self, Problem> {
        let read = |path: &str, text: &str| {
            let is_given = !text.trim().is_empty();
            is_given.then(|| Condition::parse(path, text)).transpose()
        };
        let success = read("success_condition", success_condition)?;
        Ok(Self { success, failure: read("failure_condition", failure_condition)? })
    }

    /// What one result is: `Successful`, `Failed`, `Inconclusive`.
    ///
    /// # Errors
    /// A condition that could not be told of this result: the measurement is an `Error`.
    pub fn measure(&self, result: &Value) -> Result<Phase, Problem> {
        let told = |condition: &Option<Condition>| {
            condition.as_ref().map(|condition| condition.holds(result)).transpose()
        };
        Ok(match (told(&self.success)?, told(&self.failure)?) {
            (_, Some(true)) | (Some(false), None) => Phase::Failed,
            (Some(true), _) | (None, Some(false) | None) => Phase::Successful,
            (Some(false), Some(false)) => Phase::Inconclusive,
        })
    }
}

/// The limits of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// How many measurements; without it one, or without end where there is an interval.
    pub count: Option<u32>,
    /// From one measurement to the next, in seconds.
    pub interval_seconds: Option<u64>,
    /// From the start to the first measurement, in seconds.
    pub initial_delay_seconds: u64,
    /// How many failures are borne; none: any number, and failures never decide.
    pub failure_limit: Option<u32>,
    /// How many inconclusive measurements are borne.
    pub inconclusive_limit: u32,
    /// How many errors in a row are borne.
    pub consecutive_error_limit: u32,
    /// So many successes in a row are enough; 0 is no such rule.
    pub consecutive_success_limit: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            count: None,
            interval_seconds: None,
            initial_delay_seconds: 0,
            failure_limit: Some(0),
            inconclusive_limit: 0,
            consecutive_error_limit: CONSECUTIVE_ERROR_LIMIT,
            consecutive_success_limit: 0,
        }
    }
}

/// What has been measured so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Counters {
    /// Measurements that count: all but errors.
    pub count: u32,
    /// Good ones.
    pub successful: u32,
    /// Bad ones.
    pub failed: u32,
    /// Neither.
    pub inconclusive: u32,
    /// Those that could not be made.
    pub error: u32,
    /// Errors since the last that was none.
    pub consecutive_error: u32,
    /// Successes since the last that was none.
    pub consecutive_success: u32,
    /// What the last one came to; none before the first.
    pub last: Option<Phase>,
}

impl Counters {
    /// With one more measurement. One that is not over only becomes the last.
    #[must_use]
    pub fn with(mut self, measurement: Phase) -> Self {
        self.last = Some(measurement);
        let add = |number: &mut u32| *number = number.saturating_add(1);
        match measurement {
            Phase::Running | Phase::Pending => return self,
            Phase::Error => {
                add(&mut self.error);
                add(&mut self.consecutive_error);
                self.consecutive_success = 0;
                return self;
            }
            Phase::Successful => {
                add(&mut self.successful);
                add(&mut self.consecutive_success);
            }
            Phase::Failed => add(&mut self.failed),
            Phase::Inconclusive => add(&mut self.inconclusive),
        }
        if measurement != Phase::Successful {
            self.consecutive_success = 0;
        }
        add(&mut self.count);
        self.consecutive_error = 0;
        self
    }
}

/// Whether the run goes on or is being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Run {
    /// It goes on.
    Going,
    /// It is being ended: what has not failed is good.
    Terminating,
}

impl Limits {
    /// How many measurements there are to be; none: without end.
    #[must_use]
    pub const fn measurements(&self) -> Option<u32> {
        match self.count {
            Some(count) if count > 0 => Some(count),
            Some(_) | None if self.interval_seconds.is_some() => None,
            Some(_) | None => Some(1),
        }
    }

    /// What the metric comes to.
    #[must_use]
    pub fn assess(&self, counters: &Counters, run: Run) -> Phase {
        let Some(last) = counters.last else {
            return match run {
                Run::Going => Phase::Pending,
                Run::Terminating => Phase::Successful,
            };
        };
        if !last.is_over() {
            return Phase::Running;
        }
        if let Some(bad) = self.broken(counters) {
            return bad;
        }
        let in_a_row = self.consecutive_success_limit;
        if in_a_row > 0 && counters.consecutive_success >= in_a_row {
            return Phase::Successful;
        }
        if self.measurements().is_some_and(|all| counters.count >= all) {
            return match (self.failure_limit.is_some(), in_a_row > 0) {
                (true, true) => Phase::Inconclusive,
                (false, true) => Phase::Failed,
                (true | false, false) => Phase::Successful,
            };
        }
        match run {
            Run::Going => Phase::Running,
            Run::Terminating => Phase::Successful,
        }
    }

    /// The worst of the limits that are passed: errors before inconclusive before failures.
    fn broken(&self, counters: &Counters) -> Option<Phase> {
        if counters.consecutive_error > self.consecutive_error_limit {
            Some(Phase::Error)
        } else if counters.inconclusive > self.inconclusive_limit {
            Some(Phase::Inconclusive)
        } else {
            let is_failed = self.failure_limit.is_some_and(|limit| counters.failed > limit);
            is_failed.then_some(Phase::Failed)
        }
    }

    /// How many seconds after the run's start, or after the last measurement, the next one is
    /// due; none where none is.
    #[must_use]
    pub fn next_in_seconds(&self, counters: &Counters) -> Option<u64> {
        if self.assess(counters, Run::Going).is_over() {
            return None;
        }
        match counters.last {
            None => Some(self.initial_delay_seconds),
            Some(Phase::Running | Phase::Pending) => None,
            Some(Phase::Error) => {
                let retry = |interval: u64| interval.min(ERROR_RETRY_SECONDS);
                Some(self.interval_seconds.map_or(ERROR_RETRY_SECONDS, retry))
            }
            Some(Phase::Successful | Phase::Failed | Phase::Inconclusive) => self.interval_seconds,
        }
    }
}

/// A metric of a run, with what has been measured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// Measured and shown, and never counted against the run.
    #[serde(default)]
    pub is_dry_run: bool,
    /// Its limits.
    pub limits: Limits,
    /// What was measured.
    #[serde(default)]
    pub counters: Counters,
}

/// What a run has come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assessment {
    /// The phase of the run.
    pub phase: Phase,
    /// Whether it goes on; a metric that is bad ends all the others.
    pub run: Run,
    /// The names of the metrics that decided, in their order.
    pub by: Vec<String>,
}

/// What a run comes to: the worst of its metrics, once all of them are over.
///
/// The first that is bad ends the others; a dry-run metric never decides, and never ends one.
#[must_use]
pub fn assess_run(metrics: &[Metric], run: Run) -> Assessment {
    let counted = || metrics.iter().filter(|metric| !metric.is_dry_run);
    let is_bad = |metric: &Metric| {
        let phase = metric.limits.assess(&metric.counters, run);
        matches!(phase, Phase::Failed | Phase::Error | Phase::Inconclusive)
    };
    let run = if counted().any(is_bad) { Run::Terminating } else { run };
    let phase_of = |metric: &Metric| metric.limits.assess(&metric.counters, run);
    let phases = || metrics.iter().map(phase_of);
    if let Some(open) = phases().filter(|phase| !phase.is_over()).min() {
        let is_begun = open == Phase::Running || phases().any(Phase::is_over);
        let phase = if is_begun { Phase::Running } else { Phase::Pending };
        return Assessment { phase, run, by: Vec::new() };
    }
    let phase = counted().map(phase_of).max().unwrap_or(Phase::Successful);
    let by = counted().filter(|metric| phase_of(metric) == phase);
    Assessment { phase, run, by: by.map(|metric| metric.name.clone()).collect() }
}
