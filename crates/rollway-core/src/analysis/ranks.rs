//! The rank test and Kayenta's judge under way: the values of both releases, check by check, and
//! looks at them.
//!
//! A look is a judgement of all values so far (or of those within the lookback). The rank test has
//! one, when the values are complete: each look more would be another chance to be wrong. Kayenta
//! has as many as the spec wants, and ends at the first that fails. Where there is no data there
//! is no look: it is tried again at every check until the deadline.

use std::collections::BTreeMap;

use super::values::value;
use super::{Counters, Seen, Terms, Times};
use crate::peers::kayenta::score::{Thresholds, Verdict as Scores};
use crate::peers::kayenta::{
    self, CONFIDENCE, Class, Classified, Config, Direction, GroupedMetric, Manner, Metric, Values,
    prepare,
};
use crate::peers::mann_whitney::{Alternative, Method, Samples};
use crate::spec;
use crate::spec::judges::{Kayenta, KayentaMetric, MannWhitney, Measured, RankMetric};
use crate::units::Millis;
use crate::verdict::decision::{Decision, Doubt, Doubted, Proof, Verdict, Wait};
use crate::verdict::eprocess::Pair;
use crate::verdict::others::{Other, RankFinding, Scored};

/// More values of a metric and side are not kept: lint refuses what would need them.
pub(crate) const VALUES_MAX: u64 = 1000;

/// The values and what was found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ranks {
    terms: Terms,
    schedule: Schedule,
    config: Config,
    /// The level of each metric of the rank test, in their order; none for Kayenta.
    levels: Option<Vec<f64>>,
    columns: Vec<Column>,
    /// The end of each check that has values.
    ends: Vec<Millis>,
    checks: u64,
    found: Option<Found>,
}

/// When it looks, and how far back; since the judgement began.
#[derive(Debug, Clone, PartialEq)]
struct Schedule {
    warmup: Millis,
    lifetime: Millis,
    every: Millis,
    lookback: Option<Millis>,
}

/// The values of a metric.
#[derive(Debug, Clone, PartialEq)]
struct Column {
    name: String,
    measure: Measured,
    values: Pair<Vec<Option<f64>>>,
}

/// What the last look found.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    number: u32,
    findings: Vec<RankFinding>,
    score: Option<Scored>,
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    /// These metrics have no data.
    NoData(Vec<String>),
    /// It goes on until the last look.
    Fine,
    Good,
    Marginal,
    Worse {
        metric: String,
        because: Proof,
    },
}

impl Schedule {
    fn looks(&self) -> u32 {
        u32::try_from(self.lifetime.0 / self.every.0.max(1)).unwrap_or(u32::MAX).max(1)
    }

    /// How many looks are due.
    fn due(&self, at: Millis) -> u32 {
        let lasted = at.0.saturating_sub(self.warmup.0);
        if lasted >= self.lifetime.0 {
            return self.looks();
        }
        u32::try_from(lasted / self.every.0.max(1)).unwrap_or(u32::MAX).min(self.looks() - 1)
    }

    fn end(&self) -> Millis {
        Millis(self.warmup.0.saturating_add(self.lifetime.0))
    }
}

impl Ranks {
    /// The rank test.
    pub(super) fn mann_whitney(by: &spec::Analysis, judge: &MannWhitney) -> Self {
        let metric = |metric: &RankMetric| Metric {
            direction: metric.direction,
            effect_size: metric.effect.size(),
            tolerance: metric.tolerance,
            // The interval has two sides, and one of them is looked at, or both.
            confidence: 1.0 - 2.0 * side(metric),
            samples_min: metric.samples_min as usize,
            ..Metric::default()
        };
        let metrics = judge.metrics.iter();
        let named =
            metrics.map(|one| (one.name().to_owned(), one.measure, metric(one), Vec::new()));
        let schedule = Schedule {
            warmup: by.warmup,
            lifetime: judge.lifetime,
            every: judge.lifetime,
            lookback: None,
        };
        let thresholds = Thresholds { pass: 0.0, marginal: 0.0 };
        let mut ranks = Self::new(by, schedule, named.collect(), thresholds);
        ranks.levels = Some(judge.metrics.iter().map(|one| one.alpha).collect());
        ranks
    }

