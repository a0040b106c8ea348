//! What the judges of other systems found of a metric, in their own terms.

use serde::{Deserialize, Serialize};

use super::eprocess::Pair;
use crate::peers::kayenta::score::Thresholds;
use crate::peers::kayenta::{Class, Shift};
use crate::peers::threshold::{Counters, Limits, Phase};

/// What was found of one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Other {
    /// By measurements and limits.
    Threshold(Box<ThresholdFinding>),
    /// By the ranks of the values of both releases.
    Ranks(Box<RankFinding>),
}

/// Measurements of the new release, and what they come to under their limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThresholdFinding {
    /// The metric's name.
    pub metric: String,
    /// What it comes to.
    pub phase: Phase,
    /// What was measured.
    pub counters: Counters,
    /// Its limits.
    pub limits: Limits,
    /// Whether it is only told.
    pub is_dry_run: bool,
    /// The last number; absent where there was none yet.
    pub last: Option<f64>,
    /// Why the last measurement is an error, if it is.
    pub why: Option<String>,
}

/// The values of both releases, and how they differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankFinding {
    /// The metric's name.
    pub metric: String,
    /// What it is; absent before it was looked at.
    pub class: Option<Class>,
    /// Whether it fails all by itself.
    pub is_critical: bool,
    /// Whether it is only told.
    pub is_muted: bool,
    /// Why it is what it is.
    pub reason: Option<String>,
    /// How many values there are.
    pub values: Pair<usize>,
    /// Their means; absent where there are none.
    pub means: Pair<Option<f64>>,
    /// The size of the change, where it has one.
    pub effect: Option<f64>,
    /// How likely such values are if both releases are alike, by R's test.
    pub p: Option<f64>,
    /// By how much the new release is above the old one.
    pub shift: Option<Shift>,
}

/// A score of Kayenta's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// From 0 to 100.
    pub summary: f64,
    /// What passes.
    pub thresholds: Thresholds,
    /// Why it is 0 whatever the metrics say.
    pub reason: Option<String>,
    /// Which judgement it is, from 1 on.
    pub number: u32,
    /// How many there are to be.
    pub of: u32,
}

impl Other {
    /// The metric's name.
    #[must_use]
    pub fn metric(&self) -> &str {
        match self {
            Self::Threshold(of) => &of.metric,
            Self::Ranks(of) => &of.metric,
        }
    }

    /// One line.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Threshold(of) => of.words(),
            Self::Ranks(of) => of.words(),
        }
    }

    /// What would have changed it.
    #[must_use]
    pub fn otherwise(&self) -> Option<String> {
        match self {
            Self::Threshold(of) => of.otherwise(),
            Self::Ranks(of) => of.otherwise(),
        }
    }
}

impl ThresholdFinding {
    fn words(&self) -> String {
        let Counters { count, successful, failed, inconclusive, error, .. } = self.counters;
        let of = self.limits.measurements().map(|all| format!(" of {all}")).unwrap_or_default();
        let mut text = format!(
            "{}{}: {}: {count}{of} measured, {successful} successful, {failed} failed, \
             {inconclusive} inconclusive, {error} errors",
            self.metric,
            if self.is_dry_run { " (dry run)" } else { "" },
            phase(self.phase),
        );
        if let Some(last) = self.last {
            text.push_str(&format!("; last {}", number(last)));
        }
        if let Some(why) = &self.why {
            text.push_str(&format!("; the last error: {why}"));
        }
        text
    }

    fn otherwise(&self) -> Option<String> {
        let Counters { failed, inconclusive, consecutive_error, .. } = self.counters;
        let limits = &self.limits;
        let told = |what: &str, limit: u32, were: u32| {
            Some(format!("{}: at most {limit} {what}, and not {were}", self.metric))
        };
        match self.phase {
            Phase::Failed => told("failures", limits.failure_limit?, failed),
            Phase::Inconclusive if inconclusive > limits.inconclusive_limit => {
                told("inconclusive measurements", limits.inconclusive_limit, inconclusive)
            }
            Phase::Error => {
                told("errors in a row", limits.consecutive_error_limit, consecutive_error)
            }
            Phase::Successful | Phase::Running | Phase::Pending | Phase::Inconclusive => None,
        }
    }
}

impl RankFinding {
    fn words(&self) -> String {
        let class = match self.class {
            None => "not looked at yet",
            Some(class) => class_words(class),
        };
        let mut text =
            format!("{}{}: {class}", self.metric, if self.is_muted { " (muted)" } else { "" });
        if let Some(reason) = &self.reason {
            text.push_str(&format!(", {reason}"));
        }
        if self.is_critical {
            text.push_str(", critical");
        }
        if let Some(p) = self.p {
            text.push_str(&format!("; p {}", number(p)));
        }
        let Pair { canary, baseline } = self.values;
        text.push_str(&format!("; {canary} values of the canary and {baseline} of the baseline"));
        if let Pair { canary: Some(canary), baseline: Some(baseline) } = self.means {
            text.push_str(&format!(", on average {} and {}", number(canary), number(baseline)));
        }
        text
    }

    fn otherwise(&self) -> Option<String> {
        match self.class? {
            Class::High | Class::Low => {
                let shift = self.shift?;
                let (low, high) = (number(shift.low), number(shift.high));
                Some(format!("{}: a shift that may be none (it is {low} to {high})", self.metric))
            }
            Class::Nodata | Class::NodataFailMetric => {
                Some(format!("{}: values of both releases", self.metric))
            }
            Class::Pass | Class::Error => None,
        }
    }
}

impl Scored {
    /// One line.
    #[must_use]
    pub fn words(&self) -> String {
        let Thresholds { pass, marginal } = self.thresholds;
        let why = self.reason.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        format!(
            "score {} of 100{why}: passes from {pass} on, marginal from {marginal} on; judgement \
             {} of {}",
            self.summary, self.number, self.of
        )
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Successful => "successful",
        Phase::Running => "running",
        Phase::Pending => "pending",
        Phase::Inconclusive => "inconclusive",
        Phase::Error => "error",
        Phase::Failed => "failed",
    }
}

fn class_words(class: Class) -> &'static str {
    match class {
        Class::Pass => "pass",
        Class::High => "high",
        Class::Low => "low",
        Class::Nodata => "no data",
        Class::NodataFailMetric => "no data, which fails it",
        Class::Error => "error",
    }
}

/// Four digits, and no more than are needed.
fn number(value: f64) -> String {
    let places = match value.abs() {
        0.0 => 0,
        size if !(1e-3..1e6).contains(&size) => return format!("{value:.2e}"),
        size if size >= 1000.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 10.0 => 2,
        size if size >= 1.0 => 3,
        size if size >= 0.1 => 4,
        _ => 5,
    };
    let text = format!("{value:.places$}");
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.05, "0.05"),
            (0.012_345_6, "0.01235"),
            (0.002, "0.002"),
            (1.0, "1"),
            (123.456, "123.5"),
            (-40.0, "-40"),
            (12_345.6, "12346"),
            (0.000_012_3, "1.23e-5"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
