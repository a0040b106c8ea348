//! Explaining judgements: from the events of a deployment to what was found, what decided and
//! what would have changed it. Every verdict is computed again from the stored samples.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::analysis::{Sample, Trial};
use crate::event::{Event, What};
use crate::plan::{Plan, Watch};
use crate::progress::{Illegal, Progress};
use crate::units::Millis;
use crate::verdict::decision::{Decision, Verdict};
use crate::verdict::others::Other;

/// What a deployment's judgements came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// `shop-7`.
    pub deployment: String,
    /// One for each judgement that the plan has.
    pub judgements: Vec<Judgement>,
}

/// One judgement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Its place among the plan's watches.
    pub watch: usize,
    /// How it is judged, and over which stages.
    pub by: Watch,
    /// The names of those stages.
    pub stages: Vec<String>,
    /// Samples taken in.
    pub samples: u64,
    /// Those of which nothing was learned.
    pub missed: u64,
    /// Why the last of those taught nothing.
    pub last_missed: Option<String>,
    /// The verdicts that were recorded, oldest first.
    pub verdicts: Vec<Recorded>,
    /// How it stands by the samples so far; nothing before the first.
    pub now: Option<Verdict>,
    /// The same in words.
    pub now_words: Vec<String>,
}

/// A verdict as it was recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// When, on the service's clock.
    pub at: Millis,
    /// The last sample that it is made from.
    pub sample: u64,
    /// The verdict.
    pub verdict: Verdict,
    /// The same in words.
    pub words: Vec<String>,
    /// Whether the stored samples give this verdict again, to the last bit.
    pub is_same: bool,
    /// What would have changed it.
    pub otherwise: Vec<String>,
}

impl Explanation {
    /// Whether every recorded verdict came out again.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.judgements.iter().flat_map(|one| &one.verdicts).all(|recorded| recorded.is_same)
    }
}

/// The last sample of a judgement, and the trial before it.
struct Step {
    before: Trial,
    id: u64,
    at: Millis,
    sample: Sample,
}

/// Explains a deployment by all its events, from its beginning on.
///
/// # Errors
/// Events that cannot follow each other.
pub fn explain(events: &[Event]) -> Result<Explanation, Illegal> {
    let mut reader = Reader::default();
    for event in events {
        reader.read(event)?;
    }
    Ok(reader.finish())
}

#[derive(Default)]
struct Reader {
    progress: Progress,
    deployment: String,
    judgements: Vec<Judgement>,
    steps: BTreeMap<usize, Step>,
}

impl Reader {
    fn read(&mut self, event: &Event) -> Result<(), Illegal> {
        if let What::AnalysisSample { watch, id, sample } = &event.what {
            self.sample(*watch, *id, event.clock, sample);
        }
        if let What::AnalysisVerdict { watch, verdict } = &event.what {
            self.verdict(*watch, event.clock, verdict);
        }
        self.progress.apply(event)?;
        if let What::DeploymentBegan { deployment, plan, .. } = &event.what {
            self.deployment = format!("{}-{deployment}", plan.service);
            let watches = plan.watches.iter().enumerate();
            self.judgements = watches.map(|(place, by)| Judgement::new(place, by, plan)).collect();
        }
        Ok(())
    }

    fn sample(&mut self, watch: usize, id: u64, at: Millis, sample: &Sample) {
        let Some(judgement) = self.judgements.get_mut(watch) else { return };
        judgement.samples += 1;
        if let Sample::Missed(why) = sample {
            judgement.missed += 1;
            judgement.last_missed = Some(why.clone());
        }
        let active = self.progress.active.as_ref();
        if let Some(before) = active.and_then(|active| active.trials.get(&watch)).cloned() {
            self.steps.insert(watch, Step { before, id, at, sample: sample.clone() });
        }
    }

    fn verdict(&mut self, watch: usize, at: Millis, verdict: &Verdict) {
        let Some(active) = &self.progress.active else { return };
        let step_began = active.reached.unwrap_or(active.stage_began);
        let trial = active.trials.get(&watch);
        let (Some(trial), Some(judgement)) = (trial, self.judgements.get_mut(watch)) else {
            return;
        };
        let step = self.steps.get(&watch);
        judgement.verdicts.push(Recorded {
            at,
            sample: trial.last,
            verdict: verdict.clone(),
            words: verdict.words(),
            is_same: trial.look(step_began) == *verdict,
            otherwise: step.map(|step| step.otherwise(verdict, step_began)).unwrap_or_default(),
        });
    }