    /// Kayenta's judge.
    pub(super) fn kayenta(by: &spec::Analysis, judge: &Kayenta) -> Self {
        let metric = |metric: &KayentaMetric| Metric {
            direction: metric.direction,
            nan_strategy: metric.nan_strategy,
            outlier_factor: metric.outlier_factor,
            critical: metric.critical,
            must_have_data: metric.must_have_data,
            muted: metric.muted,
            effect_size: metric.effect.size(),
            tolerance: metric.tolerance,
            confidence: match judge.manner {
                Manner::Faithful => CONFIDENCE,
                Manner::Mended => metric.confidence,
            },
            samples_min: metric.samples_min as usize,
        };
        let metrics = judge.metrics.iter();
        let named = metrics
            .map(|one| (one.name().to_owned(), one.measure, metric(one), one.groups.clone()));
        let schedule = Schedule {
            warmup: by.warmup,
            lifetime: judge.lifetime,
            every: judge.every.unwrap_or(judge.lifetime),
            lookback: judge.lookback,
        };
        let thresholds = Thresholds { pass: judge.pass, marginal: judge.marginal };
        let mut ranks = Self::new(by, schedule, named.collect(), thresholds);
        let weights = judge.group_weights.iter();
        ranks.config.group_weights = weights.map(|one| (one.name.clone(), one.weight)).collect();
        ranks.config.manner = judge.manner;
        ranks
    }

    fn new(
        by: &spec::Analysis,
        schedule: Schedule,
        named: Vec<(String, Measured, Metric, Vec<String>)>,
        thresholds: Thresholds,
    ) -> Self {
        let column = |(name, measure, _, _): &(String, Measured, Metric, Vec<String>)| Column {
            name: name.clone(),
            measure: *measure,
            values: Pair { canary: Vec::new(), baseline: Vec::new() },
        };
        let columns = named.iter().map(column).collect();
        let metrics = named
            .into_iter()
            .map(|(name, _, canary, groups)| (name, GroupedMetric { groups, canary }))
            .collect();
        let config =
            Config { metrics, group_weights: BTreeMap::new(), thresholds, manner: Manner::Mended };
        let (ends, checks) = (Vec::new(), 0);
        let terms = Terms::of(by);
        Self { terms, schedule, config, levels: None, columns, ends, checks, found: None }
    }

    /// Takes in one check, and looks where a look is due.
    pub(super) fn take(&mut self, times: Times, seen: &Seen<'_>) {
        self.checks += 1;
        if self.is_over() {
            return;
        }
        if let Seen::Both { before: Some(before), now } = seen
            && times.from >= self.schedule.warmup
            && (self.ends.len() as u64) < VALUES_MAX
        {
            self.ends.push(times.until);
            let canary = now.canary.since(&before.canary);
            let baseline = now.baseline.since(&before.baseline);
            self.columns.iter_mut().for_each(|column| column.take(&canary, &baseline));
        }
        let due = self.schedule.due(times.until);
        let done = self.found.as_ref().map_or(0, Found::done);
        if due > done {
            self.found = Some(self.judged(due, times.until));
        }
    }

    fn is_over(&self) -> bool {
        match self.found.as_ref().map(|found| &found.outcome) {
            Some(Outcome::Good | Outcome::Marginal | Outcome::Worse { .. }) => true,
            Some(Outcome::NoData(_) | Outcome::Fine) | None => false,
        }
    }

