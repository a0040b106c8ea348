//! A document as a tree whose every value knows its place, whichever format it was written in.

use std::collections::HashMap;

use super::text::Text;
use crate::problem::{Place, Problem};

/// Largest document, in bytes: a spec is a page of text, and everything below is bounded by it.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting: the format needs 7 levels; readers and checkers recurse.
pub const DEPTH_MAX: usize = 64;
/// Most values in a document.
pub const NODES_MAX: usize = 50_000;

/// Most problems that are reported at once: more than anybody mends in one go.
pub const PROBLEMS_MAX: usize = 100;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it is written.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing: `null`, `~`, or no text at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number, also a whole one beyond 64 bits.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and values in their order.
    Map(Vec<(Key, Node)>),
}

/// A key of a map and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// The key.
    pub text: String,
    /// Where it is written.
    pub place: Place,
}

impl Node {
    /// The value of a key, if this is a map that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<(&Key, &Node)> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(k, _)| k.text == key).map(|(k, node)| (k, node))
    }

    /// The same without places. A number that JSON has no form for is `null`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Integer(value) => (*value).into(),
            Value::Float(value) => (*value).into(),
            Value::Text(value) => value.as_str().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => {
                let entries = entries.iter();
                entries.map(|(key, node)| (key.text.clone(), node.to_json())).collect()
            }
        }
    }

    /// The place of a path such as `health[0].http.path`, or of the nearest part that is written.
    #[must_use]
    pub fn locate(&self, path: &str) -> Place {
        let mut node = self;
        let mut place = self.place;
        for part in path.split(['.', '[']).filter(|part| !part.is_empty()) {
            let next = match &node.value {
                Value::List(items) => {
                    let number = part.trim_end_matches(']').parse::<usize>();
                    number.ok().and_then(|number| items.get(number)).map(|item| (item.place, item))
                }
                Value::Map(_) => node.get(part).map(|(key, node)| match &node.value {
                    Value::List(_) | Value::Map(_) | Value::Null => (key.place, node),
                    Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) => {
                        (node.place, node)
                    }
                }),
                Value::Null
                | Value::Bool(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Text(_) => None,
            };
            let Some((found, child)) = next else { break };
            (place, node) = (found, child);
        }
        place
    }
}

/// Counts what a reader makes, and refuses what is too much.
#[derive(Default)]
pub struct Budget {
    nodes: usize,
}

impl Budget {
    /// Takes one more node at this depth.
    pub fn take(&mut self, depth: usize, place: Place) -> Result<(), Problem> {
        self.nodes += 1;
        if depth > DEPTH_MAX {
            let what = format!("the document is nested deeper than {DEPTH_MAX} levels");
            return Err(Problem::new("", what).at(place));
        }
        if self.nodes > NODES_MAX {
            let what = format!("the document has more than {NODES_MAX} values");
            return Err(Problem::new("", what).at(place));
        }
        Ok(())
    }
}

/// Refuses a document that is too large before anything looks at it.
pub fn refuse_oversize(text: &str) -> Result<(), Problem> {
    if text.len() <= DOCUMENT_BYTES_MAX {
        return Ok(());
    }
    let what =
        format!("the document has {} bytes, and at most {DOCUMENT_BYTES_MAX} are read", text.len());
    Err(Problem::new("", what))
}

/// Reports every key of a map that is given more than once, at each of its places.
pub fn duplicates(entries: &[(Key, Node)], problems: &mut Vec<Problem>) {
    let mut first: HashMap<&str, Place> = HashMap::new();
    for (key, _) in entries {
        if problems.len() >= PROBLEMS_MAX {
            return;
        }
        let Some(before) = first.get(key.text.as_str()) else {
            first.insert(&key.text, key.place);
            continue;
        };
        let what = format!("the key {} is given twice", quoted(&key.text));
        let hint = |other: &Place| {
            format!("the other one is in line {}, column {}", other.line, other.column)
        };
        problems.push(Problem::new("", what.clone()).at(*before).hint(hint(&key.place)));
        problems.push(Problem::new("", what).at(key.place).hint(hint(before)));
    }
}

/// A text in quotes, cut to a length that a message bears.
#[must_use]
pub fn quoted(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    if text.chars().count() <= CHARACTERS_MAX {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(CHARACTERS_MAX).collect();
    format!("{:?}", start + "…")
}

/// The problem of a text that is not of its format at all.
#[must_use]
pub fn syntax(format: &str, message: &str, text: &Text<'_>, start: usize) -> Problem {
    let start = text.body.floor_char_boundary(start);
    let place = text.place(start, start + 1);
    let problem = Problem::new("", format!("this is not {format}: {message}")).at(place);
    let line_start = text.body[..start].rfind('\n').map_or(0, |at| at + 1);
    let line = text.body[line_start..].lines().next().unwrap_or_default();
    match format {
        "YAML" if message.contains("tab") || line.trim_start_matches(' ').starts_with('\t') => {
            problem.hint("YAML is indented with spaces, never with tabs")
        }
        "YAML" if line.contains("{{") => problem.hint(QUOTE_BRACES),
        _ => problem,
    }
}

/// `{{` begins two maps in YAML, where it is not in quotes.
pub const QUOTE_BRACES: &str = "put a text with `{{...}}` in quotes";
