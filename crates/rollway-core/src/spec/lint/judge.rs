//! Rules between a judge, what it looks at, and the source of its numbers.

use super::super::judges::{
    Kayenta, KayentaMetric, MannWhitney, Measured, Need, RankMetric, Threshold, ThresholdMetric,
};
use super::super::{Analysis, Judge, Measure, Report, Source};
use crate::analysis::VALUES_MAX;
use crate::peers::expression::{Condition, Value};
use crate::problem::unknown;
use crate::units::Millis;

/// What a judge could never come to a decision with.
pub(super) fn analysis(by: &Analysis, path: &str, report: &mut Report) {
    if by.interval >= by.deadline {
        let what = format!("the first check, after {}, is not before the deadline", by.interval);
        let hint = "make `deadline` many times as long as `interval`";
        report.problem(format!("{path}.deadline"), what, hint);
    } else if by.warmup >= by.deadline {
        let what = format!("the warm-up of {} lasts until the deadline", by.warmup);
        let hint = "nothing would be compared; make `deadline` longer or `warmup` shorter";
        report.problem(format!("{path}.deadline"), what, hint);
    } else if by.min_bake > by.deadline {
        let what = format!("`min_bake` {} lasts longer than the deadline", by.min_bake);
        let hint = "make `deadline` at least as long as `min_bake`";
        report.problem(format!("{path}.min_bake"), what, hint);
    }
    source(by, path, report);
    match &by.judge {
        Judge::None => {}
        Judge::Sequential(judge) => {
            if judge.metrics.len() > 1 && judge.metrics[0] == judge.metrics[1] {
                let at = format!("{path}.judge.sequential.metrics");
                report.problem(at, "one is named twice", "name `errors`, `latency`, or both");
            }
        }
        Judge::Threshold(judge) => threshold(by, judge, path, report),
        Judge::MannWhitney(judge) => mann_whitney(by, judge, path, report),
        Judge::Kayenta(judge) => kayenta(by, judge, path, report),
    }
}

/// What a judge that opens a gate needs beside: an end.
pub(super) fn gate(by: &Analysis, path: &str, report: &mut Report) {
    let Judge::Threshold(judge) = &by.judge else { return };
    for (number, metric) in judge.metrics.iter().enumerate() {
        let is_endless = metric.count.unwrap_or(0) == 0 && metric.consecutive_success_limit == 0;
        if is_endless && !metric.dry_run {
            let what = "this is measured without end, so that the step would only end with the \
                        deadline";
            let hint = "add `count`, or `consecutive_success_limit`";
            report.problem(format!("{path}.judge.threshold.metrics[{number}]"), what, hint);
        }
    }
}

/// The engine asks again, as if nobody had heard it, after 30 seconds.
const TIMEOUT_MAX: Millis = Millis::seconds(20);

/// What could never be read, or is not meant.
fn source(by: &Analysis, path: &str, report: &mut Report) {
    let (name, source) = (by.source.name(), &by.source);
    let at = format!("{path}.source.{name}");
    needs(by, path, report);
    if let Some(timeout) = source.timeout().filter(|timeout| *timeout > TIMEOUT_MAX) {
        let what = format!("{timeout} is longer than the {TIMEOUT_MAX} that are waited for");
        report.problem(format!("{at}.timeout"), what, "make it shorter, and `interval` longer");
    }
    let Some(access) = source.access() else { return };
    match (&access.token_file, &access.username, &access.password_file) {
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
            let what = "there is a token, and a name and password too";
            report.problem(format!("{at}.access"), what, "one of both is sent");
        }
        (None, Some(_), None) => {
            let what = "there is a name without a password";
            report.problem(format!("{at}.access.username"), what, "add `password_file`");
        }
        (None, None, Some(_)) => {
            let what = "there is a password without a name";
            report.problem(format!("{at}.access.password_file"), what, "add `username`");
        }
        (Some(_), None, None) | (None, Some(_), Some(_)) | (None, None, None) => {}
    }
    for (key, file) in [
        ("token_file", &access.token_file),
        ("password_file", &access.password_file),
        ("ca", &access.ca),
    ] {
        if file.as_ref().is_some_and(|file| !file.starts_with('/')) {
            let hint = "the control plane reads it, in a folder of its own";
            report.problem(format!("{at}.access.{key}"), "write the path in full, from /", hint);
        }
    }
}

