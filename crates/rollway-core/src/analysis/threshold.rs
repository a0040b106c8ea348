//! Argo's thresholds under way: one number per check of the new release, conditions of it, and
//! limits of how often they may fail.
//!
//! What [`crate::peers::threshold`] says of measurements and limits is all that decides; what is
//! added here is when a measurement is due, which number it is of, and two rules of the house. At
//! the deadline a metric that was to be measured so many times and was not is no success, and one
//! without end is one only if it was measured at all.

use super::values::value;
use super::{Counters, Seen, Terms};
use crate::peers::expression::Value;
use crate::peers::threshold::{
    Conditions, Counters as Counted, ERROR_RETRY_SECONDS, Limits, Metric, Phase, Run, assess_run,
};
use crate::spec;
use crate::spec::judges::{Measured, Threshold, ThresholdMetric};
use crate::units::Millis;
use crate::verdict::decision::{Decision, Doubt, Doubted, Proof, Verdict, Wait};
use crate::verdict::others::{Other, ThresholdFinding};

/// All metrics.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Thresholds {
    terms: Terms,
    checks: u64,
    gauges: Vec<Gauge>,
    /// In the same order.
    metrics: Vec<Metric>,
}

/// When a metric is measured, and from what.
#[derive(Debug, Clone, PartialEq)]
struct Gauge {
    measure: Measured,
    conditions: Conditions,
    /// From one measurement to the next.
    interval: Millis,
    /// A check that comes earlier than a measurement is due by less than this is the one.
    early: Millis,
    delay: Millis,
    /// When the next one is due; absent before the first.
    due: Option<Millis>,
    /// The counters at the last measurement that gave a number, or as the delay ended.
    since: Option<Counters>,
    last: Option<f64>,
    why: Option<String>,
}

/// The limits of a metric as Argo has them.
pub(crate) fn limits(metric: &ThresholdMetric, interval: Millis) -> Limits {
    Limits {
        count: metric.count,
        interval_seconds: Some(interval.0.div_ceil(1000)),
        initial_delay_seconds: metric.initial_delay.unwrap_or_default().0.div_ceil(1000),
        failure_limit: u32::try_from(metric.failure_limit).ok(),
        inconclusive_limit: metric.inconclusive_limit,
        consecutive_error_limit: metric.consecutive_error_limit,
        consecutive_success_limit: metric.consecutive_success_limit,
    }
}

impl Thresholds {
    /// Begins; `before` is what the new release has done until now.
    pub(super) fn begin(
        by: &spec::Analysis,
        judge: &Threshold,
        before: Option<Counters>,
    ) -> Result<Self, String> {
        let gauge = |metric: &ThresholdMetric| {
            let conditions =
                Conditions::parse(&metric.success_condition, &metric.failure_condition)
                    .map_err(|problem| format!("{}: {problem}", metric.name()))?;
            Ok(Gauge {
                measure: metric.measure,
                conditions,
                interval: metric.interval.unwrap_or(by.interval),
                early: Millis(by.interval.0 / 2),
                delay: metric.initial_delay.unwrap_or(by.warmup),
                due: None,
                since: before.clone(),
                last: None,
                why: None,
            })
        };
        let gauges = judge.metrics.iter().map(gauge).collect::<Result<_, String>>()?;
        let metric = |metric: &ThresholdMetric| Metric {
            name: metric.name().to_owned(),
            is_dry_run: metric.dry_run,
            limits: limits(metric, metric.interval.unwrap_or(by.interval)),
            counters: Counted::default(),
        };
        let metrics = judge.metrics.iter().map(metric).collect();
        Ok(Self { terms: Terms::of(by), checks: 0, gauges, metrics })
    }

    /// Takes in one check. A metric that is over is not measured any more, and none is once one
    /// of them is bad.
    pub(super) fn take(&mut self, at: Millis, seen: &Seen<'_>) {
        self.checks += 1;
        if self.is_over() {
            return;
        }
        for (gauge, metric) in self.gauges.iter_mut().zip(&mut self.metrics) {
            if metric.limits.assess(&metric.counters, Run::Going).is_over() {
                continue;
            }
            if let Some(phase) = gauge.take(at, seen) {
                metric.counters = metric.counters.with(phase);
            }
        }
    }

    fn is_over(&self) -> bool {
        let run = assess_run(&self.metrics, Run::Going);
        run.phase.is_over() || run.run == Run::Terminating
    }

