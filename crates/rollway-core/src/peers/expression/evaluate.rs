//! From a tree and a result to true or false, in a bounded number of steps.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::function::{Each, list, number_of};
use super::parse::{Kind, Node, Operator};
use super::{Fault, STEPS_MAX, Value};

type Got<'a> = Result<Cow<'a, Value>, Fault>;

pub(super) fn holds(root: &Node, result: &Value) -> Result<bool, Fault> {
    let mut machine = Machine { result, items: Vec::new(), steps: 0 };
    machine.is_true(root)
}

struct Machine<'a> {
    result: &'a Value,
    /// What `#` is, innermost last.
    items: Vec<Cow<'a, Value>>,
    steps: usize,
}

impl<'a> Machine<'a> {
    fn is_true(&mut self, node: &'a Node) -> Result<bool, Fault> {
        let value = self.value(node)?;
        let Value::Bool(is_so) = *value else {
            let what = format!("expected bool, but got {}", value.kind());
            return Err(Fault::new(node.span, what));
        };
        Ok(is_so)
    }

    fn takes(&mut self, steps: usize, node: &Node) -> Result<(), Fault> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps <= STEPS_MAX {
            return Ok(());
        }
        Err(Fault::new(node.span, format!("the condition takes more than {STEPS_MAX} steps"))
            .hint("ask the source for fewer samples"))
    }

    fn value(&mut self, node: &'a Node) -> Got<'a> {
        self.takes(1, node)?;
        let fault = |what: String| Fault::new(node.span, what);
        match &node.kind {
            Kind::Literal(value) => Ok(Cow::Borrowed(value)),
            Kind::Result => Ok(Cow::Borrowed(self.result)),
            Kind::Item => Ok(self.items.last().cloned().unwrap_or(Cow::Owned(Value::Nil))),
            Kind::List(nodes) => Ok(Cow::Owned(Value::List(self.values(nodes)?))),
            Kind::Not(inner) => Ok(Cow::Owned(Value::Bool(!self.is_true(inner)?))),
            Kind::Negate(inner) => negated(&*self.value(inner)?).map(Cow::Owned).map_err(fault),
            Kind::Binary(operator, left, right) => self.binary(*operator, left, right),
            Kind::Choose(parts) => {
                let [condition, then, other] = &**parts;
                if self.is_true(condition)? { self.value(then) } else { self.value(other) }
            }
            Kind::Index(of, key) => {
                let of = self.value(of)?;
                let key = self.value(key)?;
                index(of, &key).map_err(fault)
            }
            Kind::Slice(of, first, last) => {
                let of = self.value(of)?;
                // What is cut out is copied.
                self.takes(size(&of), node)?;
                let first = self.place(first.as_deref())?;
                let last = self.place(last.as_deref())?;
                slice(&of, first, last).map(Cow::Owned).map_err(fault)
            }
            Kind::Call(function, nodes) => {
                let values = self.values(nodes)?;
                (function.call)(&values).map(Cow::Owned).map_err(fault)
            }
            Kind::Each(each, of, body) => self.each(*each, of, body.as_deref()),
        }
    }

    fn values(&mut self, nodes: &'a [Node]) -> Result<Vec<Value>, Fault> {
        let mut values = Vec::with_capacity(nodes.len());
        for node in nodes {
            let value = self.value(node)?;
            self.takes(size(&value), node)?;
            values.push(value.into_owned());
        }
        Ok(values)
    }

    fn place(&mut self, node: Option<&'a Node>) -> Result<Option<i64>, Fault> {
        let Some(node) = node else { return Ok(None) };
        let value = self.value(node)?;
        let Value::Int(place) = *value else {
            let what = format!("a place in a list is a whole number, not a {}", value.kind());
            return Err(Fault::new(node.span, what));
        };
        Ok(Some(place))
    }

    fn binary(&mut self, operator: Operator, left: &'a Node, right: &'a Node) -> Got<'a> {
        // These look at the right side only where they need it.
        if operator == Operator::Or {
            let is_so = self.is_true(left)? || self.is_true(right)?;
            return Ok(Cow::Owned(Value::Bool(is_so)));
        }
        if operator == Operator::And {
            let is_so = self.is_true(left)? && self.is_true(right)?;
            return Ok(Cow::Owned(Value::Bool(is_so)));
        }
        if operator == Operator::Else {
            let first = self.value(left)?;
            return if *first == Value::Nil { self.value(right) } else { Ok(first) };
        }
        let (one, other) = (self.value(left)?, self.value(right)?);
        self.takes(size(&one) + size(&other), left)?;
        let span = (left.span.0, right.span.1);
        combined(operator, &one, &other).map(Cow::Owned).map_err(|what| Fault::new(span, what))
    }

    fn each(&mut self, each: Each, of: &'a Node, body: Option<&'a Node>) -> Got<'a> {
        let span = of.span;
        let list_value = self.value(of)?;
        let count = list(&list_value).map_err(|what| Fault::new(span, what))?.len();
        let (mut held, mut kept) = (0_usize, Vec::new());
        for at in 0..count {
            let item = item(&list_value, at);
            self.takes(1 + size(&item), of)?;
            self.items.push(item.clone());
            if each == Each::Map {
                let mapped = body.map_or(Ok(item), |body| self.value(body));
                let mapped = mapped?;
                self.takes(size(&mapped), of)?;
                kept.push(mapped.into_owned());
            } else {
                let node_holds =
                    body.map_or(Ok(*item == Value::Bool(true)), |body| self.is_true(body))?;
                held += usize::from(node_holds);
                if node_holds && each == Each::Filter {
                    kept.push(item.into_owned());
                }
            }
            self.items.pop();
        }
        Ok(Cow::Owned(match each {
            Each::All => Value::Bool(held == count),
            Each::Any => Value::Bool(held > 0),
            Each::None => Value::Bool(held == 0),
            Each::One => Value::Bool(held == 1),
            Each::Count => Value::Int(i64::try_from(held).unwrap_or(i64::MAX)),
            Each::Filter | Each::Map => Value::List(kept),
        }))
    }
}

