//! How `u` is distributed where every order of the values is as probable as any other.

use super::{Alternative, float};

/// The chance of each `u` or less.
pub(super) struct Distribution {
    at_most: Vec<f64>,
}

impl Distribution {
    /// Counts the orders: a largest value of the first sample is above all `b` of the second, one
    /// of the second is above none. Only sums of positive numbers, so no digit is lost.
    pub fn of(first: usize, second: usize) -> Self {
        // By how many there are of the second; of the first there are none yet.
        let mut counts: Vec<Vec<f64>> = vec![vec![1.0]; second + 1];
        for of_first in 1..=first {
            let mut next: Vec<Vec<f64>> = Vec::with_capacity(second + 1);
            next.push(vec![1.0]);
            for of_second in 1..=second {
                let mut ways = vec![0.0; of_first * of_second + 1];
                for (u, count) in counts[of_second].iter().enumerate() {
                    ways[u + of_second] += count;
                }
                for (u, count) in next[of_second - 1].iter().enumerate() {
                    ways[u] += count;
                }
                next.push(ways);
            }
            counts = next;
        }
        let ways = counts.pop().expect("there is a row for each number of the second, and for 0");
        let all: f64 = ways.iter().sum();
        let sums = ways.iter().scan(0.0, |sum, count| {
            *sum += count;
            Some(*sum / all)
        });
        Self { at_most: sums.collect() }
    }

    /// The chance of `u` pairs or fewer.
    pub fn at_most(&self, u: f64) -> f64 {
        let fits = |at: &usize| float(*at) <= u;
        (0..self.at_most.len()).rev().find(fits).map_or(0.0, |at| self.at_most[at])
    }

    pub fn p(&self, u: f64, alternative: Alternative) -> f64 {
        // It is as probable to have u pairs above as to have u pairs below.
        let pairs = float(self.at_most.len() - 1);
        let (less, greater) = (self.at_most(u), self.at_most(pairs - u));
        match alternative {
            Alternative::TwoSided => (2.0 * less.min(greater)).min(1.0),
            Alternative::Less => less,
            Alternative::Greater => greater,
        }
    }

    /// The least `u` with at least this chance of it or less.
    pub fn quantile(&self, chance: f64) -> usize {
        // R's own slack for the last digits.
        let slack = 1.0 - 10.0 * f64::EPSILON;
        let is_enough = |at_most: &f64| *at_most >= chance * slack;
        self.at_most.iter().position(is_enough).unwrap_or(self.at_most.len() - 1)
    }
}
