//! `rollway deploy` and `rollway plan`.

use std::collections::{BTreeMap, BTreeSet};

use rollway_core::ids::{ServiceName, Version};
use rollway_core::problem::{Problem, unknown};
use rollway_core::release::Change;
use rollway_core::spec::Spec;
use rollway_core::template;
use rollway_core::view::{DeployArgs, DeploymentView, PlanView};
use serde_json::Value;

use super::args::{DeployFlags, SpecFlags};
use super::follow::{self, Followed};
use super::out::{Out, Tone, one_line};
use super::spec_file::{self, SpecFile};
use super::words;
use super::wrong::{Wrong, say_warnings};
use super::{Context, outcome, place, start};
use crate::failure::FailureKind;

/// A request whose outcome is unknown is repeated so often, always with the same key.
const TRIES_MAX: u32 = 5;
/// Longer values are cut in what a plan shows.
const VALUE_CHARACTERS_MAX: usize = 60;

/// `rollway deploy`.
pub async fn deploy(ctx: &Context, flags: &DeployFlags) -> Result<(), Wrong> {
    if flags.plan {
        return plan(ctx, &flags.spec).await;
    }
    let (file, args) = prepare(ctx, &flags.spec)?;
    start::ensure_running(ctx).await?;
    let service = &file.spec.service;
    let after = last_seq(ctx, service).await?;
    let begun = begin(ctx, &args, &file).await?;
    if flags.detach {
        return detached(ctx, &begun);
    }
    let followed = follow::follow(ctx, begun, after).await?;
    outcome::finish(ctx, followed)
}

/// `rollway plan`.
pub async fn plan(ctx: &Context, flags: &SpecFlags) -> Result<(), Wrong> {
    let (file, args) = prepare(ctx, flags)?;
    start::ensure_running(ctx).await?;
    let plan = ctx.client().plan(&args).await.map_err(|wrong| in_file(wrong, &file))?;
    if ctx.out.json {
        return ctx.out.value(&plan);
    }
    ctx.out.data(&plan_text(ctx.out, &plan))
}

/// Says that a deployment goes on without us.
pub fn detached(ctx: &Context, view: &DeploymentView) -> Result<(), Wrong> {
    if ctx.out.json {
        return ctx.out.value(view);
    }
    let to = words::release(&view.to);
    ctx.out.line(&format!("{} has begun: {} to {to}", view.id, view.strategy))?;
    let service = &view.service;
    ctx.out.hint(&format!(
        "`rollway status {service} --watch` shows it, `rollway abort {service}` undoes it"
    ));
    Ok(())
}

/// The number of the service's last event; 0 = there is no such service yet.
pub async fn last_seq(ctx: &Context, service: &ServiceName) -> Result<u64, Wrong> {
    match ctx.client().service(service).await {
        Ok(view) => Ok(view.last_seq),
        // Unknown is what a service is before its first deployment.
        Err(Wrong::Problems(..)) => Ok(0),
        Err(wrong) => Err(wrong),
    }
}

