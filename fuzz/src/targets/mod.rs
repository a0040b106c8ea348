//! The targets, one file each (the three formats of a spec share one).

pub mod address;
pub mod engine;
pub mod events;
pub mod expression;
pub mod names;
pub mod quantities;
pub mod request;
pub mod spec;
pub mod table;
pub mod template;
pub mod wire;

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Fails with what both are, unless they are equal.
fn equal<T: PartialEq + Debug>(promise: &str, one: &T, other: &T) -> Result<(), String> {
    match one == other {
        true => Ok(()),
        false => Err(format!("{promise}: `{}` and `{}`", short(one), short(other))),
    }
}

fn short(value: &impl Debug) -> String {
    format!("{value:?}").chars().take(400).collect()
}

/// What is written as JSON is read as the same again, and written as the same text.
fn survives_json<T: Serialize + DeserializeOwned>(value: &T) -> Result<(), String> {
    let once = serde_json::to_string(value).map_err(|error| format!("not written: {error}"))?;
    let again: T = serde_json::from_str(&once)
        .map_err(|error| format!("what was written is not read: {error}: `{once}`"))?;
    let twice = serde_json::to_string(&again).map_err(|error| format!("not written: {error}"))?;
    equal("written, read and written again", &once, &twice)
}
