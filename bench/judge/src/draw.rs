//! Chance by exact distributions: Poisson counts, categories, coins, latencies.
//!
//! Everything is drawn from [`Table`]s of Walker's alias method (as built by Vose, 1991): one
//! number of the simulator's xoshiro256** picks a place, and what is left of it decides between
//! the place's two values. A table holds a distribution as it is, cut off where a value has less
//! than 1e-18 of the most probable one's chance. Requests that arrive by Poisson and go to an arm,
//! an outcome and a latency at random, each independently, are independent Poisson counts for
//! each arm, outcome and latency (thinning), so that no binomial needs to be approximated.

use rollway_core::verdict::histogram::{self, BUCKETS, Histogram};
use rollway_core::verdict::stats::count;
use rollway_core::verdict::stats::special::{bisect, ln_gamma, ln_normal_lower};
use rollway_sim::rng::Rng;

/// Values with less than this part of the most probable one's chance are left out.
const CHANCE_LEAST: f64 = 1e-18;
/// Below this mean requests are drawn one by one, above it buckets are.
const ONE_BY_ONE_BELOW: f64 = 40.0;

/// A number in [0, 1).
pub fn share(rng: &mut Rng) -> f64 {
    count(rng.draw() >> 11) / count(1 << 53)
}

/// A distribution over `least, least + 1, ...`.
pub struct Table {
    least: u64,
    /// Of each place: up to where it is the place itself, and what it is beyond.
    places: Vec<(u64, u32)>,
}

impl Table {
    /// The values from `least` on have these weights.
    pub fn of(least: u64, weights: &[f64]) -> Self {
        let all: f64 = weights.iter().sum();
        let places = f64::from(u32::try_from(weights.len()).expect("a table fits memory"));
        let mut height: Vec<f64> = weights.iter().map(|weight| weight / all * places).collect();
        let (mut low, mut high): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|place| height[*place] < 1.0);
        let mut table: Vec<(u64, u32)> =
            (0..).map(|own| (u64::MAX, own)).take(height.len()).collect();
        while let (Some(short), Some(tall)) = (low.pop(), high.last().copied()) {
            let other = u32::try_from(tall).expect("as many as places");
            table[short] = ((height[short] * 2f64.powi(64)) as u64, other);
            height[tall] -= 1.0 - height[short];
            if height[tall] < 1.0 {
                high.pop();
                low.push(tall);
            }
        }
        Self { least, places: table }
    }

    /// Counts of what comes at random, so many on average.
    pub fn poisson(mean: f64) -> Self {
        if mean <= 0.0 {
            return Self::of(0, &[1.0]);
        }
        let ln = |k: f64| k * mean.ln() - mean - ln_gamma(k + 1.0);
        let top = mean.floor();
        let least_ln = ln(top) + CHANCE_LEAST.ln();
        let is_in = |k: &f64| ln(*k) >= least_ln;
        let below = (0..).map(|step| top - f64::from(step)).take_while(|k| *k >= 0.0 && is_in(k));
        let least = below.last().unwrap_or(top);
        let up = (0..).map(|step| least + f64::from(step));
        let weights: Vec<f64> =
            up.take_while(|k| *k <= top || is_in(k)).map(|k| ln(k).exp()).collect();
        Self::of(least as u64, &weights)
    }

    /// How long a run of at least one is that ends with the chance `1 / mean` at each step.
    pub fn geometric(mean: f64) -> Self {
        let on = 1.0 - 1.0 / mean;
        let lengths = (0..).map(|step| on.powi(step));
        let weights: Vec<f64> = lengths.take_while(|weight| *weight > CHANCE_LEAST).collect();
        Self::of(1, &weights)
    }

    /// The next value.
    pub fn draw(&self, rng: &mut Rng) -> u64 {
        let product = u128::from(rng.draw()) * self.places.len() as u128;
        let (place, rest) = ((product >> 64) as usize, product as u64);
        let (own, other) = self.places[place];
        self.least + if rest <= own { place as u64 } else { u64::from(other) }
    }
}

