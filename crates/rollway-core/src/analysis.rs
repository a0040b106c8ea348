//! Judging a canary while it runs: from what a source says, check by check, to a verdict.
//!
//! ```text
//! AnalysisBegan(counters) ─> Trial ─ AnalysisSample(counters) ─> Trial ─ verdict ─> AnalysisVerdict
//! ```
//! Every sample is an event and a [`Trial`] is a fold over them: each is taken in exactly once,
//! after a crash the same trial comes out of the history, and so does it for whoever doubts a
//! verdict. Counters are stored as they were read, so that a check that was lost is part of the
//! next one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::spec;
use crate::units::Millis;
use crate::verdict::decision::{Decision, Look, Then, Verdict};
use crate::verdict::eprocess::Pair;
use crate::verdict::errors::ErrorRules;
use crate::verdict::histogram::Histogram;
use crate::verdict::judge::{History, Interval, Judge, Reading, State};
use crate::verdict::latency::LatencyRules;
use crate::verdict::rules::{Inconclusive, Kind, Metric, Rules, Severity};
use crate::verdict::stats::Outcomes;

/// So many failed requests of the new release are reason enough for a check before its time.
const EARLY_BAD: u64 = 4;
const ERRORS: &str = "errors";
const LATENCY: &str = "latency";
const GUARD: &str = "error_limit";

/// What a source said at a check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sample {
    /// Counters of both releases, which rise as long as whoever counts lives.
    Counters(Box<Pair<Counters>>),
    /// Nothing was learned: why.
    Missed(String),
}

/// What a release has done since its counters began.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Requests that ended, each once however often it was tried.
    pub total: u64,
    /// Those that failed: 5xx, or no whole answer.
    pub bad: u64,
    /// How long answers took.
    #[serde(default)]
    pub latency: Histogram,
}

impl Counters {
    /// What was counted since `before`; all of it where the counters began anew.
    #[must_use]
    fn since(&self, before: &Self) -> Self {
        let old = before.latency.counts();
        let fell = self.latency.counts().iter().zip(old).any(|(now, before)| now < before);
        if fell || self.total < before.total || self.bad < before.bad {
            return self.clone();
        }
        let mut latency = Histogram::default();
        for (bucket, (now, before)) in self.latency.counts().iter().zip(old).enumerate() {
            if now > before {
                latency.add(bucket, now - before);
            }
        }
        Self { total: self.total - before.total, bad: self.bad - before.bad, latency }
    }

    fn outcomes(&self) -> Outcomes {
        Outcomes { bad: self.bad, total: self.total }
    }
}

impl Sample {
    /// The sample in words: `canary 3 of 120 failed, baseline 0 of 980`.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Counters(both) => format!(
                "canary {} of {} failed, baseline {} of {}, counted so far",
                both.canary.bad, both.canary.total, both.baseline.bad, both.baseline.total
            ),
            Self::Missed(why) => format!("nothing was learned: {why}"),
        }
    }
}

/// A judgement under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// When it began, on the service's clock.
    pub began: Millis,
    /// When the last sample was taken in.
    pub sampled: Millis,
    /// The last sample's number; 0 = none yet.
    pub last: u64,
    /// The last decision.
    pub verdict: Option<Verdict>,
    /// Why the last sample taught nothing, if so.
    pub missed: Option<String>,
    counters: Option<Pair<Counters>>,
    judge: Judge,
    state: State,
}

impl Trial {
    /// Begins with what is known before. What the old release did until now makes the judge
    /// sharper; what the new one did is not judged.
    ///
    /// # Errors
    /// Rules that make no sense, in words; `spec::lint` refuses those before.
    pub fn begin(by: &spec::Analysis, now: Millis, sample: &Sample) -> Result<Self, String> {
        let judge = Judge::new(rules(by)?).map_err(|problem| problem.to_string())?;
        let (counters, missed) = match sample {
            Sample::Counters(both) => (Some((**both).clone()), None),
            Sample::Missed(why) => (None, Some(why.clone())),
        };
        let before = counters.as_ref().map(|both| both.baseline.clone()).unwrap_or_default();
        let history = History {
            outcomes: before.outcomes(),
            latencies: before.latency,
            bad_per_second: Vec::new(),
            max_cluster: cluster(by),
        };
        let named = judge.rules().metrics.iter().map(|metric| metric.name.clone());
        let histories: BTreeMap<_, _> = named.map(|name| (name, history.clone())).collect();
        let state = judge.begin(&histories).map_err(|problem| problem.to_string())?;
        let (verdict, last) = (None, 0);
        Ok(Self { began: now, sampled: now, last, verdict, missed, counters, judge, state })
    }