    fn finish(mut self) -> Explanation {
        let last = self.progress.last.as_ref().map(|outcome| &outcome.deployment);
        let trials = self.progress.active.as_ref().or(last).map(|active| &active.trials);
        for judgement in &mut self.judgements {
            let trial = trials.and_then(|trials| trials.get(&judgement.watch));
            judgement.now = trial.map(|trial| trial.look(trial.began));
            judgement.now_words = judgement.now.as_ref().map(Verdict::words).unwrap_or_default();
        }
        Explanation { deployment: self.deployment, judgements: self.judgements }
    }
}

impl Judgement {
    fn new(watch: usize, by: &Watch, plan: &Plan) -> Self {
        let (first, last) = by.stages;
        let stages = plan.stages.iter().skip(first).take(last + 1 - first);
        Self {
            watch,
            by: by.clone(),
            stages: stages.map(|stage| stage.name.clone()).collect(),
            samples: 0,
            missed: 0,
            last_missed: None,
            verdicts: Vec::new(),
            now: None,
            now_words: Vec::new(),
        }
    }
}

impl Step {
    /// What would have changed a verdict: the margins of what decided, and how many failed
    /// requests fewer, or more, in the last sample. Those are found by trying.
    fn otherwise(&self, verdict: &Verdict, step_began: Millis) -> Vec<String> {
        let mut lines: Vec<String> = match &verdict.decision {
            Decision::Rollback { .. } | Decision::Inconclusive { .. } => {
                verdict.others.iter().filter_map(Other::otherwise).collect()
            }
            Decision::Advance | Decision::Continue { .. } => Vec::new(),
        };
        let changes = |by: i64| self.decides(by, step_began) != Some(kind(&verdict.decision));
        match &verdict.decision {
            Decision::Rollback { metric, .. } => {
                lines.extend(verdict.decisive().map(|finding| {
                    format!("{metric}: less evidence than needed ({})", finding.worse.words())
                }));
                match self.least(|n| changes(-n)) {
                    Some(n) => lines.push(format!("{n} failed requests fewer in the last sample")),
                    // Others look at more than failed requests, and say what they looked at.
                    None if !verdict.others.is_empty() => {}
                    None => {
                        let what = "fewer failed requests in the last sample would not have";
                        lines.push(what.to_owned());
                    }
                }
            }
            Decision::Advance | Decision::Inconclusive { .. } => {
                lines.extend(
                    self.least(changes)
                        .map(|n| format!("{n} failed requests more in the last sample")),
                );
            }
            Decision::Continue { .. } => lines.extend(verdict.findings.iter().filter_map(|one| {
                let good = one.good.filter(|good| !good.is_enough())?;
                Some(format!("{}: more evidence that it is good ({})", one.metric, good.words()))
            })),
        }
        lines
    }

    /// The least number that changes something, if any up to all of the last sample does.
    fn least(&self, changes: impl Fn(i64) -> bool) -> Option<i64> {
        let Sample::Counters(both) = &self.sample else { return None };
        let most = i64::try_from(both.canary.total).ok()?;
        let mut high = 1;
        while !changes(high) {
            high = (high < most).then_some(high * 2)?;
        }
        let mut low = high / 2;
        while high - low > 1 {
            let middle = i64::midpoint(low, high);
            if changes(middle) { high = middle } else { low = middle }
        }
        Some(high)
    }

    /// The decision, had so many requests more failed in the last sample.
    fn decides(&self, more: i64, step_began: Millis) -> Option<Kind> {
        let Sample::Counters(both) = &self.sample else { return None };
        let mut changed = both.clone();
        let least = self.before.failed_before();
        let canary = &mut changed.canary;
        canary.bad = canary.bad.saturating_add_signed(more).clamp(least, canary.total.max(least));
        let mut trial = self.before.clone();
        trial.take(self.id, self.at, &Sample::Counters(changed)).ok()?;
        Some(kind(&trial.look(step_began).decision))
    }
}

type Kind = std::mem::Discriminant<Decision>;

fn kind(decision: &Decision) -> Kind {
    std::mem::discriminant(decision)
}
