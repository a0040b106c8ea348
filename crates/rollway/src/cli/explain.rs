//! `rollway explain` and `rollway analysis replay`: how a canary was judged, and whether the
//! stored samples say so again.

use rollway_core::explain::{Explanation, Judgement, Recorded};
use rollway_core::ids::ServiceName;
use rollway_core::problem::Problem;

use super::args::{ExplainFlags, ReplayFlags};
use super::out::{Out, Tone, one_line};
use super::words;
use super::wrong::{FAILED, Wrong};
use super::{Context, export_file};

/// `rollway explain`.
pub async fn explain(ctx: &Context, flags: &ExplainFlags) -> Result<(), Wrong> {
    let explanation = ask_for(ctx, &flags.deployment).await?;
    match ctx.out.json {
        true => ctx.out.value(&explanation),
        false => ctx.out.data(&text(ctx.out, &explanation)),
    }
}

/// `rollway analysis replay`.
pub async fn replay(ctx: &Context, flags: &ReplayFlags) -> Result<(), Wrong> {
    let explanations = match (&flags.file, &flags.deployment) {
        (Some(file), name) => export_file::explanations(file, name.as_deref())?,
        (None, Some(name)) => vec![ask_for(ctx, name).await?],
        (None, None) => Vec::new(),
    };
    match (ctx.out.json, explanations.as_slice(), &flags.file) {
        (true, [only], None) => ctx.out.value(only)?,
        (true, all, _) => ctx.out.value(&all)?,
        (false, all, _) => {
            let text: String = all.iter().map(|one| replayed(ctx.out, one)).collect();
            ctx.out.data(&text)?;
        }
    }
    if explanations.iter().all(Explanation::is_same) {
        return Ok(());
    }
    ctx.out.say("error: the stored samples lead to another verdict");
    ctx.out.say("hint: `rollway history verify` says whether the samples are what was written");
    Err(Wrong::Said(FAILED))
}

fn replayed(out: Out, explanation: &Explanation) -> String {
    let verdicts = explanation.judgements.iter().flat_map(|one| &one.verdicts);
    let (same, other): (Vec<_>, Vec<_>) = verdicts.partition(|one| one.is_same);
    let mut text = format!(
        "{}: {} of {} verdicts come out the same from the stored samples\n",
        explanation.deployment,
        same.len(),
        same.len() + other.len()
    );
    for one in &other {
        let what = format!("differs: sample {}: {}", one.sample, one.words.join("; "));
        text.push_str(&out.paint(Tone::Bad, &one_line(&what)));
        text.push('\n');
    }
    text
}

async fn ask_for(ctx: &Context, name: &str) -> Result<Explanation, Wrong> {
    let parts = name.rsplit_once('-');
    let number = parts.and_then(|(_, number)| number.parse::<u64>().ok());
    let (Some((service, _)), Some(number)) = (parts, number) else {
        let problem = Problem::new("", format!("{name:?} is no deployment"));
        return Err(problem.hint("it is SERVICE-NUMBER, as in shop-7").into());
    };
    let service = ServiceName::parse(service).map_err(|what| Problem::new("", what))?;
    ctx.client().explain(&service, number).await
}

fn text(out: Out, explanation: &Explanation) -> String {
    if explanation.judgements.is_empty() {
        return format!(
            "{} was not judged: only a canary with a source of numbers is\n",
            explanation.deployment
        );
    }
    let name = &explanation.deployment;
    explanation.judgements.iter().map(|one| judgement(out, name, one)).collect()
}

fn judgement(out: Out, name: &str, one: &Judgement) -> String {
    let by = &one.by.by;
    let role = if one.by.is_gate { "a gate" } else { "beside the steps" };
    let mut text = out.paint(Tone::Strong, &format!("{name}: judged over {}", stages(one)));
    text.push_str(&format!(
        "\n  judged by {}; {role}; numbers from {}, a check every {}, decided within {}\n",
        by.judge.name(),
        by.source.name(),
        by.interval,
        by.deadline
    ));
    text.push_str(&format!("  {} samples, {} of them taught nothing\n", one.samples, one.missed));
    if let Some(why) = &one.last_missed {
        text.push_str(&format!("  the last of those: {}\n", one_line(why)));
    }
    for verdict in &one.verdicts {
        text.push_str(&recorded(out, verdict));
    }
    if one.verdicts.is_empty() {
        text.push_str("  no verdict yet; as it stands:\n");
        text.push_str(&lines(&one.now_words));
    }
    text
}

fn stages(one: &Judgement) -> String {
    match one.stages.as_slice() {
        [only] => only.clone(),
        [first, .., last] => format!("{first} to {last}"),
        [] => "no stage".to_owned(),
    }
}

fn recorded(out: Out, one: &Recorded) -> String {
    let at = words::duration(one.verdict.elapsed.0);
    let head = format!("  after {at}, by {} samples:\n", one.sample);
    let mut text = out.paint(Tone::Strong, &head);
    text.push_str(&lines(&one.words));
    if !one.otherwise.is_empty() {
        text.push_str("  what would have changed it:\n");
        text.push_str(&lines(&one.otherwise));
    }
    let again = match one.is_same {
        true => out.paint(Tone::Good, "the stored samples give the same verdict"),
        false => out.paint(Tone::Bad, "the stored samples give another verdict"),
    };
    text.push_str(&format!("  {again}\n"));
    text
}

fn lines(words: &[String]) -> String {
    words.iter().map(|line| format!("    {}\n", one_line(line))).collect()
}
