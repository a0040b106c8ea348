//! Counters in JSON: whole numbers that rise, of which not more failed than there were.

use std::time::{SystemTime, UNIX_EPOCH};

use rollway_core::analysis::Counters;
use rollway_core::verdict::histogram::Histogram;
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

/// The counters at two places of a document.
pub fn counters(document: &Value, total: &str, bad: &str) -> Result<Counters, String> {
    fresh(document)?;
    let count = |pointer: &str| {
        let value = document.pointer(pointer).ok_or_else(|| {
            let document = shown(document.to_string().as_bytes());
            format!("there is no {pointer} in the answer: {document}")
        })?;
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        let number = number.ok_or_else(|| {
            format!("{pointer} is {}, not a number", shown(value.to_string().as_bytes()))
        })?;
        whole(pointer, number)
    };
    checked(count(total)?, count(bad)?)
}

/// Both counters of a release.
pub fn checked(total: u64, bad: u64) -> Result<Counters, String> {
    if bad > total {
        return Err(format!("{bad} requests failed, of {total}: those are not the same requests"));
    }
    Ok(Counters { total, bad, latency: Histogram::default() })
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
        counters(document, "/total", "/bad").map(|counters| (counters.total, counters.bad))
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
