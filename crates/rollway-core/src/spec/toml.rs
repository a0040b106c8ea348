//! Reads TOML 1.1 into a spanned tree.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::node::{Budget, Key, NODES_MAX, Node, Value, syntax};
use super::text::Text;
use crate::problem::Problem;

/// Most syntax errors that are reported; those after the first are often its consequences.
const ERRORS_MAX: usize = 10;

/// Most marks of structure and lines: two for each value that may be.
const MARKS_MAX: usize = 2 * NODES_MAX;

/// Reads one document.
pub fn read(text: &Text<'_>) -> Result<Node, Vec<Problem>> {
    // The library builds the whole document before it can be counted, and a mebibyte of `1,` is
    // 80 MiB then. Every value has one of these before it, and every line of errors ends with one.
    let marks = text.body.bytes().filter(|byte| b",=[]{}.\r\n".contains(byte)).count();
    if marks > MARKS_MAX {
        let what = format!("the document has more than {MARKS_MAX} marks (,=[]{{}}. and lines)");
        return Err(vec![Problem::new("", what)]);
    }
    let (table, errors) = DeTable::parse_recoverable(text.body);
    if !errors.is_empty() {
        let problem = |error: &toml::de::Error| {
            let span = error.span().unwrap_or_default();
            let mut problem = syntax("TOML", error.message(), text, span.start);
            problem.place = Some(text.place(span.start, span.end));
            problem
        };
        let mut problems: Vec<Problem> = errors.iter().take(ERRORS_MAX).map(problem).collect();
        problems.sort_by_key(|problem| problem.place);
        return Err(problems);
    }
    let span = table.span();
    let mut reader = Reader { text, budget: Budget::default() };
    let place = text.place(span.start, span.end);
    let value = reader.table(table.get_ref(), 1).map_err(|problem| vec![problem])?;
    Ok(Node { place, value })
}

struct Reader<'a> {
    text: &'a Text<'a>,
    budget: Budget,
}

impl Reader<'_> {
    fn table(&mut self, table: &DeTable<'_>, depth: usize) -> Result<Value, Problem> {
        let mut entries = Vec::new();
        for (key, value) in table {
            let place = self.text.place(key.span().start, key.span().end);
            let key = Key { text: key.get_ref().to_string(), place };
            entries.push((key, self.value(value, depth + 1)?));
        }
        // The library sorts by name; people read from the top.
        entries.sort_by_key(|(key, _)| key.place.offset);
        Ok(Value::Map(entries))
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, depth: usize) -> Result<Node, Problem> {
        let span = value.span();
        let place = self.text.place(span.start, span.end);
        self.budget.take(depth, place)?;
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Boolean(yes) => Value::Bool(*yes),
            DeValue::Integer(number) => {
                match i64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) => Value::Integer(number),
                    Err(_) => Value::Float(number.as_str().parse().unwrap_or(f64::INFINITY)),
                }
            }
            DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Datetime(_) => Value::Text(self.text.written(place).to_owned()),
            DeValue::Array(items) => {
                let items: Result<Vec<_>, _> =
                    items.iter().map(|item| self.value(item, depth + 1)).collect();
                Value::List(items?)
            }
            DeValue::Table(table) => self.table(table, depth)?,
        };
        Ok(Node { place, value })
    }
}
