//! From the classes of the metrics to a score of each group, of all, and a verdict.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Class;

/// A metric as it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Its class.
    pub class: Class,
    /// Whether it fails all by itself, unless it passes.
    pub is_critical: bool,
    /// Whether it does not count.
    pub is_muted: bool,
    /// The groups that it counts in.
    pub groups: Vec<String>,
}

/// The scores, from 0 to 100.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Of each group.
    pub groups: BTreeMap<String, f64>,
    /// Of all.
    pub summary: f64,
    /// Why it is 0 whatever the groups say.
    pub reason: Option<String>,
}

/// The score: the weighted mean of the shares that pass, in percent, to two decimals.
///
/// A group of which there is no data counts 100: the summary is 0 if half of all is without data.
#[must_use]
pub fn score(metrics: &[Counted], weights: &BTreeMap<String, f64>) -> Score {
    let counted: Vec<&Counted> = metrics.iter().filter(|metric| !metric.is_muted).collect();
    let mut classes: BTreeMap<&str, Vec<Class>> = BTreeMap::new();
    for metric in &counted {
        for group in &metric.groups {
            classes.entry(group).or_default().push(metric.class);
        }
    }
    let groups: BTreeMap<String, f64> = classes
        .into_iter()
        .map(|(name, classes)| (name.to_owned(), group_score(&classes)))
        .collect();
    if let Some(reason) = fails_all(&counted) {
        return Score { groups, summary: 0.0, reason: Some(reason) };
    }
    let without_weight = groups.keys().filter(|name| !weights.contains_key(*name)).count();
    let rest = (100.0 - weights.values().sum::<f64>())
        / crate::peers::mann_whitney::float(without_weight.max(1));
    let weighted =
        |(name, score): (&String, &f64)| score * weights.get(name).copied().unwrap_or(rest) / 100.0;
    let sum: f64 = groups.iter().map(weighted).sum();
    Score { summary: two_decimals(sum), groups, reason: None }
}

fn fails_all(counted: &[&Counted]) -> Option<String> {
    let critical = counted.iter().filter(|one| one.is_critical && one.class != Class::Pass).count();
    if critical > 0 {
        return Some(format!("critical metrics that do not pass: {critical}"));
    }
    let without = counted.iter().filter(|metric| metric.class == Class::Nodata).count();
    let is_half = without * 2 >= counted.len();
    is_half.then(|| format!("metrics without data: {without} of {}", counted.len()))
}

fn group_score(classes: &[Class]) -> f64 {
    let count = |wanted: &[Class]| classes.iter().filter(|class| wanted.contains(class)).count();
    let passed = count(&[Class::Pass]);
    let all = count(&[Class::Pass, Class::High, Class::Low, Class::NodataFailMetric]);
    let float = crate::peers::mann_whitney::float;
    if all == 0 { 100.0 } else { float(passed) / float(all) * 100.0 }
}

fn two_decimals(score: f64) -> f64 {
    (score * 100.0).round() / 100.0
}

/// What a score is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// Good.
    Pass,
    /// Neither.
    Marginal,
    /// Bad.
    Fail,
}

/// The scores that pass.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// From here on it passes.
    pub pass: f64,
    /// From here on it is marginal; below it fails.
    pub marginal: f64,
}

impl Thresholds {
    /// What one score is.
    #[must_use]
    pub fn verdict(self, score: f64) -> Verdict {
        if score >= self.pass {
            Verdict::Pass
        } else if score >= self.marginal {
            Verdict::Marginal
        } else {
            Verdict::Fail
        }
    }

    /// Whether a standalone run ends with this score: at the marginal one too.
    #[must_use]
    pub fn ends(self, score: f64) -> bool {
        score <= self.marginal
    }

    /// What a standalone run comes to by its scores in their order: the last one decides, and
    /// the run ends early at one that is no better than marginal. No score at all fails.
    #[must_use]
    pub fn of_run(self, scores: &[f64]) -> Verdict {
        let end = scores.iter().copied().find(|score| self.ends(*score));
        match end.or(scores.last().copied()) {
            Some(score) if !self.ends(score) && score >= self.pass => Verdict::Pass,
            Some(_) | None => Verdict::Fail,
        }
    }
}
