//! Checks the values that have no others inside: texts, numbers, words, quantities.

use serde_json::Value as Json;

use super::Checker;
use crate::problem::{Problem, unknown};
use crate::spec::node::{Node, Value, quoted};
use crate::spec::shape::{Quantity, Shape, Variant};
use crate::spec::words::{Echo, Word};
use crate::spec::{Room, StatusRange};
use crate::template;
use crate::units::{Amount, Bytes, Millis};

impl Checker<'_> {
    pub(super) fn bool(&mut self, node: &Node) -> Json {
        if let Value::Bool(yes) = node.value {
            return Json::Bool(yes);
        }
        let text = if let Value::Text(text) = &node.value { text.as_str() } else { "" };
        let hint = match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "y" | "true" => Some("write true"),
            "no" | "off" | "n" | "false" => Some("write false"),
            _ => None,
        };
        self.unexpected(&Shape::Bool, node, hint)
    }

    pub(super) fn integer(&mut self, [least, most]: [i64; 2], node: &Node) -> Json {
        if let Value::Integer(number) = node.value
            && (least..=most).contains(&number)
        {
            return number.into();
        }
        let quoted = matches!(&node.value, Value::Text(text) if text.parse::<i64>().is_ok());
        let hint = quoted.then_some("write it without quotes");
        self.unexpected(&Shape::Integer(least, most), node, hint)
    }

    pub(super) fn number(&mut self, [least, most]: [f64; 2], node: &Node) -> Json {
        let number = match node.value {
            Value::Integer(number) => number as f64,
            Value::Float(number) => number,
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                f64::NAN
            }
        };
        if (least..=most).contains(&number) {
            return number.into();
        }
        self.unexpected(&Shape::Number(least, most), node, None)
    }

    /// A text; numbers and `true` are the text that is written: `version: 1.10` is `1.10`.
    pub(super) fn text(&mut self, word: &'static Word, node: &Node) -> Json {
        let text = match &node.value {
            Value::Text(text) => text.as_str(),
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) => self.text.written(node.place),
            Value::Null | Value::List(_) | Value::Map(_) => {
                let null = matches!(node.value, Value::Null);
                let hint = (null && (word.check)("").is_ok()).then_some("write \"\" for no text");
                return self.unexpected(&Shape::Text(word), node, hint);
            }
        };
        if let Err(problem) = (word.check)(text) {
            return self.problem(problem.at(node.place));
        }
        if !word.names.is_empty()
            && let Err(mut problem) = template::names(text, word.names)
        {
            if word.echo == Echo::Hidden && problem.what.starts_with("unknown") {
                problem.what = format!("unknown template name; known: {}", word.names.join(", "));
            }
            return self.problem(problem.at(node.place));
        }
        Json::String(text.to_owned())
    }

    pub(super) fn choice(&mut self, words: &'static [Variant], node: &Node) -> Json {
        let names: Vec<&str> = words.iter().map(|word| word.name).collect();
        let word = match &node.value {
            Value::Text(text) => text.as_str(),
            // `driver: null` is nothing in YAML, and a driver here.
            Value::Null => self.text.written(node.place),
            Value::Bool(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::List(_)
            | Value::Map(_) => "",
        };
        if names.contains(&word) {
            return Json::String(word.to_owned());
        }
        if !matches!(node.value, Value::Text(_)) {
            return self.unexpected(&Shape::Choice(words), node, None);
        }
        let key = self.path.rsplit('.').next().unwrap_or("word");
        let problem = Problem::new("", unknown(key, word, &names));
        self.problem(problem.at(node.place))
    }

    pub(super) fn quantity(&mut self, quantity: Quantity, node: &Node) -> Json {
        let written = match &node.value {
            Value::Text(text) => text.as_str(),
            Value::Integer(_) | Value::Float(_) => self.text.written(node.place),
            Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => {
                return self.unexpected(&Shape::Quantity(quantity), node, None);
            }
        };
        let what = match parse(quantity, written) {
            Ok(json) => return json,
            Err(what) => format!("{what}, found {}", quoted(written)),
        };
        let mut problem = Problem::new("", what).at(node.place);
        problem.hint = match quantity {
            Quantity::Duration(_) => (written.parse::<u32>().is_ok_and(|number| number > 0))
                .then(|| format!("write {written}s for seconds")),
            Quantity::Size(_) => full_size(written),
            Quantity::Amount(_) | Quantity::Room | Quantity::Statuses => None,
        };
        self.problem(problem)
    }
}

/// Reads a quantity, and gives it as the model reads it.
fn parse(quantity: Quantity, written: &str) -> Result<Json, String> {
    match quantity {
        Quantity::Duration(least) => match Millis::parse(written)? {
            time if time.0 < least => Err("a duration of more than 0 is needed".into()),
            time => Ok(time.to_string().into()),
        },
        Quantity::Amount(most) => match Amount::parse(written)? {
            Amount::Percent(percent) if percent > most => {
                Err(format!("a percentage of at most {most}% is needed"))
            }
            Amount::Percent(percent) => Ok(format!("{percent}%").into()),
            Amount::Count(count) => Ok(count.into()),
        },
        Quantity::Size(least) => match Bytes::parse(written)? {
            size if size.0 < least => Err(format!("a size of at least {} is needed", Bytes(least))),
            size => Ok(size.to_string().into()),
        },
        Quantity::Room => Room::parse(written).map(|room| String::from(room).into()),
        Quantity::Statuses => StatusRange::parse(written).map(|_| written.into()),
    }
}

/// What `512M`, `512m` and `512Mi` were meant to be.
fn full_size(written: &str) -> Option<String> {
    let unit = written.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = &written[..written.len() - unit.len()];
    let letter = match unit {
        "k" | "K" | "Ki" => "K",
        "m" | "M" | "Mi" => "M",
        "g" | "G" | "Gi" => "G",
        _ => return None,
    };
    let hint = format!("write {number}{letter}iB, or {number}{letter}B for powers of ten");
    (!number.is_empty()).then_some(hint)
}
