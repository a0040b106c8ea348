//! `rollway events`: what has happened, step by step.

use rollway_core::view::EventView;

use super::args::EventsFlags;
use super::client::{EVENTS_MAX, Wanted};
use super::out::{Out, Tone, one_line};
use super::words;
use super::wrong::Wrong;
use super::{Context, place};

/// While following, one question waits so long.
const FOLLOW_WAIT_MS: u64 = 20_000;

/// `rollway events`.
pub async fn events(ctx: &Context, flags: &EventsFlags) -> Result<(), Wrong> {
    let service = place::service(ctx, flags.service.clone()).await?;
    let view = ctx.client().service(&service).await?;
    let mut after = view.last_seq.saturating_sub(flags.lines);
    loop {
        let is_behind = after < view.last_seq;
        let wait_ms = if flags.follow && !is_behind { FOLLOW_WAIT_MS } else { 0 };
        let limit = if flags.follow { EVENTS_MAX } else { EVENTS_MAX.min(view.last_seq - after) };
        if limit == 0 {
            return Ok(());
        }
        let client = ctx.client();
        let asking = client.events(&service, Wanted { after, limit, wait_ms });
        let page = tokio::select! {
            page = asking => page?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        for event in &page.events {
            match ctx.out.json {
                true => ctx.out.value_line(event)?,
                false => ctx.out.line(&line(ctx.out, event))?,
            }
        }
        match page.events.last() {
            Some(last) => after = last.seq,
            // An empty page is the end, unless the end is waited for.
            None if !flags.follow => return Ok(()),
            None => after = after.max(view.last_seq),
        }
    }
}

fn line(out: Out, event: &EventView) -> String {
    let time = out.paint(Tone::Faint, &words::time(event.at_ms));
    let deployment = event.deployment.map(|number| format!("#{number}")).unwrap_or_default();
    let tone = match event.kind.as_str() {
        "instance_failed" | "action_failed" | "undo_began" => Tone::Bad,
        _ => Tone::Plain,
    };
    format!("{time} {:>5} {deployment:>4}  {}", event.seq, out.paint(tone, &one_line(&event.text)))
}
