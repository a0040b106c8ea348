//! What a metric says: its samples, its evidence against what is needed, the ratio of the arms.

use serde::{Deserialize, Serialize};

use super::eprocess::Pair;
use super::errors;
use super::gauge::GaugeFinding;
use super::judge::{KindState, Known};
use super::rules::{Kind, Metric, Rules, Severity};
use super::stats::mixture::Mixture;
use super::stats::{Outcomes, Range};

/// Evidence is shown up to here.
const SHOWN_MOST: f64 = 1e6;
/// How strongly the prior of the ratio of slow requests is concentrated.
const SLOW_CONCENTRATION: f64 = 10.0;

/// Evidence against a null, as natural logarithms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Now.
    pub ln_e: f64,
    /// At its highest.
    pub ln_e_max: f64,
    /// What decides.
    pub ln_needed: f64,
}

impl Evidence {
    /// Whether there is enough of it now.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.ln_e >= self.ln_needed
    }

    /// A p-value that holds however often it was looked at.
    #[must_use]
    pub fn p_value(&self) -> f64 {
        (-self.ln_e_max).exp().min(1.0)
    }

    /// `34 of 100 needed`.
    #[must_use]
    pub fn words(&self) -> String {
        format!("{} of {} needed", shown(self.ln_e), shown(self.ln_needed))
    }
}

fn shown(ln_e: f64) -> String {
    let e = ln_e.exp();
    if e > SHOWN_MOST {
        format!("over {SHOWN_MOST:.0}")
    } else if e < 10.0 {
        format!("{e:.1}")
    } else {
        format!("{e:.0}")
    }
}

/// The canary's rate over the baseline's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// As it was seen; nothing where the baseline had none.
    pub estimate: Option<f64>,
    /// The lower end of what is not ruled out, at every look.
    pub lower: f64,
    /// The upper end; nothing where it is open.
    pub upper: Option<f64>,
}

impl Ratio {
    fn of(seen: Pair<Outcomes>, range: Range) -> Self {
        let upper = Some(range.upper).filter(|upper| upper.is_finite());
        Self { estimate: errors::ratio(seen), lower: range.lower, upper }
    }

    /// `2.1 (1.2 to 3.5)`.
    #[must_use]
    pub fn words(&self) -> String {
        let estimate = self.estimate.map_or_else(|| "unknown".to_owned(), |e| format!("{e:.2}"));
        let upper = self.upper.map_or_else(|| "any".to_owned(), |upper| format!("{upper:.2}"));
        format!("{estimate} ({:.2} to {upper})", self.lower)
    }
}

/// What one metric says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Its name.
    pub metric: String,
    /// What it is, and by which rules.
    pub kind: Kind,
    /// What it may do.
    pub severity: Severity,
    /// What was counted; for latencies, requests slower than the baseline's 99th percentile.
    pub samples: Pair<Outcomes>,
    /// That the canary is worse.
    pub worse: Evidence,
    /// That it is good enough; nothing for a guard, which certifies nothing.
    pub good: Option<Evidence>,
    /// How much worse, at the level of rollbacks; nothing for gauges and guards.
    pub ratio: Option<Ratio>,
    /// More about a gauge.
    pub gauge: Option<GaugeFinding>,
    /// Whether the difference matters in practice.
    pub is_above_floor: bool,
    /// Whether the estimate is inside of the promotion's margin; nothing without samples.
    pub is_inside_margin: Option<bool>,
    /// How strongly clustered outcomes were reckoned with: 1 is not at all.
    pub temper: f64,
    /// ln of the p-value of the deadline's test; nothing before the deadline, since there is one
    /// look and no peeking.
    pub ln_p: Option<f64>,
    /// ln of the level of that test.
    pub ln_p_needed: f64,
}

impl Finding {
    /// What is known of a metric.
    pub(super) fn of(rules: &Rules, metric: &Metric, known: &Known, ln_p: Option<f64>) -> Self {
        let blank =
            Evidence { ln_e: 0.0, ln_e_max: 0.0, ln_needed: rules.ln_rollback_needed(metric) };
        let finding = Self {
            metric: metric.name.clone(),
            kind: metric.kind,
            severity: metric.severity,
            samples: Pair::default(),
            worse: blank,
            good: None,
            ratio: None,
            gauge: None,
            is_above_floor: false,
            is_inside_margin: None,
            temper: known.temper,
            ln_p,
            ln_p_needed: rules.ln_deadline_level(metric),
        };
        let level = rules.alpha_rollback;
        let ln_good = rules.ln_promote_needed();
        finding.filled(metric.kind, &known.kind, level, ln_good)
    }

