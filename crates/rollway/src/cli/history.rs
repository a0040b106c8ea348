//! `rollway history`: the deployments of a service, and whether the records are whole.

use rollway_core::event::{DeploymentKind, DeploymentState};
use rollway_core::ids::ServiceName;
use rollway_core::view::DeploymentView;

use super::args::{HistoryFlags, HistoryVerb};
use super::client::{Chain, Verified};
use super::out::{Out, Tone, one_line};
use super::table::{Cell, table};
use super::words;
use super::wrong::{FAILED, Wrong};
use super::{Context, outcome, place};
use crate::store::records;

/// `rollway history`.
pub async fn history(ctx: &Context, flags: &HistoryFlags) -> Result<(), Wrong> {
    match &flags.verb {
        Some(HistoryVerb::Verify) => return verify(ctx).await,
        Some(HistoryVerb::Export(of)) => {
            let service = place::service(ctx, of.service.clone()).await?;
            let lines = ctx.client().export(&service).await?;
            return ctx.out.bytes(&lines);
        }
        None => {}
    }
    let service = place::service(ctx, flags.service.clone()).await?;
    let views = deployments(ctx, &service, flags.lines).await?;
    match ctx.out.json {
        true => ctx.out.value(&views),
        false => ctx.out.data(&text(ctx.out, &views)),
    }
}

/// The deployments of ours and those that others recorded, newest first.
async fn deployments(
    ctx: &Context,
    service: &ServiceName,
    limit: u64,
) -> Result<Vec<DeploymentView>, Wrong> {
    let all = records::read(&ctx.state_dir)?;
    let of_service = all.iter().filter(|record| record.service == service.as_str());
    let recorded: Vec<DeploymentView> =
        of_service.zip(1..).map(|(record, number)| record.view(number)).collect();
    let mut views = match ctx.client().deployments(service, limit).await {
        Ok(views) => views,
        // One that only others deployed is not known to the control plane, and needs none.
        Err(Wrong::Problems(..) | Wrong::Absent(_)) if !recorded.is_empty() => Vec::new(),
        Err(wrong) => return Err(wrong),
    };
    views.extend(recorded);
    views.sort_by_key(|view| std::cmp::Reverse(view.started_at_ms));
    views.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(views)
}

async fn verify(ctx: &Context) -> Result<(), Wrong> {
    let verified = ctx.client().verify().await?;
    match ctx.out.json {
        true => ctx.out.value(&verified)?,
        false => ctx.out.data(&verified_text(ctx.out, &verified))?,
    }
    if verified.is_whole() {
        return Ok(());
    }
    ctx.out.say("error: the records are not what was written");
    ctx.out.say("hint: compare them with a backup or an export before you go on");
    Err(Wrong::Said(FAILED))
}

fn verified_text(out: Out, verified: &Verified) -> String {
    let row = |chain: &Chain| {
        let (what, tone) = match &chain.fault {
            None => ("as they were written".to_owned(), Tone::Good),
            Some(fault) => (format!("{}: {}", fault.seq, fault.what), Tone::Bad),
        };
        let (name, whole) = (chain.name.clone(), chain.whole.to_string());
        vec![Cell::toned(name, Tone::Strong), Cell::from(whole), Cell::toned(what, tone)]
    };
    let rows: Vec<Vec<Cell>> = verified.services.iter().chain([&verified.audit]).map(row).collect();
    let mut text = table(out, &["OF", "WHOLE", "RECORDS"], &rows);
    for altered in &verified.rows {
        text.push_str(&out.paint(Tone::Bad, &format!("altered: {}", one_line(altered))));
        text.push('\n');
    }
    text
}

/// The deployments as a table.
#[must_use]
pub fn text(out: Out, views: &[DeploymentView]) -> String {
    if views.is_empty() {
        return "no deployments\n".to_owned();
    }
    let headings =
        ["DEPLOYMENT", "STARTED", "TOOK", "WHAT", "STRATEGY", "RELEASE", "BY", "OUTCOME"];
    table(out, &headings, &views.iter().map(row).collect::<Vec<_>>())
}

fn row(view: &DeploymentView) -> Vec<Cell> {
    let tone = match view.state {
        DeploymentState::Completed => Tone::Good,
        DeploymentState::Failed | DeploymentState::RolledBack => Tone::Bad,
        DeploymentState::Pending | DeploymentState::InProgress | DeploymentState::Paused => {
            Tone::Warn
        }
    };
    let kind = match view.kind {
        DeploymentKind::Deploy => "deploy",
        DeploymentKind::Rollback => "rollback",
        DeploymentKind::Restart => "restart",
        DeploymentKind::Scale => "scale",
        DeploymentKind::Up => "up",
        DeploymentKind::Down => "down",
    };
    let state = view.state.name().replace('_', " ");
    let causes = outcome::causes(view);
    let first = view.failures.first().map(|note| format!("{} {}", note.instance, note.why));
    let reasons: Vec<String> = causes.into_iter().chain(first).collect();
    let outcome = match reasons.is_empty() {
        true => state,
        false => format!("{state}: {}", reasons.join(": ")),
    };
    vec![
        Cell::toned(view.id.clone(), Tone::Strong),
        Cell::from(words::time(view.started_at_ms)),
        Cell::from(words::duration(view.elapsed_ms)),
        Cell::from(kind),
        Cell::from(view.strategy.clone()),
        Cell::from(words::release(&view.to)),
        Cell::from(if view.actor.is_empty() { "-" } else { &view.actor }),
        Cell::toned(outcome, tone),
    ]
}
