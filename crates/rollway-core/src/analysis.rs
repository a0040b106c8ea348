//! Judging a canary while it runs: from what a source says, check by check, to a verdict.
//!
//! ```text
//! AnalysisBegan ─> Trial ── AnalysisSample, again and again ──> Trial ── look ─> AnalysisVerdict
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
///
/// Not one: intervals that end with each failure break the level of the judge (with half of
/// the traffic and 30 % errors `make bench-judge` rolls back 38 % of canaries that are no worse);
/// with four of them it holds there.
pub const EARLY_BAD: u64 = 4;
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
    #[serde(default, with = "buckets")]
    pub latency: Histogram,
}

/// A histogram as a list of `[bucket, count]`: inside of an event, maps have texts for keys.
mod buckets {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::verdict::histogram::{BUCKETS, Histogram};

    pub fn serialize<S: Serializer>(of: &Histogram, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(of.counts().iter().enumerate().filter(|(_, count)| **count > 0))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Histogram, D::Error> {
        let mut histogram = Histogram::default();
        for (bucket, count) in Vec::<(usize, u64)>::deserialize(from)? {
            if bucket >= BUCKETS {
                return Err(D::Error::custom(format!("there is no bucket {bucket}")));
            }
            histogram.add(bucket, count);
        }
        Ok(histogram)
    }
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
            Sample::Counters(both) => match self.contradiction(both) {
                None => (self.readings(both), None),
                Some(why) => (BTreeMap::new(), Some(why)),
            },
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
        if let (Sample::Counters(both), None) = (sample, &missed) {
            self.counters = Some((**both).clone());
        }
        (self.last, self.sampled, self.missed) = (id, now, missed);
        Ok(())
    }

