//! Judging a canary while it runs: from what a source says, check by check, to a verdict.
//!
//! ```text
//! AnalysisBegan ─> Trial ── AnalysisSample, again and again ──> Trial ── look ─> AnalysisVerdict
//! ```
//! Every sample is an event and a [`Trial`] is a fold over them: each is taken in exactly once,
//! after a crash the same trial comes out of the history, and so does it for whoever doubts a
//! verdict. Counters are stored as they were read, so that a check that was lost is part of the
//! next one.

mod ranks;
mod sequential;
mod threshold;
mod values;

use serde::{Deserialize, Serialize};

use self::ranks::Ranks;
use self::sequential::Sequential;
use self::threshold::Thresholds;
use crate::spec;
use crate::units::Millis;
use crate::verdict::decision::{Decision, Doubt, Then, Verdict, Wait};
use crate::verdict::eprocess::Pair;
use crate::verdict::histogram::Histogram;
use crate::verdict::rules::Inconclusive;
use crate::verdict::stats::Outcomes;

pub(crate) use self::ranks::VALUES_MAX;
pub use self::sequential::rules;

/// So many failed requests of the new release are reason enough for a check before its time.
///
/// Not one: intervals that end with each failure break the level of the judge (with half of
/// the traffic and 30 % errors `make bench-judge` rolls back 38 % of canaries that are no worse);
/// with four of them it holds there.
pub const EARLY_BAD: u64 = 4;

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
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Requests that ended, each once however often it was tried.
    pub total: u64,
    /// Those that failed: 5xx, or no whole answer.
    pub bad: u64,
    /// How long answers took.
    #[serde(default, with = "buckets")]
    pub latency: Histogram,
    /// A number as the source gave it, which is no counter; absent where it gave none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
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
        let (total, bad) = (self.total - before.total, self.bad - before.bad);
        Self { total, bad, latency, value: self.value }
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
            Self::Counters(both) => {
                let Pair { canary, baseline } = &**both;
                let mut text = format!(
                    "canary {} of {} failed, baseline {} of {}, counted so far",
                    canary.bad, canary.total, baseline.bad, baseline.total
                );
                let values = [("canary", canary.value), ("baseline", baseline.value)];
                for (name, value) in values {
                    text.extend(value.map(|value| format!("; {name} {value}")));
                }
                text
            }
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
    deadline: Millis,
    by: By,
}

/// Who judges, and what is known to whom.
#[derive(Debug, Clone, PartialEq)]
enum By {
    Sequential(Box<Sequential>),
    Threshold(Box<Thresholds>),
    Ranks(Box<Ranks>),
}

/// From when to when a check tells, since the judgement began.
#[derive(Debug, Clone, Copy)]
struct Times {
    from: Millis,
    until: Millis,
}

/// What a check tells a judge.
enum Seen<'a> {
    /// The counters now, and those before, if any are known.
    Both { before: Option<&'a Pair<Counters>>, now: &'a Pair<Counters> },
    /// Nothing: why.
    Missed(&'a str),
}

/// What judges without proof go by at a look.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Terms {
    deadline: Millis,
    last_look: Millis,
    min_bake: Millis,
    inconclusive: Inconclusive,
}

impl Terms {
    fn of(by: &spec::Analysis) -> Self {
        Self {
            deadline: by.deadline,
            last_look: by.last_look(),
            min_bake: by.min_bake,
            inconclusive: sequential::inconclusive(by),
        }
    }

    /// What all is well comes to: the step may have to last longer.
    fn good(&self, step: Millis) -> Decision {
        let left = Millis(self.min_bake.0.saturating_sub(step.0));
        match left {
            Millis::ZERO => Decision::Advance,
            left => Decision::Continue { waits: vec![Wait::Bake { left }] },
        }
    }

    /// What doubts come to.
    fn doubtful(&self, doubts: Vec<Doubt>, is_clean: bool, elapsed: Millis) -> Decision {
        let then = self.inconclusive.then(is_clean, elapsed, self.last_look);
        Decision::Inconclusive { then, doubts }
    }
}

