//! What went wrong, and what is said about it: problems end with 2, failures with 1.

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report,
};
use rollway_core::problem::{Place, Problem};

use super::out::{Out, Tone, WIDTH, clean, is_dangerous, one_line};
use crate::failure::Failure;

/// Done as asked.
pub const DONE: u8 = 0;
/// The deployment failed or was rolled back, or the world failed us.
pub const FAILED: u8 = 1;
/// The user's to mend; nothing was changed.
pub const USAGE: u8 = 2;
/// Interrupted by Ctrl-C, as shells count it.
pub const INTERRUPTED: u8 = 130;

/// A longer line is not shown: it is no help, and floods the terminal.
const SNIPPET_LINE_BYTES_MAX: usize = 400;

/// The text that the places of problems are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name, as the user gave it.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// Why a verb was not done.
#[derive(Debug)]
pub enum Wrong {
    /// The user's mistakes.
    Problems(Vec<Problem>, Option<Source>),
    /// What the world did to us, and perhaps a way out.
    Failure(Failure, Option<String>),
    /// No control plane answers.
    Absent(Failure),
    /// Everything was said already; only the exit code is left.
    Said(u8),
}

impl From<Problem> for Wrong {
    fn from(problem: Problem) -> Self {
        Self::Problems(vec![problem], None)
    }
}

impl From<Failure> for Wrong {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure, None)
    }
}

impl Wrong {
    /// A failure with a way out.
    #[must_use]
    pub fn failure(failure: Failure, hint: impl Into<String>) -> Self {
        Self::Failure(failure, Some(hint.into()))
    }

    /// Says it, and answers the exit code.
    #[must_use]
    pub fn say(&self, out: Out) -> u8 {
        match self {
            Self::Said(code) => *code,
            Self::Problems(problems, source) => {
                say_problems(out, problems, source.as_ref());
                USAGE
            }
            Self::Failure(failure, hint) => {
                say_failure(out, &failure.chain(), hint.as_deref());
                FAILED
            }
            Self::Absent(failure) => {
                let hint = "`rollway serve` starts it, and `rollway deploy` does so by itself";
                say_failure(out, &failure.chain(), Some(hint));
                FAILED
            }
        }
    }
}

/// Says problems, each with its place and its way out.
pub fn say_problems(out: Out, problems: &[Problem], source: Option<&Source>) {
    for problem in problems {
        let head = out.paint_error(Tone::Bad, "error:");
        say_one(out, &head, problem, source);
    }
    if let (Some(source), 2..) = (source, problems.len()) {
        let found = format!("{} problems in {}", problems.len(), one_line(&source.name));
        out.say(&out.paint_error(Tone::Strong, &found));
    }
}

/// Says what is allowed, and probably not meant.
pub fn say_warnings(out: Out, warnings: &[Problem], source: Option<&Source>) {
    if out.quiet {
        return;
    }
    for warning in warnings {
        let head = out.paint_error(Tone::Warn, "warning:");
        say_one(out, &head, warning, source);
    }
}

/// Says a failure: what was being done and its causes.
pub fn say_failure(out: Out, chain: &str, hint: Option<&str>) {
    // The store writes its way out at the end of the cause.
    let (what, own_hint) = match chain.split_once("; hint: ") {
        Some((what, hint)) => (what, Some(hint)),
        None => (chain, None),
    };
    out.say(&format!("{} {}", out.paint_error(Tone::Bad, "error:"), one_line(what)));
    if let Some(hint) = own_hint.or(hint) {
        out.say(&format!("{} {}", out.paint_error(Tone::Faint, "hint:"), one_line(hint)));
    }
}

fn say_one(out: Out, head: &str, problem: &Problem, source: Option<&Source>) {
    let what = one_line(&problem.to_string());
    match (problem.place, source) {
        (Some(place), Some(source)) => {
            let Place { line, column, .. } = place;
            let at = format!("{}:{line}:{column}", one_line(&source.name));
            out.say(&format!("{head} {what}"));
            match snippet(out, place, source) {
                Some(snippet) => out.say(&snippet),
                None => out.say(&format!("  at {at}")),
            }
        }
        (Some(_), None) | (None, _) => out.say(&format!("{head} {what}")),
    }
    if let Some(hint) = &problem.hint {
        out.say(&format!("{} {}", out.paint_error(Tone::Faint, "hint:"), one_line(hint)));
    }
}

/// The lines around a place, with a mark under it.
fn snippet(out: Out, place: Place, source: &Source) -> Option<String> {
    let line = source.text.lines().nth(place.line.saturating_sub(1)).unwrap_or_default();
    if line.len() > SNIPPET_LINE_BYTES_MAX {
        return None;
    }
    let theme = match (out.stderr_is_terminal(), out.colour) {
        (true, true) => GraphicalTheme::unicode(),
        (true, false) => GraphicalTheme::unicode_nocolor(),
        (false, _) => GraphicalTheme::none(),
    };
    // Never beyond the end: an error at the end of a file is on its last character.
    let text = harmless(&source.text);
    let offset = place.offset.min(text.len());
    let length = place.length.min(line.len()).min(text.len() - offset);
    let label = LabeledSpan::new(None, offset, length);
    let diagnostic = MietteDiagnostic::new("").with_label(label);
    let named = NamedSource::new(clean(&source.name), text);
    let report = Report::new(diagnostic).with_source_code(named);
    let mut rendered = String::new();
    GraphicalReportHandler::new_themed(theme)
        .with_width(WIDTH)
        .with_links(false)
        .render_report(&mut rendered, report.as_ref())
        .ok()?;
    // The head is ours; what follows it, from the frame's first line on, is miette's.
    let lines = rendered.lines().skip_while(|line| !line.contains(&format!(":{}:", place.line)));
    let kept: Vec<&str> = lines.map(str::trim_end).filter(|line| !line.is_empty()).collect();
    (!kept.is_empty()).then(|| kept.join("\n"))
}

/// The same text with every dangerous character replaced by one of the same length, so that the
/// places stay right.
fn harmless(text: &str) -> String {
    let replaced = |c: char| match (c, c.len_utf8()) {
        ('\n' | '\t' | '\r', _) => c,
        (c, _) if !is_dangerous(c) => c,
        (_, 1) => '?',
        (_, 2) => '\u{bf}',
        (_, _) => '\u{fffd}',
    };
    text.chars().map(replaced).collect()
}
