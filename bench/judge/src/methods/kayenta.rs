//! Kayenta's class of the series of per-interval values, faithful to its defects: judged once at
//! the end of the hour, and again and again. Looks begin where there are five values a side;
//! before that its false alarms are too many to be worth a row. After ten minutes it looks once a
//! minute, which is Kayenta's own smallest interval.

use rollway_core::peers::kayenta::{
    Class, Direction, Manner, Metric as Judged, SAMPLES_MIN, classify,
};
use rollway_core::verdict::stats::Outcomes;

use super::{Answer, Check, Method, Metric, ROWS_MAX, p99_seconds};

/// So long it looks at every check.
const EVERY_CHECK_SECONDS: u64 = 600;
/// And then so often.
const LOOK_SECONDS: u64 = 60;

/// Both rows: fixed, and peeking.
pub struct Kayenta {
    metric: Metric,
    judged: Judged,
    canary: Vec<f64>,
    baseline: Vec<f64>,
}

impl Kayenta {
    /// Only a rise is bad.
    pub fn new(metric: Metric) -> Self {
        let judged = Judged { direction: Direction::Increase, ..Judged::default() };
        Self { metric, judged, canary: Vec::new(), baseline: Vec::new() }
    }

    fn is_high(&self) -> bool {
        let judged = classify(&self.judged, &self.canary, &self.baseline, Manner::Faithful);
        judged.is_ok_and(|judged| judged.class == Class::High)
    }
}

impl Method for Kayenta {
    fn look(&mut self, check: &Check) -> [Answer; ROWS_MAX] {
        // In percent and in milliseconds: its tolerance is 1e-4 of the unit.
        let percent = |seen: Outcomes| (seen.total > 0).then(|| 100.0 * seen.share());
        let millis = |histogram| p99_seconds(histogram).map(|seconds| 1000.0 * seconds);
        let (canary, baseline) = match self.metric {
            Metric::Errors { .. } => {
                (percent(check.seen.errors.canary), percent(check.seen.errors.baseline))
            }
            Metric::Latency => {
                (millis(&check.seen.latencies.canary), millis(&check.seen.latencies.baseline))
            }
        };
        self.canary.extend(canary);
        self.baseline.extend(baseline);
        let is_look = check.until_seconds <= EVERY_CHECK_SECONDS
            || check.until_seconds.is_multiple_of(LOOK_SECONDS);
        if !is_look || self.canary.len().min(self.baseline.len()) < SAMPLES_MIN {
            return [Answer::GoOn; ROWS_MAX];
        }
        let peeking = if self.is_high() { Answer::RollBack } else { Answer::GoOn };
        [if check.is_last() { peeking } else { Answer::GoOn }, peeking]
    }
}