/// What is looked at and never told.
fn needs(by: &Analysis, path: &str, report: &mut Report) {
    if let Judge::Sequential(judge) = &by.judge {
        let metrics = format!("{path}.judge.sequential.metrics");
        if judge.metrics.contains(&Measure::Latency) {
            need(&by.source, Need::Latency, &metrics, report);
        }
        if judge.metrics.contains(&Measure::Errors) || judge.error_limit.is_some() {
            need(&by.source, Need::Counts, &metrics, report);
        }
    }
    for (place, measured) in by.judge.measured() {
        need(&by.source, measured.needs(), &format!("{path}.judge.{place}"), report);
    }
}

fn need(source: &Source, need: Need, path: &str, report: &mut Report) {
    let name = source.name();
    match (need, source) {
        (Need::Latency, Source::Prometheus(_)) if !source.has_latency() => {
            let what = "latency is looked at, and the source `prometheus` has no `latency`";
            let hint = "add `latency: 'http_request_duration_seconds_bucket{...}'` to it, or write \
                        `metrics: [errors]`";
            report.problem(path, what, hint);
        }
        (Need::Latency, _) if !source.has_latency() => {
            let what = format!("latency is looked at, and {name} tells of requests only");
            let hint = "write `judge: {sequential: {metrics: [errors]}}`, or use a source that \
                        tells how long they took: `embedded_proxy`, or `prometheus` with `latency`";
            report.problem(path, what, hint);
        }
        (Need::Value, Source::EmbeddedProxy) => {
            let what = "embedded_proxy counts requests; it has no `value`";
            let hint = "measure `error_rate`, `latency_p99`, ..., or use another source";
            report.problem(path, what, hint);
        }
        (Need::Value, _) if !source.has_value() => {
            let what = format!("a `value` is looked at, and the source `{name}` has no `value`");
            report.problem(path, what, "add `value` to it: a query of one number");
        }
        (Need::Counts, Source::Prometheus(of)) if of.total.is_none() || of.bad.is_none() => {
            let (key, labels) = match of.total.is_none() {
                true => ("total", ""),
                false => ("bad", ", code=~\"5..\""),
            };
            let what = format!("requests are counted, and the source `prometheus` has no `{key}`");
            let example = format!("http_requests_total{{release=\"{{{{release}}}}\"{labels}}}");
            report.problem(path, what, &format!("add `{key}`, such as '{example}'"));
        }
        (Need::Counts | Need::Latency | Need::Value, _) => {}
    }
}

fn unique<'a>(names: impl Iterator<Item = &'a str>, path: &str, report: &mut Report) {
    let mut seen: Vec<&str> = Vec::new();
    for (number, name) in names.enumerate() {
        if seen.contains(&name) {
            let what = format!("there are two metrics of the name {name:?}");
            let hint = "give one of them another `name`";
            report.problem(format!("{path}[{number}]"), what, hint);
        }
        seen.push(name);
    }
}

fn threshold(by: &Analysis, judge: &Threshold, path: &str, report: &mut Report) {
    let path = format!("{path}.judge.threshold.metrics");
    unique(judge.metrics.iter().map(ThresholdMetric::name), &path, report);
    if judge.metrics.iter().all(|metric| metric.dry_run) {
        let hint = "without `dry_run` a metric counts";
        report.problem(&path, "all of these are dry runs, so that nothing is decided", hint);
    }
    for (number, metric) in judge.metrics.iter().enumerate() {
        conditions(metric, &format!("{path}[{number}]"), report);
        times(by, metric, &format!("{path}[{number}]"), report);
    }
}

fn conditions(metric: &ThresholdMetric, path: &str, report: &mut Report) {
    let texts = [
        ("success_condition", metric.success_condition.trim()),
        ("failure_condition", metric.failure_condition.trim()),
    ];
    if texts.iter().all(|(_, text)| text.is_empty()) {
        let what = "there is no condition, so that every number would be good";
        let hint = "add `success_condition: result < 0.05`, or a `failure_condition`";
        report.problem(path, what, hint);
    }
    for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        // A number in the middle of what is measured: what cannot be told of it never can.
        let told = Condition::parse(key, text)
            .and_then(|condition| condition.holds(&Value::Float(0.5)).map(drop));
        let Err(problem) = told else { continue };
        let column = problem.place.map_or(1, |place| place.column);
        let what = format!("{}, at character {column} of {text:?}", problem.what);
        let usual = "`result` is one number, as in `result < 0.05`; it is no list";
        report.problem(format!("{path}.{key}"), what, problem.hint.as_deref().unwrap_or(usual));
    }
}

