//! Event logs, one JSON object a line: decoded and encoded they are the same; folded they are
//! legal or refused, never half taken; the same log comes to the same progress.

use rollway_core::event::Event;
use rollway_core::progress::Progress;

use super::{equal, short};
use crate::{Marks, Target};

/// The target.
pub static TARGET: Target = Target {
    name: "events",
    about: "event logs: decode(encode)=same, the fold refuses or takes whole, replay is one",
    words: WORDS,
    bytes_max: 32 << 10,
    check,
};

const WORDS: &[&str] = &[
    "\"kind\":",
    "\"clock\":",
    "deployment_began",
    "intended",
    "instance_started",
    "instances_started",
    "instance_healthy",
    "instance_failed",
    "instance_retired",
    "instances_retired",
    "routed",
    "action_failed",
    "stage_reached",
    "stage_done",
    "approved",
    "paused",
    "resumed",
    "hook_ended",
    "undo_began",
    "deployment_ended",
    "standby_ended",
    "took_over",
    "\"generation\":",
    "\"deployment\":",
    "\"stage\":",
    "\"r1-0\"",
    "\"r2-0\"",
    "\"r18446744073709551615-4294967295\"",
    "null",
    "true",
    "false",
    "[]",
    "{}",
    "\"1h\"",
    "\"0s\"",
    "\"capacity\"",
    "\"nothing\"",
    "\"keep\"",
    "completed",
    "failed",
    "rolled_back",
    "\"full\":",
    "\"ok\":",
    "\"clock\":\"366d\"",
    "\n",
];

fn check(input: &[u8], marks: &mut Marks) -> Result<(), String> {
    let text = String::from_utf8_lossy(input);
    let mut progress = Progress::default();
    let mut taken = Vec::new();
    for line in text.lines() {
        let event: Event = match serde_json::from_str(line) {
            Ok(event) => event,
            Err(error) => {
                marks.mark_words(&error.to_string());
                continue;
            }
        };
        same_again(&event)?;
        let before = progress.clone();
        match progress.apply(&event) {
            Ok(()) => {
                follows(&before, &progress)?;
                let active = progress.active.as_ref();
                marks.mark((event.what.kind(), active.map(|active| active.state().name())));
                taken.push(event);
            }
            Err(illegal) => {
                marks.mark_words(&illegal.to_string());
                equal("an event that cannot follow changes nothing", &before, &progress)?;
            }
        }
    }
    let mut again = Progress::default();
    for event in &taken {
        again.apply(event).map_err(|illegal| format!("replayed, it is refused: {illegal}"))?;
    }
    equal("replayed, it is the same", &progress, &again)
}

fn same_again(event: &Event) -> Result<(), String> {
    let text = serde_json::to_string(event).map_err(|error| format!("not written: {error}"))?;
    let again: Event = serde_json::from_str(&text)
        .map_err(|error| format!("what was written is not read: {error}: `{text}`"))?;
    equal("decode(encode)", event, &again)
}

/// What holds between one event and the next.
fn follows(before: &Progress, after: &Progress) -> Result<(), String> {
    if after.generation < before.generation {
        return Err(format!("the generation went back: `{}`", short(&after.generation)));
    }
    if after.deployments < before.deployments {
        return Err(format!("the deployments went back: `{}`", after.deployments));
    }
    if after.clock < before.clock {
        return Err(format!("the clock went back: `{}`", after.clock));
    }
    Ok(())
}
