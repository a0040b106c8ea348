//! `rollway status`: what runs, and the deployment under way.

use rollway_core::event::DeploymentState;
use rollway_core::ids::ServiceName;
use rollway_core::view::{DeploymentView, ServiceView};

use super::args::StatusFlags;
use super::client::Wanted;
use super::live::{LOOK_EVERY, Live, columns};
use super::out::{Out, Tone, one_line};
use super::progress::{PLAIN_MARKS, arms, picture, terminal_marks, waiting_words};
use super::table::{Cell, table};
use super::words;
use super::wrong::Wrong;
use super::{Context, outcome, place};

/// `rollway status`.
pub async fn status(ctx: &Context, flags: &StatusFlags) -> Result<(), Wrong> {
    let service = match &flags.service {
        Some(name) => Some(place::service(ctx, Some(name.clone())).await?),
        None => None,
    };
    if flags.watch {
        return watch(ctx, service.as_ref()).await;
    }
    let views = look(ctx, service.as_ref()).await?;
    if ctx.out.json {
        return match service {
            Some(_) => ctx.out.value(&views[0].0),
            None => ctx.out.value(&views.iter().map(|(view, _)| view).collect::<Vec<_>>()),
        };
    }
    ctx.out.data(&text(ctx.out, &views, service.is_some()))?;
    if views.is_empty() {
        ctx.out.hint("`rollway init` writes a spec, `rollway deploy` deploys it");
    }
    Ok(())
}

type Look = (ServiceView, Option<u64>);

/// The services, each with what its clock shows.
async fn look(ctx: &Context, service: Option<&ServiceName>) -> Result<Vec<Look>, Wrong> {
    let client = ctx.client();
    let views = match service {
        Some(service) => vec![client.service(service).await?],
        None => client.services().await?,
    };
    let mut looks = Vec::new();
    for view in views {
        let clock = match &view.deployment {
            Some(DeploymentView { waiting: Some(waiting), .. }) if waiting.until.is_some() => {
                let name = ServiceName::parse(&view.service).ok();
                let after = view.last_seq.saturating_sub(1);
                let wanted = Wanted { after, limit: 1, wait_ms: 0 };
                match name {
                    Some(name) => client.events(&name, wanted).await.ok(),
                    None => None,
                }
            }
            Some(_) | None => None,
        };
        let last = clock.and_then(|events| events.events.into_iter().next_back());
        let clock = last.and_then(|last| words::service_clock(&last, words::now_ms()));
        looks.push((view, clock));
    }
    Ok(looks)
}