/// How many of `total` come up, each with this chance: from one to the next by the gap between
/// them, which is geometric.
pub fn some_of(total: u64, chance: f64, rng: &mut Rng) -> u64 {
    let mut found = 0;
    let mut place = 0.0;
    if chance <= 0.0 {
        return 0;
    }
    loop {
        place += 1.0 + ((1.0 - share(rng)).ln() / (-chance).ln_1p()).floor();
        if place > count(total) {
            return found;
        }
        found += 1;
    }
}

/// How slow a service is: 95 % of its requests are lognormal around 50 ms (sigma 0.4), 5 % around
/// 200 ms (sigma 0.5), so that its 99th percentile is 305 ms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slowness {
    /// All requests take so many times longer.
    pub all: f64,
    /// The slow ones take so many times longer beside.
    pub slow: f64,
}

impl Slowness {
    /// As it always was.
    pub const USUAL: Self = Self { all: 1.0, slow: 1.0 };

    /// All requests take so many times longer.
    pub const fn all(times: f64) -> Self {
        Self { all: times, slow: 1.0 }
    }

    /// The slow part alone is slower, by so much that the 99th percentile is so many times higher.
    pub fn tail(times: f64) -> Self {
        let wanted = times * Self::USUAL.p99();
        let slow = bisect(1.0, 100.0, |slow| Self { all: 1.0, slow }.share_up_to(wanted) < 0.99);
        Self { all: 1.0, slow }
    }

    /// The chance that a request takes no longer.
    pub fn share_up_to(&self, seconds: f64) -> f64 {
        let lognormal = |middle: f64, sigma: f64| {
            ln_normal_lower((seconds / (middle * self.all)).ln() / sigma).exp()
        };
        0.95 * lognormal(0.05, 0.4) + 0.05 * lognormal(0.2 * self.slow, 0.5)
    }

    /// The 99th percentile, in seconds.
    pub fn p99(&self) -> f64 {
        bisect(0.001, 60.0, |seconds| self.share_up_to(seconds) >= 0.99)
    }

    /// The chance of each bucket of a histogram.
    fn chances(&self) -> Vec<f64> {
        let up_to = |bucket: usize| match histogram::upper_seconds(bucket) {
            seconds if seconds.is_finite() => self.share_up_to(seconds),
            _ => 1.0,
        };
        let above = |bucket: usize| if bucket == 0 { 0.0 } else { up_to(bucket - 1) };
        (0..BUCKETS).map(|bucket| (up_to(bucket) - above(bucket)).max(0.0)).collect()
    }
}

/// Latencies of so many requests on average.
pub enum Latencies {
    /// So many, and where each is.
    OneByOne(Table, Table),
    /// So many in each of these buckets.
    ByBucket(Vec<(usize, Table)>),
}

impl Latencies {
    /// Of a service that is so slow.
    pub fn of(mean: f64, slowness: &Slowness) -> Self {
        let chances = slowness.chances();
        if mean < ONE_BY_ONE_BELOW {
            return Self::OneByOne(Table::poisson(mean), Table::of(0, &chances));
        }
        let buckets = chances.iter().enumerate().filter(|(_, chance)| **chance > CHANCE_LEAST);
        Self::ByBucket(buckets.map(|(at, chance)| (at, Table::poisson(mean * chance))).collect())
    }

