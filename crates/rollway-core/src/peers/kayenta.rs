//! Kayenta's `NetflixACAJudge`: each metric is classified by the Mann-Whitney test of canary
//! against baseline, the classes are summed up to a score, and the score is a verdict.
//!
//! [`Manner::Faithful`] answers as Kayenta does. [`Manner::Mended`] is the same judge without
//! what is known to be wrong with it:
//!
//! - No least number of samples: of two samples that are alike, 22 in 100 differ at 2 values a
//!   side, and 5 at 3. Mended: fewer than [`Metric::samples_min`], or too few for the confidence,
//!   are no data.
//! - The ends of the interval are found to 1e-4 of any unit: what is judged in seconds is judged
//!   otherwise in hours. Mended: the ends are the very differences, in every unit.
//! - The interval may be inverted, its low end above its high end. Mended: it never is.
//! - The estimate of the shift keeps the correction for continuity. Mended: it is the median of
//!   the differences, as Hodges and Lehmann have it.
//! - Two constant samples get random noise, and a class by chance. Mended: they are compared as
//!   they are. The faithful manner has the quantiles of that noise in place of chance.
//! - Where all values are the same at some shift, Kayenta throws; the metric is an `Error`, which
//!   no group counts. Mended: cannot come.
//! - Its judge does not heed `tolerance` and `confidence`. Mended: it does.
//! - With NaN replaced, an empty side passes. Mended: it is no data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::mann_whitney::{Alternative, Continuity, Samples, Solver};
use super::normal;
use crate::problem::Problem;

pub mod prepare;
pub mod score;
pub mod windows;

/// The part of the estimated shift that the interval must be beyond: Kayenta's own.
pub const TOLERANCE: f64 = 0.25;
/// The confidence of the interval: Kayenta's own.
pub const CONFIDENCE: f64 = 0.98;
/// Below this many values a side, samples that are alike differ more often than 1 time in 200.
pub const SAMPLES_MIN: usize = 5;

/// Whose answer is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manner {
    /// Kayenta's own, with its defects.
    Faithful,
    /// Kayenta's without them.
    #[default]
    Mended,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Class {
    /// The canary is as the baseline.
    Pass,
    /// It is higher.
    High,
    /// It is lower.
    Low,
    /// There is nothing to compare.
    Nodata,
    /// There is nothing to compare, and there had to be.
    NodataFailMetric,
    /// The faithful judge could not tell.
    Error,
}

/// Which change counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Both.
    #[default]
    Either,
    /// The canary above the baseline.
    Increase,
    /// The canary below it.
    Decrease,
}

/// What becomes of values that are no numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NanStrategy {
    /// They are left out.
    #[default]
    Remove,
    /// They are 0.
    Replace,
}

/// How large a change is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Measure {
    /// The canary's mean over the baseline's.
    #[default]
    MeanRatio,
    /// The chance that a value of the canary is above one of the baseline.
    Cles,
}

/// How large a change must be to count.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EffectSize {
    /// How it is measured.
    pub measure: Measure,
    /// From here on a rise counts.
    pub allowed_increase: f64,
    /// Down from here a fall counts.
    pub allowed_decrease: f64,
    /// From here on a rise of a critical metric fails all.
    pub critical_increase: f64,
    /// Down from here a fall of a critical metric fails all.
    pub critical_decrease: f64,
}

impl EffectSize {
    /// What Kayenta takes where nothing is given: any change counts.
    #[must_use]
    pub const fn of(measure: Measure) -> Self {
        let none = match measure {
            Measure::MeanRatio => 1.0,
            Measure::Cles => 0.5,
        };
        Self {
            measure,
            allowed_increase: none,
            allowed_decrease: none,
            critical_increase: none,
            critical_decrease: none,
        }
    }
}

/// How one metric is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Metric {
    /// Which change counts.
    pub direction: Direction,
    /// What becomes of values that are no numbers.
    pub nan_strategy: NanStrategy,
    /// Outliers beyond so many quartile distances are left out; none: all are kept.
    pub outlier_factor: Option<f64>,
    /// Whether it fails all by itself.
    pub critical: bool,
    /// Whether no data is a failure.
    pub must_have_data: bool,
    /// Shown and not counted.
    pub muted: bool,
    /// How large a change must be.
    pub effect_size: EffectSize,
    /// The part of the estimated shift that the interval must be beyond.
    pub tolerance: f64,
    /// The confidence of the interval, a share.
    pub confidence: f64,
    /// Fewer values a side are no data; not heeded in the faithful manner.
    pub samples_min: usize,
}