    fn judged(&self, number: u32, at: Millis) -> Found {
        let from = self.schedule.lookback.map_or(0, |back| at.0.saturating_sub(back.0));
        let first = self.ends.partition_point(|end| end.0 <= from);
        let values = self.columns.iter().map(|column| (column.name.clone(), column.since(first)));
        let values: BTreeMap<String, Values> = values.collect();
        let judged = match kayenta::judge(&self.config, &values) {
            Ok(judged) => judged,
            // Lint refuses a confidence that is none, and values are finite.
            Err(_) => {
                let names = self.columns.iter().map(|column| column.name.clone());
                let outcome = Outcome::NoData(names.collect());
                return Found { number, findings: Vec::new(), score: None, outcome };
            }
        };
        let findings: Vec<RankFinding> = self
            .columns
            .iter()
            .filter_map(|column| {
                let metric = &self.config.metrics.get(&column.name)?.canary;
                let (values, class) =
                    (values.get(&column.name)?, judged.metrics.get(&column.name)?);
                Some(finding(&column.name, metric, values, Some(class), self.config.manner))
            })
            .collect();
        let is_last = number >= self.schedule.looks();
        let (score, outcome) = match &self.levels {
            Some(levels) => (None, by_ranks(&findings, levels)),
            None => {
                let scored = Scored {
                    summary: judged.score.summary,
                    thresholds: self.config.thresholds,
                    reason: judged.score.reason.clone(),
                    number,
                    of: self.schedule.looks(),
                };
                (Some(scored), by_score(&findings, judged.verdict, is_last))
            }
        };
        Found { number, findings, score, outcome }
    }

    /// The verdict now.
    pub(super) fn look(&self, elapsed: Millis, step: Millis) -> Verdict {
        let findings = match &self.found {
            Some(found) if !found.findings.is_empty() => found.findings.clone(),
            Some(_) | None => self.columns.iter().filter_map(|column| self.blank(column)).collect(),
        };
        Verdict {
            decision: self.decide(elapsed, step),
            elapsed,
            intervals: self.checks,
            findings: Vec::new(),
            stand_out: Vec::new(),
            others: findings.into_iter().map(|one| Other::Ranks(Box::new(one))).collect(),
            score: self.found.as_ref().and_then(|found| found.score.clone()),
        }
    }

    /// A metric before the first look.
    fn blank(&self, column: &Column) -> Option<RankFinding> {
        let metric = &self.config.metrics.get(&column.name)?.canary;
        Some(finding(&column.name, metric, &column.since(0), None, self.config.manner))
    }

    fn decide(&self, elapsed: Millis, step: Millis) -> Decision {
        let outcome = self.found.as_ref().map(|found| &found.outcome);
        let missing = match outcome {
            Some(Outcome::Worse { metric, because }) => {
                return Decision::Rollback { metric: metric.clone(), because: *because };
            }
            Some(Outcome::Good) => return self.terms.good(step),
            Some(Outcome::Marginal) => {
                let doubt = Doubt { metric: "score".to_owned(), what: Doubted::Marginal };
                return self.terms.doubtful(vec![doubt], false, elapsed);
            }
            Some(Outcome::NoData(metrics)) => metrics.clone(),
            Some(Outcome::Fine) | None => self.columns.iter().map(|one| one.name.clone()).collect(),
        };
        if elapsed >= self.terms.deadline {
            let doubt = |metric| Doubt { metric, what: Doubted::NoData };
            return self.terms.doubtful(missing.into_iter().map(doubt).collect(), false, elapsed);
        }
        let left = Millis(self.schedule.end().0.saturating_sub(elapsed.0));
        let waits = match left {
            Millis::ZERO => missing.into_iter().map(|metric| Wait::Values { metric }).collect(),
            left => vec![Wait::Lifetime { left }],
        };
        Decision::Continue { waits }
    }
}

/// The level of one side of a metric's test.
fn side(metric: &RankMetric) -> f64 {
    match metric.direction {
        Direction::Either => metric.alpha / 2.0,
        Direction::Increase | Direction::Decrease => metric.alpha,
    }
}

impl Found {
    /// How many looks are done; one without data is not.
    fn done(&self) -> u32 {
        match self.outcome {
            Outcome::NoData(_) => self.number - 1,
            Outcome::Fine | Outcome::Good | Outcome::Marginal | Outcome::Worse { .. } => {
                self.number
            }
        }
    }
}

impl Column {
    fn take(&mut self, canary: &Counters, baseline: &Counters) {
        let number = |counted| value(self.measure, counted).ok().filter(|one| one.is_finite());
        self.values.canary.push(number(canary));
        self.values.baseline.push(number(baseline));
    }

