//! How a canary is judged, as the spec says it.

use serde::{Deserialize, Serialize};

use super::judges::{Kayenta, MannWhitney, Measured, Need, Threshold};
use super::source::Source;
use crate::units::Millis;

/// A judgement of a canary: by which judge, from which source, how often and until when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Analysis {
    /// Who judges.
    pub judge: Judge,
    /// Where the numbers come from.
    pub source: Source,
    /// The time between two checks.
    pub interval: Millis,
    /// A judgement without a decision is over after this.
    pub deadline: Millis,
    /// A new release is not compared for this long after it has got traffic.
    pub warmup: Millis,
    /// A step lasts at least this long before its gate opens.
    pub min_bake: Millis,
    /// What follows where the deadline finds no decision.
    pub inconclusive: Inconclusive,
}

impl Default for Analysis {
    fn default() -> Self {
        Self {
            judge: Judge::default(),
            source: Source::default(),
            interval: Millis::seconds(10),
            deadline: Millis::seconds(3600),
            warmup: Millis::seconds(30),
            min_bake: Millis::seconds(120),
            inconclusive: Inconclusive::default(),
        }
    }
}

/// Who judges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judge {
    /// Nobody.
    None,
    /// The sequential test of both releases side by side.
    Sequential(Sequential),
    /// Conditions of the new release's numbers, as Argo Rollouts has them.
    Threshold(Box<Threshold>),
    /// One look with the rank test of both releases' numbers.
    MannWhitney(Box<MannWhitney>),
    /// Kayenta's classes and scores of both releases' numbers.
    Kayenta(Box<Kayenta>),
}

impl Judge {
    /// The name that users see.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sequential(_) => "sequential",
            Self::Threshold(_) => "threshold",
            Self::MannWhitney(_) => "mann_whitney",
            Self::Kayenta(_) => "kayenta",
        }
    }

    /// What its metrics measure, with the place of each below the judge.
    #[must_use]
    pub fn measured(&self) -> Vec<(String, Measured)> {
        let places = |name: &str, all: Vec<Measured>| {
            let place = |(at, one)| (format!("{name}.metrics[{at}].measure"), one);
            all.into_iter().enumerate().map(place).collect()
        };
        match self {
            Self::None | Self::Sequential(_) => Vec::new(),
            Self::Threshold(judge) => {
                places("threshold", judge.metrics.iter().map(|one| one.measure).collect())
            }
            Self::MannWhitney(judge) => {
                places("mann_whitney", judge.metrics.iter().map(|one| one.measure).collect())
            }
            Self::Kayenta(judge) => {
                places("kayenta", judge.metrics.iter().map(|one| one.measure).collect())
            }
        }
    }
}

/// What a source is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wants {
    /// Requests, and those that failed.
    pub counts: bool,
    /// How long requests took.
    pub latency: bool,
    /// A number as it is.
    pub value: bool,
    /// The old release too.
    pub baseline: bool,
}

impl Analysis {
    /// What the judge needs of the source.
    #[must_use]
    pub fn wants(&self) -> Wants {
        let measured = self.judge.measured();
        let needs = |need| measured.iter().any(|(_, one)| one.needs() == need);
        let (counts, latency) = match &self.judge {
            Judge::Sequential(judge) => {
                let latency = judge.metrics.contains(&Measure::Latency);
                let counts = judge.metrics.contains(&Measure::Errors);
                // Plans from before this was refused may ask for what there is not.
                (counts || judge.error_limit.is_some(), latency && self.source.has_latency())
            }
            Judge::None | Judge::Threshold(_) | Judge::MannWhitney(_) | Judge::Kayenta(_) => {
                (needs(Need::Counts), needs(Need::Latency))
            }
        };
        let baseline = !matches!(self.judge, Judge::Threshold(_));
        Wants { counts, latency, value: needs(Need::Value), baseline }
    }

    /// When the last look is: the deadline and its extension.
    #[must_use]
    pub fn last_look(&self) -> Millis {
        match self.inconclusive {
            Inconclusive::Extend(by) => Millis(self.deadline.0.saturating_add(by.0)),
            Inconclusive::PromoteIfClean | Inconclusive::Hold | Inconclusive::Rollback => {
                self.deadline
            }
        }
    }
}

impl Default for Judge {
    fn default() -> Self {
        Self::Sequential(Sequential::default())
    }
}

/// The settings of the sequential judge; shares of one, not percentages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sequential {
    /// What is looked at.
    pub metrics: Vec<Measure>,
    /// How likely a release that is no worse may be rolled back.
    pub alpha_rollback: f64,
    /// How likely one that is not good enough may be promoted.
    pub alpha_promote: f64,
    /// A promotion needs proof of fewer errors than this many times the old release's...
    pub error_ratio: f64,
    /// ...and this share of the requests more.
    pub error_margin: f64,
    /// More errors by less than this share of the requests never roll back.
    pub error_floor: f64,
    /// A promotion needs proof that latencies are within this.
    pub latency_margin: f64,
    /// A release that is slower by less than this is never rolled back.
    pub latency_floor: f64,
    /// The share of requests that may fail, whatever the old release does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_limit: Option<f64>,
    /// The largest number of requests that fail together, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cluster: Option<f64>,
}

impl Default for Sequential {
    fn default() -> Self {
        Self {
            metrics: vec![Measure::Errors, Measure::Latency],
            alpha_rollback: 0.01,
            alpha_promote: 0.05,
            error_ratio: 1.25,
            error_margin: 0.002,
            error_floor: 0.0005,
            latency_margin: 0.2,
            latency_floor: 0.05,
            error_limit: None,
            max_cluster: None,
        }
    }
}

/// What the sequential judge looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The share of requests that fail.
    Errors,
    /// How long requests take.
    Latency,
}

/// What follows where the deadline finds no decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inconclusive {
    /// Promote, recorded as not certified, where nothing speaks against it; wait for a person
    /// otherwise.
    #[default]
    PromoteIfClean,
    /// Wait for a person.
    Hold,
    /// Roll back.
    Rollback,
    /// Look for so much longer, then wait for a person.
    Extend(Millis),
}