impl Default for Metric {
    fn default() -> Self {
        Self {
            direction: Direction::Either,
            nan_strategy: NanStrategy::Remove,
            outlier_factor: None,
            critical: false,
            must_have_data: false,
            muted: false,
            effect_size: EffectSize::of(Measure::MeanRatio),
            tolerance: TOLERANCE,
            confidence: CONFIDENCE,
            samples_min: SAMPLES_MIN,
        }
    }
}

/// What a metric came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Classified {
    /// Its class.
    pub class: Class,
    /// Whether it fails all by itself.
    pub is_critical: bool,
    /// Why.
    pub reason: Option<String>,
    /// The effect, by the metric's measure; 1 where nothing was compared, NaN where a mean is 0.
    #[serde(deserialize_with = "number_or_none")]
    pub deviation: f64,
}

/// JSON has no NaN: it is written as `null`.
fn number_or_none<'de, D: serde::Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(from)?.unwrap_or(f64::NAN))
}

/// The shift between canary and baseline.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Shift {
    /// The least that the samples allow.
    pub low: f64,
    /// The largest.
    pub high: f64,
    /// The most likely.
    pub estimate: f64,
    /// Whether there are samples enough for the confidence; always true of the faithful one.
    pub is_reached: bool,
}

/// The shift as this manner finds it; none where Kayenta throws an exception.
///
/// # Errors
/// A confidence that is not between 0 and 1.
pub fn shift(samples: &Samples, confidence: f64, manner: Manner) -> Result<Option<Shift>, Problem> {
    let alternative = Alternative::TwoSided;
    match manner {
        Manner::Faithful => {
            let interval = samples.interval(confidence, alternative, Solver::R)?;
            let estimate = samples.location(Continuity::Corrected);
            Ok(interval.zip(estimate).map(|(interval, estimate)| Shift {
                low: interval.low,
                high: interval.high,
                estimate,
                is_reached: true,
            }))
        }
        Manner::Mended => {
            let interval = if samples.is_exact_in_r() {
                Some(samples.interval_exact(confidence)?)
            } else {
                samples.interval(confidence, alternative, Solver::Steps)?
            };
            Ok(interval.map(|interval| Shift {
                low: interval.low,
                high: interval.high,
                estimate: samples.hodges_lehmann(),
                is_reached: interval.is_reached,
            }))
        }
    }
}

/// What the metric is: `canary` against `baseline`, both prepared (see [`prepare::prepared`]).
///
/// # Errors
/// Values that are not finite, a confidence that is not between 0 and 1.
pub fn classify(
    metric: &Metric,
    canary: &[f64],
    baseline: &[f64],
    manner: Manner,
) -> Result<Classified, Problem> {
    if canary.is_empty() || baseline.is_empty() {
        let passes = metric.nan_strategy == NanStrategy::Replace && manner == Manner::Faithful;
        return Ok(if passes { passed(1.0) } else { no_data(metric, missing(canary, baseline)) });
    }
    let fewest = canary.len().min(baseline.len());
    if manner == Manner::Mended && fewest < metric.samples_min {
        let reason =
            format!("{fewest} samples on one side; at least {} are needed", metric.samples_min);
        return Ok(no_data(metric, reason));
    }
    let samples = Samples::new(canary, baseline)?;
    let is_constant = |values: &[f64]| values.iter().all(|value| *value == values[0]);
    let are_constant = is_constant(canary) && is_constant(baseline);
    if are_constant && canary[0] == baseline[0] || sorted(canary) == sorted(baseline) {
        return Ok(passed(1.0));
    }
    if are_constant && manner == Manner::Faithful {
        let (canary, baseline) = (spread(canary), spread(baseline));
        return compare(metric, &Samples::new(&canary, &baseline)?, (&canary, &baseline), manner);
    }
    compare(metric, &samples, (canary, baseline), manner)
}

fn compare(
    metric: &Metric,
    samples: &Samples,
    (canary, baseline): (&[f64], &[f64]),
    manner: Manner,
) -> Result<Classified, Problem> {
    let deviation = match metric.effect_size.measure {
        Measure::MeanRatio => prepare::mean_ratio(baseline, canary),
        Measure::Cles => samples.common_language_effect(),
    };
    let Some(shift) = shift(samples, metric.confidence, manner)? else {
        let reason = "all values are the same at some shift".to_owned();
        let class = Class::Error;
        return Ok(Classified { class, is_critical: false, reason: Some(reason), deviation });
    };
    if !shift.is_reached {
        let percent = metric.confidence * 100.0;
        let reason = format!("too few samples to be {percent} % sure of anything");
        return Ok(no_data(metric, reason));
    }
    let bound = metric.tolerance * shift.estimate.abs();
    let effect = &metric.effect_size;
    let rises = metric.direction != Direction::Decrease && shift.low > bound;
    let falls = metric.direction != Direction::Increase && shift.high < -bound;
    // A ratio to a mean of 0 is NaN, and any change of it counts.
    let at_least = |least: f64| deviation.is_nan() || deviation >= least;
    let at_most = |most: f64| deviation.is_nan() || deviation <= most;
    let (class, is_beyond) = if rises && at_least(effect.allowed_increase) {
        (Class::High, at_least(effect.critical_increase))
    } else if falls && at_most(effect.allowed_decrease) {
        (Class::Low, at_most(effect.critical_decrease))
    } else {
        return Ok(passed(deviation));
    };
    let reason = format!(
        "the canary is {} by {} (between {} and {})",
        if class == Class::High { "higher" } else { "lower" },
        shift.estimate.abs(),
        shift.low,
        shift.high
    );
    let is_critical = metric.critical && is_beyond;
    Ok(Classified { class, is_critical, reason: Some(reason), deviation })
}

