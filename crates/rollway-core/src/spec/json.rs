//! Reads JSON (RFC 8259) into a spanned tree: `serde_json` judges, this finds the places.

use serde::de::IgnoredAny;

use super::node::{Budget, Key, Node, Value, duplicates, syntax};
use super::text::Text;
use crate::problem::Problem;

/// Reads one document.
pub fn read(text: &Text<'_>) -> Result<Node, Vec<Problem>> {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text.body) {
        // serde_json says where in its message as well, counting the column in bytes.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        let lines = text.body.split_inclusive('\n').take(error.line().max(1) - 1);
        let start = lines.map(str::len).sum::<usize>() + error.column().max(1) - 1;
        return Err(vec![syntax("JSON", message, text, start)]);
    }
    let mut reader = Reader { text, at: 0, budget: Budget::default(), problems: Vec::new() };
    match reader.node(1) {
        Ok(node) if reader.problems.is_empty() => Ok(node),
        Ok(_) => Err(reader.problems),
        Err(problem) => {
            reader.problems.push(problem);
            Err(reader.problems)
        }
    }
}

struct Reader<'a> {
    text: &'a Text<'a>,
    at: usize,
    budget: Budget,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// The value that begins here. The syntax is known to be right; recursion is bounded.
    fn node(&mut self, depth: usize) -> Result<Node, Problem> {
        self.skip(b" \t\r\n");
        let start = self.at;
        self.budget.take(depth, self.text.place(start, start + 1))?;
        let value = match self.peek() {
            b'{' => self.map(depth)?,
            b'[' => self.list(depth)?,
            b'"' => Value::Text(self.string()?),
            b't' | b'f' | b'n' => match self.word() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                _ => Value::Null,
            },
            _ => {
                let word = self.word();
                let float = || Value::Float(word.parse().unwrap_or(f64::NAN));
                word.parse().map_or_else(|_| float(), Value::Integer)
            }
        };
        let end = match &value {
            Value::Map(_) | Value::List(_) => start + 1,
            Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) => {
                self.at
            }
        };
        Ok(Node { place: self.text.place(start, end), value })
    }

    fn map(&mut self, depth: usize) -> Result<Value, Problem> {
        let mut entries = Vec::new();
        self.at += 1;
        loop {
            self.skip(b" \t\r\n,");
            if self.peek() != b'"' {
                self.at += 1;
                duplicates(&entries, &mut self.problems);
                return Ok(Value::Map(entries));
            }
            let start = self.at;
            let text = self.string()?;
            let key = Key { text, place: self.text.place(start, self.at) };
            self.skip(b" \t\r\n:");
            let value = self.node(depth + 1)?;
            entries.push((key, value));
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, Problem> {
        let mut items = Vec::new();
        self.at += 1;
        loop {
            self.skip(b" \t\r\n,");
            if matches!(self.peek(), b']' | 0) {
                self.at += 1;
                return Ok(Value::List(items));
            }
            items.push(self.node(depth + 1)?);
        }
    }

    fn string(&mut self) -> Result<String, Problem> {
        let start = self.at;
        self.at += 1;
        while !matches!(self.peek(), b'"' | 0) {
            self.at += if self.peek() == b'\\' { 2 } else { 1 };
        }
        self.at = (self.at + 1).min(self.text.body.len());
        let written = &self.text.body[start..self.at];
        let problem = |_| syntax("JSON", "this text has a wrong escape", self.text, start);
        serde_json::from_str(written).map_err(problem)
    }

    fn word(&mut self) -> &str {
        let start = self.at;
        while self.peek().is_ascii_alphanumeric() || b"+-.".contains(&self.peek()) {
            self.at += 1;
        }
        &self.text.body[start..self.at]
    }

    fn skip(&mut self, bytes: &[u8]) {
        while self.at < self.text.body.len() && bytes.contains(&self.peek()) {
            self.at += 1;
        }
    }

    fn peek(&self) -> u8 {
        self.text.body.as_bytes().get(self.at).copied().unwrap_or(0)
    }
}
