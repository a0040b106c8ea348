//! Follows a deployment to its end, through restarts of the control plane.

use std::io::IsTerminal as _;
use std::time::Duration;

use rollway_core::ids::ServiceName;
use rollway_core::view::{DeploymentView, EventView, ServiceView, VerbArgs};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::client::{EVENTS_MAX, Events, Wanted};
use super::progress::Reporter;
use super::wrong::{INTERRUPTED, Wrong};
use super::{Context, place, start};
use crate::failure::{Failure, FailureKind};

/// One question waits so long for something to happen; then what is waited for is looked at.
const POLL_WAIT_MS: u64 = 1000;
/// The picture on a terminal is drawn so often.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// The control plane may go away so often without anything having happened in between.
const LOSSES_MAX: u32 = 5;

/// How a deployment ended, or that we did not wait for it.
#[derive(Debug)]
pub enum Followed {
    /// It ended.
    Ended(Box<DeploymentView>, Option<Box<ServiceView>>),
    /// It goes on without us.
    Left,
}

/// What one question told.
#[derive(Debug)]
struct News {
    events: Vec<EventView>,
    service: ServiceView,
    deployment: DeploymentView,
}

/// What the user wants after Ctrl-C.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Leave,
    Abort,
    GoOn,
}

/// Shows a deployment until it ends or is left; `after` is the last event before it.
pub async fn follow(ctx: &Context, begun: DeploymentView, after: u64) -> Result<Followed, Wrong> {
    let service = ServiceName::parse(&begun.service)
        .map_err(|what| Failure::because(FailureKind::Unknown, "could not follow", what))?;
    let number = begun.number;
    let mut interrupts = listen(SignalKind::interrupt())?;
    let mut terminations = listen(SignalKind::terminate())?;
    let mut draw = tokio::time::interval(DRAW_EVERY);
    let mut reporter = Reporter::new(ctx.out, &begun);
    let mut after = after;
    let mut losses = 0;
    let mut asking = Box::pin(ask(ctx, &service, number, after));
    loop {
        let answer = tokio::select! {
            answer = &mut asking => answer,
            _ = draw.tick() => {
                reporter.draw();
                continue;
            }
            _ = terminations.recv() => return Ok(left(ctx, &reporter, &begun)),
            _ = interrupts.recv() => {
                match reporter.aside(choose(&mut interrupts)).await {
                    Choice::GoOn => {}
                    Choice::Leave => return Ok(left(ctx, &reporter, &begun)),
                    Choice::Abort => abort(ctx, &service).await?,
                }
                continue;
            }
        };
        match answer {
            Ok(news) => {
                losses = 0;
                after = news.events.last().map_or(after, |event| event.seq);
                let full = news.events.len() as u64 >= EVENTS_MAX;
                reporter.news(&news.events, &news.deployment, &news.service);
                if news.deployment.state.is_terminal() && !full {
                    reporter.end();
                    let service = Some(Box::new(news.service));
                    return Ok(Followed::Ended(Box::new(news.deployment), service));
                }
            }
            Err(wrong) => {
                losses += 1;
                reconnect(ctx, &reporter, wrong, losses).await?;
            }
        }
        asking = Box::pin(ask(ctx, &service, number, after));
    }
}

async fn ask(ctx: &Context, service: &ServiceName, number: u64, after: u64) -> Result<News, Wrong> {
    let client = ctx.client();
    let wanted = Wanted { after, limit: EVENTS_MAX, wait_ms: POLL_WAIT_MS };
    let Events { mut events, .. } = client.events(service, wanted).await?;
    let service_view = client.service(service).await?;
    let deployment = match &service_view.deployment {
        Some(view) if view.number == number => view.clone(),
        Some(_) | None => client.deployment(service, number).await?,
    };
    if deployment.state.is_terminal() && (events.len() as u64) < EVENTS_MAX {
        // It may have ended after the events were asked for: the last ones are not missed.
        let after = events.last().map_or(after, |event| event.seq);
        let rest = client.events(service, Wanted { after, limit: EVENTS_MAX, wait_ms: 0 }).await?;
        events.extend(rest.events);
    }
    events.retain(|event| event.deployment.is_none_or(|of| of == number));
    Ok(News { events, service: service_view, deployment })
}

/// Brings the control plane back if it is gone; what it deployed goes on meanwhile.
async fn reconnect(
    ctx: &Context,
    reporter: &Reporter,
    wrong: Wrong,
    losses: u32,
) -> Result<(), Wrong> {
    let lost = match &wrong {
        Wrong::Absent(_) => true,
        Wrong::Failure(failure, _) => failure.kind == FailureKind::Unknown,
        Wrong::Problems(..) | Wrong::Said(_) => false,
    };
    if !lost || losses > LOSSES_MAX {
        return Err(wrong);
    }
    reporter.note("the control plane has gone away; the instances go on");
    let health = start::ensure_running(ctx).await?;
    reporter.note(&format!("control plane {} (process {}) goes on", health.epoch, health.pid));
    Ok(())
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| {
        Failure::because(FailureKind::NotDone, "could not listen for signals", error)
    })
}

fn left(ctx: &Context, reporter: &Reporter, view: &DeploymentView) -> Followed {
    reporter.end();
    let service = &view.service;
    ctx.out.say(&format!("{} goes on without being watched", view.id));
    ctx.out.say(&format!(
        "hint: `rollway status {service} --watch` shows it, `rollway abort {service}` undoes it"
    ));
    Followed::Left
}

/// Asks the person at the terminal; without one, Ctrl-C leaves the deployment alone.
async fn choose(interrupts: &mut Signal) -> Choice {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Choice::Leave;
    }
    loop {
        let answer = tokio::select! {
            answer = tokio::task::spawn_blocking(prompt) => answer.unwrap_or_default(),
            // Again: whoever insists leaves, and nothing is undone by accident.
            _ = interrupts.recv() => return Choice::Leave,
        };
        match answer.trim() {
            "d" | "detach" => return Choice::Leave,
            "a" | "abort" => return Choice::Abort,
            "c" | "continue" | "" => return Choice::GoOn,
            _ => {}
        }
    }
}

fn prompt() -> String {
    use std::io::Write as _;
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "\n[d]etach: it goes on; [a]bort: it is undone; [c]ontinue: ");
    let _ = stderr.flush();
    drop(stderr);
    let mut answer = String::new();
    match std::io::stdin().read_line(&mut answer) {
        // Nobody can answer any more.
        Ok(0) | Err(_) => "d".to_owned(),
        Ok(_) => format!("{} ", answer.trim()),
    }
}

async fn abort(ctx: &Context, service: &ServiceName) -> Result<(), Wrong> {
    let reason = Some("asked for while following".to_owned());
    let args = VerbArgs { reason, actor: place::actor(), ..VerbArgs::default() };
    match ctx.client().verb(service, "abort", &args).await {
        Ok(answer) => ctx.out.note(&answer.message),
        // It has just ended: its end is about to be shown.
        Err(Wrong::Problems(..)) => {}
        Err(wrong) => return Err(wrong),
    }
    Ok(())
}

impl Followed {
    /// The exit code of not waiting.
    pub const LEFT: u8 = INTERRUPTED;
}