    /// The next interval's.
    pub fn draw(&self, rng: &mut Rng) -> Histogram {
        let mut histogram = Histogram::default();
        match self {
            Self::OneByOne(number, place) => {
                for _ in 0..number.draw(rng) {
                    histogram.add(place.draw(rng) as usize, 1);
                }
            }
            Self::ByBucket(buckets) => {
                for (bucket, number) in buckets {
                    histogram.add(*bucket, number.draw(rng));
                }
            }
        }
        histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and variance of so many values.
    fn moments(values: &[u64]) -> (f64, f64) {
        let n = count(values.len() as u64);
        let mean = values.iter().map(|value| count(*value)).sum::<f64>() / n;
        let square = values.iter().map(|value| (count(*value) - mean).powi(2)).sum::<f64>();
        (mean, square / (n - 1.0))
    }

    /// Whether a mean of so many values is within five of its deviations of what it should be.
    #[track_caller]
    fn near(values: &[u64], mean: f64, variance: f64) {
        let n = count(values.len() as u64);
        let seen = moments(values);
        assert!((seen.0 - mean).abs() < 5.0 * (variance / n).sqrt(), "{seen:?}, not {mean}");
        // The fourth moment of a Poisson count: 3 v^2 + v.
        let spread = ((2.0 * variance * variance + variance) / n).sqrt();
        assert!((seen.1 - variance).abs() < 5.0 * spread, "{seen:?}, not {variance}");
    }

    #[test]
    fn counts_have_the_mean_and_the_variance_of_poisson() {
        let mut rng = Rng::new(1);
        for mean in [0.05, 0.9, 7.5, 120.0, 57_000.0] {
            let table = Table::poisson(mean);
            let drawn: Vec<u64> = (0..50_000).map(|_| table.draw(&mut rng)).collect();
            near(&drawn, mean, mean);
        }
        assert_eq!(Table::poisson(0.0).draw(&mut rng), 0);
    }

    #[test]
    fn tables_have_the_chances_that_they_were_given() {
        let mut rng = Rng::new(2);
        let weights = [0.5, 0.0, 3.0, 1.0, 0.25];
        let table = Table::of(10, &weights);
        let mut seen = [0_u64; 5];
        (0..100_000).for_each(|_| seen[(table.draw(&mut rng) - 10) as usize] += 1);
        for (seen, weight) in seen.into_iter().zip(weights) {
            let chance = weight / 4.75;
            let spread = (100_000.0 * chance * (1.0 - chance)).sqrt();
            assert!((count(seen) - 100_000.0 * chance).abs() <= 5.0 * spread, "{seen} {weight}");
        }
    }

    #[test]
    fn runs_and_coins_have_their_means() {
        let mut rng = Rng::new(3);
        let table = Table::geometric(5.0);
        let drawn: Vec<u64> = (0..50_000).map(|_| table.draw(&mut rng)).collect();
        let (mean, variance) = moments(&drawn);
        assert!((mean - 5.0).abs() < 0.1 && (variance - 20.0).abs() < 1.5, "{mean} {variance}");
        let drawn: Vec<u64> = (0..50_000).map(|_| some_of(200, 0.05, &mut rng)).collect();
        near(&drawn, 10.0, 9.5);
        assert_eq!(some_of(7, 1.0, &mut rng), 7);
    }

    #[test]
    fn latencies_have_the_quantiles_of_the_service() {
        let usual = Slowness::USUAL;
        assert!((usual.p99() - 0.305).abs() < 0.001, "{}", usual.p99());
        let tail = Slowness::tail(3.0);
        assert!((tail.p99() / usual.p99() - 3.0).abs() < 1e-6);
        assert!((tail.share_up_to(0.05) - usual.share_up_to(0.05)).abs() < 0.01);
        assert!((Slowness::all(1.1).p99() / usual.p99() - 1.1).abs() < 1e-6);
        // Both ways of drawing, against the distribution itself.
        let mut rng = Rng::new(4);
        for mean in [20.0, 500.0] {
            let latencies = Latencies::of(mean, &tail);
            let mut all = Histogram::default();
            let draws = (400_000.0 / mean) as usize;
            (0..draws).for_each(|_| all.merge(&latencies.draw(&mut rng)));
            let total = count(all.total());
            assert!((total - 400_000.0).abs() < 5.0 * 400_000_f64.sqrt(), "{total}");
            for level in [0.1, 0.5, 0.9, 0.99] {
                let bucket = all.quantile(level).expect("many");
                let below = 1.0 - count(all.above(bucket)) / total;
                let expected = tail.share_up_to(histogram::upper_seconds(bucket));
                let spread = (expected * (1.0 - expected) / total).sqrt();
                assert!((below - expected).abs() < 5.0 * spread, "{level}: {below} {expected}");
            }
        }
    }
}
