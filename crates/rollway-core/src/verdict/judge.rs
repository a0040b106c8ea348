//! The judge: rules, and a state that takes in intervals and is looked at whenever one likes.
//!
//! ```text
//! judge.begin(history) ─> State ── judge.apply(&mut state, &interval) ─┐
//!                           └───── judge.verdict(&state, look) ─> Verdict
//! ```
//! The state is a plain value of constant size. It is stored with the id of its last interval in
//! one transaction: an interval that is applied twice would break the guarantee, one that is lost
//! does not. Intervals may be of any length, so that one is best fed early, after four or more bad
//! requests: a canary that fails everything is then found within a handful of them. Not after
//! each of them: the proof is for intervals that do not end by what was seen in them, and there
//! far too many canaries that are no worse would be rolled back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::dispersion;
use super::eprocess::{Pair, Starts};
use super::errors::{At, Errors};
use super::exact;
use super::gauge::Gauge;
use super::guard::Guard;
use super::histogram::Histogram;
use super::latency::Latency;
use super::rules::{Kind, Metric, Rules};
use super::stats::Outcomes;
use crate::problem::{self, Problem};
use crate::units::Millis;

const MINUTE_MILLIS: u64 = 60_000;

/// Rules that were checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Judge {
    rules: Rules,
}

/// What the stable version did before the canary: it makes the tests sharper and tempers them,
/// and can make none of them invalid.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct History {
    /// Outcomes of the last five minutes.
    #[serde(default)]
    pub outcomes: Outcomes,
    /// Latencies of the last five minutes.
    #[serde(default)]
    pub latencies: Histogram,
    /// Bad outcomes of each second of the last half hour or more, to find out about clusters.
    #[serde(default)]
    pub bad_per_second: Vec<u64>,
    /// The largest cluster, where the user knows it.
    #[serde(default)]
    pub max_cluster: Option<f64>,
}

/// One check period, or a part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Rises from interval to interval.
    pub id: u64,
    /// When it began, from the canary's start on.
    pub from: Millis,
    /// When it ended.
    pub until: Millis,
    /// What was seen, by the metrics' names. A metric that is left out learns nothing.
    pub readings: BTreeMap<String, Reading>,
}

/// What both arms did in an interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// For `errors` and `guard` (which reads the canary alone).
    Counts(Pair<Outcomes>),
    /// For `latency`.
    Latencies(Pair<Histogram>),
    /// For `gauge`: the mean over each arm's instances at one time.
    Gauges(Pair<f64>),
}

/// What became of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Applied {
    /// It counts.
    Counted,
    /// The canary was still warming up: only guards heard of it.
    WarmingUp,
    /// This id or a later one was applied before; nothing has changed.
    Repeated {
        /// The last that was applied.
        last: u64,
    },
}

/// All that is known of a canary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The last interval.
    pub(super) last: Option<u64>,
    /// How many counted.
    pub(super) counted: u64,
    /// Whether the deadline's test is done: there is one look, and it is not repeated.
    pub(super) is_closed: bool,
    /// In the order of the rules.
    pub(super) metrics: Vec<Known>,
}

/// What is known of one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Known {
    #[serde(with = "exact::one")]
    pub(super) temper: f64,
    /// ln of the p-value at the deadline, once that is over.
    #[serde(with = "exact::one")]
    pub(super) ln_p: f64,
    pub(super) kind: KindState,
}

/// Boxed, since an enum is as large as its largest kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum KindState {
    Errors(Box<Errors>),
    Latency(Box<Latency>),
    Gauge(Box<Gauge>),
    Guard(Box<Guard>),
}

impl State {
    /// The id of the last interval.
    #[must_use]
    pub fn last_interval(&self) -> Option<u64> {
        self.last
    }

    /// The bytes that it takes in memory, beside what is only kept while latency thresholds are
    /// learned or an arm has no requests.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let metric = |known: &Known| {
            size_of::<Known>()
                + match &known.kind {
                    KindState::Errors(errors) => size_of_val::<Errors>(errors),
                    KindState::Latency(latency) => size_of_val::<Latency>(latency),
                    KindState::Gauge(gauge) => size_of_val::<Gauge>(gauge),
                    KindState::Guard(guard) => size_of_val::<Guard>(guard),
                }
        };
        size_of::<Self>() + self.metrics.iter().map(metric).sum::<usize>()
    }
}

