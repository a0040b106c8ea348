//! The sequential judge under way: its rules from the spec, and its state.

use std::collections::BTreeMap;

use super::{Counters, Seen, Times};
use crate::spec;
use crate::units::Millis;
use crate::verdict::decision::{Look, Verdict};
use crate::verdict::eprocess::Pair;
use crate::verdict::errors::ErrorRules;
use crate::verdict::judge::{History, Interval, Judge, Reading, State};
use crate::verdict::latency::LatencyRules;
use crate::verdict::rules::{Inconclusive, Kind, Metric, Rules, Severity};

const ERRORS: &str = "errors";
const LATENCY: &str = "latency";
const GUARD: &str = "error_limit";

/// The judge, and what it knows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sequential {
    judge: Judge,
    state: State,
}

impl Sequential {
    /// Begins with what the old release did until now: it makes the judge sharper.
    pub(super) fn begin(by: &spec::Analysis, before: Counters) -> Result<Self, String> {
        let judge = Judge::new(rules(by)?).map_err(|problem| problem.to_string())?;
        let history = History {
            outcomes: before.outcomes(),
            latencies: before.latency,
            bad_per_second: Vec::new(),
            max_cluster: cluster(by),
        };
        let named = judge.rules().metrics.iter().map(|metric| metric.name.clone());
        let histories: BTreeMap<_, _> = named.map(|name| (name, history.clone())).collect();
        let state = judge.begin(&histories).map_err(|problem| problem.to_string())?;
        Ok(Self { judge, state })
    }

    /// Takes in one check. One of which nothing is learned only lets time pass.
    pub(super) fn take(&mut self, id: u64, times: Times, seen: &Seen<'_>) -> Result<(), String> {
        let Times { from, until } = times;
        let readings = match seen {
            Seen::Both { before: Some(before), now } => self.readings(before, now),
            Seen::Both { before: None, .. } | Seen::Missed(_) => BTreeMap::new(),
        };
        let interval = Interval { id, from, until, readings };
        self.judge.apply(&mut self.state, &interval).map_err(|problem| problem.to_string())?;
        Ok(())
    }

    /// What happened since the last counters, by metric.
    fn readings(&self, before: &Pair<Counters>, now: &Pair<Counters>) -> BTreeMap<String, Reading> {
        let canary = now.canary.since(&before.canary);
        let baseline = now.baseline.since(&before.baseline);
        let counts = Pair { canary: canary.outcomes(), baseline: baseline.outcomes() };
        let latencies = Pair { canary: canary.latency, baseline: baseline.latency };
        let reading = |metric: &Metric| match metric.kind {
            Kind::Latency(_) => Reading::Latencies(latencies.clone()),
            Kind::Errors(_) | Kind::Gauge { .. } | Kind::Guard { .. } => Reading::Counts(counts),
        };
        let metrics = self.judge.rules().metrics.iter();
        metrics.map(|metric| (metric.name.clone(), reading(metric))).collect()
    }

    /// The verdict now.
    pub(super) fn look(&self, elapsed: Millis, step: Millis) -> Verdict {
        self.judge.verdict(&self.state, Look { elapsed, step })
    }
}

/// The rules of the sequential judge, as the spec has them.
///
/// # Errors
/// A judgement that somebody else makes, or nobody, in words.
pub fn rules(by: &spec::Analysis) -> Result<Rules, String> {
    let spec::Judge::Sequential(judge) = &by.judge else {
        return Err(format!("the judge is {}", by.judge.name()));
    };
    let known = judge.metrics.iter().filter(|one| match one {
        spec::Measure::Errors => true,
        // Plans from before the spec was refused for it may ask for what there is not.
        spec::Measure::Latency => by.source.has_latency(),
    });
    let mut metrics: Vec<Metric> = known.map(|one| metric(judge, *one)).collect();
    if let Some(limit) = judge.error_limit {
        let (name, kind) = (GUARD.to_owned(), Kind::Guard { limit });
        metrics.push(Metric { name, kind, weight: 1.0, severity: Severity::Hard });
    }
    Ok(Rules {
        metrics,
        alpha_rollback: judge.alpha_rollback,
        alpha_promote: judge.alpha_promote,
        deadline: by.deadline,
        warmup: by.warmup,
        min_bake: by.min_bake,
        inconclusive: inconclusive(by),
    })
}

/// What follows where nothing is decided, as the spec has it.
pub(super) fn inconclusive(by: &spec::Analysis) -> Inconclusive {
    match by.inconclusive {
        spec::Inconclusive::PromoteIfClean => Inconclusive::PromoteIfClean,
        spec::Inconclusive::Hold => Inconclusive::Hold,
        spec::Inconclusive::Rollback => Inconclusive::Rollback,
        spec::Inconclusive::Extend(by) => Inconclusive::Extend { by },
    }
}

fn metric(judge: &spec::Sequential, measure: spec::Measure) -> Metric {
    let (name, kind) = match measure {
        spec::Measure::Errors => {
            let rules = ErrorRules {
                promote_ratio: judge.error_ratio,
                promote_margin: judge.error_margin,
                floor_points: judge.error_floor,
                ..ErrorRules::default()
            };
            (ERRORS, Kind::Errors(rules))
        }
        spec::Measure::Latency => {
            let rules = LatencyRules {
                promote_margin: judge.latency_margin,
                floor: judge.latency_floor,
                ..LatencyRules::default()
            };
            (LATENCY, Kind::Latency(rules))
        }
    };
    Metric { name: name.to_owned(), kind, weight: 1.0, severity: Severity::Hard }
}

fn cluster(by: &spec::Analysis) -> Option<f64> {
    match &by.judge {
        spec::Judge::Sequential(judge) => judge.max_cluster,
        spec::Judge::None
        | spec::Judge::Threshold(_)
        | spec::Judge::MannWhitney(_)
        | spec::Judge::Kayenta(_) => None,
    }
}
