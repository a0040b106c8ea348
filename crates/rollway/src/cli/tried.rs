//! `rollway analysis try`: the judge on two series from files.

use std::path::Path;

use rollway_core::problem::Problem;
use rollway_core::series::picture::picture;
use rollway_core::series::{self, Layout, Series, Tried};
use rollway_core::spec::Analysis;
use rollway_core::units::Millis;
use rollway_core::verdict::decision::Decision;
use rollway_core::verdict::eprocess::Pair;

use super::args::TryFlags;
use super::out::{Out, Tone, one_line};
use super::wrong::{Source, Wrong};
use super::{Context, spec_file};
use crate::failure::{Failure, FailureKind};

/// Longer files are not read.
const SERIES_BYTES_MAX: u64 = 64 << 20;

/// `rollway analysis try`.
pub fn try_series(ctx: &Context, flags: &TryFlags) -> Result<(), Wrong> {
    let both = Pair { canary: read(&flags.canary)?, baseline: read(&flags.baseline)? };
    let by = Analysis {
        interval: flags.interval,
        deadline: flags.deadline,
        warmup: flags.warmup,
        min_bake: Millis::ZERO,
        ..Analysis::default()
    };
    let tried = series::try_series(&by, &both)?;
    if let Some(file) = &flags.svg {
        std::fs::write(file, picture(&tried)).map_err(|error| {
            let doing = format!("could not write {}", file.display());
            Failure::because(FailureKind::NotDone, doing, error)
        })?;
        ctx.out.hint(&format!("a browser shows {}", file.display()));
    }
    match ctx.out.json {
        true => ctx.out.value(&tried),
        false => ctx.out.data(&text(ctx.out, flags, &tried)),
    }
}

fn read(path: &Path) -> Result<Series, Wrong> {
    let name = path.display().to_string();
    let layout = Layout::of(&name)?;
    let text = spec_file::text(path, SERIES_BYTES_MAX + 1)?;
    if text.len() as u64 > SERIES_BYTES_MAX {
        let what = format!("it is larger than {} MiB", SERIES_BYTES_MAX >> 20);
        let hint = "count the requests of every few seconds: time,total,bad";
        return Err(Problem::new(name, what).hint(hint).into());
    }
    series::read(&text, layout)
        .map_err(|problem| Wrong::Problems(vec![problem], Some(Source { name, text })))
}

fn text(out: Out, flags: &TryFlags, tried: &Tried) -> String {
    let verdict = tried.verdict();
    let tone = match &verdict.decision {
        Decision::Advance => Tone::Good,
        Decision::Rollback { .. } => Tone::Bad,
        Decision::Continue { .. } | Decision::Inconclusive { .. } => Tone::Warn,
    };
    let mut words = verdict.words().into_iter();
    let decision = one_line(&words.next().unwrap_or_default());
    let mut text = format!("{}\n", out.paint(tone, &decision));
    let (count, interval) = (tried.points.len(), flags.interval);
    let when = match tried.decided_after {
        Some(after) => format!("decided after {after} of {count} intervals of {interval}"),
        None => format!("no decision in {count} intervals of {interval}; as it stands:"),
    };
    text.push_str(&format!("  {when}\n"));
    for line in words {
        text.push_str(&format!("  {}\n", one_line(&line)));
    }
    text
}
