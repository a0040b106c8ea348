mod bad;
mod bounds;
mod good;

use std::fmt::Write as _;

use super::*;

/// Everything that reading says, as `line:column: path: what (hint)`, warnings after problems.
fn said(text: &str, format: Format) -> String {
    let (problems, warnings) = match read(text, format) {
        Ok((_, warnings)) => (Vec::new(), warnings),
        Err(report) => (report.problems, report.warnings),
    };
    let mut out = String::new();
    for (kind, problem) in
        problems.iter().map(|p| ("", p)).chain(warnings.iter().map(|p| ("warning: ", p)))
    {
        let place = problem.place.map(|place| format!("{}:{}: ", place.line, place.column));
        let hint = problem.hint.as_deref().map(|hint| format!(" ({hint})"));
        let (place, hint) = (place.unwrap_or_default(), hint.unwrap_or_default());
        writeln!(out, "{kind}{place}{problem}{hint}").expect("a text takes all");
    }
    out
}

fn full() -> Spec {
    read(FULL_YAML, Format::Yaml).expect("the full example is right").0
}

/// Every key of the format, none at its default.
const FULL_YAML: &str = include_str!("tests/full.yaml");
const FULL_TOML: &str = include_str!("tests/full.toml");