    /// Takes in one sample.
    ///
    /// # Errors
    /// One that was taken in before, or that the judge cannot read, in words.
    pub fn take(&mut self, id: u64, now: Millis, sample: &Sample) -> Result<(), String> {
        if id <= self.last {
            return Err(format!("sample {id} comes after sample {}", self.last));
        }
        let (readings, missed) = match sample {
            Sample::Counters(both) => (self.readings(both), None),
            Sample::Missed(why) => (BTreeMap::new(), Some(why.clone())),
        };
        let interval = Interval {
            id,
            from: self.since_began(self.sampled),
            until: self.since_began(now),
            readings,
        };
        // A check of which nothing is learned only lets time pass.
        self.judge.apply(&mut self.state, &interval).map_err(|problem| problem.to_string())?;
        if let Sample::Counters(both) = sample {
            self.counters = Some((**both).clone());
        }
        (self.last, self.sampled, self.missed) = (id, now, missed);
        Ok(())
    }

    /// What happened since the last counters, by metric; nothing without those.
    fn readings(&self, now: &Pair<Counters>) -> BTreeMap<String, Reading> {
        let Some(before) = &self.counters else { return BTreeMap::new() };
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

    /// Whether so much has gone wrong since the last sample that this one is not to wait.
    #[must_use]
    pub fn is_urgent(&self, sample: &Sample) -> bool {
        match (sample, &self.counters) {
            (Sample::Counters(both), Some(before)) => {
                both.canary.since(&before.canary).bad >= EARLY_BAD
            }
            (Sample::Counters(_) | Sample::Missed(_), _) => false,
        }
    }

    /// The verdict by the samples so far, for a step that began then.
    #[must_use]
    pub fn look(&self, step_began: Millis) -> Verdict {
        let step = Millis(self.sampled.0.saturating_sub(step_began.0));
        let elapsed = self.since_began(self.sampled);
        self.judge.verdict(&self.state, Look { elapsed, step })
    }

    /// The verdict as it is to be recorded: a decision other than the last one.
    #[must_use]
    pub fn news(&self, step_began: Millis) -> Option<Verdict> {
        let verdict = self.look(step_began);
        let decides = match &verdict.decision {
            Decision::Rollback { .. } | Decision::Advance => true,
            Decision::Continue { .. } => false,
            Decision::Inconclusive { then, .. } => !matches!(then, Then::Extend { .. }),
        };
        let was = self.verdict.as_ref().map(|verdict| std::mem::discriminant(&verdict.decision));
        let is_other = was != Some(std::mem::discriminant(&verdict.decision));
        (decides && is_other).then_some(verdict)
    }

    /// Whether it has ended without a decision, and waits for a person.
    #[must_use]
    pub fn holds(&self) -> bool {
        let decision = self.verdict.as_ref().map(|verdict| &verdict.decision);
        matches!(decision, Some(Decision::Inconclusive { then: Then::Hold, .. }))
    }

    /// Whether it lets the deployment go on.
    #[must_use]
    pub fn advances(&self) -> bool {
        match self.verdict.as_ref().map(|verdict| &verdict.decision) {
            Some(Decision::Advance) => true,
            Some(Decision::Inconclusive { then, .. }) => *then == Then::Promote,
            Some(Decision::Rollback { .. } | Decision::Continue { .. }) | None => false,
        }
    }

    /// Until when a decision comes at the latest.
    #[must_use]
    pub fn deadline(&self) -> Millis {
        Millis(self.began.0.saturating_add(self.judge.rules().last_look().0))
    }

    fn since_began(&self, at: Millis) -> Millis {
        Millis(at.0.saturating_sub(self.began.0))
    }
}

/// The judge's rules, as the spec has them.
///
/// # Errors
/// A judgement that nobody makes, in words.
pub fn rules(by: &spec::Analysis) -> Result<Rules, String> {
    let spec::Judge::Sequential(judge) = &by.judge else {
        return Err("nobody judges".to_owned());
    };
    let mut metrics: Vec<Metric> = judge.metrics.iter().map(|one| metric(judge, *one)).collect();
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
        inconclusive: match by.inconclusive {
            spec::Inconclusive::PromoteIfClean => Inconclusive::PromoteIfClean,
            spec::Inconclusive::Hold => Inconclusive::Hold,
            spec::Inconclusive::Rollback => Inconclusive::Rollback,
            spec::Inconclusive::Extend(by) => Inconclusive::Extend { by },
        },
    })
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
        spec::Judge::None => None,
        spec::Judge::Sequential(judge) => judge.max_cluster,
    }
}