/// Shows it again and again: in its place on a terminal, line by line elsewhere.
async fn watch(ctx: &Context, service: Option<&ServiceName>) -> Result<(), Wrong> {
    let live = ctx.out.stdout_is_terminal() && ctx.out.stderr_is_terminal() && !ctx.out.json;
    let live = live.then(Live::new);
    let mut last: Vec<String> = Vec::new();
    let mut shown = String::new();
    loop {
        let looking = async {
            let views = look(ctx, service).await?;
            match &live {
                Some(live) => {
                    shown = text(ctx.out, &views, service.is_some());
                    let width = columns();
                    let lines = shown.lines().map(|line| cut(line, width));
                    live.draw(&lines.collect::<Vec<_>>());
                }
                None => changes(ctx.out, &views, &mut last)?,
            }
            tokio::time::sleep(LOOK_EVERY).await;
            Ok::<(), Wrong>(())
        };
        tokio::select! {
            looked = looking => looked?,
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    // What was seen last stays on the terminal.
    drop(live);
    ctx.out.data(&shown)
}

/// A line that fits; colours take no room, and none is left open.
fn cut(line: &str, width: usize) -> String {
    let (mut shown, mut is_colour, mut kept) = (0, false, String::new());
    for c in line.chars() {
        is_colour |= c == '\u{1b}';
        if !is_colour {
            shown += 1;
        }
        if is_colour || shown < width {
            kept.push(c);
        }
        is_colour &= c != 'm';
    }
    kept
}

/// Writes the services whose line is not what it was.
fn changes(out: Out, views: &[Look], last: &mut Vec<String>) -> Result<(), Wrong> {
    let mut now = Vec::new();
    for (view, _) in views {
        // Without what is left to wait: time passing is no change.
        let line = one_line(&format!("{}  {}", view.service, summary(view)));
        if !last.contains(&line) {
            match out.json {
                true => out.value_line(view)?,
                false => out.line(&format!("{}  {line}", words::time_of_day(words::now_ms())))?,
            }
        }
        now.push(line);
    }
    *last = now;
    Ok(())
}

fn summary(view: &ServiceView) -> String {
    let ready = format!("{}/{} ready", view.instances_ready, view.instances_wanted);
    let deployment = view.deployment.as_ref().map(|view| deployment_words(view, None));
    let deployment = deployment.unwrap_or_else(|| "never deployed".to_owned());
    format!("{}  {ready}  {}  {deployment}", view.desired, arms(&view.arms))
}

/// The services as a table, or one of them in full.
#[must_use]
pub fn text(out: Out, views: &[Look], in_full: bool) -> String {
    match views {
        [] => "no services\n".to_owned(),
        [(view, clock)] if in_full => one(out, view, *clock),
        several => many(out, several),
    }
}

fn many(out: Out, views: &[Look]) -> String {
    let headings = ["SERVICE", "DESIRED", "SERVING", "READY", "TRAFFIC", "STANDBY", "DEPLOYMENT"];
    let has_standby = views.iter().any(|(view, _)| view.standby.is_some());
    let keep = |index: usize| index != 5 || has_standby;
    let rows: Vec<Vec<Cell>> = views
        .iter()
        .map(|(view, clock)| {
            let all = row(view, *clock).into_iter().enumerate();
            all.filter(|(index, _)| keep(*index)).map(|(_, cell)| cell).collect()
        })
        .collect();
    let headings: Vec<&str> = headings
        .into_iter()
        .enumerate()
        .filter(|(index, _)| keep(*index))
        .map(|(_, text)| text)
        .collect();
    table(out, &headings, &rows)
}

fn row(view: &ServiceView, clock: Option<u64>) -> Vec<Cell> {
    let serving = view.serving.as_ref().map_or_else(|| "-".to_owned(), words::release);
    let is_up = view.desired == "up";
    let ready = format!("{}/{}", view.instances_ready, view.instances_wanted);
    let ready_tone = match (is_up, view.instances_ready) {
        (false, _) => Tone::Faint,
        (true, 0) => Tone::Bad,
        (true, ready) if ready < view.instances_wanted => Tone::Warn,
        (true, _) => Tone::Good,
    };
    let standby = view.standby.as_ref().map_or_else(
        || "-".to_owned(),
        |standby| format!("r{} {} left", standby.release.number, words::duration(standby.left_ms)),
    );
    let (deployment, tone) = match &view.deployment {
        None => ("-".to_owned(), Tone::Faint),
        Some(deployment) => (deployment_words(deployment, clock), state_tone(deployment.state)),
    };
    let (deployment, tone) = match view.needs_operator {
        true => (format!("needs an operator: {deployment}"), Tone::Bad),
        false => (deployment, tone),
    };
    vec![
        Cell::toned(view.service.clone(), Tone::Strong),
        Cell::from(view.desired.clone()),
        Cell::from(serving),
        Cell::toned(ready, ready_tone),
        Cell::from(split(view)),
        Cell::from(standby),
        Cell::toned(deployment, tone),
    ]
}

fn split(view: &ServiceView) -> String {
    let weighted = view.arms.iter().filter(|arm| arm.weight > 0);
    let words: Vec<String> =
        weighted.map(|arm| format!("r{} {} %", arm.release.number, arm.weight)).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

fn state_tone(state: DeploymentState) -> Tone {
    match state {
        DeploymentState::Completed => Tone::Plain,
        DeploymentState::Failed | DeploymentState::RolledBack => Tone::Bad,
        DeploymentState::Pending | DeploymentState::InProgress | DeploymentState::Paused => {
            Tone::Warn
        }
    }
}

/// `shop-7 completed, 2 min ago`, or `shop-7 stage 2/6 canary 10 %, waiting for ...`.
fn deployment_words(view: &DeploymentView, clock: Option<u64>) -> String {
    let (id, state) = (&view.id, view.state.name().replace('_', " "));
    if let (true, Some(ended)) = (view.state.is_terminal(), view.ended_at_ms) {
        let since = u64::try_from(words::now_ms() - ended).unwrap_or(0);
        return format!("{id} {state}, {}", when(since, ended));
    }
    let active = view.stages.iter().position(|stage| stage.state == "active");
    let stage = active.and_then(|index| Some((index, view.stages.get(index)?)));
    let stage = stage.map_or(String::new(), |(index, stage)| {
        format!(" stage {}/{} {}", index + 1, view.stages.len(), stage.name)
    });
    let going_back = if view.undoing { " going back" } else { "" };
    let paused = if view.state == DeploymentState::Paused { " paused" } else { "" };
    let waiting = waiting_words(view, clock).map(|what| format!(", waiting for {what}"));
    let waiting = waiting.unwrap_or_default();
    format!("{id}{paused}{going_back}{stage}{waiting}")
}

/// Minutes ago in words, anything older as a date: a line that does not change every second.
fn when(since_ms: u64, at_ms: i64) -> String {
    match since_ms {
        0..60_000 => "just now".to_owned(),
        60_000..3_600_000 => format!("{} min ago", since_ms / 60_000),
        3_600_000.. => words::time(at_ms),
    }
}

fn one(out: Out, view: &ServiceView, clock: Option<u64>) -> String {
    let serving = view.serving.as_ref().map_or_else(|| "-".to_owned(), words::release);
    let ready = format!("{}/{}", view.instances_ready, view.instances_wanted);
    let listen = if view.listen.is_empty() { "-".to_owned() } else { view.listen.join(", ") };
    let mut rows = vec![
        ("service", view.service.clone(), Tone::Strong),
        ("desired", view.desired.clone(), Tone::Plain),
        ("serving", serving, Tone::Plain),
        ("ready", ready, Tone::Plain),
        ("listens on", listen, Tone::Plain),
        ("traffic", arms(&view.arms), Tone::Plain),
    ];
    if let Some(standby) = &view.standby {
        let (release, left) = (words::release(&standby.release), words::duration(standby.left_ms));
        rows.push(("standby", format!("{release}, {left} left"), Tone::Plain));
    }
    if view.needs_operator {
        let what = "an undo failed: see the reasons, then deploy or roll back";
        rows.push(("attention", what.to_owned(), Tone::Bad));
    }
    let mut text = String::new();
    for (name, value, tone) in rows {
        let name = out.paint(Tone::Faint, &format!("{name:<12}"));
        text.push_str(&format!("{name}{}\n", out.paint(tone, &one_line(&value))));
    }
    if let Some(deployment) = &view.deployment {
        text.push('\n');
        text.push_str(&deployment_text(out, deployment, clock));
    }
    text
}

/// A deployment with its stages, reasons and failures.
#[must_use]
pub fn deployment_text(out: Out, view: &DeploymentView, clock: Option<u64>) -> String {
    let marks = if out.stdout_is_terminal() { terminal_marks() } else { PLAIN_MARKS };
    let mut text = String::new();
    for (tone, line) in picture(marks, view, None, (clock, 0)) {
        text.push_str(&format!("{}\n", out.paint(tone, &line)));
    }
    if view.state.is_terminal() {
        text.push_str(&format!("  {}\n", outcome::result(view, None)));
    }
    for reason in outcome::causes(view) {
        text.push_str(&format!("  because: {reason}\n"));
    }
    for line in outcome::failures(view) {
        text.push_str(&format!("{line}\n"));
    }
    text
}
