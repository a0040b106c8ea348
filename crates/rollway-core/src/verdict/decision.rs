//! The verdict at a look: roll back, advance, go on, or nothing can be told.

use serde::{Deserialize, Serialize};

use super::finding::Finding;
use super::judge::{Judge, State};
use super::others::{Other, Scored};
use super::rules::{Inconclusive, Severity};
use super::stats::multiplicity::e_bh;
use crate::units::Millis;

/// Evidence below this is no suspicion.
const SUSPICIOUS: f64 = 3.0;

/// When it is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Since the canary's start.
    pub elapsed: Millis,
    /// Since the step's start.
    pub step: Millis,
}

/// What is to be done, with the reasons and all numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What is to be done.
    pub decision: Decision,
    /// Since the canary's start.
    pub elapsed: Millis,
    /// Intervals that counted.
    pub intervals: u64,
    /// Every metric, in the order of the rules.
    pub findings: Vec<Finding>,
    /// Metrics that stand out at this look (e-BH at the level of rollbacks): an explanation, not
    /// a decision.
    pub stand_out: Vec<String>,
    /// What another judge than the sequential one found, in the order of its metrics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Other>,
    /// The score, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<Scored>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The canary is worse.
    Rollback {
        /// By which metric.
        metric: String,
        /// By which proof.
        because: Proof,
    },
    /// It is proven to be good enough.
    Advance,
    /// It is too early to say.
    Continue {
        /// For what, metric by metric.
        waits: Vec<Wait>,
    },
    /// The deadline is over, and nothing is proven.
    Inconclusive {
        /// What follows, by the rules.
        then: Then,
        /// What is in doubt.
        doubts: Vec<Doubt>,
    },
}

/// What proved that it is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// The evidence, at this look.
    Evidence,
    /// The exact test at the deadline.
    Deadline,
    /// More bad measurements, or errors, than are borne.
    Limits,
    /// The rank test.
    Ranks,
    /// The score.
    Score,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// A metric's certificate.
    Certificate {
        /// Which.
        metric: String,
    },
    /// An advisory metric has evidence against the canary: a person must look.
    Advised {
        /// Which.
        metric: String,
    },
    /// The step has not lasted long enough.
    Bake {
        /// So much longer.
        left: Millis,
    },
    /// Measurements of a metric.
    Measurements {
        /// Which.
        metric: String,
    },
    /// Values of both releases are collected.
    Lifetime {
        /// So much longer.
        left: Millis,
    },
    /// There are too few values of a metric.
    Values {
        /// Which.
        metric: String,
    },
}

/// What follows where nothing is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// Promote; it is recorded as "not certified".
    Promote,
    /// Wait for a person.
    Hold,
    /// Roll back.
    Rollback,
    /// Go on looking.
    Extend {
        /// Until then, from the canary's start on.
        until: Millis,
    },
}

/// What is in doubt at the deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// Of which metric.
    pub metric: String,
    /// What.
    pub what: Doubted,
}

/// What is in doubt of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doubted {
    /// There was nothing to compare: no data is no health.
    NoData,
    /// There is some evidence against it (3 or more).
    Suspicious,
    /// The estimate is worse than a promotion allows.
    OutsideMargin,
    /// It is clean, but not certified.
    NotCertified,
    /// More measurements than are borne are neither good nor bad.
    Inconclusive,
    /// Not all of its measurements were made; those that were are good.
    Unfinished,
    /// The score is marginal.
    Marginal,
}

impl Judge {
    /// What is to be done now.
    #[must_use]
    pub fn verdict(&self, state: &State, look: Look) -> Verdict {
        let rules = self.rules();
        let findings: Vec<Finding> = rules
            .metrics
            .iter()
            .zip(&state.metrics)
            .map(|(metric, known)| {
                let now = || if state.is_closed { known.ln_p } else { known.ln_p_now(metric.kind) };
                let is_over = look.elapsed >= rules.last_look();
                Finding::of(rules, metric, known, is_over.then(now))
            })
            .collect();
        let decision = self.decide(&findings, look);
        let ln_e: Vec<f64> = findings.iter().map(|finding| finding.worse.ln_e).collect();
        let standing = e_bh(&ln_e, rules.alpha_rollback);
        let stand_out = findings.iter().zip(standing).filter(|(_, stands_out)| *stands_out);
        let stand_out = stand_out.map(|(finding, _)| finding.metric.clone()).collect();
        let (elapsed, intervals) = (look.elapsed, state.counted);
        let (others, score) = (Vec::new(), None);
        Verdict { decision, elapsed, intervals, findings, stand_out, others, score }
    }

