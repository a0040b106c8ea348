//! Reads YAML 1.2 (core schema) into a spanned tree; no tags, anchors or second documents.

use std::borrow::Cow;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::node::{Budget, Key, Node, QUOTE_BRACES, Value, duplicates, syntax};
use super::text::Text;
use crate::problem::{Place, Problem};

/// Reads one document.
pub fn read(text: &Text<'_>) -> Result<Node, Vec<Problem>> {
    let events = Parser::new_from_str(text.body);
    let mut reader = Reader { events, text, budget: Budget::default(), problems: Vec::new() };
    match reader.document() {
        Ok(node) if reader.problems.is_empty() => Ok(node),
        Ok(_) => Err(reader.problems),
        Err(problem) => {
            reader.problems.push(problem);
            Err(reader.problems)
        }
    }
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    text: &'a Text<'a>,
    budget: Budget,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<Node, Problem> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => {}
                Event::StreamEnd | Event::DocumentEnd => {
                    let place = self.text.place(0, 0);
                    return Ok(Node { place, value: Value::Null });
                }
                Event::Alias(_)
                | Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingStart(..)
                | Event::MappingEnd => {
                    let root = self.node(event, span, 1)?;
                    self.end()?;
                    return Ok(root);
                }
            }
        }
    }

    fn end(&mut self) -> Result<(), Problem> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(()),
                Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(_)
                | Event::Alias(_)
                | Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingStart(..)
                | Event::MappingEnd => {
                    let what = "a second document begins here, and a spec is one document";
                    return Err(Problem::new("", what).at(self.place(span)));
                }
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Problem> {
        match self.events.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(self.wrong(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn wrong(&self, error: &ScanError) -> Problem {
        let start = self.text.offset_of_character(error.marker().index());
        syntax("YAML", error.info(), self.text, start)
    }

    fn place(&self, span: Span) -> Place {
        let start = self.text.offset_of_character(span.start.index());
        let end = self.text.offset_of_character(span.end.index());
        let written = self.text.body.get(start..end).unwrap_or_default();
        self.text.place(start, start + written.trim_end().len())
    }

    /// The node that begins with `event`. Recursion is bounded by the budget.
    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Problem> {
        let place = self.place(span);
        self.budget.take(depth, place)?;
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_extras(anchor, tag.as_ref(), place);
                Ok(Node { place, value: scalar(text, style) })
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_extras(anchor, tag.as_ref(), place);
                self.list(place, depth)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_extras(anchor, tag.as_ref(), place);
                self.map(place, depth)
            }
            Event::Alias(_) => {
                self.refuse("aliases (`*name`)", place);
                Ok(Node { place, value: Value::Null })
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => {
                let start = self.text.offset_of_character(span.start.index());
                Err(syntax("YAML", "a value is missing", self.text, start))
            }
        }
    }

    fn list(&mut self, place: Place, depth: usize) -> Result<Node, Problem> {
        let mut items: Vec<Node> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                let place = items.first().map_or(place, |item| around(place, item.place));
                return Ok(Node { place, value: Value::List(items) });
            }
            items.push(self.node(event, span, depth + 1)?);
        }
    }

    fn map(&mut self, place: Place, depth: usize) -> Result<Node, Problem> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                duplicates(&entries, &mut self.problems);
                let place = entries.first().map_or(place, |(key, _)| around(place, key.place));
                return Ok(Node { place, value: Value::Map(entries) });
            }
            let key = self.node(event, span, depth + 1)?;
            let key = self.key(key);
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            entries.push((key, value));
        }
    }

    fn key(&mut self, node: Node) -> Key {
        let place = node.place;
        let text = match node.value {
            Value::Text(text) => text,
            // A plain key is the text that is written, whatever it would be as a value.
            Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) => {
                self.text.written(place).to_owned()
            }
            Value::List(_) | Value::Map(_) => {
                let problem = Problem::new("", "a key must be a text").at(place);
                self.problems.push(problem.hint(QUOTE_BRACES));
                String::new()
            }
        };
        Key { text, place }
    }

    fn refuse_extras(&mut self, anchor: usize, tag: Option<&Cow<'_, Tag>>, place: Place) {
        if anchor != 0 {
            self.refuse("anchors (`&name`)", place);
        }
        if tag.is_some() {
            self.refuse("tags (`!name`)", place);
        }
    }

    fn refuse(&mut self, what: &str, place: Place) {
        let problem = Problem::new("", format!("{what} are not part of a spec"));
        self.problems.push(problem.at(place).hint("write the value out where it is used"));
    }
}

/// The place of a container: the bracket that opens it, or its first entry.
fn around(place: Place, first: Place) -> Place {
    if place.length == 0 { first } else { place }
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Value {
    match style {
        ScalarStyle::Plain => plain(&text),
        ScalarStyle::SingleQuoted
        | ScalarStyle::DoubleQuoted
        | ScalarStyle::Literal
        | ScalarStyle::Folded => Value::Text(text.into_owned()),
    }
}

/// The core schema of YAML 1.2.2, section 10.3.2: `no`, `on` and `1:30` are texts.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Value::Float(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    let radix = |prefix, radix| {
        let digits: &str = text.strip_prefix(prefix)?;
        digits.chars().all(|digit| digit.is_digit(radix)).then_some(())?;
        i64::from_str_radix(digits, radix).ok()
    };
    if let Some(number) = radix("0o", 8).or_else(|| radix("0x", 16)) {
        return Value::Integer(number);
    }
    let digits = unsigned.bytes().all(|b| b.is_ascii_digit());
    let starts = unsigned.trim_start_matches('.').starts_with(|c: char| c.is_ascii_digit());
    let numeric = unsigned.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    if digits && let Ok(number) = text.parse() {
        return Value::Integer(number);
    }
    match text.parse() {
        Ok(number) if starts && numeric => Value::Float(number),
        Ok(_) | Err(_) => Value::Text(text.to_owned()),
    }
}
