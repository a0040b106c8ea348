//! Sources and their services for people.

use std::fmt::Write as _;

use rollway_core::gitops::name::Oid;
use rollway_core::gitops::state::{
    Operation, ServiceHealth, ServiceStatus, SourceStatus, SourceView, Sync,
};

use crate::cli::out::{Out, Tone, one_line};
use crate::cli::table::{Cell, table};
use crate::cli::words;
use crate::gitops::{Diff, Tested};

/// All sources as a table.
#[must_use]
pub fn list(out: Out, views: &[SourceView]) -> String {
    if views.is_empty() {
        return "nothing is followed\n".to_owned();
    }
    let rows: Vec<Vec<Cell>> = views
        .iter()
        .map(|view| {
            let synced = view.services.iter().filter(|one| one.sync == Sync::Synced).count();
            vec![
                view.config.name.as_str().into(),
                Cell::toned(format!("{:?}", view.source), status_tone(view.source)),
                view.revision.as_ref().map_or("-", Oid::short).into(),
                format!("{synced}/{}", view.services.len()).into(),
                format!("{} {}", view.config.url, view.config.reference.short()).into(),
                view.message.as_str().into(),
            ]
        })
        .collect();
    table(out, &["NAME", "SOURCE", "REVISION", "SYNCED", "REPOSITORY", "MESSAGE"], &rows)
}

fn status_tone(status: SourceStatus) -> Tone {
    match status {
        SourceStatus::Ready => Tone::Good,
        SourceStatus::Fetching => Tone::Plain,
        SourceStatus::FetchFailed => Tone::Warn,
        SourceStatus::Stalled => Tone::Bad,
    }
}

/// One source and its services.
#[must_use]
pub fn source(out: Out, view: &SourceView) -> String {
    let mut text = String::new();
    let mut say = |name: &str, value: &str| {
        writeln!(text, "{name:<11} {}", one_line(value)).expect("a String takes every write");
    };
    say("source", view.config.name.as_str());
    say("repository", view.config.url.as_str());
    say("ref", view.config.reference.as_str());
    if !view.config.path.as_str().is_empty() {
        say("path", view.config.path.as_str());
    }
    say("revision", view.revision.as_ref().map_or("-", Oid::as_str));
    if let Some(signer) = &view.signer {
        say("signed by", signer);
    }
    if let Some(seen) = view.seen_ms {
        say("last seen", &words::time(seen));
    }
    if let Some(by) = &view.suspended {
        say("suspended", &format!("by {by}"));
    }
    say("status", &format!("{:?} ({:?}): {}", view.source, view.reason, view.message));
    for problem in &view.problems {
        say("problem", &problem.to_string());
    }
    for service in &view.services {
        if let Some(told) = &service.told {
            say("write-back", &format!("{}: {}", service.service, told.words));
        }
    }
    if !view.services.is_empty() {
        text.push('\n');
        let rows: Vec<Vec<Cell>> = view.services.iter().map(row).collect();
        let headings = ["SERVICE", "VERSION", "SYNC", "HEALTH", "OPERATION", "REASON"];
        text.push_str(&table(out, &headings, &rows));
    }
    text
}

fn row(status: &ServiceStatus) -> Vec<Cell> {
    let sync = match status.sync {
        Sync::Synced => Tone::Good,
        Sync::OutOfSync | Sync::Held => Tone::Warn,
        Sync::Unknown => Tone::Faint,
    };
    let health = match status.health {
        ServiceHealth::Healthy => Tone::Good,
        ServiceHealth::Degraded => Tone::Bad,
        ServiceHealth::Missing | ServiceHealth::Progressing => Tone::Warn,
        ServiceHealth::Suspended | ServiceHealth::Unknown => Tone::Faint,
    };
    vec![
        status.service.as_str().into(),
        status.version.as_deref().unwrap_or("-").into(),
        Cell::toned(format!("{:?}", status.sync), sync),
        Cell::toned(format!("{:?}", status.health), health),
        status.operation.as_ref().map_or_else(|| "-".to_owned(), Operation::words).into(),
        status.reason.as_str().into(),
    ]
}

/// What would be done.
#[must_use]
pub fn diff(out: Out, all: &[Diff]) -> String {
    let mut text = String::new();
    for one in all {
        let status = &one.status;
        let head = format!("{}: {:?}, {}", status.service, status.sync, status.reason);
        text.push_str(&out.paint(Tone::Strong, &one_line(&head)));
        text.push('\n');
        if let Some(refused) = &one.refused {
            text.push_str(&format!("  cannot be planned: {}\n", one_line(refused)));
        }
        for stage in one.plan.iter().flat_map(|plan| &plan.stages) {
            text.push_str(&format!("  {}: {}\n", one_line(&stage.name), one_line(&stage.goal)));
        }
        for change in one.plan.iter().flat_map(|plan| &plan.changes) {
            let value = |value: &Option<String>| one_line(value.as_deref().unwrap_or("(none)"));
            let (before, after) = (value(&change.before), value(&change.after));
            text.push_str(&format!("  {}: {before} -> {after}\n", one_line(&change.path)));
        }
    }
    if text.is_empty() { "no services\n".to_owned() } else { text }
}

/// What a test found.
#[must_use]
pub fn tested(tested: &Tested) -> String {
    let mut text = format!("{:?}: {}\n", tested.reason, one_line(&tested.message));
    for problem in &tested.problems {
        text.push_str(&format!("  {}\n", one_line(&problem.to_string())));
    }
    if let Some(revision) = &tested.revision {
        text.push_str(&format!("revision {revision}\n"));
    }
    if let Some(signer) = &tested.signer {
        text.push_str(&format!("signed by {}\n", one_line(signer)));
    }
    if !tested.services.is_empty() {
        text.push_str(&format!("services: {}\n", tested.services.join(", ")));
    }
    text
}
