//! Our judge, by its public functions alone: begin, apply each interval once, ask for a verdict.

use std::collections::BTreeMap;

use rollway_core::units::Millis;
use rollway_core::verdict::decision::{Decision, Look, Proof, Then};
use rollway_core::verdict::judge::{History, Interval, Judge, Reading, State};
use rollway_core::verdict::rules::{Kind, Metric, Rules};

use super::{Answer, Check, Method, ROWS_MAX};

/// The part of the level that the looks before the deadline have.
pub const LOOKS: f64 = 0.7;

/// A judge that is asked at every look.
pub struct Ours {
    /// The same evidence against other levels: a state knows nothing of those.
    judges: Vec<(Judge, Deadline)>,
    state: State,
}

/// Whether the exact test at the deadline is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deadline {
    Tested,
    LooksOnly,
}

impl Ours {
    /// One metric alone, compared from the first second on: with the whole 1 % for the looks, as
    /// in the study whose times are to be reached, and as it is used, with 0.7 % for the looks and
    /// 0.3 % for the test at the deadline.
    pub fn of_one(metric: Metric, history: History) -> Self {
        let alone = Rules { metrics: vec![metric], warmup: Millis::ZERO, ..Rules::default() };
        let looks = Rules { alpha_rollback: alone.alpha_rollback / LOOKS, ..alone.clone() };
        Self::new(vec![(looks, Deadline::LooksOnly), (alone, Deadline::Tested)], history)
    }

    /// The rules of a canary that says nothing else: errors and latency, half of the level each,
    /// and 30 s to warm up.
    pub fn usual(history: History) -> Self {
        Self::new(vec![(Rules::default(), Deadline::Tested)], history)
    }

    fn new(rules: Vec<(Rules, Deadline)>, history: History) -> Self {
        let judge = |rules| Judge::new(rules).expect("rules that make sense");
        let judges: Vec<(Judge, Deadline)> =
            rules.into_iter().map(|(rules, deadline)| (judge(rules), deadline)).collect();
        let first = &judges.first().expect("one or two").0;
        let names = first.rules().metrics.iter().map(|metric| metric.name.clone());
        let histories: BTreeMap<String, History> =
            names.map(|name| (name, history.clone())).collect();
        let state = first.begin(&histories).expect("the names are its own");
        Self { judges, state }
    }
}

impl Method for Ours {
    fn look(&mut self, check: &Check) -> [Answer; ROWS_MAX] {
        let first = &self.judges.first().expect("one or two").0;
        let reading = |metric: &Metric| {
            let reading = match metric.kind {
                Kind::Latency(_) => Reading::Latencies(check.seen.latencies.clone()),
                Kind::Errors(_) | Kind::Gauge { .. } | Kind::Guard { .. } => {
                    Reading::Counts(check.seen.errors)
                }
            };
            (metric.name.clone(), reading)
        };
        let until = Millis::seconds(check.until_seconds);
        let interval = Interval {
            id: check.number,
            from: Millis::seconds(check.from_seconds),
            until,
            readings: first.rules().metrics.iter().map(reading).collect(),
        };
        first.apply(&mut self.state, &interval).expect("counts of its own metrics");
        let look = Look { elapsed: until, step: until };
        let mut answers = [Answer::GoOn; ROWS_MAX];
        for (answer, (judge, deadline)) in answers.iter_mut().zip(&self.judges) {
            *answer = said(&judge.verdict(&self.state, look).decision, *deadline);
        }
        answers
    }
}

fn said(decision: &Decision, deadline: Deadline) -> Answer {
    match decision {
        Decision::Rollback { because: Proof::Deadline, .. } if deadline == Deadline::LooksOnly => {
            Answer::Held
        }
        Decision::Rollback { .. } => Answer::RollBack,
        Decision::Advance => Answer::Certified,
        Decision::Continue { .. } => Answer::GoOn,
        Decision::Inconclusive { then, .. } => match then {
            Then::Promote => Answer::PromotedAsClean,
            Then::Hold | Then::Extend { .. } => Answer::Held,
            Then::Rollback => Answer::RollBack,
        },
    }
}
