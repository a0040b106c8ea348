//! Simulated traffic, the same every time: a small generator, outcomes and latencies of two arms.

use rollway_core::verdict::eprocess::Pair;
use rollway_core::verdict::histogram::Histogram;
use rollway_core::verdict::stats::Outcomes;

/// A generator of numbers that look random (splitmix64).
pub struct Chance(pub u64);

impl Chance {
    /// In (0, 1).
    pub fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bits = u32::try_from((z ^ (z >> 31)) >> 32).expect("32 bits");
        (f64::from(bits) + 0.5) / 4_294_967_296.0
    }

    /// Standard normal, by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.share().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.share()).cos()
    }

    /// How many of `total` are bad, each with this probability: from one to the next by the gap.
    pub fn outcomes(&mut self, total: u64, rate: f64) -> Outcomes {
        let mut bad = 0;
        let mut place = 0.0;
        loop {
            place += 1.0 + (self.share().ln() / (-rate).ln_1p()).floor();
            if place > rollway_core::verdict::stats::count(total) {
                return Outcomes { bad, total };
            }
            bad += 1;
        }
    }

    /// Latencies as of a service: 95 % around 50 ms, 5 % around 200 ms; `all` and `tail` make
    /// everything, or the slow part alone, so many times slower.
    pub fn latencies(&mut self, total: u64, all: f64, tail: f64) -> Histogram {
        let mut histogram = Histogram::default();
        for _ in 0..total {
            let (middle, spread, factor) =
                if self.share() < 0.95 { (0.05, 0.4, all) } else { (0.2, 0.5, all * tail) };
            histogram.record(middle * factor * (spread * self.normal()).exp());
        }
        histogram
    }

    /// Outcomes of both arms.
    pub fn pair(&mut self, totals: (u64, u64), rates: (f64, f64)) -> Pair<Outcomes> {
        let (canary, baseline) = totals;
        Pair { canary: self.outcomes(canary, rates.0), baseline: self.outcomes(baseline, rates.1) }
    }
}

/// The middle one; what never happened is infinite.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
