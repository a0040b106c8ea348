//! Reads what `rollway history export` wrote: the events of deployments, without a control plane.

use std::collections::BTreeMap;
use std::path::Path;

use rollway_core::event::Event;
use rollway_core::explain::{Explanation, explain};
use rollway_core::problem::{Place, Problem};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::spec_file;
use super::wrong::Wrong;

/// Longer exports are not read.
const EXPORT_BYTES_MAX: u64 = 1 << 30;

/// What is read of the first line.
#[derive(Debug, Deserialize)]
struct Head {
    service: String,
}

/// What is read of every other line.
#[derive(Debug, Deserialize)]
struct Line<'a> {
    deployment: Option<u64>,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// Explains the deployments of an export, or the one of this name, such as `shop-7`.
pub fn explanations(path: &Path, name: Option<&str>) -> Result<Vec<Explanation>, Wrong> {
    let text = spec_file::text(path, EXPORT_BYTES_MAX)?;
    let file = path.display().to_string();
    let (service, events) = events(&file, &text)?;
    let wanted = |number: &u64| name.is_none_or(|name| name == format!("{service}-{number}"));
    let mut explanations = Vec::new();
    for (number, events) in events.iter().filter(|(number, _)| wanted(number)) {
        let explained = explain(events).map_err(|illegal| {
            let what = format!("the events of {service}-{number} cannot follow each other");
            Problem::new(file.clone(), format!("{what}: {illegal}"))
        })?;
        explanations.push(explained);
    }
    match (name, explanations.is_empty()) {
        (Some(name), true) => {
            let what = format!("there is no deployment {name:?} in it");
            let known: Vec<String> =
                events.keys().map(|number| format!("{service}-{number}")).collect();
            let hint = format!("it has {}", known.join(", "));
            Err(Problem::new(file, what).hint(hint).into())
        }
        (Some(_) | None, _) => Ok(explanations),
    }
}

type Events = BTreeMap<u64, Vec<Event>>;

fn events(file: &str, text: &str) -> Result<(String, Events), Problem> {
    let mut service = None;
    let mut events = Events::new();
    let mut offset = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let wrong = |column: usize, what: String| {
            let place = Place { line: number + 1, column, offset, length: line.len() };
            let at = format!("{file}:{}:{column}", place.line);
            let hint = "it is to be what `rollway history export` wrote";
            Problem::new(at, what).at(place).hint(hint)
        };
        let json = |error: serde_json::Error| {
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            wrong(error.column().max(1), message.to_owned())
        };
        if line.trim().is_empty() {
            // It holds nothing.
        } else if service.is_none() {
            service = Some(serde_json::from_str::<Head>(line).map_err(json)?.service);
        } else {
            let read: Line<'_> = serde_json::from_str(line).map_err(json)?;
            let event: Event = serde_json::from_str(read.body.get()).map_err(|error| {
                let message = error.to_string();
                wrong(1, format!("this event cannot be read: {message}"))
            })?;
            if let Some(deployment) = read.deployment {
                events.entry(deployment).or_default().push(event);
            }
        }
        offset += line.len();
    }
    match service {
        Some(service) => Ok((service, events)),
        None => Err(Problem::new(file, "there is nothing in it")),
    }
}
