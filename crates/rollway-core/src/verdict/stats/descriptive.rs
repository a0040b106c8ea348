//! Numbers that describe samples.

use super::{Range, count, length};

/// The mean; not a number for nothing.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / length(values)
}

/// The variance of a sample (n - 1 below).
#[must_use]
pub fn variance(values: &[f64]) -> f64 {
    let middle = mean(values);
    values.iter().map(|value| (value - middle).powi(2)).sum::<f64>() / (length(values) - 1.0)
}

/// The standard deviation of a sample.
#[must_use]
pub fn standard_deviation(values: &[f64]) -> f64 {
    variance(values).sqrt()
}

/// The percentile as R's type 7 and numpy have it: linear between the two nearest; `percent` is
/// of 100.
#[must_use]
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (percent / 100.0 * (length(&sorted) - 1.0)).max(0.0);
    let below = sorted.iter().zip(0u64..).take_while(|(_, place)| count(*place) <= at).last();
    let Some((low, place)) = below else { return f64::NAN };
    let above = sorted.iter().zip(0u64..).find(|(_, other)| *other > place);
    let high = above.map_or(*low, |(value, _)| *value);
    low + (high - low) * (at - count(place))
}

/// Beyond these a value is an outlier for Kayenta: `factor` interquartile ranges outside of the
/// quartiles, but never inside of the first and the 99th percentile.
#[must_use]
pub fn kayenta_fences(values: &[f64], factor: f64) -> Range {
    let (low, high) = (percentile(values, 25.0), percentile(values, 75.0));
    let reach = factor * (high - low);
    Range {
        lower: (low - reach).min(percentile(values, 1.0)),
        upper: (high + reach).max(percentile(values, 99.0)),
    }
}

/// The common-language effect size: how likely one of `x` is above one of `y`, ties one half.
#[must_use]
pub fn effect_size(x: &[f64], y: &[f64]) -> f64 {
    let mut sorted = y.to_vec();
    sorted.sort_by(f64::total_cmp);
    let wins: f64 = x
        .iter()
        .map(|value| {
            let below = sorted.partition_point(|other| other < value);
            let upto = sorted.partition_point(|other| other <= value);
            (length(&sorted[..below]) + length(&sorted[..upto])) / 2.0
        })
        .sum();
    wins / (length(x) * length(y))
}

/// The statistic of Kolmogorov and Smirnov: the widest gap between the two distributions.
#[must_use]
pub fn kolmogorov_smirnov(x: &[f64], y: &[f64]) -> f64 {
    let sorted = |values: &[f64]| {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        values
    };
    let (x, y) = (sorted(x), sorted(y));
    let share = |values: &[f64], at: f64| {
        length(&values[..values.partition_point(|value| *value <= at)]) / length(values)
    };
    let gap = |at: &f64| (share(&x, *at) - share(&y, *at)).abs();
    x.iter().chain(&y).map(gap).fold(0.0, f64::max)
}

/// Welch's t of the means of two samples with variances of their own.
#[must_use]
pub fn welch_t(x: &[f64], y: &[f64]) -> f64 {
    let spread = variance(x) / length(x) + variance(y) / length(y);
    (mean(x) - mean(y)) / spread.sqrt()
}
