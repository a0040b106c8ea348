//! Many tests at once: e-values by their weighted threshold, mean and e-BH; p-values by
//! Bonferroni, Holm, Benjamini and Hochberg, Benjamini and Yekutieli.
//!
//! E-values are given as logarithms. The judge decides by [`bonferroni`], on running maxima; the
//! others explain which metrics stand out (they are valid at one time, not for running maxima).

use super::{count, length};

/// Which of them pass their weighted share of `alpha`: `E_k >= 1 / (w_k alpha)`.
#[must_use]
pub fn bonferroni(ln_e: &[f64], weights: &[f64], alpha: f64) -> Vec<bool> {
    let passes = |(ln_e, weight): (&f64, &f64)| *ln_e >= -(weight * alpha).ln();
    ln_e.iter().zip(weights).map(passes).collect()
}

/// The weighted mean of the e-values, which is itself one of the null that all hold.
#[must_use]
pub fn mean_e(ln_e: &[f64], weights: &[f64]) -> f64 {
    ln_e.iter().zip(weights).map(|(ln_e, weight)| weight * ln_e.exp()).sum()
}

/// Which of them e-BH rejects at the false discovery rate `alpha` (Wang and Ramdas): the largest
/// `k` for which the k-th largest is at least `K / (k alpha)`.
#[must_use]
pub fn e_bh(ln_e: &[f64], alpha: f64) -> Vec<bool> {
    let mut sorted = ln_e.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let needed = |rank: f64| (length(ln_e) / (rank * alpha)).ln();
    let last = sorted.iter().zip(1u64..).filter(|(ln_e, rank)| **ln_e >= needed(count(*rank)));
    let least = last.last().map_or(f64::INFINITY, |(ln_e, _)| *ln_e);
    ln_e.iter().map(|ln_e| *ln_e >= least && least < f64::INFINITY).collect()
}

/// The e-value of each that holds whichever of the others are true: the least mean of any set
/// that it is in (closed testing with the mean, Vovk and Wang).
#[must_use]
pub fn closed_mean(ln_e: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = ln_e.iter().map(|ln_e| ln_e.exp()).collect();
    sorted.sort_by(f64::total_cmp);
    let closed = |own: &f64| {
        let own = own.exp();
        let (mut least, mut sum, mut size, mut met) = (own, own, 1.0, false);
        for other in &sorted {
            // Itself is in the set already, once.
            if *other == own && !met {
                met = true;
                continue;
            }
            sum += other;
            size += 1.0;
            least = f64::min(least, sum / size);
        }
        least
    };
    ln_e.iter().map(closed).collect()
}

/// The p-value that an e-value is worth at any time.
#[must_use]
pub fn p_of_e(ln_e: f64) -> f64 {
    (-ln_e).exp().min(1.0)
}

/// Which p-values pass `alpha` divided by their number.
#[must_use]
pub fn p_bonferroni(p: &[f64], alpha: f64) -> Vec<bool> {
    let limit = alpha / length(p);
    p.iter().map(|p| *p <= limit).collect()
}

/// Holm's adjusted p-values.
#[must_use]
pub fn holm(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let mut adjusted = vec![0.0; p.len()];
    let mut most = 0.0f64;
    for (place, rank) in order.iter().zip(0u64..) {
        most = most.max(p[*place] * (length(p) - count(rank)));
        adjusted[*place] = most.min(1.0);
    }
    adjusted
}

/// Adjusted p-values of Benjamini and Hochberg, for independent tests.
#[must_use]
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    step_up(p, 1.0)
}

/// Adjusted p-values of Benjamini and Yekutieli, whatever the dependence.
#[must_use]
pub fn benjamini_yekutieli(p: &[f64]) -> Vec<f64> {
    let harmonic = (1u64..).take(p.len()).map(|k| 1.0 / count(k)).sum();
    step_up(p, harmonic)
}

fn step_up(p: &[f64], factor: f64) -> Vec<f64> {
    let order = ascending(p);
    let mut adjusted = vec![0.0; p.len()];
    let mut least = 1.0f64;
    let ranked: Vec<(usize, u64)> = order.into_iter().zip(1u64..).collect();
    for (place, rank) in ranked.into_iter().rev() {
        least = least.min(p[place] * factor * length(p) / count(rank));
        adjusted[place] = least;
    }
    adjusted
}

/// The places of the values, the smallest value first.
fn ascending(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    order
}