    fn decide(&self, findings: &[Finding], look: Look) -> Decision {
        let rules = self.rules();
        let hard = || findings.iter().filter(|finding| finding.severity == Severity::Hard);
        let mut worse = hard().filter(|finding| finding.is_above_floor);
        if let Some(finding) = worse.clone().find(|finding| finding.worse.is_enough()) {
            return rollback(finding, Proof::Evidence);
        }
        if let Some(finding) =
            worse.find(|finding| finding.ln_p.is_some_and(|ln_p| ln_p <= finding.ln_p_needed))
        {
            return rollback(finding, Proof::Deadline);
        }
        let waits = self.waits(findings, look);
        if waits.is_empty() {
            return Decision::Advance;
        }
        let is_proven = waits.iter().all(|wait| matches!(wait, Wait::Bake { .. }));
        if look.elapsed < rules.deadline || is_proven {
            return Decision::Continue { waits };
        }
        let doubts: Vec<Doubt> = findings.iter().filter_map(doubt).collect();
        let is_clean = doubts.iter().all(|doubt| doubt.what == Doubted::NotCertified);
        let then = rules.inconclusive.then(is_clean, look.elapsed, rules.last_look());
        Decision::Inconclusive { then, doubts }
    }

    /// What keeps it from advancing.
    fn waits(&self, findings: &[Finding], look: Look) -> Vec<Wait> {
        let rules = self.rules();
        let mut waits = Vec::new();
        let mut certified = 0;
        for finding in findings {
            let metric = finding.metric.clone();
            match (finding.severity, &finding.good) {
                (Severity::Hard, Some(good)) if good.is_enough() => certified += 1,
                (Severity::Hard, Some(_)) => waits.push(Wait::Certificate { metric }),
                // A guard certifies nothing; it only rolls back.
                (Severity::Hard, None) => {}
                (Severity::Advisory, _) if finding.worse.is_enough() => {
                    waits.push(Wait::Advised { metric });
                }
                (Severity::Advisory, _) => {}
            }
        }
        // Nothing but guards: nothing is ever certified, and the deadline decides.
        if certified == 0 && waits.is_empty() {
            let guards = findings.iter().filter(|finding| finding.severity == Severity::Hard);
            waits.extend(guards.map(|guard| Wait::Certificate { metric: guard.metric.clone() }));
        }
        let left = Millis(rules.min_bake.0.saturating_sub(look.step.0));
        if left.0 > 0 {
            waits.push(Wait::Bake { left });
        }
        waits
    }
}

impl Inconclusive {
    /// What follows where nothing is proven; `last_look` is the deadline with its extension.
    #[must_use]
    pub fn then(self, is_clean: bool, elapsed: Millis, last_look: Millis) -> Then {
        match self {
            Self::PromoteIfClean if is_clean => Then::Promote,
            Self::PromoteIfClean | Self::Hold => Then::Hold,
            Self::Rollback => Then::Rollback,
            Self::Extend { .. } if elapsed >= last_look => Then::Hold,
            Self::Extend { .. } => Then::Extend { until: last_look },
        }
    }
}

fn rollback(finding: &Finding, because: Proof) -> Decision {
    Decision::Rollback { metric: finding.metric.clone(), because }
}

/// What is in doubt of a metric at the deadline. Advisory ones are doubted only where they have
/// evidence enough.
fn doubt(finding: &Finding) -> Option<Doubt> {
    let what = match finding.severity {
        Severity::Advisory => finding.worse.is_enough().then_some(Doubted::Suspicious)?,
        Severity::Hard if finding.is_inside_margin.is_none() => Doubted::NoData,
        Severity::Hard if finding.worse.ln_e >= SUSPICIOUS.ln() => Doubted::Suspicious,
        Severity::Hard if finding.is_inside_margin == Some(false) => Doubted::OutsideMargin,
        Severity::Hard if finding.good.is_some_and(|good| good.is_enough()) => return None,
        Severity::Hard => Doubted::NotCertified,
    };
    Some(Doubt { metric: finding.metric.clone(), what })
}