/// Reads and checks everything that can be checked before anybody is asked.
fn prepare(ctx: &Context, flags: &SpecFlags) -> Result<(SpecFile, DeployArgs), Wrong> {
    let strategy = flags.strategy.as_deref().map(|name| name.replace('-', "_"));
    let mut problems = flag_problems(flags.version.as_deref(), strategy.as_deref());
    let file = match spec_file::read(flags.file.as_deref()) {
        Ok(file) => file,
        Err(Wrong::Problems(in_spec, source)) => {
            problems.extend(in_spec);
            return Err(Wrong::Problems(problems, source));
        }
        Err(wrong) => return Err(wrong),
    };
    if flags.version.is_none() && file.spec.version.is_none() {
        let hint = "add `version:` to the spec, or give --version";
        problems.push(Problem::new("version", "no version is given").hint(hint));
    }
    if !problems.is_empty() {
        return Err(Wrong::Problems(problems, None));
    }
    say_warnings(ctx.out, &file.warnings, Some(&file.source));
    let args = DeployArgs {
        spec: file.source.text.clone(),
        format: file.format.to_owned(),
        file: file.source.name.clone(),
        folder: file.folder.display().to_string(),
        version: flags.version.clone(),
        strategy,
        env: variables(&file.spec),
        actor: place::actor(),
        idempotency_key: Some(format!("cli-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))),
    };
    Ok((file, args))
}

fn flag_problems(version: Option<&str>, strategy: Option<&str>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(Err(what)) = version.map(Version::parse) {
        problems.push(Problem::new("--version", what));
    }
    if let Some(name) = strategy.filter(|name| !STRATEGIES.contains(name)) {
        problems.push(Problem::new("--strategy", unknown("strategy", name, &STRATEGIES)));
    }
    problems
}

const STRATEGIES: [&str; 4] = ["blue_green", "canary", "recreate", "rolling"];

/// The values that our environment has for the `{{env.NAME}}` of the spec; nothing else of it
/// leaves this process.
fn variables(spec: &Spec) -> BTreeMap<String, String> {
    let value = serde_json::to_value(spec).expect("a spec is plain data");
    let mut names = BTreeSet::new();
    variable_names(&value, &mut names);
    names.into_iter().filter_map(|name| Some((name.clone(), std::env::var(name).ok()?))).collect()
}

fn variable_names(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            let used = template::names(text, template::IN_COMMAND).unwrap_or_default();
            let used = used.into_iter().filter_map(|name| name.strip_prefix("env."));
            names.extend(used.map(str::to_owned));
        }
        Value::Array(items) => items.iter().for_each(|item| variable_names(item, names)),
        Value::Object(map) => map.values().for_each(|inner| variable_names(inner, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Asks for the deployment until it is known whether it has begun.
async fn begin(ctx: &Context, args: &DeployArgs, file: &SpecFile) -> Result<DeploymentView, Wrong> {
    let mut tries = 1;
    loop {
        match ctx.client().deploy(args).await {
            Ok(begun) => return Ok(begun),
            Err(Wrong::Absent(_)) if tries < TRIES_MAX => {}
            Err(Wrong::Failure(failure, _))
                if failure.kind == FailureKind::Unknown && tries < TRIES_MAX => {}
            Err(wrong) => return Err(in_file(wrong, file)),
        }
        tries += 1;
        start::ensure_running(ctx).await?;
    }
}

/// Problems with a place are in the file that was sent.
fn in_file(wrong: Wrong, file: &SpecFile) -> Wrong {
    if let Wrong::Problems(problems, None) = wrong {
        return Wrong::Problems(problems, Some(file.source.clone()));
    }
    wrong
}

fn plan_text(out: Out, view: &PlanView) -> String {
    let service = view.plan.service.as_str();
    let to = words::release(&view.to);
    if view.stages.is_empty() {
        return format!("{service}: nothing to do, {to} serves already\n");
    }
    let from = match &view.from {
        Some(from) => format!("from {}", words::release(from)),
        None => "which is its first release".to_owned(),
    };
    let head = format!("{service}: {} to {to}, {from}", view.plan.strategy);
    let mut text = format!("{}\n\n", out.paint(Tone::Strong, &head));
    let width = view.stages.iter().map(|stage| stage.name.chars().count()).max().unwrap_or(0);
    for (index, stage) in view.stages.iter().enumerate() {
        let (number, name) = (index + 1, one_line(&stage.name));
        let goal = out.paint(Tone::Faint, &one_line(&stage.goal));
        text.push_str(&format!("{number:>3}. {name:width$}  {goal}\n"));
    }
    if !view.forecast.is_empty() {
        text.push_str("\nwhat the judge can tell\n");
        for line in &view.forecast {
            text.push_str(&format!("  {}\n", one_line(line)));
        }
    }
    if !view.changes.is_empty() && view.from.is_some() {
        text.push_str("\nchanges\n");
        text.push_str(&changes_text(out, &view.changes));
    }
    text
}

/// One line a changed value.
#[must_use]
pub fn changes_text(out: Out, changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes {
        let path = one_line(&change.path);
        let (tone, line) = match (&change.before, &change.after) {
            (Some(before), Some(after)) => {
                (Tone::Plain, format!("~ {path}: {} -> {}", short(before), short(after)))
            }
            (None, Some(after)) => (Tone::Good, format!("+ {path}: {}", short(after))),
            (Some(before), None) => (Tone::Bad, format!("- {path}: {}", short(before))),
            (None, None) => continue,
        };
        text.push_str(&format!("  {}\n", out.paint(tone, &line)));
    }
    text
}

fn short(value: &str) -> String {
    let value = one_line(value);
    match value.char_indices().nth(VALUE_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}...", &value[..end]),
        None => value,
    }
}

/// Follows what a verb began, or says that it goes on.
pub async fn follow_or_detach(
    ctx: &Context,
    service: &ServiceName,
    (number, after): (u64, u64),
    detach: bool,
) -> Result<(), Wrong> {
    let begun = ctx.client().deployment(service, number).await?;
    if detach {
        return detached(ctx, &begun);
    }
    let followed: Followed = follow::follow(ctx, begun, after).await?;
    outcome::finish(ctx, followed)
}
