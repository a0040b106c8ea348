//! What a judgement can come to, told before it begins: how long a certificate or a rollback takes
//! by the traffic that there is.

use std::time::Duration;

use crate::analysis::rules;
use crate::plan::{Plan, Split, Watch};
use crate::verdict::planner::Traffic;
use crate::verdict::rules::{Kind, Rules};
use crate::verdict::stats::Outcomes;

/// Rates that are told of where none is known, in requests a second.
const USUAL_PER_SECOND: [f64; 3] = [10.0, 100.0, 1000.0];
/// How often a stable version is taken to fail where nothing is known.
const USUAL_BASELINE: f64 = 0.001;
/// Fewer requests say nothing about how often a version fails.
const KNOWN_LEAST: u64 = 1000;
/// A version that never failed in those is not taken to be perfect.
const BASELINE_LEAST: f64 = 0.0001;
/// Of one that fails more often than this, nothing is worth telling.
const BASELINE_MOST: f64 = 0.5;
/// The regression that is spoken of: so much more of all requests fail.
const REGRESSION: f64 = 0.05;

/// The traffic of the version that serves, as it was counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// Requests a second.
    pub per_second: f64,
    /// All requests that were counted.
    pub total: u64,
    /// Those that failed.
    pub bad: u64,
}

impl Seen {
    fn baseline_rate(&self) -> f64 {
        if self.total < KNOWN_LEAST {
            return USUAL_BASELINE;
        }
        let counted = Outcomes { bad: self.bad, total: self.total };
        counted.share().clamp(BASELINE_LEAST, BASELINE_MOST)
    }
}

/// The forecast for every judgement of a plan, one line each: `at 10 req/s a 5 % canary cannot be
/// certified in 1h; 50 % would take 13 min`. Where the traffic is not known, there is a line for
/// each of a few rates. Judgements that do not look at errors have none.
#[must_use]
pub fn forecast(plan: &Plan, seen: Option<Seen>) -> Vec<String> {
    let rates = match seen {
        Some(seen) => vec![(seen.per_second, seen.baseline_rate())],
        None => USUAL_PER_SECOND.map(|rate| (rate, USUAL_BASELINE)).to_vec(),
    };
    let lines = |watch: &Watch| {
        let told = watched(plan, watch);
        rates.iter().filter_map(|rate| told.as_ref()?.line(*rate)).collect::<Vec<_>>()
    };
    plan.watches.iter().flat_map(lines).collect()
}

/// A judgement of which something can be told.
struct Told<'a> {
    watch: &'a Watch,
    stage: &'a str,
    share: f64,
    rules: Rules,
}

/// The first stage that gives the new release a part of the traffic decides how long it takes.
fn watched<'a>(plan: &'a Plan, watch: &'a Watch) -> Option<Told<'a>> {
    let to = plan.to?;
    let (first, last) = watch.stages;
    let mut stages = plan.stages.iter().take(last + 1).skip(first);
    let (stage, percent) = stages.find_map(|stage| match &stage.goal.split {
        Split::Weights(weights) => {
            let percent = *weights.get(&to)?;
            (1..100).contains(&percent).then_some((stage.name.as_str(), percent))
        }
        Split::Capacity | Split::Nothing => None,
    })?;
    let rules = rules(&watch.by).ok()?;
    Some(Told { watch, stage, share: f64::from(percent) / 100.0, rules })
}

impl Told<'_> {
    fn line(&self, (per_second, baseline_rate): (f64, f64)) -> Option<String> {
        let traffic = Traffic { per_second, share: self.share, baseline_rate };
        let errors = self.rules.metrics.iter().find_map(|metric| match metric.kind {
            Kind::Errors(rules) => Some((metric, rules)),
            Kind::Latency(_) | Kind::Gauge { .. } | Kind::Guard { .. } => None,
        });
        let (metric, errors) = errors?;
        let words = match self.watch.is_gate {
            true => traffic.advice(
                errors.promote_ratio,
                errors.promote_margin,
                self.rules.ln_promote_needed(),
                Duration::from_millis(self.rules.deadline.0).as_secs_f64(),
            ),
            false => {
                let canary_rate = baseline_rate + REGRESSION;
                traffic.warning(canary_rate, self.rules.ln_rollback_needed(metric))
            }
        };
        Some(format!("{}: {words}", self.stage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ReleaseNumber;
    use crate::spec::{self, Format};
    use crate::strategy::{Request, deploy};

    /// The forecast of a canary like this.
    fn told(canary: &str, seen: Option<Seen>) -> Vec<String> {
        let text = format!(
            "service: shop\nversion: v2\nrun: {{command: [./shop]}}\n\
             traffic: {{listen: [\"127.0.0.1:8080\"]}}\nstrategy: {{canary: {{{canary}}}}}\n"
        );
        let (spec, _) = spec::read(&text, Format::Yaml).expect("a good spec");
        let (from, to) = (Some(ReleaseNumber(1)), ReleaseNumber(2));
        forecast(&deploy(Request { spec: &spec, from, to, instances: 2, before: 2 }), seen)
    }

    const GATED: &str = "steps: [{weight: 5}, {analyse: {}}]";

    #[test]
    fn a_canary_that_cannot_be_certified_is_told_before_it_begins() {
        let seen = Seen { per_second: 10.0, total: 100_000, bad: 100 };
        let lines = told(GATED, Some(seen));
        assert_eq!(lines.len(), 2, "{lines:?}");
        let gate = "canary 5 %: at 10 req/s a 5 % canary cannot be certified in 1 h; ";
        assert!(lines[0].starts_with(gate), "{lines:?}");
        let rest = "canary 5 %: at 10 req/s and 5 %, a version of which 5.1 % fail is rolled back";
        assert!(lines[1].starts_with(rest), "{lines:?}");
        let busy = told(GATED, Some(Seen { per_second: 1000.0, ..seen }));
        assert!(busy[0].contains("a 5 % canary can be certified in about"), "{busy:?}");
        assert_ne!(told(GATED, Some(Seen { bad: 2000, ..seen })), lines);
    }

    #[test]
    fn a_few_rates_are_told_of_where_none_is_known() {
        let lines = told(GATED, None);
        assert_eq!(lines.len(), 2 * USUAL_PER_SECOND.len(), "{lines:?}");
        assert!(lines[2].contains("at 1000 req/s a 5 % canary"), "{lines:?}");
    }

    #[test]
    fn what_is_not_judged_has_no_forecast() {
        assert!(told("steps: [{weight: 5}], analysis: {judge: none}", None).is_empty());
        let latency = "steps: [{weight: 5}], analysis: {judge: {sequential: {metrics: [latency]}}}";
        assert!(told(latency, None).is_empty());
    }
}
