//! Specs in YAML, TOML and JSON: places lie inside the text, and what is read is the same spec in
//! every format.

use rollway_core::problem::Problem;
use rollway_core::spec::{Format, Spec, read};
use serde_json::Value;

use super::equal;
use crate::{Marks, Target};

/// YAML.
pub static YAML: Target = Target {
    name: "spec_yaml",
    about: "a spec in YAML: places inside the text, one spec in three formats",
    words: WORDS,
    bytes_max: 8 << 10,
    check: |input, marks| check(input, Format::Yaml, marks),
};

/// TOML.
pub static TOML: Target = Target {
    name: "spec_toml",
    about: "a spec in TOML: places inside the text, one spec in three formats",
    words: WORDS,
    bytes_max: 8 << 10,
    check: |input, marks| check(input, Format::Toml, marks),
};

/// JSON.
pub static JSON: Target = Target {
    name: "spec_json",
    about: "a spec in JSON: places inside the text, one spec in three formats",
    words: WORDS,
    bytes_max: 8 << 10,
    check: |input, marks| check(input, Format::Json, marks),
};

const WORDS: &[&str] = &[
    "service",
    "version",
    "instances",
    "run",
    "driver",
    "process",
    "null",
    "command",
    "artifact",
    "env",
    "health",
    "http",
    "tcp",
    "grpc",
    "argv",
    "disk",
    "memory",
    "path",
    "interval",
    "timeout",
    "update",
    "max_surge",
    "max_unavailable",
    "strategy",
    "rolling",
    "canary",
    "blue_green",
    "recreate",
    "steps",
    "weight",
    "hold",
    "approve",
    "traffic",
    "listen",
    "tls",
    "rules",
    "sticky",
    "cookie",
    "header",
    "hooks",
    "rollback",
    "automatic",
    "limits",
    "restart",
    "25%",
    "1m30s",
    "256MiB",
    "200-399",
    "2xx",
    "{{version}}",
    "{{port}}",
    "{{",
    "}}",
    "{{{{",
    "&a ",
    "*a",
    "!!str ",
    "<<: ",
    "---\n",
    "...\n",
    "|\n",
    ">-\n",
    "? ",
    ": ",
    "- ",
    "# ",
    "\t",
    "\r\n",
    "\u{feff}",
    "~",
    "true",
    "no",
    "0x1F",
    "0o17",
    ".inf",
    ".nan",
    "1e3",
    "[[a]]\n",
    "[a.b]\n",
    "\"\"\"",
    "'''",
    "'",
    "\"",
    "\\u0000",
    "\\ud800",
    "\\\"",
    "{}",
    "[]",
    "{",
    "}",
    "[",
    "]",
    ",",
    "é",
    "🚀",
    "1979-05-27T07:32:00Z",
];

fn check(input: &[u8], format: Format, marks: &mut Marks) -> Result<(), String> {
    let text = String::from_utf8_lossy(input);
    match read(&text, format) {
        Ok((spec, warnings)) => {
            marks.mark("read");
            places(&text, &warnings, marks)?;
            is_one_spec(&spec)
        }
        Err(report) => {
            if report.problems.is_empty() {
                return Err("refused without a problem".to_owned());
            }
            places(&text, &report.problems, marks)?;
            places(&text, &report.warnings, marks)
        }
    }
}

/// Every place is a part of the text, and its line and column are where that part begins.
fn places(text: &str, problems: &[Problem], marks: &mut Marks) -> Result<(), String> {
    for problem in problems {
        marks.mark((&problem.path, problem.hint.is_some()));
        marks.mark_words(&problem.what);
        let Some(place) = problem.place else { continue };
        if text.get(place.offset..place.offset + place.length).is_none() {
            return Err(format!("a place outside the text: `{problem:?}`"));
        }
        let before = &text[..place.offset];
        let before = before.strip_prefix('\u{feff}').unwrap_or(before);
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        let column = before[start..].chars().count() + 1;
        equal("line and column of a place", &(line, column), &(place.line, place.column))?;
    }
    Ok(())
}

fn is_one_spec(spec: &Spec) -> Result<(), String> {
    let json = serde_json::to_value(spec).map_err(|error| format!("not written: {error}"))?;
    let text = json.to_string();
    again(spec, &text, Format::Json)?;
    again(spec, &text, Format::Yaml)?;
    let Some(table) = toml_of(&json) else { return Ok(()) };
    let text = toml::to_string(&table).map_err(|error| format!("not written: {error}"))?;
    again(spec, &text, Format::Toml)
}

fn again(spec: &Spec, text: &str, format: Format) -> Result<(), String> {
    match read(text, format) {
        Ok((read, _)) => equal("the same spec printed and read again", spec, &read),
        Err(report) => {
            let what = report.problems.first().map(Problem::to_string).unwrap_or_default();
            Err(format!("a spec that was printed as {format:?} is refused: {what}: `{text}`"))
        }
    }
}

/// The same in TOML, which has no nothing, and no number beyond 63 bits.
fn toml_of(value: &Value) -> Option<toml::Value> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(yes) => toml::Value::Boolean(*yes),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => toml::Value::Integer(whole),
            None if number.is_u64() => return None,
            None => toml::Value::Float(number.as_f64()?),
        },
        Value::String(text) => toml::Value::String(text.clone()),
        Value::Array(items) => {
            toml::Value::Array(items.iter().map(toml_of).collect::<Option<Vec<_>>>()?)
        }
        Value::Object(entries) => {
            let given = entries.iter().filter(|(_, value)| !value.is_null());
            let entries = given.map(|(key, value)| Some((key.clone(), toml_of(value)?)));
            toml::Value::Table(entries.collect::<Option<toml::Table>>()?)
        }
    })
}
