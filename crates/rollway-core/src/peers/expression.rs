//! The conditions of Argo's analysis: one expression over `result` that is true or false.
//!
//! ```
//! use rollway_core::peers::expression::{Condition, Value};
//!
//! let condition = Condition::parse("success_condition", "len(result) == 0 || result[0] >= 0.95")?;
//! assert!(condition.holds(&Value::List(vec![Value::Float(0.99)]))?);
//! # Ok::<(), rollway_core::problem::Problem>(())
//! ```
//!
//! It is the part of expr-lang that people write in analysis templates: literals, lists,
//! `+ - * / % **`, `== != < <= > >=`, `in`, `not in`, `contains`, `startsWith`, `endsWith`,
//! `and or not && || !`, `a ? b : c`, `??`, members, indexes, slices, the functions of
//! [`functions`] and, over lists, [`over_lists`] with a body such as `{# > 0.5}` or `{.ok}`.
//!
//! Every text ends in a value or an error: its length, its depth and its steps have limits.

use std::collections::BTreeMap;

use crate::problem::{Place, Problem};

mod evaluate;
mod function;
mod lex;
mod parse;

/// How long the text of a condition may be, in bytes.
pub const TEXT_BYTES_MAX: usize = 4096;
/// How deep a condition may be nested; a chain of `a || b || c` counts each link.
pub const DEPTH_MAX: usize = 100;
/// How many steps one evaluation may take; a closure takes some for every item of its list.
pub const STEPS_MAX: usize = 200_000;

/// What a measurement gives, and what an expression comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing: the query had no answer.
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number, perhaps `NaN` or infinite.
    Float(f64),
    /// A text.
    Text(String),
    /// A list: the samples of a vector.
    List(Vec<Value>),
    /// Values by name.
    Map(BTreeMap<String, Value>),
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Nil,
            serde_json::Value::Bool(is_so) => Self::Bool(is_so),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(whole) => Self::Int(whole),
                None => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(text) => Self::Text(text),
            serde_json::Value::Array(items) => {
                Self::List(items.into_iter().map(Self::from).collect())
            }
            serde_json::Value::Object(fields) => {
                Self::Map(fields.into_iter().map(|(name, field)| (name, field.into())).collect())
            }
        }
    }
}

impl Value {
    /// The word for its kind in messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) => "string",
            Self::List(_) => "list",
            Self::Map(_) => "map",
        }
    }
}

/// A condition that was read and found good.
#[derive(Debug, Clone)]
pub struct Condition {
    path: String,
    text: String,
    root: parse::Node,
}

/// The text says it all.
impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, &self.text) == (&other.path, &other.text)
    }
}

impl Condition {
    /// Reads `text`; `path` is its place in the user's spec, for messages.
    ///
    /// # Errors
    /// The first mistake, with its place in `text`: a sign too many, an unknown name (with the
    /// known ones), two kinds that cannot be compared, a value that is not true or false.
    pub fn parse(path: &str, text: &str) -> Result<Self, Problem> {
        let root = parse::parse(text).map_err(|fault| fault.problem(path, text))?;
        Ok(Self { path: path.to_owned(), text: text.to_owned(), root })
    }

    /// Whether it is true of a measurement's `result`.
    ///
    /// # Errors
    /// What could not be done with this result, with the place in the condition.
    pub fn holds(&self, result: &Value) -> Result<bool, Problem> {
        evaluate::holds(&self.root, result).map_err(|fault| fault.problem(&self.path, &self.text))
    }

    /// The text it was read from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The functions of single values, sorted.
#[must_use]
pub fn functions() -> Vec<&'static str> {
    function::ALL.iter().map(|function| function.name).collect()
}

/// The functions that take a list and a body, sorted.
#[must_use]
pub fn over_lists() -> Vec<&'static str> {
    function::EACH.iter().map(|(name, _)| *name).collect()
}

/// The line of `text` that a problem means, and under it a caret for each character meant.
///
/// ```text
/// result >= 0.95 & true
///                ^
/// ```
#[must_use]
pub fn pointed_at(text: &str, place: Place) -> String {
    let line = text.lines().nth(place.line.saturating_sub(1)).unwrap_or_default();
    let before = " ".repeat(place.column.saturating_sub(1));
    let meant = text.get(place.offset..place.offset.saturating_add(place.length));
    let width =
        meant.and_then(|meant| meant.lines().next()).map_or(1, |meant| meant.chars().count());
    format!("{line}\n{before}{}", "^".repeat(width.max(1)))
}

/// A mistake at a span of bytes, before the path and the place are known.
#[derive(Debug, Clone)]
struct Fault {
    what: String,
    hint: Option<String>,
    start: usize,
    end: usize,
}

impl Fault {
    fn new(span: (usize, usize), what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, start: span.0, end: span.1 }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn problem(self, path: &str, text: &str) -> Problem {
        let before = text.get(..self.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let place = Place {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            offset: self.start,
            length: self.end.saturating_sub(self.start),
        };
        let problem = Problem::new(path, self.what).at(place);
        match self.hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}
