//! Lines between the driver and a shim, and the record that a shim keeps: read or refused, and
//! written as they were read.

use rollway::driver::process::wire::{LINE_BYTES_MAX, Record, Report, Request, line};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::equal;
use crate::{Marks, Target};

/// The target.
pub static TARGET: Target = Target {
    name: "wire",
    about: "lines of the shim and its record: read or refused, written as they were read",
    words: &[
        "\"launch\":",
        "\"touch\":",
        "\"stop\":",
        "\"state\":",
        "\"reply\":",
        "\"id\":",
        "\"generation\":",
        "\"signal\":",
        "\"timeout_ms\":",
        "\"outcome\":",
        "\"done\"",
        "\"not_needed\"",
        "\"stale\":",
        "\"stopping\"",
        "\"not_done\":",
        "\"unfinished\":",
        "\"phase\":",
        "\"restarting\":",
        "\"r1-0\"",
        "\"TERM\"",
        "null",
        "[]",
        "{}",
        "\n",
        "\\ud800",
    ],
    bytes_max: 8 << 10,
    check,
};

fn check(input: &[u8], marks: &mut Marks) -> Result<(), String> {
    for text in input.split(|byte| *byte == b'\n') {
        again::<Request>("request", text, marks)?;
        again::<Report>("report", text, marks)?;
        if let Some(record) = again::<Record>("record", text, marks)? {
            marks.mark(std::mem::discriminant(&record.phase));
            // What the engine is told of it is made without a panic, whatever the times are.
            let seen = record.seen();
            equal("the instance of a record", &record.instance, &seen.instance)?;
        }
    }
    Ok(())
}

fn again<T: Serialize + DeserializeOwned>(
    kind: &str,
    text: &[u8],
    marks: &mut Marks,
) -> Result<Option<T>, String> {
    let message: T = match serde_json::from_slice(text) {
        Ok(message) => message,
        Err(error) => {
            marks.mark(kind);
            marks.mark_words(&error.to_string());
            return Ok(None);
        }
    };
    let once = line(&message);
    let read: T = serde_json::from_slice(&once)
        .map_err(|error| format!("a {kind} that was written is not read: {error}"))?;
    equal(&format!("a {kind} written twice"), &once, &line(&read))?;
    let ends = once.iter().filter(|byte| **byte == b'\n').count();
    match ends == 1 && once.ends_with(b"\n") && once.len() <= LINE_BYTES_MAX {
        true => Ok(Some(message)),
        false => Err(format!("a {kind} that is not one line")),
    }
}