impl Judge {
    /// By these rules.
    ///
    /// # Errors
    /// A rule that makes no sense.
    pub fn new(rules: Rules) -> Result<Self, Problem> {
        rules.check()?;
        Ok(Self { rules })
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// A canary that starts; histories by the metrics' names, none is fine.
    ///
    /// # Errors
    /// A history of a metric that the rules do not have.
    pub fn begin(&self, histories: &BTreeMap<String, History>) -> Result<State, Problem> {
        for name in histories.keys() {
            self.find(name, "history")?;
        }
        let none = History::default();
        let known = |metric: &Metric| {
            let history = histories.get(&metric.name).unwrap_or(&none);
            let measured = || dispersion::temper(&history.bad_per_second);
            let kind = match metric.kind {
                Kind::Errors(rules) => {
                    KindState::Errors(Box::new(Errors::new(&rules, history.outcomes)))
                }
                Kind::Latency(_) => KindState::Latency(Box::new(Latency::new(&history.latencies))),
                Kind::Gauge { tolerance } => KindState::Gauge(Box::new(Gauge::new(tolerance))),
                Kind::Guard { limit } => {
                    KindState::Guard(Box::new(Guard::new(limit, Starts::SPREAD)))
                }
            };
            let temper = history.max_cluster.unwrap_or_else(measured).max(1.0);
            Known { temper, ln_p: 0.0, kind }
        };
        let metrics = self.rules.metrics.iter().map(known).collect();
        Ok(State { last: None, counted: 0, is_closed: false, metrics })
    }

    /// Takes in an interval, exactly once.
    ///
    /// # Errors
    /// A reading of a metric that the rules do not have, or of another kind, or more bad requests
    /// than requests. Nothing has changed then.
    pub fn apply(&self, state: &mut State, interval: &Interval) -> Result<Applied, Problem> {
        if let Some(last) = state.last.filter(|last| interval.id <= *last) {
            return Ok(Applied::Repeated { last });
        }
        for (name, reading) in &interval.readings {
            check(self.find(name, "readings")?, reading)?;
        }
        state.last = Some(interval.id);
        if interval.until > self.rules.last_look() {
            self.close(state);
        }
        let is_warm = interval.from >= self.rules.warmup;
        for (metric, known) in self.rules.metrics.iter().zip(&mut state.metrics) {
            let Some(reading) = interval.readings.get(&metric.name) else { continue };
            let at = At {
                due: Starts::SPREAD.due(interval.from.0, self.rules.deadline.0),
                minute: interval.until.0 / MINUTE_MILLIS,
                temper: known.temper,
            };
            known.kind.observe(metric.kind, at, reading, is_warm);
        }
        state.counted += u64::from(is_warm);
        Ok(if is_warm { Applied::Counted } else { Applied::WarmingUp })
    }

    /// Does the deadline's test, with what is known before the first interval that ends later.
    fn close(&self, state: &mut State) {
        if state.is_closed {
            return;
        }
        state.is_closed = true;
        for (metric, known) in self.rules.metrics.iter().zip(&mut state.metrics) {
            known.ln_p = known.ln_p_now(metric.kind);
        }
    }

    fn find(&self, name: &str, what: &str) -> Result<&Metric, Problem> {
        let found = self.rules.metrics.iter().find(|metric| metric.name == name);
        found.ok_or_else(|| {
            let known: Vec<&str> =
                self.rules.metrics.iter().map(|metric| metric.name.as_str()).collect();
            Problem::new(format!("{what}.{name}"), problem::unknown("metric", name, &known))
        })
    }
}

impl Known {
    /// ln of the p-value of the deadline's test, if that were now.
    pub(super) fn ln_p_now(&self, kind: Kind) -> f64 {
        match (&self.kind, kind) {
            (KindState::Errors(errors), Kind::Errors(rules)) => {
                errors.ln_p(&rules, self.temper).unwrap_or(0.0)
            }
            (KindState::Latency(latency), Kind::Latency(rules)) if rules.tolerance == 0.0 => {
                latency.ln_p(self.temper)
            }
            // There is no exact test of the others.
            (
                KindState::Errors(_)
                | KindState::Latency(_)
                | KindState::Gauge(_)
                | KindState::Guard(_),
                _,
            ) => 0.0,
        }
    }
}

impl KindState {
    fn observe(&mut self, kind: Kind, at: At, reading: &Reading, is_warm: bool) {
        match (self, kind, reading) {
            (Self::Guard(guard), _, Reading::Counts(counts)) => {
                guard.observe(at.due, counts.canary);
            }
            (Self::Errors(errors), Kind::Errors(rules), Reading::Counts(counts)) if is_warm => {
                errors.observe(&rules, at, *counts);
            }
            (Self::Latency(latency), Kind::Latency(rules), Reading::Latencies(seen)) if is_warm => {
                latency.observe(&rules, at, seen);
            }
            (Self::Gauge(gauge), _, Reading::Gauges(seen)) if is_warm => {
                // A gauge that has no ratio says nothing; that it says nothing is in the finding.
                gauge.observe(seen.canary, seen.baseline);
            }
            // Too early, or of another kind, which was refused before.
            (Self::Errors(_) | Self::Latency(_) | Self::Gauge(_) | Self::Guard(_), _, _) => {}
        }
    }
}

fn check(metric: &Metric, reading: &Reading) -> Result<(), Problem> {
    let (given, counts) = match reading {
        Reading::Counts(counts) => ("counts", Some(counts)),
        Reading::Latencies(_) => ("latencies", None),
        Reading::Gauges(_) => ("gauges", None),
    };
    let wanted = match metric.kind {
        Kind::Errors(_) | Kind::Guard { .. } => "counts",
        Kind::Latency(_) => "latencies",
        Kind::Gauge { .. } => "gauges",
    };
    let path = format!("readings.{}", metric.name);
    if given != wanted {
        let kind = metric.kind.name();
        let what = format!("is of {given}; a metric of the kind {kind} is read as {wanted}");
        return Err(Problem::new(path, what));
    }
    let arms = counts.map_or([Outcomes::default(); 2], |counts| [counts.canary, counts.baseline]);
    match arms.iter().find(|arm| arm.bad > arm.total) {
        Some(arm) => {
            let what = format!("has {} bad of {} requests", arm.bad, arm.total);
            Err(Problem::new(path, what).hint("count each request once, and each bad one in both"))
        }
        None => Ok(()),
    }
}
