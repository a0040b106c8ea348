//! The judges of other systems as the spec names them: Argo's thresholds, the rank test of Mann
//! and Whitney, Kayenta's scores. What they do is in [`crate::peers`].

use serde::{Deserialize, Serialize};

use crate::peers::kayenta::{
    CONFIDENCE, Direction, EffectSize, Manner, Measure as Effected, NanStrategy, SAMPLES_MIN,
    TOLERANCE,
};
use crate::peers::threshold::CONSECUTIVE_ERROR_LIMIT;
use crate::units::Millis;

/// A number that a check gives for each release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measured {
    /// The share of requests that failed since the last check.
    ErrorRate,
    /// The share that did not.
    SuccessRate,
    /// How long requests took on average, in seconds.
    LatencyMean,
    /// The latency of the middle one, in seconds.
    LatencyP50,
    /// The latency below which 90 % were, in seconds.
    LatencyP90,
    /// The latency below which 95 % were, in seconds.
    LatencyP95,
    /// The latency below which 99 % were, in seconds.
    LatencyP99,
    /// How many requests there were since the last check.
    Requests,
    /// A number that the source gives as it is.
    Value,
}

impl Measured {
    /// The name that users see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ErrorRate => "error_rate",
            Self::SuccessRate => "success_rate",
            Self::LatencyMean => "latency_mean",
            Self::LatencyP50 => "latency_p50",
            Self::LatencyP90 => "latency_p90",
            Self::LatencyP95 => "latency_p95",
            Self::LatencyP99 => "latency_p99",
            Self::Requests => "requests",
            Self::Value => "value",
        }
    }

    /// What a source has to tell for it.
    #[must_use]
    pub const fn needs(self) -> Need {
        match self {
            Self::ErrorRate | Self::SuccessRate | Self::Requests => Need::Counts,
            Self::LatencyMean
            | Self::LatencyP50
            | Self::LatencyP90
            | Self::LatencyP95
            | Self::LatencyP99 => Need::Latency,
            Self::Value => Need::Value,
        }
    }
}

/// What a source has to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Requests, and those that failed.
    Counts,
    /// How long requests took.
    Latency,
    /// A number.
    Value,
}

/// Argo Rollouts' analysis: conditions of one number per check, and limits of how often they may
/// fail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// What is measured.
    pub metrics: Vec<ThresholdMetric>,
}

/// A metric of [`Threshold`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThresholdMetric {
    /// Its name; absent = what it measures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it measures, of the new release.
    pub measure: Measured,
    /// Holds of a good `result`; empty = none.
    #[serde(default)]
    pub success_condition: String,
    /// Holds of a bad `result`; empty = none.
    #[serde(default)]
    pub failure_condition: String,
    /// How many failures are borne; -1 = any number.
    #[serde(default)]
    pub failure_limit: i64,
    /// How many inconclusive measurements are borne.
    #[serde(default)]
    pub inconclusive_limit: u32,
    /// How many errors in a row are borne.
    #[serde(default = "errors_in_a_row")]
    pub consecutive_error_limit: u32,
    /// So many successes in a row are enough; 0 = no such rule.
    #[serde(default)]
    pub consecutive_success_limit: u32,
    /// How many measurements; absent = without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// From one measurement to the next; absent = every check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Millis>,
    /// What is counted before is not measured; absent = the analysis' `warmup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_delay: Option<Millis>,
    /// Measured and told, and never counted.
    #[serde(default)]
    pub dry_run: bool,
}

impl ThresholdMetric {
    /// The name that users see.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.measure.name())
    }
}

/// One look with the test of Mann and Whitney at the values of both releases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MannWhitney {
    /// What is compared.
    pub metrics: Vec<RankMetric>,
    /// How long values are collected, after the warm-up.
    #[serde(default = "lifetime")]
    pub lifetime: Millis,
}

/// A metric of [`MannWhitney`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RankMetric {
    /// Its name; absent = what it compares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it compares.
    pub measure: Measured,
    /// Which change is bad.
    #[serde(default = "increase")]
    pub direction: Direction,
    /// How likely a release that is no worse may be rolled back by this metric.
    #[serde(default = "alpha")]
    pub alpha: f64,
    /// The part of the estimated shift that must be certain.
    #[serde(default = "tolerance")]
    pub tolerance: f64,
    /// How large a change must be.
    #[serde(default)]
    pub effect: Effect,
    /// With fewer values on a side nothing is told.
    #[serde(default = "samples_min")]
    pub samples_min: u32,
}

