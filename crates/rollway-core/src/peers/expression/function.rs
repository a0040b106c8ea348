//! The functions by their names.

use super::Value;

/// What takes a list and a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Each {
    All,
    Any,
    Count,
    Filter,
    Map,
    None,
    One,
}

/// Sorted.
pub(super) const EACH: [(&str, Each); 7] = [
    ("all", Each::All),
    ("any", Each::Any),
    ("count", Each::Count),
    ("filter", Each::Filter),
    ("map", Each::Map),
    ("none", Each::None),
    ("one", Each::One),
];

/// A function of values.
#[derive(Debug)]
pub(super) struct Function {
    pub name: &'static str,
    pub least: usize,
    pub most: usize,
    /// The kind of its value, where it is always the same.
    pub gives: Option<&'static str>,
    pub call: fn(&[Value]) -> Result<Value, String>,
}

impl Function {
    pub fn takes(&self) -> String {
        match (self.least, self.most) {
            (1, 1) => "1 value".to_owned(),
            (least, most) if least == most => format!("{least} values"),
            (least, usize::MAX) => format!("{least} values or more"),
            (least, most) => format!("{least} to {most} values"),
        }
    }
}

const fn one(
    name: &'static str,
    gives: Option<&'static str>,
    call: fn(&[Value]) -> Result<Value, String>,
) -> Function {
    Function { name, least: 1, most: 1, gives, call }
}

const NUMBER: Option<&str> = Some("number");

/// Sorted.
pub(super) const ALL: &[Function] = &[
    one("abs", NUMBER, |values| {
        if let Value::Int(number) = &values[0] {
            return Ok(Value::Int(number.saturating_abs()));
        }
        Ok(Value::Float(number_of(&values[0])?.abs()))
    }),
    one("asFloat", NUMBER, as_float),
    one("asInt", NUMBER, as_int),
    one("ceil", NUMBER, |values| Ok(Value::Float(number_of(&values[0])?.ceil()))),
    Function { name: "default", least: 2, most: 2, gives: None, call: default },
    one("first", None, |values| Ok(list(&values[0])?.first().cloned().unwrap_or(Value::Nil))),
    one("float", NUMBER, as_float),
    one("floor", NUMBER, |values| Ok(Value::Float(number_of(&values[0])?.floor()))),
    one("int", NUMBER, as_int),
    one("isInf", Some("bool"), |values| {
        Ok(Value::Bool(matches!(&values[0], Value::Float(number) if number.is_infinite())))
    }),
    one("isNaN", Some("bool"), |values| {
        Ok(Value::Bool(matches!(&values[0], Value::Float(number) if number.is_nan())))
    }),
    one("isNil", Some("bool"), |values| Ok(Value::Bool(values[0] == Value::Nil))),
    one("last", None, |values| Ok(list(&values[0])?.last().cloned().unwrap_or(Value::Nil))),
    one("len", NUMBER, length),
    one("lower", Some("string"), |values| Ok(Value::Text(text(&values[0])?.to_lowercase()))),
    Function {
        name: "max",
        least: 1,
        most: usize::MAX,
        gives: NUMBER,
        call: |values| {
            Ok(Value::Float(numbers(values)?.into_iter().fold(f64::NEG_INFINITY, f64::max)))
        },
    },
    Function { name: "mean", least: 1, most: usize::MAX, gives: NUMBER, call: mean },
    Function { name: "median", least: 1, most: usize::MAX, gives: NUMBER, call: median },
    Function {
        name: "min",
        least: 1,
        most: usize::MAX,
        gives: NUMBER,
        call: |values| Ok(Value::Float(numbers(values)?.into_iter().fold(f64::INFINITY, f64::min))),
    },
    one("round", NUMBER, |values| Ok(Value::Float(number_of(&values[0])?.round()))),
    Function {
        name: "sum",
        least: 1,
        most: usize::MAX,
        gives: NUMBER,
        call: |values| Ok(Value::Float(numbers(values)?.into_iter().sum())),
    },
    one("trim", Some("string"), |values| Ok(Value::Text(text(&values[0])?.trim().to_owned()))),
    one("upper", Some("string"), |values| Ok(Value::Text(text(&values[0])?.to_uppercase()))),
];

pub(super) fn number_of(value: &Value) -> Result<f64, String> {
    match value {
        #[expect(clippy::cast_precision_loss, reason = "as Go's float64 of an int64")]
        Value::Int(number) => Ok(*number as f64),
        Value::Float(number) => Ok(*number),
        Value::Nil | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
            Err(format!("expected a number, found a {}", value.kind()))
        }
    }
}

fn text(value: &Value) -> Result<&str, String> {
    let Value::Text(text) = value else {
        return Err(format!("expected a string, found a {}", value.kind()));
    };
    Ok(text)
}

pub(super) fn list(value: &Value) -> Result<&[Value], String> {
    let Value::List(items) = value else {
        return Err(format!("expected a list, found a {}", value.kind()));
    };
    Ok(items)
}

/// Several numbers, or the numbers of one list.
fn numbers(values: &[Value]) -> Result<Vec<f64>, String> {
    let values = match values {
        [Value::List(items)] => items,
        several => several,
    };
    if values.is_empty() {
        return Err("expected numbers, found an empty list".to_owned());
    }
    values.iter().map(number_of).collect()
}

#[expect(clippy::cast_precision_loss, reason = "no list is near 2^53 long")]
fn mean(values: &[Value]) -> Result<Value, String> {
    let numbers = numbers(values)?;
    Ok(Value::Float(numbers.iter().sum::<f64>() / numbers.len() as f64))
}

fn median(values: &[Value]) -> Result<Value, String> {
    let mut numbers = numbers(values)?;
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    let upper = numbers[middle];
    let is_odd = numbers.len() % 2 == 1;
    Ok(Value::Float(if is_odd { upper } else { f64::midpoint(numbers[middle - 1], upper) }))
}

fn default(values: &[Value]) -> Result<Value, String> {
    Ok(if values[0] == Value::Nil { values[1].clone() } else { values[0].clone() })
}

fn length(values: &[Value]) -> Result<Value, String> {
    let length = match &values[0] {
        Value::List(items) => items.len(),
        Value::Map(fields) => fields.len(),
        Value::Text(text) => text.chars().count(),
        other @ (Value::Nil | Value::Bool(_) | Value::Int(_) | Value::Float(_)) => {
            return Err(format!("a {} has no length", other.kind()));
        }
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn as_float(values: &[Value]) -> Result<Value, String> {
    if let Value::Text(text) = &values[0] {
        return text.parse().map(Value::Float).map_err(|_| format!("{text:?} is no number"));
    }
    number_of(&values[0]).map(Value::Float)
}

/// 2^63, which a float holds exactly.
const INT_END: f64 = 9_223_372_036_854_775_808.0;

/// Towards zero, as Go does; a number that no `int64` can hold is an error.
fn as_int(values: &[Value]) -> Result<Value, String> {
    if let Value::Int(number) = &values[0] {
        return Ok(Value::Int(*number));
    }
    if let Value::Text(text) = &values[0] {
        return text.parse().map(Value::Int).map_err(|_| format!("{text:?} is no whole number"));
    }
    let number = number_of(&values[0])?;
    if !(-INT_END..INT_END).contains(&number) {
        return Err(format!("{number} is no whole number"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "cut towards zero, in range")]
    let whole = number as i64;
    Ok(Value::Int(whole))
}