fn item<'a>(list: &Cow<'a, Value>, at: usize) -> Cow<'a, Value> {
    match list {
        Cow::Borrowed(Value::List(items)) => Cow::Borrowed(&items[at]),
        Cow::Owned(Value::List(items)) => Cow::Owned(items[at].clone()),
        Cow::Borrowed(_) | Cow::Owned(_) => Cow::Owned(Value::Nil),
    }
}

/// What copying or comparing it costs, in steps; stops counting at the limit.
fn size(value: &Value) -> usize {
    let mut total = 0_usize;
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        total += 1;
        if total > STEPS_MAX {
            break;
        }
        match value {
            Value::Text(text) => total += text.len() / 16,
            Value::List(items) => open.extend(items),
            Value::Map(fields) => open.extend(fields.values()),
            Value::Nil | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {}
        }
    }
    total
}

fn negated(value: &Value) -> Result<Value, String> {
    if let Value::Int(number) = value {
        return number.checked_neg().map(Value::Int).ok_or_else(overflow);
    }
    number_of(value).map(|number| Value::Float(-number))
}

fn overflow() -> String {
    "the whole number does not fit in 64 bits".to_owned()
}

fn combined(operator: Operator, one: &Value, other: &Value) -> Result<Value, String> {
    let ordered = |wanted: fn(Ordering) -> bool| {
        order(one, other).map(|order| Value::Bool(order.is_some_and(wanted)))
    };
    match operator {
        Operator::Equal => Ok(Value::Bool(equal(one, other))),
        Operator::Unequal => Ok(Value::Bool(!equal(one, other))),
        Operator::Less => ordered(Ordering::is_lt),
        Operator::LessOrEqual => ordered(Ordering::is_le),
        Operator::Greater => ordered(Ordering::is_gt),
        Operator::GreaterOrEqual => ordered(Ordering::is_ge),
        Operator::In => within(one, other).map(Value::Bool),
        Operator::NotIn => within(one, other).map(|is_in| Value::Bool(!is_in)),
        Operator::Contains => texts(one, other).map(|(one, other)| one.contains(other).into()),
        Operator::StartsWith => texts(one, other).map(|(one, other)| one.starts_with(other).into()),
        Operator::EndsWith => texts(one, other).map(|(one, other)| one.ends_with(other).into()),
        Operator::Plus => match (one, other) {
            (Value::Text(one), Value::Text(other)) => Ok(Value::Text(format!("{one}{other}"))),
            _ => whole_or(one, other, i64::checked_add, |one, other| one + other),
        },
        Operator::Minus => whole_or(one, other, i64::checked_sub, |one, other| one - other),
        Operator::Times => whole_or(one, other, i64::checked_mul, |one, other| one * other),
        // As in expr-lang: a division is never cut to a whole number.
        Operator::Over => Ok(Value::Float(number_of(one)? / number_of(other)?)),
        Operator::Power => Ok(Value::Float(number_of(one)?.powf(number_of(other)?))),
        Operator::Remainder => match (one, other) {
            (Value::Int(one), Value::Int(other)) => one
                .checked_rem(*other)
                .map(Value::Int)
                .ok_or_else(|| "a remainder of a division by zero".to_owned()),
            _ => Err(format!("% takes whole numbers, not a {} and a {}", one.kind(), other.kind())),
        },
        Operator::Or | Operator::And | Operator::Else => {
            Err("an operator of one side was asked for both".to_owned())
        }
    }
}

