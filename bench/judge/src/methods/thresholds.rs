//! Thresholds as Argo Rollouts and Flagger apply them: the value of the last 60 s, once a check,
//! against a fixed limit; so many failures and the canary goes back. They have no baseline.

use std::collections::VecDeque;

use rollway_core::peers::expression::Value;
use rollway_core::peers::flagger::{self, Strategy, Tick};
use rollway_core::peers::threshold::{Conditions, Counters, Limits, Phase, Run};
use rollway_core::verdict::histogram::Histogram;
use rollway_core::verdict::stats::Outcomes;

use super::{Answer, Check, Method, Metric, ROWS_MAX, one, p99_seconds};
use crate::draw::Slowness;

/// How far back a value reaches.
const WINDOW_SECONDS: u64 = 60;
/// Argo's failures that are borne: those of its documentation's examples.
pub const FAILURE_LIMIT: u32 = 3;

/// The canary's last minute.
struct Window {
    metric: Metric,
    errors: VecDeque<Outcomes>,
    latencies: VecDeque<Histogram>,
}

impl Window {
    fn new(metric: Metric) -> Self {
        Self { metric, errors: VecDeque::new(), latencies: VecDeque::new() }
    }

    /// The value now: the share that succeeded, or the 99th percentile in seconds; none where
    /// there was no request.
    fn value(&mut self, check: &Check) -> Option<f64> {
        let kept = (WINDOW_SECONDS / (check.until_seconds - check.from_seconds)).max(1) as usize;
        match self.metric {
            Metric::Errors { .. } => {
                self.errors.push_back(check.seen.errors.canary);
                if self.errors.len() > kept {
                    self.errors.pop_front();
                }
                let (bad, total) = self
                    .errors
                    .iter()
                    .fold((0, 0), |(bad, total), seen| (bad + seen.bad, total + seen.total));
                (total > 0).then(|| 1.0 - Outcomes { bad, total }.share())
            }
            Metric::Latency => {
                self.latencies.push_back(check.seen.latencies.canary.clone());
                if self.latencies.len() > kept {
                    self.latencies.pop_front();
                }
                let mut sum = Histogram::default();
                self.latencies.iter().for_each(|seen| sum.merge(seen));
                p99_seconds(&sum)
            }
        }
    }
}

/// What is good.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// At least so large a share of requests succeeds.
    Success(f64),
    /// At most so many times as many fail as usually.
    TimesErrors(f64),
    /// The 99th percentile is at most so many seconds.
    P99(f64),
    /// It is at most so many times the usual one.
    TimesP99(f64),
}

impl Limit {
    /// What the value is compared with.
    fn value(self, metric: Metric) -> f64 {
        match (self, metric) {
            (Self::Success(least), _) => least,
            (Self::TimesErrors(times), Metric::Errors { usual }) => 1.0 - times * usual,
            (Self::TimesErrors(_), Metric::Latency) => 1.0,
            (Self::P99(most), _) => most,
            (Self::TimesP99(times), _) => times * Slowness::USUAL.p99(),
        }
    }

    fn condition(self, metric: Metric) -> String {
        let limit = self.value(metric);
        match metric {
            Metric::Errors { .. } => format!("result >= {limit:.6}"),
            Metric::Latency => format!("result <= {limit:.6}"),
        }
    }
}

/// A metric of an Argo analysis that never ends by itself.
pub struct Argo {
    window: Window,
    conditions: Conditions,
    limits: Limits,
    counters: Counters,
}

impl Argo {
    /// By this limit.
    pub fn new(metric: Metric, limit: Limit) -> Self {
        let conditions = Conditions::parse(&limit.condition(metric), "").expect("a comparison");
        let failure_limit = Some(FAILURE_LIMIT);
        let limits = Limits { failure_limit, interval_seconds: Some(10), ..Limits::default() };
        Self { window: Window::new(metric), conditions, limits, counters: Counters::default() }
    }
}

