//! How a deployment ended: the result to stdout, the reasons to stderr.

use rollway_core::event::{DeploymentKind, DeploymentState, FailureNote};
use rollway_core::view::{DeploymentView, ServiceView};

use super::Context;
use super::follow::Followed;
use super::out::{Out, Tone, clean, one_line};
use super::words;
use super::wrong::{FAILED, Wrong};

/// So many failures are shown in full.
const FAILURES_SHOWN_MAX: usize = 3;

/// Says how it ended; the exit code is that of the outcome.
pub fn finish(ctx: &Context, followed: Followed) -> Result<(), Wrong> {
    let Followed::Ended(view, service) = followed else {
        return Err(Wrong::Said(Followed::LEFT));
    };
    let out = ctx.out;
    if out.json {
        out.value(&view)?;
    } else {
        out.line(&result(&view, service.as_deref()))?;
    }
    if view.state == DeploymentState::Completed {
        return Ok(());
    }
    say_reasons(out, &view);
    Err(Wrong::Said(FAILED))
}

/// The outcome in one line.
#[must_use]
pub fn result(view: &DeploymentView, service: Option<&ServiceView>) -> String {
    let (id, elapsed) = (&view.id, words::duration(view.elapsed_ms));
    let to = words::release(&view.to);
    let count = service.map(|service| u64::from(service.instances_ready));
    let instances =
        count.map(|count| format!(", {}", words::count(count, "instance"))).unwrap_or_default();
    let text = match (view.state, view.kind) {
        (DeploymentState::Completed, DeploymentKind::Down) => {
            format!("{id} completed: {} is down, after {elapsed}", view.service)
        }
        (DeploymentState::Completed, _) => {
            format!("{id} completed: {to} serves{instances}, after {elapsed}")
        }
        (DeploymentState::RolledBack, _) => match &view.from {
            Some(from) => {
                let from = words::release(from);
                format!("{id} rolled back: {from} serves again, after {elapsed}")
            }
            None => format!("{id} rolled back: nothing runs, as before, after {elapsed}"),
        },
        (DeploymentState::Failed, _) => format!("{id} failed after {elapsed}"),
        (DeploymentState::Paused, _) => format!("{id} is paused after {elapsed}"),
        (DeploymentState::Pending | DeploymentState::InProgress, _) => {
            format!("{id} is on its way, for {elapsed}")
        }
    };
    one_line(&text)
}

fn say_reasons(out: Out, view: &DeploymentView) {
    let error = out.paint_error(Tone::Bad, "error:");
    let reasons = causes(view);
    let mut reasons = reasons.iter();
    let first = reasons.next().map_or("it did not complete", String::as_str);
    out.say(&format!("{error} {first}"));
    for reason in reasons {
        out.say(&format!("  because: {reason}"));
    }
    for line in failures(view) {
        out.say(&line);
    }
    let service = &view.service;
    let hint = match view.failures.first() {
        Some(note) => format!("`rollway logs {service} {}` shows what it printed", note.instance),
        None => format!("`rollway events {service}` shows every step"),
    };
    out.say(&format!("{} {hint}", out.paint_error(Tone::Faint, "hint:")));
}

/// The outcome and its causes, without what the failures say anyway.
#[must_use]
pub fn causes(view: &DeploymentView) -> Vec<String> {
    let shown: Vec<String> = view
        .failures
        .iter()
        .take(FAILURES_SHOWN_MAX)
        .map(|note| one_line(&format!("{} {}", note.instance, note.why)))
        .collect();
    let reasons = view.reasons.iter().map(|reason| one_line(reason.trim_start()));
    reasons.filter(|reason| !reason.starts_with('|') && !shown.contains(reason)).collect()
}

/// The failed instances with their evidence.
#[must_use]
pub fn failures(view: &DeploymentView) -> Vec<String> {
    let mut lines = Vec::new();
    for FailureNote { instance, why, evidence, .. } in view.failures.iter().take(FAILURES_SHOWN_MAX)
    {
        lines.push(format!("  {instance} {}", one_line(why)));
        let evidence = evidence.iter().flat_map(|text| text.lines());
        lines.extend(evidence.map(|line| format!("    | {}", clean(line))));
    }
    let failed = (view.instances_failed as usize).max(view.failures.len());
    if let Some(more) = failed.checked_sub(FAILURES_SHOWN_MAX).filter(|more| *more > 0) {
        lines.push(format!("  and {more} more"));
    }
    lines
}
