//! What the shape cannot say: rules between the parts of a spec.

mod judge;

use std::collections::BTreeSet;

use super::words::listen_address;
use super::{CanaryStep, Check, Judge, Order, Probe, Report, Rule, Spec, Strategy, Traffic};
use crate::problem::Problem;
use crate::template;
use crate::units::{Millis, Rounding};

/// Checks a spec whose shape holds.
#[must_use]
pub fn lint(spec: &Spec) -> Report {
    let mut report = Report::default();
    run(spec, &mut report);
    templates(spec, &mut report);
    health(spec, &mut report);
    pace(spec, &mut report);
    deadlines(spec, &mut report);
    strategy(spec, &mut report);
    if let Some(traffic) = &spec.traffic {
        addresses(spec, traffic, &mut report);
        rules(&traffic.rules, &mut report);
    }
    report
}

impl Report {
    fn problem(&mut self, path: impl Into<String>, what: impl Into<String>, hint: &str) {
        self.problems.push(Problem::new(path, what).hint(hint));
    }

    fn warning(&mut self, path: impl Into<String>, what: impl Into<String>, hint: &str) {
        self.warnings.push(Problem::new(path, what).hint(hint));
    }
}

/// Most bytes of all arguments, or of the environment, together: half of what Linux leaves a
/// process with an 8 MiB stack (a quarter of it, for both), so that both always fit.
const ARGUMENT_BYTES_MAX: usize = 512 << 10;

fn run(spec: &Spec, report: &mut Report) {
    let run = &spec.run;
    match (run.driver.as_str(), run.command.first().map(String::as_str)) {
        ("process", None) => report.problem(
            "run.command",
            "there is no command to run",
            "write `command: [./program, \"--listen=127.0.0.1:{{port}}\"]`",
        ),
        (_, Some("")) => {
            report.problem("run.command[0]", "the program is empty", "name the program to run");
        }
        ("null", Some(_)) => report.warning(
            "run.command",
            "the driver `null` runs nothing, and so never this command",
            "use `driver: process` to run it",
        ),
        (_, _) => {}
    }
    let arguments: usize = run.command.iter().map(String::len).sum();
    if arguments > ARGUMENT_BYTES_MAX {
        let what = format!("the arguments have {arguments} bytes, at most {ARGUMENT_BYTES_MAX}");
        report.problem("run.command", what, "put long values into a file");
    }
    let variables: usize = run.env.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    if variables > ARGUMENT_BYTES_MAX {
        let what = format!("the environment has {variables} bytes, at most {ARGUMENT_BYTES_MAX}");
        report.problem("run.env", what, "put long values into a file");
    }
    if run.stop_signal == "SIGKILL" && run.stop_timeout > Millis::ZERO {
        report.warning(
            "run.stop_signal",
            "SIGKILL ends an instance at once, in the middle of its requests",
            "use SIGTERM; what does not end within `stop_timeout` is killed anyway",
        );
    }
    if run.restart.backoff > run.restart.backoff_max {
        let what = format!(
            "the first wait, {}, is longer than the longest, {}",
            run.restart.backoff, run.restart.backoff_max
        );
        report.problem("run.restart.backoff", what, "make `backoff_max` at least as long");
    }
}

fn templates(spec: &Spec, report: &mut Report) {
    let run = &spec.run;
    let mut uses_artifact = false;
    let mut look = |path: String, text: &str, report: &mut Report| {
        // Names that a field does not know were reported by its shape.
        for name in template::names(text, template::IN_COMMAND).unwrap_or_default() {
            uses_artifact |= name == "artifact";
            if name == "artifact" && run.artifact.is_none() {
                let hint = "add `run.artifact.path`: the file that this version is";
                report.problem(path.clone(), "{{artifact}} is used, and there is none", hint);
            }
        }
    };
    for (number, argument) in run.command.iter().enumerate() {
        look(format!("run.command[{number}]"), argument, report);
    }
    for (name, value) in &run.env {
        look(format!("run.env.{name}"), value, report);
    }
    for (number, probe) in spec.health.iter().enumerate() {
        if let Check::Command(command) = &probe.check {
            for (argument, text) in command.argv.iter().enumerate() {
                look(format!("health[{number}].command.argv[{argument}]"), text, report);
            }
        }
    }
    let hooks = &spec.hooks;
    for (name, hook) in [
        ("before_deploy", &hooks.before_deploy),
        ("after_deploy", &hooks.after_deploy),
        ("before_switch", &hooks.before_switch),
        ("after_switch", &hooks.after_switch),
        ("on_rollback", &hooks.on_rollback),
    ] {
        let command = hook.as_ref().map_or(&[][..], |hook| &hook.command);
        for (number, argument) in command.iter().enumerate() {
            look(format!("hooks.{name}.command[{number}]"), argument, report);
        }
    }
    if run.artifact.is_some() && !uses_artifact {
        report.warning(
            "run.artifact",
            "the kept copy of the artifact is not what runs",
            "use `{{artifact}}` in `run.command`, so that a rollback runs exactly this file",
        );
    }
}