impl Method for Argo {
    fn look(&mut self, check: &Check) -> [Answer; ROWS_MAX] {
        let measure = |value: f64| self.conditions.measure(&Value::Float(value));
        let phase = match self.window.value(check).map(measure) {
            Some(Ok(phase)) => phase,
            // An empty vector has no first sample.
            None | Some(Err(_)) => Phase::Error,
        };
        self.counters = self.counters.with(phase);
        one(match self.limits.assess(&self.counters, Run::Going) {
            Phase::Failed | Phase::Error => Answer::RollBack,
            Phase::Successful | Phase::Running | Phase::Pending | Phase::Inconclusive => {
                Answer::GoOn
            }
        })
    }
}

/// A Flagger analysis at one weight.
pub struct Flagger {
    window: Window,
    metric: Metric,
    limit: f64,
    threshold: u32,
    state: flagger::State,
}

impl Flagger {
    /// By this limit; so many failed checks are too many.
    pub fn new(metric: Metric, limit: Limit, threshold: u32) -> Self {
        let phase = flagger::Phase::Progressing;
        let state = flagger::State { phase, ..flagger::State::INITIALIZED };
        let limit = limit.value(metric);
        Self { window: Window::new(metric), metric, limit, threshold, state }
    }
}

impl Method for Flagger {
    fn look(&mut self, check: &Check) -> [Answer; ROWS_MAX] {
        let is_good = self.window.value(check).is_some_and(|value| match self.metric {
            Metric::Errors { .. } => value >= self.limit,
            Metric::Latency => value <= self.limit,
        });
        let tick = if is_good { Tick::Good } else { Tick::Bad };
        // As many checks as there can be: the hour ends before they do.
        let strategy = Strategy::AbTesting(u32::MAX);
        self.state = flagger::after(self.state, tick, &strategy, self.threshold);
        let is_failed = self.state.phase == flagger::Phase::Failed;
        one(if is_failed { Answer::RollBack } else { Answer::GoOn })
    }
}

#[cfg(test)]
mod tests {
    use rollway_core::verdict::eprocess::Pair;

    use super::*;
    use crate::world::Seen;

    /// At which of ten looks, each of which finds so many of 100 bad, the canary goes back.
    fn back_at(method: &mut dyn Method, bad: [u64; 10]) -> Option<usize> {
        bad.iter().position(|bad| {
            let canary = Outcomes { bad: *bad, total: 100 };
            let errors = Pair { canary, baseline: Outcomes::default() };
            let seen = Seen { errors, ..Seen::default() };
            let check = Check { number: 1, from_seconds: 0, until_seconds: 60, seen: &seen };
            method.look(&check)[0] == Answer::RollBack
        })
    }

    #[test]
    fn argo_bears_three_failures_and_flagger_ends_at_the_look_after_the_last() {
        let metric = Metric::Errors { usual: 0.01 };
        let bad = [0, 6, 0, 6, 5, 6, 0, 6, 6, 6];
        let mut argo = Argo::new(metric, Limit::Success(0.95));
        assert_eq!(back_at(&mut argo, bad), Some(7));
        let mut flagger = Flagger::new(metric, Limit::TimesErrors(5.0), 5);
        assert_eq!(back_at(&mut flagger, bad), Some(9));
    }

    #[test]
    fn a_window_is_a_minute() {
        let mut window = Window::new(Metric::Errors { usual: 0.01 });
        let mut value = |bad, from_seconds| {
            let canary = Outcomes { bad, total: 10 };
            let errors = Pair { canary, baseline: Outcomes::default() };
            let seen = Seen { errors, ..Seen::default() };
            let until_seconds = from_seconds + 10;
            window.value(&Check { number: 1, from_seconds, until_seconds, seen: &seen })
        };
        assert_eq!(value(6, 0), Some(0.4));
        let last = (1..=5).map(|step| value(0, step * 10)).last().flatten();
        assert_eq!(last, Some(0.9));
        assert_eq!(value(0, 60), Some(1.0));
    }
}