impl Verdict {
    /// The metric that decided, or that is in the way.
    #[must_use]
    pub fn decisive(&self) -> Option<&Finding> {
        let name = match &self.decision {
            Decision::Rollback { metric, .. } => Some(metric),
            Decision::Advance => None,
            Decision::Continue { waits } => waits.iter().find_map(|wait| match wait {
                Wait::Certificate { metric }
                | Wait::Advised { metric }
                | Wait::Measurements { metric }
                | Wait::Values { metric } => Some(metric),
                Wait::Bake { .. } | Wait::Lifetime { .. } => None,
            }),
            Decision::Inconclusive { doubts, .. } => doubts.first().map(|doubt| &doubt.metric),
        };
        self.findings.iter().find(|finding| Some(&finding.metric) == name)
    }

    /// The decision and its reasons, in short lines: the decision first, then every metric.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let findings = self.findings.iter().flat_map(Finding::words);
        let score = self.score.iter().map(Scored::words);
        let others = self.others.iter().map(Other::words);
        std::iter::once(self.decided()).chain(score).chain(findings).chain(others).collect()
    }

    /// The decision in one line, in the words of the judge that made it.
    #[must_use]
    pub fn decided(&self) -> String {
        let good = match (&self.decision, self.others.first(), &self.score) {
            (Decision::Advance, _, Some(_)) => "advance: the score passes",
            (Decision::Advance, Some(Other::Threshold(_)), None) => {
                "advance: every metric is successful"
            }
            (Decision::Advance, Some(Other::Ranks(_)), None) => "advance: no metric is worse",
            (
                Decision::Advance
                | Decision::Rollback { .. }
                | Decision::Continue { .. }
                | Decision::Inconclusive { .. },
                _,
                _,
            ) => return self.decision.words(),
        };
        good.to_owned()
    }

    /// Why it is rolled back: the decision, then what decided.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = vec![self.decided()];
        reasons.extend(self.decisive().iter().flat_map(|finding| finding.words()));
        reasons.extend(self.score.iter().map(Scored::words));
        if let Decision::Rollback { metric, .. } = &self.decision {
            let decisive = self.others.iter().filter(|other| other.metric() == metric);
            reasons.extend(decisive.map(Other::words));
        }
        reasons
    }
}

impl Decision {
    /// One line.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Rollback { metric, because: Proof::Evidence } => {
                format!("roll back: {metric} is worse")
            }
            Self::Rollback { metric, because: Proof::Deadline } => {
                format!("roll back: {metric} is worse, by the exact test at the deadline")
            }
            Self::Rollback { metric, because: Proof::Limits } => {
                format!("roll back: {metric} has gone beyond its limits")
            }
            Self::Rollback { metric, because: Proof::Ranks } => {
                format!("roll back: {metric} is worse, by the rank test")
            }
            Self::Rollback { metric, because: Proof::Score } => {
                format!("roll back: the score fails, {metric} does not pass")
            }
            Self::Advance => "advance: every hard metric is certified".to_owned(),
            Self::Continue { waits } => {
                let waits: Vec<String> = waits.iter().map(Wait::words).collect();
                format!("go on: {}", waits.join(", "))
            }
            Self::Inconclusive { then, doubts } => {
                let doubts: Vec<String> = doubts.iter().map(Doubt::words).collect();
                let then = match then {
                    Then::Promote => "promote, not certified".to_owned(),
                    Then::Hold => "hold for a person".to_owned(),
                    Then::Rollback => "roll back, by the rules".to_owned(),
                    Then::Extend { until } => format!("go on until {until}"),
                };
                format!("inconclusive, {then}: {}", doubts.join(", "))
            }
        }
    }
}

impl Wait {
    fn words(&self) -> String {
        match self {
            Self::Certificate { metric } => format!("{metric} is not certified yet"),
            Self::Advised { metric } => format!("{metric} speaks against it"),
            Self::Bake { left } => format!("the step bakes for {left} more"),
            Self::Measurements { metric } => format!("{metric} is still measured"),
            Self::Lifetime { left } => format!("values are collected for {left} more"),
            Self::Values { metric } => format!("{metric} has too few values yet"),
        }
    }
}

impl Doubt {
    fn words(&self) -> String {
        let what = match self.what {
            Doubted::NoData => "has no data",
            Doubted::Suspicious => "has some evidence against it",
            Doubted::OutsideMargin => "is outside of the margin",
            Doubted::NotCertified => "is clean but not certified",
            Doubted::Inconclusive => "has more inconclusive measurements than are borne",
            Doubted::Unfinished => "has not had all of its measurements",
            Doubted::Marginal => "is marginal",
        };
        format!("{} {what}", self.metric)
    }
}
