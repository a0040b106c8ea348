//! Uniform boundaries and mixture supermartingales of Howard, Ramdas and others: "Time-uniform,
//! nonparametric, nonasymptotic confidence sequences" (2021) and "Sequential estimation of
//! quantiles" (2022).

use std::f64::consts::SQRT_2;

use super::special::{
    Share, bisect, least, ln_beta, ln_beta_lower, ln_gamma, ln_gamma_lower, ln_gamma_upper,
    ln_normal_lower, zeta,
};
use super::{Outcomes, Range, count};

/// Whether a mixture looks at one side or at both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sides {
    /// Only sums above the mean.
    One,
    /// Sums on both sides of it.
    Two,
}

/// For which intrinsic time and level a mixture is made the tightest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Best {
    /// The intrinsic time.
    pub v: f64,
    /// The level.
    pub alpha: f64,
}

impl Best {
    /// The mixture's variance.
    fn rho(self, sides: Sides) -> f64 {
        let alpha = match sides {
            Sides::One => 2.0 * self.alpha,
            Sides::Two => self.alpha,
        };
        let twice = -2.0 * alpha.ln();
        self.v / (twice + twice.ln_1p())
    }
}

/// A mixture of exponential supermartingales, as a function of a sum `s` and its intrinsic time
/// `v`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Martingale {
    /// Sub-Gaussian, a normal mixture.
    Normal {
        /// Its variance.
        rho: f64,
        /// Of a half or of the whole normal.
        sides: Sides,
    },
    /// Sub-exponential of scale `c`, a gamma mixture.
    GammaExponential {
        /// Its variance.
        rho: f64,
        /// The scale.
        c: f64,
    },
    /// Sub-Poisson of scale `c`, a gamma mixture.
    GammaPoisson {
        /// Its variance.
        rho: f64,
        /// The scale.
        c: f64,
    },
    /// Sub-Bernoulli on `[-g, h]`, a beta mixture.
    BetaBinomial {
        /// Its variance.
        r: f64,
        /// How far below the mean a value may be.
        g: f64,
        /// How far above.
        h: f64,
        /// Of a part or of the whole beta.
        sides: Sides,
    },
}

impl Martingale {
    /// The normal mixture that is the tightest at `best`.
    #[must_use]
    pub fn normal(best: Best, sides: Sides) -> Self {
        Self::Normal { rho: best.rho(sides), sides }
    }

    /// The gamma mixture for sub-exponential sums.
    #[must_use]
    pub fn gamma_exponential(best: Best, c: f64) -> Self {
        Self::GammaExponential { rho: best.rho(Sides::One), c }
    }

    /// The gamma mixture for sub-Poisson sums.
    #[must_use]
    pub fn gamma_poisson(best: Best, c: f64) -> Self {
        Self::GammaPoisson { rho: best.rho(Sides::One), c }
    }

    /// The beta mixture for sums of values in `[-g, h]`.
    #[must_use]
    pub fn beta_binomial(best: Best, g: f64, h: f64, sides: Sides) -> Self {
        let r = (best.rho(sides) - g * h).max(1e-3 * g * h);
        Self::BetaBinomial { r, g, h, sides }
    }

    /// ln of its value.
    #[must_use]
    pub fn ln_value(&self, s: f64, v: f64) -> f64 {
        match *self {
            Self::Normal { rho, sides: Sides::Two } => {
                0.5 * (rho / (v + rho)).ln() + s * s / (2.0 * (v + rho))
            }
            Self::Normal { rho, sides: Sides::One } => {
                0.5 * (4.0 * rho / (v + rho)).ln()
                    + s * s / (2.0 * (v + rho))
                    + ln_normal_lower(s / (v + rho).sqrt())
            }
            Self::GammaExponential { rho, c } => {
                let (prior, grown) = (rho / (c * c), (v + rho) / (c * c));
                let sum = (c * s + v) / (c * c);
                prior * prior.ln() - ln_gamma(prior) - ln_gamma_lower(prior, prior)
                    + ln_gamma(grown)
                    + ln_gamma_lower(grown, sum + prior)
                    - grown * (sum + prior).ln()
                    + sum
            }
            Self::GammaPoisson { rho, c } => {
                let (prior, grown) = (rho / (c * c), (v + rho) / (c * c));
                let sum = s / c + grown;
                prior * prior.ln() - ln_gamma(prior) - ln_gamma_upper(prior, prior)
                    + ln_gamma(sum)
                    + ln_gamma_upper(sum, grown)
                    - sum * grown.ln()
                    + v / (c * c)
            }
            Self::BetaBinomial { r, g, h, sides } => ln_beta_binomial((r, sides), (g, h), (s, v)),
        }
    }

    /// The sum that it takes at the intrinsic time `v` to reach `1 / alpha`.
    #[must_use]
    pub fn bound(&self, v: f64, alpha: f64) -> f64 {
        let wanted = -alpha.ln();
        let mut most = match self {
            // A sum of values that are at most h is at most v/g.
            Self::BetaBinomial { g, .. } => v / g,
            Self::Normal { rho, sides: Sides::Two } => {
                return ((v + rho) * ((v / rho).ln_1p() + 2.0 * wanted)).sqrt();
            }
            Self::Normal { .. } | Self::GammaExponential { .. } | Self::GammaPoisson { .. } => {
                let mut most = v;
                while self.ln_value(most, v) <= wanted && most < 1e300 {
                    most *= 2.0;
                }
                most
            }
        };
        if self.ln_value(most, v) >= wanted {
            most = bisect(0.0, most, |s| self.ln_value(s, v) > wanted);
        }
        most
    }
}