fn times(by: &Analysis, metric: &ThresholdMetric, path: &str, report: &mut Report) {
    let interval = metric.interval.unwrap_or(by.interval);
    if interval < by.interval {
        let what = format!("the source is asked every {}, not more often", by.interval);
        let hint = "make the analysis' own `interval` this short";
        report.problem(format!("{path}.interval"), what, hint);
    }
    let delay = metric.initial_delay.unwrap_or(by.warmup);
    let count = u64::from(metric.count.unwrap_or(1).max(metric.consecutive_success_limit).max(1));
    let needed = Millis(delay.0.saturating_add(count.saturating_mul(interval.0)));
    if needed > by.deadline {
        let what = format!(
            "{count} measurements, one every {interval} after {delay}, take {needed}, and the \
             deadline is after {}",
            by.deadline
        );
        report.problem(path, what, "make `deadline` longer, or measure less");
    }
}

/// The values that a judgement collects: neither too few nor too many.
fn lifetime(by: &Analysis, lifetime: Millis, least: u32, path: &str, report: &mut Report) {
    let path = format!("{path}.lifetime");
    let values = lifetime.0 / by.interval.0.max(1);
    if by.warmup.0.saturating_add(lifetime.0) > by.deadline.0 {
        let what = format!(
            "the warm-up of {} and this {lifetime} are not over at the deadline, after {}",
            by.warmup, by.deadline
        );
        report.problem(path, what, "make `deadline` longer");
    } else if values < u64::from(least) {
        let what = format!(
            "in {lifetime} there are {values} checks, one every {}, and {least} values are needed",
            by.interval
        );
        report.problem(path, what, "make it longer, or the analysis' `interval` shorter");
    } else if values > VALUES_MAX {
        let what = format!(
            "in {lifetime} there are {values} checks, one every {}; at most {VALUES_MAX} are \
             compared",
            by.interval
        );
        report.problem(path, what, "make it shorter, or the analysis' `interval` longer");
    }
}

fn not_of_shares(measured: Measured, path: &str, report: &mut Report) {
    if measured == Measured::Requests {
        let what = "both releases have different shares of the traffic, so that their numbers of \
                    requests differ anyway";
        report.problem(format!("{path}.measure"), what, "compare `error_rate` or a latency");
    }
}

fn mann_whitney(by: &Analysis, judge: &MannWhitney, path: &str, report: &mut Report) {
    let path = format!("{path}.judge.mann_whitney");
    let metrics = format!("{path}.metrics");
    unique(judge.metrics.iter().map(RankMetric::name), &metrics, report);
    for (number, metric) in judge.metrics.iter().enumerate() {
        not_of_shares(metric.measure, &format!("{metrics}[{number}]"), report);
    }
    let least = judge.metrics.iter().map(|metric| metric.samples_min).max().unwrap_or(0);
    lifetime(by, judge.lifetime, least, &path, report);
}

fn kayenta(by: &Analysis, judge: &Kayenta, path: &str, report: &mut Report) {
    let path = format!("{path}.judge.kayenta");
    let metrics = format!("{path}.metrics");
    unique(judge.metrics.iter().map(KayentaMetric::name), &metrics, report);
    for (number, metric) in judge.metrics.iter().enumerate() {
        not_of_shares(metric.measure, &format!("{metrics}[{number}]"), report);
    }
    if judge.metrics.iter().all(|metric| metric.muted) {
        let hint = "a metric without `muted` counts";
        report.problem(&metrics, "all of these are muted, so that nothing is decided", hint);
    }
    if judge.marginal > judge.pass {
        let what = format!("{} is above `pass`, {}", judge.marginal, judge.pass);
        report.problem(format!("{path}.marginal"), what, "a score of `pass` is the better one");
    }
    let least = judge.metrics.iter().map(|metric| metric.samples_min).max().unwrap_or(0);
    lifetime(by, judge.lifetime, least, &path, report);
    if let Some(every) = judge.every.filter(|every| *every > judge.lifetime) {
        let what = format!("{every} is longer than the `lifetime` of {}", judge.lifetime);
        report.problem(format!("{path}.every"), what, "leave it out for one judgement");
    }
    weights(judge, &path, report);
}

fn weights(judge: &Kayenta, path: &str, report: &mut Report) {
    let path = format!("{path}.group_weights");
    let groups: Vec<&str> =
        judge.metrics.iter().flat_map(|metric| &metric.groups).map(String::as_str).collect();
    for (number, weight) in judge.group_weights.iter().enumerate() {
        if !groups.contains(&weight.name.as_str()) {
            let what = unknown("group", &weight.name, &groups);
            report.problem(format!("{path}[{number}].name"), what, "no metric counts in it");
        }
    }
    let sum: f64 = judge.group_weights.iter().map(|one| one.weight).sum();
    if sum > 100.0 {
        let hint = "they are percentages, and those without one share the rest";
        report.problem(path, format!("the weights are {sum} together"), hint);
    }
}
