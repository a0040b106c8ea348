//! The rules of a judgement: which metrics, how sure one must be, and until when.

use serde::{Deserialize, Serialize};

use super::errors::ErrorRules;
use super::gauge::TOLERANCE;
use super::latency::LatencyRules;
use crate::problem::Problem;
use crate::units::Millis;

/// The part of the rollback's level that the looks before the deadline have.
const SEQUENTIAL: f64 = 0.7;

/// How a canary is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// What is looked at.
    pub metrics: Vec<Metric>,
    /// How likely a canary that is no worse may be rolled back: over all metrics and looks.
    pub alpha_rollback: f64,
    /// How likely one that is not good enough may be promoted.
    pub alpha_promote: f64,
    /// Until when it is decided, from the canary's start on.
    pub deadline: Millis,
    /// So long a start is slow, and not compared.
    pub warmup: Millis,
    /// A step lasts at least so long.
    pub min_bake: Millis,
    /// What follows where the deadline finds no decision.
    pub inconclusive: Inconclusive,
}

/// One metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Its name, unique.
    pub name: String,
    /// What it is, and what is worse.
    pub kind: Kind,
    /// Its part of the level of rollbacks, relative to the other hard metrics'.
    pub weight: f64,
    /// What it may do.
    pub severity: Severity,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Requests that went wrong, or any other count out of a count.
    Errors(ErrorRules),
    /// How long requests took.
    Latency(LatencyRules),
    /// Memory, processor time, the length of a queue.
    Gauge {
        /// How much higher it may be: 0.25 is 25 %.
        tolerance: f64,
    },
    /// The canary's errors against a limit, with no baseline.
    Guard {
        /// The share that may be bad.
        limit: f64,
    },
}

impl Kind {
    /// Its name, as users have it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Errors(_) => "errors",
            Self::Latency(_) => "latency",
            Self::Gauge { .. } => "gauge",
            Self::Guard { .. } => "guard",
        }
    }
}

/// What a metric may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It rolls back, and must be certified before a promotion.
    Hard,
    /// It only holds a promotion.
    Advisory,
}

/// What follows where the deadline finds no decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inconclusive {
    /// Promote, as "not certified", where nothing speaks against it; hold otherwise.
    PromoteIfClean,
    /// Wait for a person.
    Hold,
    /// Roll back.
    Rollback,
    /// Look for so much longer, then hold.
    Extend {
        /// So much.
        by: Millis,
    },
}

impl Metric {
    /// A hard metric of errors, by the usual rules.
    #[must_use]
    pub fn errors() -> Self {
        Self::hard("errors", Kind::Errors(ErrorRules::default()))
    }

    /// A hard metric of latencies, by the usual rules.
    #[must_use]
    pub fn latency() -> Self {
        Self::hard("latency", Kind::Latency(LatencyRules::default()))
    }

    /// An advisory gauge, with the usual tolerance.
    #[must_use]
    pub fn gauge(name: &str) -> Self {
        let kind = Kind::Gauge { tolerance: TOLERANCE };
        Self { severity: Severity::Advisory, ..Self::hard(name, kind) }
    }

    fn hard(name: &str, kind: Kind) -> Self {
        Self { name: name.to_owned(), kind, weight: 1.0, severity: Severity::Hard }
    }
}

impl Default for Rules {
    /// Errors and latency, half of the level each; 1 % and 5 %; an hour.
    fn default() -> Self {
        Self {
            metrics: vec![Metric::errors(), Metric::latency()],
            alpha_rollback: 0.01,
            alpha_promote: 0.05,
            deadline: Millis(3_600_000),
            warmup: Millis(30_000),
            min_bake: Millis(120_000),
            inconclusive: Inconclusive::PromoteIfClean,
        }
    }
}

impl Rules {
    /// ln of the evidence that rolls back.
    #[must_use]
    pub fn ln_rollback_needed(&self, metric: &Metric) -> f64 {
        -(self.share(metric) * SEQUENTIAL * self.alpha_rollback).ln()
    }