fn health(spec: &Spec, report: &mut Report) {
    let mut labels = BTreeSet::new();
    for (number, probe) in spec.health.iter().enumerate() {
        let path = format!("health[{number}]");
        if !labels.insert(probe.label()) {
            let part = if probe.name.is_some() { ".name" } else { "" };
            let what = format!("there is already a probe named {:?}", probe.label());
            report.problem(format!("{path}{part}"), what, "give each its own `name`");
        }
        probe_times(probe, &path, spec, report);
        if spec.run.driver == "null" && asks_instance(&probe.check) {
            report.problem(
                format!("{path}.{}", probe.check.kind()),
                "the driver `null` runs nothing that could answer this probe",
                "use a `command`, `disk` or `memory` probe",
            );
        }
    }
    if spec.health.is_empty() && spec.run.driver != "null" {
        report.warning(
            "",
            "there is no probe: an instance counts as healthy as soon as it runs",
            "add `health: [{http: {path: /}}]` or `health: [tcp]`",
        );
    }
}

fn asks_instance(check: &Check) -> bool {
    match check {
        Check::Http(_) | Check::Tcp(_) | Check::Grpc(_) => true,
        Check::Command(_) | Check::Disk(_) | Check::Memory(_) => false,
    }
}

fn probe_times(probe: &Probe, path: &str, spec: &Spec, report: &mut Report) {
    if probe.timeout > probe.interval {
        let what = format!(
            "a probe may take {}, longer than the {} between two",
            probe.timeout, probe.interval
        );
        let hint = "the next one waits for it; make `interval` at least as long";
        report.warning(format!("{path}.timeout"), what, hint);
    }
    let deadline = spec.update.healthy_deadline;
    if probe.start_period >= deadline {
        let what = format!(
            "failures count after {}, and an instance has failed after {deadline} anyway",
            probe.start_period
        );
        let hint = "make `update.healthy_deadline` longer than `start_period`";
        report.warning(format!("{path}.start_period"), what, hint);
    }
}

fn pace(spec: &Spec, report: &mut Report) {
    let update = &spec.update;
    match spec.strategy {
        Strategy::Rolling | Strategy::Canary(_) => {}
        Strategy::BlueGreen(_) | Strategy::Recreate => return,
    }
    let surge = update.max_surge.of(spec.instances, Rounding::Up);
    let unavailable = update.max_unavailable.of(spec.instances, Rounding::Down);
    match (surge, unavailable, update.order) {
        (0, 0, _) => report.warning(
            "update.max_surge",
            format!(
                "max_surge {} and max_unavailable {} of {} are both 0: one instance may be \
                 unavailable",
                update.max_surge, update.max_unavailable, spec.instances
            ),
            "make `max_surge` at least 1 to keep all of them serving",
        ),
        (0, _, Order::StartFirst) => report.warning(
            "update.max_surge",
            "with max_surge 0 nothing can start first: old instances stop before new ones start",
            "make `max_surge` at least 1, or write `order: stop_first`",
        ),
        (_, 0, Order::StopFirst) => report.problem(
            "update.order",
            format!(
                "`order: stop_first` stops an instance that serves, and max_unavailable {} of {} \
                 allows none",
                update.max_unavailable, spec.instances
            ),
            "write `max_unavailable: 1`, or `order: start_first`",
        ),
        (_, _, Order::StartFirst | Order::StopFirst) => {}
    }
    if unavailable >= spec.instances && surge == 0 {
        let what = format!("all {} instances may be unavailable at once", spec.instances);
        report.warning("update.max_unavailable", what, "`strategy: recreate` says so openly");
    }
}

fn deadlines(spec: &Spec, report: &mut Report) {
    let update = &spec.update;
    let (progress, healthy) = (update.progress_deadline, update.healthy_deadline);
    if update.min_healthy_time >= progress {
        let what = format!(
            "an instance counts after {} of health, and a deployment fails after {progress} \
             without one",
            update.min_healthy_time
        );
        let hint = "make `progress_deadline` longer than `min_healthy_time`";
        report.problem("update.progress_deadline", what, hint);
    } else if healthy > progress {
        let what = format!("{progress} is over before an instance's {healthy} to become healthy");
        let hint = "make `progress_deadline` at least as long as `healthy_deadline`";
        report.warning("update.progress_deadline", what, hint);
    }
}