fn passed(deviation: f64) -> Classified {
    Classified { class: Class::Pass, is_critical: false, reason: None, deviation }
}

fn no_data(metric: &Metric, reason: String) -> Classified {
    let fails = metric.must_have_data && !metric.critical;
    let class = if fails { Class::NodataFailMetric } else { Class::Nodata };
    Classified { class, is_critical: metric.critical, reason: Some(reason), deviation: 1.0 }
}

fn missing(canary: &[f64], baseline: &[f64]) -> String {
    let sides = match (canary.is_empty(), baseline.is_empty()) {
        (true, true) => "canary and baseline",
        (true, false) => "canary",
        (false, true | false) => "baseline",
    };
    format!("no data of the {sides}")
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

/// In place of Kayenta's random noise of 1e-5 of the value: the quantiles that such a noise has
/// at even distances, so that nothing here is by chance.
fn spread(constant: &[f64]) -> Vec<f64> {
    let count = super::mann_whitney::float(constant.len());
    let noise = |at: usize| normal::quantile((super::mann_whitney::float(at) + 0.5) / count);
    let noisy = |(at, value): (usize, &f64)| value + value.abs() * 1e-5 * noise(at);
    constant.iter().enumerate().map(noisy).collect()
}

/// What a judgement is made by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The metrics by name, and the groups that each is in.
    pub metrics: BTreeMap<String, GroupedMetric>,
    /// The weight of each group, in percent; those without one share the rest.
    #[serde(default)]
    pub group_weights: BTreeMap<String, f64>,
    /// The scores that pass.
    pub thresholds: score::Thresholds,
    /// Whose answer is asked for.
    #[serde(default)]
    pub manner: Manner,
}

/// A metric and its groups.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupedMetric {
    /// The groups that it counts in.
    pub groups: Vec<String>,
    /// How it is judged.
    pub canary: Metric,
}

/// The values of one metric as a source gave them: with NaN where there was no answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Values {
    /// The canary's.
    pub canary: Vec<f64>,
    /// The baseline's.
    pub baseline: Vec<f64>,
}

/// What a judgement comes to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Each metric's class.
    pub metrics: BTreeMap<String, Classified>,
    /// The score of each group and of all.
    pub score: score::Score,
    /// What the score is.
    pub verdict: score::Verdict,
}

/// The judgement. A metric without values has no data.
///
/// # Errors
/// Values of a metric that the configuration does not have, with the known ones; infinite values;
/// a confidence that is not between 0 and 1.
pub fn judge(config: &Config, values: &BTreeMap<String, Values>) -> Result<Judgement, Problem> {
    let known: Vec<&str> = config.metrics.keys().map(String::as_str).collect();
    if let Some(name) = values.keys().find(|name| !config.metrics.contains_key(*name)) {
        return Err(Problem::new("metrics", crate::problem::unknown("metric", name, &known)));
    }
    let none = Values::default();
    let mut metrics = BTreeMap::new();
    let mut counted = Vec::new();
    for (name, GroupedMetric { groups, canary: metric }) in &config.metrics {
        let mut metric = metric.clone();
        if config.manner == Manner::Faithful {
            (metric.tolerance, metric.confidence) = (TOLERANCE, CONFIDENCE);
        }
        let Values { canary, baseline } = values.get(name).unwrap_or(&none);
        let canary = prepare::prepared(&metric, canary);
        let baseline = prepare::prepared(&metric, baseline);
        let classified = classify(&metric, &canary, &baseline, config.manner)?;
        counted.push(score::Counted {
            class: classified.class,
            is_critical: classified.is_critical,
            is_muted: metric.muted,
            groups: groups.clone(),
        });
        metrics.insert(name.clone(), classified);
    }
    let score = score::score(&counted, &config.group_weights);
    let verdict = config.thresholds.verdict(score.summary);
    Ok(Judgement { metrics, score, verdict })
}