    fn since(&self, first: usize) -> Values {
        let numbers =
            |of: &[Option<f64>]| of.iter().skip(first).map(|one| one.unwrap_or(f64::NAN)).collect();
        Values { canary: numbers(&self.values.canary), baseline: numbers(&self.values.baseline) }
    }
}

fn finding(
    name: &str,
    metric: &Metric,
    values: &Values,
    class: Option<&Classified>,
    manner: Manner,
) -> RankFinding {
    let canary = prepare::prepared(metric, &values.canary);
    let baseline = prepare::prepared(metric, &values.baseline);
    let mean = |of: &[f64]| Some(prepare::mean(of)).filter(|mean| mean.is_finite());
    let alternative = match metric.direction {
        Direction::Either => Alternative::TwoSided,
        Direction::Increase => Alternative::Greater,
        Direction::Decrease => Alternative::Less,
    };
    let samples = class.and_then(|_| Samples::new(&canary, &baseline).ok());
    let test = |of: &Samples| of.test(alternative, Method::Auto).ok().map(|outcome| outcome.p);
    let shift = |of: &Samples| {
        let found = kayenta::shift(of, metric.confidence, manner).ok().flatten();
        found.filter(|shift| shift.low.is_finite() && shift.high.is_finite())
    };
    RankFinding {
        metric: name.to_owned(),
        class: class.map(|class| class.class),
        is_critical: class.is_some_and(|class| class.is_critical),
        is_muted: metric.muted,
        reason: class.and_then(|class| class.reason.clone()),
        values: Pair { canary: canary.len(), baseline: baseline.len() },
        means: Pair { canary: mean(&canary), baseline: mean(&baseline) },
        effect: class.map(|class| class.deviation).filter(|effect| effect.is_finite()),
        p: samples.as_ref().and_then(test),
        shift: samples.as_ref().and_then(shift),
    }
}

fn lacks_data(finding: &RankFinding) -> bool {
    !finding.is_muted && finding.class == Some(Class::Nodata)
}

/// The rank test: worse where one metric is, and good where all have data and none is.
fn by_ranks(findings: &[RankFinding], levels: &[f64]) -> Outcome {
    let is_bad = |(finding, level): &(&RankFinding, &f64)| {
        let is_far = matches!(finding.class, Some(Class::High | Class::Low));
        // Two ways to say the same, exactly alike but for ties: both must.
        is_far && finding.p.is_some_and(|p| p <= **level)
    };
    if let Some((finding, _)) = findings.iter().zip(levels).find(is_bad) {
        return Outcome::Worse { metric: finding.metric.clone(), because: Proof::Ranks };
    }
    let missing: Vec<String> =
        findings.iter().filter(|one| lacks_data(one)).map(|one| one.metric.clone()).collect();
    if missing.is_empty() { Outcome::Good } else { Outcome::NoData(missing) }
}

/// Kayenta's score. Where it is 0 for want of data alone, nothing is known.
fn by_score(findings: &[RankFinding], scores: Scores, is_last: bool) -> Outcome {
    let is_bad = |one: &&RankFinding| {
        let is_other =
            matches!(one.class, Some(Class::High | Class::Low | Class::NodataFailMetric));
        !one.is_muted && is_other
    };
    let worst = findings.iter().filter(is_bad).max_by_key(|one| one.is_critical);
    let missing: Vec<&RankFinding> = findings.iter().filter(|one| lacks_data(one)).collect();
    let counted = findings.iter().filter(|one| !one.is_muted).count();
    let is_half = missing.len() * 2 >= counted;
    let is_critical_bad = worst.is_some_and(|one| one.is_critical);
    if !is_critical_bad && (is_half || missing.iter().any(|one| one.is_critical)) {
        return Outcome::NoData(missing.iter().map(|one| one.metric.clone()).collect());
    }
    match scores {
        Scores::Fail => {
            let metric = worst.map_or_else(|| "score".to_owned(), |one| one.metric.clone());
            Outcome::Worse { metric, because: Proof::Score }
        }
        Scores::Pass if is_last => Outcome::Good,
        Scores::Marginal if is_last => Outcome::Marginal,
        Scores::Pass | Scores::Marginal => Outcome::Fine,
    }
}