fn strategy(spec: &Spec, report: &mut Report) {
    let name = spec.strategy.name();
    let splits = match &spec.strategy {
        Strategy::BlueGreen(_) => "switches",
        Strategy::Canary(canary) => {
            steps(&canary.steps, report);
            if canary.analysis.judge != Judge::None {
                judge::analysis(&canary.analysis, "strategy.canary.analysis", report);
            }
            "splits"
        }
        Strategy::Rolling | Strategy::Recreate => return,
    };
    if spec.traffic.is_none() {
        let what = format!("{name} {splits} traffic, and there is no `traffic`");
        let hint = "add `traffic: {listen: [127.0.0.1:8080]}`, or use `strategy: rolling`";
        report.problem("strategy", what, hint);
    }
}

fn steps(steps: &[CanaryStep], report: &mut Report) {
    let mut last = 0;
    for (number, step) in steps.iter().enumerate() {
        let path = format!("strategy.canary.steps[{number}]");
        match step {
            CanaryStep::Weight(weight) if *weight <= last => {
                let what = format!("weight {weight} is not more than the {last} before it");
                let hint = "each step gives the new release more; it goes back by itself";
                report.problem(format!("{path}.weight"), what, hint);
            }
            CanaryStep::Weight(weight) => last = *weight,
            CanaryStep::Hold(_) if last == 0 => report.problem(
                format!("{path}.hold"),
                "this holds before the new release has any traffic",
                "begin with a `weight`",
            ),
            CanaryStep::Approve(_) if last == 0 => report.problem(
                format!("{path}.approve"),
                "this asks for approval before the new release has any traffic",
                "begin with a `weight`",
            ),
            CanaryStep::Analyse(_) if last == 0 => report.problem(
                format!("{path}.analyse"),
                "this judges before the new release has any traffic",
                "begin with a `weight`",
            ),
            CanaryStep::Analyse(_) if last >= 100 => report.problem(
                format!("{path}.analyse"),
                "the old release has no traffic any more to compare with",
                "judge at a `weight` below 100",
            ),
            CanaryStep::Analyse(by) if by.judge == Judge::None => report.problem(
                format!("{path}.analyse.judge"),
                "nobody judges, so that this step would never end",
                "name a judge, or use `hold` or `approve`",
            ),
            CanaryStep::Analyse(by) => {
                judge::analysis(by, &format!("{path}.analyse"), report);
                judge::gate(by, &format!("{path}.analyse"), report);
            }
            CanaryStep::Hold(_) | CanaryStep::Approve(_) => {}
        }
    }
}

fn addresses(spec: &Spec, traffic: &Traffic, report: &mut Report) {
    let address = |text: &str| listen_address(text).ok();
    let listen: Vec<_> = traffic.listen.iter().map(|text| address(text)).collect();
    for (number, one) in listen.iter().enumerate() {
        let same = |other: &&Option<_>| one.zip(**other).is_some_and(|(a, b)| a.collides(b));
        if listen[..number].iter().any(|other| same(&other)) {
            let what = format!("{} is listened on twice", traffic.listen[number]);
            let hint = "a port alone is all addresses";
            report.problem(format!("traffic.listen[{number}]"), what, hint);
        }
    }
    if let Strategy::BlueGreen(blue_green) = &spec.strategy
        && let Some(preview) = blue_green.preview.as_deref()
        && let Some(one) = address(preview)
        && listen.iter().flatten().any(|other| other.collides(one))
    {
        let what = format!("{preview} is also where the service listens");
        let hint = "the preview needs an address of its own";
        report.problem("strategy.blue_green.preview", what, hint);
    }
    if traffic.timeouts.response > Millis::ZERO
        && traffic.timeouts.connect > traffic.timeouts.response
    {
        let what = format!(
            "connecting may take {}, longer than the {} for the whole answer",
            traffic.timeouts.connect, traffic.timeouts.response
        );
        report.warning("traffic.timeouts.connect", what, "make `connect` the shorter one");
    }
}

fn rules(rules: &[Rule], report: &mut Report) {
    for (number, rule) in rules.iter().enumerate() {
        let path = format!("traffic.rules[{number}]");
        if rules[..number].contains(rule) {
            report.problem(path, "this rule is given twice", "remove one of them");
        } else if rule.host.is_none() && rule.path.is_none() && rules.len() > 1 {
            let hint = "remove it, or the others";
            report.warning(path, "an empty rule matches every request", hint);
        }
    }
}