    fn filled(mut self, kind: Kind, state: &KindState, level: f64, ln_good: f64) -> Self {
        let enough = |ln_e, ln_e_max| Evidence { ln_e, ln_e_max, ln_needed: ln_good };
        match state {
            KindState::Errors(errors) => {
                self.samples = errors.totals();
                self.worse.ln_e = errors.worse().ln_e();
                self.worse.ln_e_max = errors.worse().ln_e_max();
                self.good = Some(enough(errors.better().ln_e(), errors.better().ln_e_max()));
                self.ratio = Some(Ratio::of(self.samples, errors.ratios().interval(level)));
                if let Kind::Errors(rules) = kind {
                    self.is_above_floor = errors.is_above_floor(&rules);
                    self.is_inside_margin = errors.is_inside_margin(&rules);
                }
            }
            KindState::Latency(latency) => {
                self.samples = latency.slow();
                self.worse.ln_e = latency.ln_e();
                self.worse.ln_e_max = latency.ln_e_max();
                self.good = Some(enough(latency.ln_e_promote(), latency.ln_e_promote_max()));
                self.ratio = latency.slow_share().map(|traffic| {
                    let mixture = Mixture { traffic, concentration: SLOW_CONCENTRATION };
                    let Pair { canary, baseline } = self.samples;
                    let ln = mixture.ln_ratio_interval(canary.bad, baseline.bad, level);
                    let range = Range { lower: ln.lower.exp(), upper: ln.upper.exp() };
                    Ratio::of(self.samples, range)
                });
                self.is_above_floor = latency.is_above_floor();
                self.is_inside_margin = latency.is_inside_margin();
            }
            KindState::Gauge(gauge) => {
                let finding = gauge.finding();
                let total = finding.samples;
                let arm = Outcomes { bad: 0, total };
                self.samples = Pair { canary: arm, baseline: arm };
                self.worse.ln_e = finding.ln_e;
                self.worse.ln_e_max = gauge.ln_e_max();
                self.good = Some(enough(finding.ln_e_within, finding.ln_e_within));
                // Its tolerance is the floor, and the margin.
                self.is_above_floor = finding.ln_e > 0.0;
                self.is_inside_margin = finding.ratio.map(|ratio| ratio <= 1.0 + gauge.tolerance());
                self.gauge = Some(finding);
            }
            KindState::Guard(guard) => {
                self.samples.canary = guard.seen();
                self.worse.ln_e = guard.ln_e();
                self.worse.ln_e_max = guard.ln_e_max();
                self.is_above_floor = guard.seen().share() > guard.limit();
                self.is_inside_margin =
                    (guard.seen().total > 0).then(|| guard.seen().share() <= guard.limit());
            }
        }
        self
    }

    /// A few short lines: what was seen, the ratio, the evidence for worse and for good enough.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let name = &self.metric;
        let mut words = vec![format!("{name}: {}", self.seen())];
        if let Some(ratio) = self.ratio {
            words.push(format!("{name}: ratio {}", ratio.words()));
        }
        words.push(format!("{name}: evidence that it is worse: {}", self.worse.words()));
        if let Some(good) = self.good {
            words.push(format!("{name}: evidence that it is good enough: {}", good.words()));
        }
        words
    }

    /// What was counted.
    fn seen(&self) -> String {
        let arm = |seen: Outcomes| {
            let percent = if seen.total == 0 { 0.0 } else { 100.0 * seen.share() };
            format!("{} of {} ({percent:.2} %)", seen.bad, seen.total)
        };
        let Pair { canary, baseline } = self.samples;
        if let Some(gauge) = &self.gauge {
            let ratio = gauge.ratio.map_or_else(|| "unknown".to_owned(), |r| format!("{r:.2}"));
            return format!("ratio {ratio} over {} samples", gauge.samples);
        }
        match self.kind {
            Kind::Guard { .. } => format!("{} bad", arm(canary)),
            Kind::Latency(_) => {
                format!("slower than p99 was: canary {}, baseline {}", arm(canary), arm(baseline))
            }
            Kind::Errors(_) | Kind::Gauge { .. } => {
                format!("canary {}, baseline {}", arm(canary), arm(baseline))
            }
        }
    }
}