    /// Why counters cannot be: a source that counts requests and failures at different moments has
    /// more of these than of those. What they say is then part of the next check.
    fn contradiction(&self, now: &Pair<Counters>) -> Option<String> {
        let before = self.counters.as_ref()?;
        let (canary, baseline) =
            (now.canary.since(&before.canary), now.baseline.since(&before.baseline));
        let arms = [("canary", canary), ("baseline", baseline)];
        let (name, arm) = arms.into_iter().find(|(_, arm)| arm.bad > arm.total)?;
        Some(format!("{name}: {} failed of {} since the last check", arm.bad, arm.total))
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

    /// The new release's failed requests at the last sample, by its counters.
    #[must_use]
    pub fn failed_before(&self) -> u64 {
        self.counters.as_ref().map_or(0, |both| both.canary.bad)
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
    let known = judge.metrics.iter().filter(|one| match one {
        spec::Measure::Errors => true,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, What};

    /// What a release has done after so many requests, one in `bad_in` of them failed.
    fn arm(total: u64, bad_in: u64) -> Counters {
        let mut latency = Histogram::default();
        // From 10 ms to 3.2 s, each in a bucket of its own: the slowest are beyond p99.
        let slow = |n: u64| 0.01 * 1.06f64.powi((n % 100) as i32);
        (0..total).for_each(|n| latency.record(slow(n)));
        Counters { total, bad: total / bad_in, latency }
    }

    fn sample(seconds: u64, bad_in: u64) -> Sample {
        let canary = arm(50 * seconds, bad_in);
        Sample::Counters(Box::new(Pair { canary, baseline: arm(1000 + 50 * seconds, 1000) }))
    }

    fn quick() -> spec::Analysis {
        spec::Analysis { warmup: Millis::ZERO, min_bake: Millis::ZERO, ..spec::Analysis::default() }
    }

    /// The first decision, and when.
    fn judged(bad_in: u64, by: &spec::Analysis) -> (u64, Verdict) {
        let mut trial = Trial::begin(by, Millis(5000), &sample(0, bad_in)).expect("good rules");
        for second in (10..3700).step_by(10) {
            trial.take(second, Millis(5000 + second * 1000), &sample(second, bad_in)).expect("new");
            if let Some(verdict) = trial.news(Millis(5000)) {
                return (second, verdict);
            }
        }
        panic!("no decision within the deadline")
    }

    #[test]
    fn a_worse_release_is_rolled_back_and_an_equal_one_is_certified() {
        let (after, verdict) = judged(20, &quick());
        assert!(matches!(verdict.decision, Decision::Rollback { .. }), "{verdict:?}");
        assert!(after <= 20, "{after}");
        let (after, verdict) = judged(1000, &quick());
        assert_eq!(verdict.decision, Decision::Advance);
        assert!(after < 3600, "{after}");
    }

    #[test]
    fn a_sample_counts_once_and_a_lost_one_is_in_the_next() {
        let begin = || Trial::begin(&quick(), Millis(0), &sample(0, 20)).expect("good rules");
        let mut trial = begin();
        trial.take(1, Millis(10_000), &sample(10, 20)).expect("new");
        let before = trial.clone();
        let why = trial.take(1, Millis(20_000), &sample(20, 20)).expect_err("it was taken in");
        assert!(why.contains("sample 1 comes after sample 1"), "{why}");
        assert_eq!(trial, before);
        let mut late = begin();
        late.take(1, Millis(5000), &Sample::Missed("no answer".into())).expect("new");
        assert_eq!(late.missed.as_deref(), Some("no answer"));
        late.take(2, Millis(10_000), &sample(10, 20)).expect("new");
        let seen = |trial: &Trial| trial.look(Millis(0)).findings[0].samples;
        assert_eq!(seen(&late), seen(&trial));
        assert_eq!(seen(&late).canary, Outcomes { bad: 25, total: 500 });
    }

    #[test]
    fn counters_that_begin_anew_are_counted_from_their_beginning() {
        let before = arm(100, 10);
        assert_eq!(arm(130, 10).since(&before).total, 30);
        assert_eq!(arm(40, 10).since(&before), arm(40, 10));
    }

    #[test]
    fn more_failures_than_requests_are_part_of_the_next_check() {
        let at = |bad: u64, total: u64| {
            let canary = Counters { total, bad, latency: Histogram::default() };
            Sample::Counters(Box::new(Pair { canary, baseline: arm(1000 + total, 1000) }))
        };
        let mut trial = Trial::begin(&quick(), Millis(0), &at(0, 0)).expect("good rules");
        trial.take(1, Millis(10_000), &at(5, 100)).expect("new");
        // Failures were read later than requests: 7 more of those, 2 more of these.
        trial.take(2, Millis(20_000), &at(12, 102)).expect("it is no error, and teaches nothing");
        assert_eq!(trial.missed.as_deref(), Some("canary: 7 failed of 2 since the last check"));
        trial.take(3, Millis(30_000), &at(12, 200)).expect("new");
        assert_eq!(trial.missed, None);
        let seen = trial.look(Millis(0)).findings[0].samples.canary;
        assert_eq!(seen, Outcomes { bad: 12, total: 200 });
    }

    #[test]
    fn a_source_that_never_answers_is_no_good_sign() {
        let by = spec::Analysis { deadline: Millis::seconds(60), ..quick() };
        let mut trial = Trial::begin(&by, Millis(0), &Sample::Missed("gone".into())).expect("good");
        for id in 1..=6 {
            assert_eq!(trial.news(Millis(0)), None, "before sample {id}");
            trial.take(id, Millis(id * 10_000), &Sample::Missed("gone".into())).expect("new");
        }
        trial.verdict = trial.news(Millis(0));
        assert!(trial.holds() && !trial.advances(), "{:?}", trial.verdict);
    }

    #[test]
    fn events_keep_samples_and_verdicts_to_the_last_bit() {
        let (_, verdict) = judged(20, &quick());
        for what in [
            What::AnalysisSample { watch: 0, id: 7, sample: sample(30, 20) },
            What::AnalysisVerdict { watch: 0, verdict: Box::new(verdict) },
        ] {
            let event = Event { clock: Millis(1), what };
            let text = serde_json::to_string(&event).expect("JSON");
            assert_eq!(serde_json::from_str::<Event>(&text).expect("an event"), event);
            let value = serde_json::to_value(&event).expect("JSON");
            assert_eq!(serde_json::from_value::<Event>(value).expect("an event"), event);
        }
    }
}
