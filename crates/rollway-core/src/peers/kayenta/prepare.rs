//! What is done to values before they are compared, and what is told about them.

use serde::{Deserialize, Serialize};

use super::{Metric, NanStrategy};
use crate::peers::mann_whitney::float;

/// The values that are compared: without NaN, and without outliers where the metric says so.
#[must_use]
pub fn prepared(metric: &Metric, values: &[f64]) -> Vec<f64> {
    let values = match metric.nan_strategy {
        NanStrategy::Remove => without_nan(values),
        NanStrategy::Replace => {
            values.iter().map(|value| if value.is_nan() { 0.0 } else { *value }).collect()
        }
    };
    match metric.outlier_factor {
        Some(factor) => without(&values, &outliers_by_quartiles(&values, factor, Fences::Wide)),
        None => values,
    }
}

/// The values that are numbers.
#[must_use]
pub fn without_nan(values: &[f64]) -> Vec<f64> {
    values.iter().copied().filter(|value| !value.is_nan()).collect()
}

/// The values that are not marked.
#[must_use]
pub fn without(values: &[f64], marks: &[bool]) -> Vec<f64> {
    values.iter().zip(marks).filter(|(_, is_out)| !**is_out).map(|(value, _)| *value).collect()
}

/// How far out the fences are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fences {
    /// By the quartiles alone.
    Plain,
    /// Never within the 1st and the 99th percentile.
    Wide,
}

/// The fences: the quartiles and `factor` times their distance.
#[must_use]
pub fn fences(values: &[f64], factor: f64, fences: Fences) -> (f64, f64) {
    let (first, third) = (percentile(values, 25.0), percentile(values, 75.0));
    let reach = factor * (third - first);
    match fences {
        Fences::Plain => (first - reach, third + reach),
        Fences::Wide => {
            let low = percentile(values, 1.0).min(first - reach);
            (low, percentile(values, 99.0).max(third + reach))
        }
    }
}

/// Which values are outside of the fences.
#[must_use]
pub fn outliers_by_quartiles(values: &[f64], factor: f64, kind: Fences) -> Vec<bool> {
    let (low, high) = fences(values, factor, kind);
    values.iter().map(|value| *value < low || *value > high).collect()
}

/// Which values are more than `factor` standard deviations from the mean.
#[must_use]
pub fn outliers_by_deviation(values: &[f64], factor: f64) -> Vec<bool> {
    let (mean, deviation) = (mean(values), deviation(values));
    values.iter().map(|value| (value - mean).abs() > factor * deviation).collect()
}

/// What is told about a sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
    /// The standard deviation of a sample.
    pub std: f64,
    /// How many.
    pub count: usize,
}

/// What is told about a sample; none of an empty one.
#[must_use]
pub fn summary(values: &[f64]) -> Option<Summary> {
    (!values.is_empty()).then(|| Summary {
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        mean: mean(values),
        std: deviation(values),
        count: values.len(),
    })
}

/// The mean; NaN of an empty sample.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / float(values.len())
}

/// The standard deviation with n - 1 below; 0 of a single value.
#[must_use]
pub fn deviation(values: &[f64]) -> f64 {
    if values.len() == 1 {
        return 0.0;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (float(values.len()) - 1.0)).sqrt()
}

/// A percentile by the line between its neighbours: R's type 7; NaN of an empty sample.
#[must_use]
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = float(last) * (percent / 100.0).clamp(0.0, 1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the length"
    )]
    let below = (place.floor() as usize).min(last);
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (place - float(below))
}

/// The canary's mean over the baseline's; NaN where either is 0.
#[must_use]
pub fn mean_ratio(baseline: &[f64], canary: &[f64]) -> f64 {
    let (baseline, canary) = (mean(baseline), mean(canary));
    if baseline == 0.0 || canary == 0.0 { f64::NAN } else { canary / baseline }
}

/// Cohen's d: the distance of the means in deviations of both.
#[must_use]
pub fn cohens_d(canary: &[f64], baseline: &[f64]) -> f64 {
    let freedom = |values: &[f64]| float(values.len()) - 1.0;
    let squares = |values: &[f64]| freedom(values) * deviation(values).powi(2);
    let pooled = (squares(canary) + squares(baseline)) / (freedom(canary) + freedom(baseline));
    (mean(canary) - mean(baseline)) / pooled.sqrt()
}