    /// ln of the evidence that promotes: each must have all of it.
    #[must_use]
    pub fn ln_promote_needed(&self) -> f64 {
        -self.alpha_promote.ln()
    }

    /// ln of the p-value that rolls back at the deadline.
    #[must_use]
    pub fn ln_deadline_level(&self, metric: &Metric) -> f64 {
        (self.share(metric) * (1.0 - SEQUENTIAL) * self.alpha_rollback).ln()
    }

    /// When the last look is: the deadline and its extension.
    #[must_use]
    pub fn last_look(&self) -> Millis {
        match self.inconclusive {
            Inconclusive::Extend { by } => Millis(self.deadline.0.saturating_add(by.0)),
            Inconclusive::PromoteIfClean | Inconclusive::Hold | Inconclusive::Rollback => {
                self.deadline
            }
        }
    }

    /// The metric's part of the level. Advisory ones roll nothing back, and take nothing.
    fn share(&self, metric: &Metric) -> f64 {
        let hard = self.metrics.iter().filter(|metric| metric.severity == Severity::Hard);
        match metric.severity {
            Severity::Hard => metric.weight / hard.map(|metric| metric.weight).sum::<f64>(),
            Severity::Advisory => 1.0,
        }
    }

    /// What is wrong with them.
    ///
    /// # Errors
    /// The first problem, with the path below the rules.
    pub fn check(&self) -> Result<(), Problem> {
        for (path, alpha) in
            [("alpha_rollback", self.alpha_rollback), ("alpha_promote", self.alpha_promote)]
        {
            if !(alpha > 0.0 && alpha < 1.0) {
                let what = format!("is {alpha}; expected a probability above 0 and below 1");
                return Err(Problem::new(path, what).hint("0.01 is one wrong one in a hundred"));
            }
        }
        if self.deadline.0 == 0 {
            return Err(Problem::new("deadline", "is 0; nothing can be judged by then"));
        }
        if !self.metrics.iter().any(|metric| metric.severity == Severity::Hard) {
            let what = "none of them is hard, so that nothing could ever be decided";
            return Err(Problem::new("metrics", what).hint("add `errors` or `latency`"));
        }
        for (place, metric) in self.metrics.iter().enumerate() {
            metric.check(&format!("metrics.{}", metric.name))?;
            if self.metrics.iter().take(place).any(|other| other.name == metric.name) {
                let what = "there are two of this name";
                return Err(Problem::new(format!("metrics.{}", metric.name), what));
            }
        }
        Ok(())
    }
}

impl Metric {
    fn check(&self, path: &str) -> Result<(), Problem> {
        let numbers = match self.kind {
            Kind::Errors(rules) => vec![
                ("worse_ratio", rules.worse_ratio, 1.0, 100.0),
                ("worse_margin", rules.worse_margin, 0.0, 0.5),
                ("promote_ratio", rules.promote_ratio, 1.0, 100.0),
                ("promote_margin", rules.promote_margin, 0.0, 0.5),
                ("floor_points", rules.floor_points, 0.0, 1.0),
                ("floor_ratio", rules.floor_ratio, 0.0, 100.0),
            ],
            Kind::Latency(rules) => vec![
                ("tolerance", rules.tolerance, 0.0, 100.0),
                ("promote_margin", rules.promote_margin, 0.0, 100.0),
                ("floor", rules.floor, 0.0, 100.0),
            ],
            Kind::Gauge { tolerance } => vec![("tolerance", tolerance, 0.0, 100.0)],
            Kind::Guard { limit } => vec![("limit", limit, 1e-6, 1.0)],
        };
        for (name, value, least, most) in
            [("weight", self.weight, 1e-6, 1e6)].iter().chain(&numbers)
        {
            if !(least..=most).contains(&value) {
                let what = format!("is {value}; expected {least} to {most}");
                return Err(Problem::new(format!("{path}.{name}"), what));
            }
        }
        Ok(())
    }
}
