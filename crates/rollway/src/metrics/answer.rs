//! Counters in JSON: whole numbers that rise, of which not more failed than there were.

use std::time::{SystemTime, UNIX_EPOCH};

use rollway_core::analysis::Counters;
use rollway_core::spec::Wants;
use serde_json::Value;

/// Whole numbers are exact up to here, in every format.
const COUNT_MAX: f64 = 9_007_199_254_740_992.0;
/// Numbers that say when they were taken, and are older than this, tell nothing of now.
const AGE_SECONDS_MAX: f64 = 60.0;
/// So much of an answer is told where it makes no sense.
const SHOWN_CHARACTERS_MAX: usize = 120;

/// Reads JSON, or says what there is instead.
pub fn json(bytes: &[u8]) -> Result<Value, String> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err("the answer is empty".to_owned());
    }
    serde_json::from_slice(bytes).map_err(|why| {
        let is_html = bytes.trim_ascii_start().starts_with(b"<");
        let kind = if is_html { "HTML or XML, not JSON" } else { "not JSON" };
        format!("the answer is {kind} ({why}): {}", shown(bytes))
    })
}

/// The beginning of an answer, on one line.
pub fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(SHOWN_CHARACTERS_MAX).collect()
}

/// Where the numbers of a release are in a document: JSON pointers.
pub struct Pointers<'a> {
    /// All requests.
    pub total: &'a str,
    /// Those that failed.
    pub bad: &'a str,
    /// A number as it is.
    pub value: &'a str,
}

/// What is wanted of a document.
pub fn counters(document: &Value, at: &Pointers<'_>, wants: Wants) -> Result<Counters, String> {
    fresh(document)?;
    let mut counters = match wants.counts {
        true => checked(count(document, at.total)?, count(document, at.bad)?)?,
        false => Counters::default(),
    };
    if wants.value {
        counters.value = Some(number(document, at.value)?).filter(|value| value.is_finite());
    }
    Ok(counters)
}

fn count(document: &Value, pointer: &str) -> Result<u64, String> {
    whole(pointer, number(document, pointer)?)
}

fn number(document: &Value, pointer: &str) -> Result<f64, String> {
    let value = document.pointer(pointer).ok_or_else(|| {
        let document = shown(document.to_string().as_bytes());
        format!("there is no {pointer} in the answer: {document}")
    })?;
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let said = || format!("{pointer} is {}, not a number", shown(value.to_string().as_bytes()));
    number.ok_or_else(said)
}

/// Both counters of a release.
pub fn checked(total: u64, bad: u64) -> Result<Counters, String> {
    if bad > total {
        return Err(format!("{bad} requests failed, of {total}: those are not the same requests"));
    }
    Ok(Counters { total, bad, ..Counters::default() })
}

/// A counter: a whole number, at least 0.
pub fn whole(name: &str, number: f64) -> Result<u64, String> {
    if !(0.0..=COUNT_MAX).contains(&number) || number.fract() != 0.0 {
        let what = "a counter is a whole number of at least 0, not a rate or a share";
        return Err(format!("{name} is {number}; {what}"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, not negative and at most 2^53"
    )]
    let count = number as u64;
    Ok(count)
}

/// Refuses numbers that say they are old.
fn fresh(document: &Value) -> Result<(), String> {
    let Some(at) = document.get("at").and_then(Value::as_f64) else { return Ok(()) };
    let age = now_seconds() - at;
    if age > AGE_SECONDS_MAX {
        return Err(format!("the numbers are {age:.0}s old, at most {AGE_SECONDS_MAX}s are"));
    }
    Ok(())
}

/// Seconds since 1970.
pub fn now_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(document: &Value) -> Result<(u64, u64), String> {
        let wants = Wants { counts: true, latency: false, value: false, baseline: true };
        counters(document, &AT, wants).map(|counters| (counters.total, counters.bad))
    }

    const AT: Pointers<'_> = Pointers { total: "/total", bad: "/bad", value: "/value" };

    #[test]
    fn a_number_is_no_counter_and_what_is_not_wanted_is_not_read() {
        let wants = Wants { counts: false, latency: false, value: true, baseline: true };
        let read = |document| counters(&document, &AT, wants);
        let found = read(json!({"value": -0.5})).expect("a number");
        assert_eq!(found, Counters { value: Some(-0.5), ..Counters::default() });
        assert_eq!(read(json!({"value": "NaN"})).expect("none is known").value, None);
        let why = read(json!({"value": null})).expect_err("no number");
        assert_eq!(why, "/value is null, not a number");
        assert!(read(json!({"total": 1})).is_err());
    }

    #[test]
    fn counters_are_read_and_nothing_else_is_taken_for_them() {
        assert_eq!(read(&json!({"total": 480, "bad": 1})), Ok((480, 1)));
        assert_eq!(read(&json!({"total": "480", "bad": 0.0, "at": now_seconds()})), Ok((480, 0)));
        for (document, said) in [
            (json!({"total": 480}), "there is no /bad in the answer"),
            (json!([]), "there is no /total"),
            (json!({"total": null, "bad": 0}), "/total is null, not a number"),
            (json!({"total": "NaN", "bad": 0}), "/total is NaN; a counter is a whole number"),
            (json!({"total": 4.5, "bad": 0}), "/total is 4.5; a counter"),
            (json!({"total": -1, "bad": 0}), "/total is -1; a counter"),
            (json!({"total": 1, "bad": 2}), "2 requests failed, of 1"),
            (json!({"total": 1, "bad": 0, "at": now_seconds() - 300.0}), "the numbers are 300s"),
        ] {
            let why = read(&document).expect_err(said);
            assert!(why.contains(said), "{document}: {why}");
        }
        let html = json(b" <html>\n<body>Sign in</body>").expect_err("no JSON");
        assert!(html.starts_with("the answer is HTML or XML, not JSON"), "{html}");
        assert!(html.ends_with(": <html> <body>Sign in</body>"), "{html}");
        assert_eq!(json(b"\n").expect_err("empty"), "the answer is empty");
    }
}