impl Trial {
    /// Begins with what is known before. What the old release did until now makes the judge
    /// sharper; what the new one did is not judged.
    ///
    /// # Errors
    /// Rules that make no sense, in words; `spec::lint` refuses those before.
    pub fn begin(by: &spec::Analysis, now: Millis, sample: &Sample) -> Result<Self, String> {
        let (counters, missed) = match sample {
            Sample::Counters(both) => (Some((**both).clone()), None),
            Sample::Missed(why) => (None, Some(why.clone())),
        };
        let judge = match &by.judge {
            spec::Judge::None => return Err("nobody judges".to_owned()),
            spec::Judge::Sequential(_) => {
                let before = counters.as_ref().map(|both| both.baseline.clone());
                By::Sequential(Box::new(Sequential::begin(by, before.unwrap_or_default())?))
            }
            spec::Judge::Threshold(judge) => {
                let before = counters.as_ref().map(|both| both.canary.clone());
                By::Threshold(Box::new(Thresholds::begin(by, judge, before)?))
            }
            spec::Judge::MannWhitney(judge) => By::Ranks(Box::new(Ranks::mann_whitney(by, judge))),
            spec::Judge::Kayenta(judge) => By::Ranks(Box::new(Ranks::kayenta(by, judge))),
        };
        let (verdict, last, deadline) = (None, 0, by.last_look());
        Ok(Self { began: now, sampled: now, last, verdict, missed, counters, deadline, by: judge })
    }

    /// Takes in one sample.
    ///
    /// # Errors
    /// One that was taken in before, or that the judge cannot read, in words.
    pub fn take(&mut self, id: u64, now: Millis, sample: &Sample) -> Result<(), String> {
        if id <= self.last {
            return Err(format!("sample {id} comes after sample {}", self.last));
        }
        let missed = match sample {
            Sample::Counters(both) => self.contradiction(both),
            Sample::Missed(why) => Some(why.clone()),
        };
        let times = Times { from: self.since_began(self.sampled), until: self.since_began(now) };
        let seen = match (sample, &missed) {
            (Sample::Counters(now), None) => Seen::Both { before: self.counters.as_ref(), now },
            (Sample::Missed(why), _) | (Sample::Counters(_), Some(why)) => Seen::Missed(why),
        };
        match &mut self.by {
            By::Sequential(judge) => judge.take(id, times, &seen)?,
            By::Threshold(judge) => judge.take(times.until, &seen),
            By::Ranks(judge) => judge.take(times, &seen),
        }
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

    /// The new release's failed requests at the last sample, by its counters.
    #[must_use]
    pub fn failed_before(&self) -> u64 {
        self.counters.as_ref().map_or(0, |both| both.canary.bad)
    }

    /// Whether so much has gone wrong since the last sample that this one is not to wait.
    #[must_use]
    pub fn is_urgent(&self, sample: &Sample) -> bool {
        match (sample, &self.counters, &self.by) {
            (Sample::Counters(both), Some(before), By::Sequential(_)) => {
                both.canary.since(&before.canary).bad >= EARLY_BAD
            }
            // The others count checks, so that these must come at their times.
            (Sample::Counters(_) | Sample::Missed(_), _, _) => false,
        }
    }

    /// The verdict by the samples so far, for a step that began then.
    #[must_use]
    pub fn look(&self, step_began: Millis) -> Verdict {
        let step = Millis(self.sampled.0.saturating_sub(step_began.0));
        let elapsed = self.since_began(self.sampled);
        match &self.by {
            By::Sequential(judge) => judge.look(elapsed, step),
            By::Threshold(judge) => judge.look(elapsed, step),
            By::Ranks(judge) => judge.look(elapsed, step),
        }
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
        Millis(self.began.0.saturating_add(self.deadline.0))
    }

    fn since_began(&self, at: Millis) -> Millis {
        Millis(at.0.saturating_sub(self.began.0))
    }
}

#[cfg(test)]
mod tests;
