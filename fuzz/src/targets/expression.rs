//! Conditions of an analysis: a first line with the condition, and after it the result that it is
//! asked of, in JSON.

use rollway_core::peers::expression::{Condition, Value, pointed_at};
use rollway_core::problem::Problem;

use super::equal;
use crate::{Marks, Target};

/// The target.
pub static TARGET: Target = Target {
    name: "expression",
    about: "conditions and results: total, places inside the text, the same answer twice",
    words: WORDS,
    bytes_max: 4 << 10,
    check,
};

const WORDS: &[&str] = &[
    "result",
    "result[0]",
    "result.a",
    " and ",
    " or ",
    "not ",
    "!",
    " && ",
    " || ",
    "==",
    "!=",
    ">=",
    "<=",
    " in ",
    " matches ",
    " contains ",
    " startsWith ",
    "len(",
    "all(",
    "any(",
    "none(",
    "filter(",
    "map(",
    "count(",
    "isNaN(",
    "isInf(",
    "asFloat(",
    "asInt(",
    "default(",
    "isNil(",
    "{# > 1}",
    "#",
    "nil",
    "true",
    "false",
    "..",
    "**",
    "%",
    "?",
    ":",
    "(",
    ")",
    "[",
    "]",
    "\"",
    "'",
    "`",
    "\n",
    "[1,2,null]",
    "{\"a\":1}",
    "NaN",
    "0x1",
    "1_000",
    "1.5e3",
    "-",
    "//",
    "/*",
    "let x = 1;",
    "|",
    "?.",
    "??",
    "é",
    "🚀",
    "\\u00e9",
];

fn check(input: &[u8], marks: &mut Marks) -> Result<(), String> {
    let text = String::from_utf8_lossy(input);
    let (condition, result) = text.split_once('\n').unwrap_or((&text, "0"));
    let parsed = match Condition::parse("condition", condition) {
        Ok(parsed) => parsed,
        Err(problem) => return inside(condition, &problem, marks),
    };
    equal("the text of a condition", &condition, &parsed.text())?;
    marks.mark("read");
    let Ok(result) = serde_json::from_str::<serde_json::Value>(result) else { return Ok(()) };
    let result = Value::from(result);
    marks.mark(result.kind());
    let answer = parsed.holds(&result);
    match &answer {
        Ok(holds) => marks.mark(*holds),
        Err(problem) => inside(condition, problem, marks)?,
    }
    equal("the same condition of the same result", &answer, &parsed.holds(&result))
}

fn inside(text: &str, problem: &Problem, marks: &mut Marks) -> Result<(), String> {
    marks.mark_words(&problem.what);
    let Some(place) = problem.place else { return Ok(()) };
    if text.get(place.offset..place.offset + place.length).is_none() {
        return Err(format!("a place outside the text: `{problem:?}`"));
    }
    if pointed_at(text, place).is_empty() {
        return Err("a place that cannot be shown".to_owned());
    }
    Ok(())
}