impl RankMetric {
    /// The name that users see.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.measure.name())
    }
}

/// Kayenta's judge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kayenta {
    /// What is compared.
    pub metrics: Vec<KayentaMetric>,
    /// A score from here on passes.
    #[serde(default = "pass")]
    pub pass: f64,
    /// A score from here on is marginal; below it fails.
    #[serde(default = "marginal")]
    pub marginal: f64,
    /// The weights of groups; those without one share the rest of 100.
    #[serde(default)]
    pub group_weights: Vec<GroupWeight>,
    /// How long it is judged, after the warm-up.
    #[serde(default = "lifetime")]
    pub lifetime: Millis,
    /// From one judgement to the next; absent = one at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Millis>,
    /// How far back a judgement looks; absent = to the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookback: Option<Millis>,
    /// Whether its known defects are mended.
    #[serde(default)]
    pub manner: Manner,
}

/// The weight of a group of metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupWeight {
    /// The group.
    pub name: String,
    /// Its weight, in percent.
    pub weight: f64,
}

/// A metric of [`Kayenta`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KayentaMetric {
    /// Its name; absent = what it compares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it compares.
    pub measure: Measured,
    /// The groups that it counts in.
    #[serde(default = "groups")]
    pub groups: Vec<String>,
    /// Which change counts.
    #[serde(default)]
    pub direction: Direction,
    /// What becomes of checks without a value.
    #[serde(default)]
    pub nan_strategy: NanStrategy,
    /// Outliers beyond so many quartile distances are left out; absent = all are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier_factor: Option<f64>,
    /// Whether it fails all by itself.
    #[serde(default)]
    pub critical: bool,
    /// Whether no data is a failure.
    #[serde(default)]
    pub must_have_data: bool,
    /// Told and not counted.
    #[serde(default)]
    pub muted: bool,
    /// How large a change must be.
    #[serde(default)]
    pub effect: Effect,
    /// The part of the estimated shift that must be certain.
    #[serde(default = "tolerance")]
    pub tolerance: f64,
    /// The confidence of the interval, a share.
    #[serde(default = "confidence")]
    pub confidence: f64,
    /// Fewer values on a side are no data.
    #[serde(default = "samples_min")]
    pub samples_min: u32,
}

impl KayentaMetric {
    /// The name that users see.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.measure.name())
    }
}

/// How large a change must be to count; what is absent is any change.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Effect {
    /// How it is measured.
    pub measure: EffectMeasure,
    /// From here on a rise counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_increase: Option<f64>,
    /// Down from here a fall counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_decrease: Option<f64>,
    /// From here on a rise of a critical metric fails all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub critical_increase: Option<f64>,
    /// Down from here a fall of a critical metric fails all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub critical_decrease: Option<f64>,
}

/// How the size of a change is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectMeasure {
    /// The new release's mean over the old one's.
    #[default]
    MeanRatio,
    /// The chance that a value of the new release is above one of the old.
    Cles,
}

impl Effect {
    /// The same in Kayenta's words.
    #[must_use]
    pub fn size(&self) -> EffectSize {
        let any = EffectSize::of(match self.measure {
            EffectMeasure::MeanRatio => Effected::MeanRatio,
            EffectMeasure::Cles => Effected::Cles,
        });
        EffectSize {
            allowed_increase: self.allowed_increase.unwrap_or(any.allowed_increase),
            allowed_decrease: self.allowed_decrease.unwrap_or(any.allowed_decrease),
            critical_increase: self.critical_increase.unwrap_or(any.critical_increase),
            critical_decrease: self.critical_decrease.unwrap_or(any.critical_decrease),
            ..any
        }
    }
}

const fn errors_in_a_row() -> u32 {
    CONSECUTIVE_ERROR_LIMIT
}

const fn lifetime() -> Millis {
    Millis::seconds(600)
}

const fn increase() -> Direction {
    Direction::Increase
}

const fn alpha() -> f64 {
    0.01
}

const fn tolerance() -> f64 {
    TOLERANCE
}

const fn confidence() -> f64 {
    CONFIDENCE
}

const fn samples_min() -> u32 {
    SAMPLES_MIN as u32
}

const fn pass() -> f64 {
    95.0
}

const fn marginal() -> f64 {
    75.0
}

fn groups() -> Vec<String> {
    vec!["metrics".to_owned()]
}