    /// The verdict now.
    pub(super) fn look(&self, elapsed: Millis, step: Millis) -> Verdict {
        Verdict {
            decision: self.decide(elapsed, step),
            elapsed,
            intervals: self.checks,
            findings: Vec::new(),
            stand_out: Vec::new(),
            others: self.findings(),
            score: None,
        }
    }

    fn decide(&self, elapsed: Millis, step: Millis) -> Decision {
        let run = assess_run(&self.metrics, Run::Going);
        let first = run.by.first().cloned().unwrap_or_default();
        match run.phase {
            Phase::Failed | Phase::Error => {
                Decision::Rollback { metric: first, because: Proof::Limits }
            }
            Phase::Inconclusive => {
                let doubt = |metric| Doubt { metric, what: Doubted::Inconclusive };
                let doubts = run.by.into_iter().map(doubt).collect();
                self.terms.doubtful(doubts, false, elapsed)
            }
            Phase::Successful => self.terms.good(step),
            Phase::Running | Phase::Pending => self.unfinished(elapsed, step),
        }
    }

    fn unfinished(&self, elapsed: Millis, step: Millis) -> Decision {
        let counted = self.metrics.iter().filter(|metric| !metric.is_dry_run);
        if elapsed < self.terms.deadline {
            let open = counted.filter(|metric| !is_finished(metric));
            let wait = |metric: &Metric| Wait::Measurements { metric: metric.name.clone() };
            return Decision::Continue { waits: open.map(wait).collect() };
        }
        let doubt = |metric: &Metric| {
            let is_endless = metric.limits.measurements().is_none();
            let what = match metric.counters.count {
                0 => Doubted::NoData,
                _ if is_endless || is_finished(metric) => return None,
                _ => Doubted::Unfinished,
            };
            Some(Doubt { metric: metric.name.clone(), what })
        };
        let doubts: Vec<Doubt> = counted.clone().filter_map(doubt).collect();
        if doubts.is_empty() {
            return self.terms.good(step);
        }
        let is_good = |metric: &Metric| metric.counters.failed + metric.counters.inconclusive == 0;
        let is_clean = doubts.iter().all(|doubt| doubt.what == Doubted::Unfinished);
        self.terms.doubtful(doubts, is_clean && counted.clone().all(is_good), elapsed)
    }

    fn findings(&self) -> Vec<Other> {
        let run = assess_run(&self.metrics, Run::Going).run;
        let both = self.gauges.iter().zip(&self.metrics);
        both.map(|(gauge, metric)| {
            Other::Threshold(Box::new(ThresholdFinding {
                metric: metric.name.clone(),
                phase: metric.limits.assess(&metric.counters, run),
                counters: metric.counters,
                limits: metric.limits,
                is_dry_run: metric.is_dry_run,
                last: gauge.last,
                why: gauge.why.clone(),
            }))
        })
        .collect()
    }
}

fn is_finished(metric: &Metric) -> bool {
    metric.limits.assess(&metric.counters, Run::Going).is_over()
}

impl Gauge {
    /// What a check comes to; nothing where it is too early.
    fn take(&mut self, at: Millis, seen: &Seen<'_>) -> Option<Phase> {
        let is_due = match self.due {
            Some(due) => at.0 + self.early.0 >= due.0,
            None => at > self.delay,
        };
        let measured = match seen {
            Seen::Both { now, .. } if !is_due => {
                if self.due.is_none() {
                    self.since = Some(now.canary.clone());
                }
                return None;
            }
            Seen::Missed(_) if !is_due => return None,
            Seen::Both { now, .. } => self.measure(&now.canary),
            Seen::Missed(why) => Err((*why).to_owned()),
        };
        // Which condition cannot be told of which number is an error as well.
        let phase = measured.and_then(|number| {
            self.last = Some(number);
            self.conditions.measure(&Value::Float(number)).map_err(|problem| problem.to_string())
        });
        let next = match &phase {
            Ok(_) => self.interval,
            Err(_) => self.interval.min(Millis::seconds(ERROR_RETRY_SECONDS)),
        };
        self.due = Some(Millis(at.0 + next.0));
        Some(phase.unwrap_or_else(|why| {
            self.why = Some(why);
            Phase::Error
        }))
    }

    /// The number since the last one. Without one, what was counted is part of the next.
    fn measure(&mut self, now: &Counters) -> Result<f64, String> {
        let is_counted = self.measure != Measured::Value;
        let Some(since) = &self.since else {
            self.since = Some(now.clone());
            return match is_counted {
                true => Err("there are no counters yet to count from".to_owned()),
                false => value(self.measure, now),
            };
        };
        let number = value(self.measure, &now.since(since))?;
        self.since = Some(now.clone());
        Ok(number)
    }
}