fn ln_beta_binomial((r, sides): (f64, Sides), (g, h): (f64, f64), (s, v): (f64, f64)) -> f64 {
    let all = g + h;
    let part = |a: f64, b: f64| match sides {
        Sides::One => ln_beta(a, b) + ln_beta_lower(a, b, Share { of: h / all, rest: g / all }),
        Sides::Two => ln_beta(a, b),
    };
    v / (g * h) * all.ln() - (v + h * s) / (h * all) * g.ln() - (v - g * s) / (g * all) * h.ln()
        + part((r + v - g * s) / (g * all), (r + v + h * s) / (h * all))
        - part(r / (g * all), r / (h * all))
}

/// How the epochs of a stitched boundary are spaced and paid for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stitching {
    /// From this (intrinsic) time on it is tight.
    pub from: f64,
    /// The level falls with this power of the epoch's number.
    pub power: f64,
    /// An epoch is so many times as long as the one before.
    pub growth: f64,
}

impl Stitching {
    /// With the spacing of the papers.
    #[must_use]
    pub fn from(from: f64) -> Self {
        Self { from, power: 1.4, growth: 2.0 }
    }

    fn k1_square(&self) -> f64 {
        ((self.growth.powf(0.25) + self.growth.powf(-0.25)) / SQRT_2).powi(2)
    }

    fn k2(&self) -> f64 {
        f64::midpoint(self.growth.sqrt(), 1.0)
    }

    fn epoch(&self, at: f64) -> f64 {
        self.power * (self.growth * at / self.from).ln().ln()
    }

    /// The polynomial stitched bound of a sub-gamma sum with scale `c` at the time `v`.
    #[must_use]
    pub fn polynomial(&self, v: f64, c: f64, alpha: f64) -> f64 {
        let v = v.max(self.from);
        let price = (zeta(self.power) / self.growth.ln().powf(self.power)).ln() - alpha.ln();
        let ell = self.epoch(v) + price;
        let linear = self.k2() * c * ell;
        (self.k1_square() * v * ell + linear * linear).sqrt() + linear
    }

    /// The bound of all quantiles at once, at the quantile `p` after `t` samples; `spacing` is
    /// the width of the grid of quantiles on the scale of logits.
    #[must_use]
    pub fn quantiles(&self, p: f64, t: f64, alpha: f64, spacing: f64) -> f64 {
        let t = t.max(self.from);
        let logit = |p: f64| (p / (1.0 - p)).ln();
        let shift = 2.0 * spacing * (self.from * self.growth / t).sqrt();
        let r = if p >= 0.5 { p } else { (1.0 / (1.0 + (-logit(p) - shift).exp())).min(0.5) };
        let variance = r * (1.0 - r);
        let place = (t / self.from).sqrt() * logit(p).abs() / (2.0 * spacing) + 1.0;
        let z = zeta(self.power);
        let price = 2.0 * z * (2.0 * z + 1.0) / (alpha * self.growth.ln().powf(self.power));
        let ell = self.epoch(t) + self.power * place.ln() + price.ln();
        let linear = self.k2() * (1.0 - 2.0 * p) / 3.0 * ell;
        spacing * (self.growth * t * variance / self.from).sqrt()
            + (self.k1_square() * variance * t * ell + linear * linear).sqrt()
            + linear
    }
}

/// The widest gap, at any time from `t_min` on, between the empirical distribution of `t` samples
/// and the true one (law of the iterated logarithm; `a` > sqrt(1/2), usually 0.85). Infinite
/// before.
#[must_use]
pub fn empirical_process(t: f64, t_min: f64, a: f64, alpha: f64) -> f64 {
    if t < t_min {
        return f64::INFINITY;
    }
    let mut low = 5.0;
    while empirical_error(low, a) <= alpha && low > 1e-6 {
        low /= 2.0;
    }
    let mut high = low * 2.0;
    while empirical_error(high, a) > alpha && high < 1e6 {
        high *= 2.0;
    }
    let c = bisect(low, high, |c| empirical_error(c, a) <= alpha);
    a * (((t / t_min).ln().ln_1p() + c) / t).sqrt()
}

/// The error that the constant `c` leaves, with the best spacing of the epochs.
fn empirical_error(c: f64, a: f64) -> f64 {
    let widest =
        bisect(1.0, 2.0 * a * a, |eta| (eta / 2.0).sqrt() + (2.0 * (eta - 1.0) / c).sqrt() > a);
    let error = |eta: f64| {
        let square = 2.0 / eta * (a - (2.0 * (eta - 1.0) / c).sqrt()).powi(2);
        if square <= 1.0 {
            return f64::INFINITY;
        }
        4.0 * (-square * c).exp() * (1.0 + 1.0 / ((square - 1.0) * eta.ln()))
    };
    least(1.0, widest, error).1
}

/// The confidence sequence of a proportion by the two-sided beta-binomial mixture, tightest
/// around `best_total` samples at the level `best_alpha`.
#[must_use]
pub fn bernoulli(seen: Outcomes, alpha: f64, best_total: f64, best_alpha: f64) -> Range {
    let (n, share) = (count(seen.total), seen.share());
    let is_out = |p: f64| {
        let best = Best { v: p * (1.0 - p) * best_total, alpha: best_alpha };
        let mixture = Martingale::beta_binomial(best, p, 1.0 - p, Sides::Two);
        mixture.ln_value((share - p) * n, p * (1.0 - p) * n) > -alpha.ln()
    };
    Range {
        lower: if seen.bad == 0 { 0.0 } else { bisect(0.0, share, |p| !is_out(p)) },
        upper: if seen.bad == seen.total { 1.0 } else { bisect(share, 1.0, is_out) },
    }
}