impl From<bool> for Value {
    fn from(is_so: bool) -> Self {
        Self::Bool(is_so)
    }
}

fn whole_or(
    one: &Value,
    other: &Value,
    whole: fn(i64, i64) -> Option<i64>,
    real: fn(f64, f64) -> f64,
) -> Result<Value, String> {
    match (one, other) {
        (Value::Int(one), Value::Int(other)) => {
            whole(*one, *other).map(Value::Int).ok_or_else(overflow)
        }
        _ => Ok(Value::Float(real(number_of(one)?, number_of(other)?))),
    }
}

/// Numbers by value, all else by kind and value; `NaN` equals nothing.
fn equal(one: &Value, other: &Value) -> bool {
    match (number_of(one), number_of(other)) {
        (Ok(one), Ok(other)) => one.partial_cmp(&other) == Some(Ordering::Equal),
        _ => one == other,
    }
}

fn order(one: &Value, other: &Value) -> Result<Option<Ordering>, String> {
    match (one, other) {
        (Value::Text(one), Value::Text(other)) => Ok(Some(one.cmp(other))),
        (Value::Int(one), Value::Int(other)) => Ok(Some(one.cmp(other))),
        _ => match (number_of(one), number_of(other)) {
            (Ok(one), Ok(other)) => Ok(one.partial_cmp(&other)),
            _ => Err(format!("a {} and a {} have no order", one.kind(), other.kind())),
        },
    }
}

fn within(one: &Value, other: &Value) -> Result<bool, String> {
    match (one, other) {
        (_, Value::List(items)) => Ok(items.iter().any(|item| equal(one, item))),
        (Value::Text(key), Value::Map(fields)) => Ok(fields.contains_key(key)),
        (_, Value::Nil) => Ok(false),
        _ => Err(format!("in takes a list or a map, not a {}", other.kind())),
    }
}

fn texts<'b>(one: &'b Value, other: &'b Value) -> Result<(&'b str, &'b str), String> {
    match (one, other) {
        (Value::Text(one), Value::Text(other)) => Ok((one, other)),
        _ => Err(format!("expected two strings, not a {} and a {}", one.kind(), other.kind())),
    }
}

fn index<'a>(of: Cow<'a, Value>, key: &Value) -> Result<Cow<'a, Value>, String> {
    match (&*of, key) {
        // A field that is not there is nil, as in expr-lang; so is a field of nothing.
        (Value::Nil, _) => Ok(Cow::Owned(Value::Nil)),
        (Value::Map(fields), Value::Text(name)) => Ok(match &of {
            Cow::Borrowed(Value::Map(fields)) => {
                fields.get(name).map_or(Cow::Owned(Value::Nil), Cow::Borrowed)
            }
            Cow::Borrowed(_) | Cow::Owned(_) => {
                Cow::Owned(fields.get(name).cloned().unwrap_or(Value::Nil))
            }
        }),
        (Value::List(items), Value::Int(place)) => {
            let at = from_end(*place, items.len()).filter(|at| *at < items.len());
            let count = items.len();
            let at = at.ok_or_else(|| {
                format!("there is no item {place}: the list has {count}; ask for len(..) first")
            })?;
            Ok(item(&of, at))
        }
        _ => Err(format!("a {} has no item by a {}", of.kind(), key.kind())),
    }
}

/// A place that may count from the end.
fn from_end(place: i64, count: usize) -> Option<usize> {
    let count = i64::try_from(count).ok()?;
    usize::try_from(if place < 0 { place.checked_add(count)? } else { place }).ok()
}

fn slice(of: &Value, first: Option<i64>, last: Option<i64>) -> Result<Value, String> {
    let items = list(of)?;
    let bound = |place: i64| from_end(place, items.len()).unwrap_or(0).min(items.len());
    let (first, last) = (first.map_or(0, bound), last.map_or(items.len(), bound));
    Ok(Value::List(items.get(first..last).unwrap_or_default().to_vec()))
}
