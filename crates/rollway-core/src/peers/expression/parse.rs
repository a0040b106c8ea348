//! From tokens to a tree: operator precedence as in expr-lang.

use super::function::{self, Each, Function};
use super::lex::{Spanned, Token, tokens};
use super::{DEPTH_MAX, Fault, Value};
use crate::problem;

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub kind: Kind,
    pub span: (usize, usize),
    depth: usize,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Literal(Value),
    Result,
    /// `#`: the item that a body is asked about.
    Item,
    List(Vec<Node>),
    Not(Box<Node>),
    Negate(Box<Node>),
    Binary(Operator, Box<Node>, Box<Node>),
    /// Condition, then, else.
    Choose(Box<[Node; 3]>),
    /// Of what, and the key or place.
    Index(Box<Node>, Box<Node>),
    /// Of what, and where it begins and ends.
    Slice(Box<Node>, Option<Box<Node>>, Option<Box<Node>>),
    Call(&'static Function, Vec<Node>),
    Each(Each, Box<Node>, Option<Box<Node>>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
    Contains,
    StartsWith,
    EndsWith,
    Plus,
    Minus,
    Times,
    Over,
    Remainder,
    Power,
    /// `??`: the second where the first is nil.
    Else,
}

use Operator as O;

/// Each operator, how tightly it binds, and itself.
const OPERATORS: [(&str, u8, Operator); 22] = [
    ("||", 10, O::Or),
    ("or", 10, O::Or),
    ("&&", 15, O::And),
    ("and", 15, O::And),
    ("==", 20, O::Equal),
    ("!=", 20, O::Unequal),
    ("<", 20, O::Less),
    ("<=", 20, O::LessOrEqual),
    (">", 20, O::Greater),
    (">=", 20, O::GreaterOrEqual),
    ("in", 20, O::In),
    ("contains", 20, O::Contains),
    ("startsWith", 20, O::StartsWith),
    ("endsWith", 20, O::EndsWith),
    ("+", 30, O::Plus),
    ("-", 30, O::Minus),
    ("*", 60, O::Times),
    ("/", 60, O::Over),
    ("%", 60, O::Remainder),
    ("**", 100, O::Power),
    ("^", 100, O::Power),
    ("??", 120, O::Else),
];
const NOT_BINDS: u8 = 50;
const SIGN_BINDS: u8 = 90;
/// Words that are no names.
const WORDS: [&str; 8] = ["and", "or", "not", "in", "contains", "startsWith", "endsWith", "let"];

pub(super) fn parse(text: &str) -> Result<Node, Fault> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, nested: 0, bodies: 0 };
    if parser.peek().token == Token::End {
        return Err(Fault::new((0, 0), "the condition is empty").hint("such as: result >= 0.95"));
    }
    let root = parser.whole()?;
    let last = parser.peek().clone();
    if last.token != Token::End {
        return Err(unexpected(&last, "the end or an operator"));
    }
    match static_kind(&root) {
        Some(kind) if kind != "bool" => Err(Fault::new(
            root.span,
            format!("expected a condition (bool), but this is a value ({kind})"),
        )
        .hint("compare it: result >= 0.95")),
        _ => Ok(root),
    }
}

struct Parser {
    tokens: Vec<Spanned>,
    at: usize,
    nested: usize,
    bodies: usize,
}

impl Parser {
    fn peek(&self) -> &Spanned {
        &self.tokens[self.at]
    }

    fn next(&mut self) -> Spanned {
        let token = self.tokens[self.at].clone();
        // The last one is the end, and stays.
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn takes(&mut self, sign: &str) -> bool {
        let is_next = matches!(&self.peek().token, Token::Sign(next) if *next == sign);
        if is_next {
            self.next();
        }
        is_next
    }

    fn expects(&mut self, sign: &'static str) -> Result<usize, Fault> {
        let token = self.next();
        if token.token == Token::Sign(sign) {
            Ok(token.span.1)
        } else {
            Err(unexpected(&token, &format!("{sign:?}")))
        }
    }

    /// `a ? b : c`, or what is within.
    fn whole(&mut self) -> Result<Node, Fault> {
        self.nested += 1;
        if self.nested > DEPTH_MAX {
            return Err(too_deep(self.peek().span));
        }
        let first = self.binary(0)?;
        let node = if self.takes("?") {
            let then = self.whole()?;
            self.expects(":")?;
            let other = self.whole()?;
            let span = (first.span.0, other.span.1);
            let depth = first.depth.max(then.depth).max(other.depth);
            node(Kind::Choose(Box::new([first, then, other])), span, depth)?
        } else {
            first
        };
        self.nested -= 1;
        Ok(node)
    }

    fn binary(&mut self, least: u8) -> Result<Node, Fault> {
        let mut left = self.unary()?;
        while let Some((binds, operator, length)) = self.operator() {
            if binds < least {
                break;
            }
            self.at += length;
            // Powers group to the right, all else to the left.
            let inner = if operator == O::Power { binds } else { binds + 1 };
            let right = self.binary(inner)?;
            comparable(operator, &left, &right)?;
            let span = (left.span.0, right.span.1);
            let depth = left.depth.max(right.depth);
            left = node(Kind::Binary(operator, Box::new(left), Box::new(right)), span, depth)?;
        }
        Ok(left)
    }

    /// The operator that is next, how it binds, and of how many tokens it is.
    fn operator(&self) -> Option<(u8, Operator, usize)> {
        let word = |at: usize| match self.tokens.get(at).map(|spanned| &spanned.token) {
            Some(Token::Sign(sign)) => *sign,
            Some(Token::Name(name)) => name.as_str(),
            Some(Token::Int(_) | Token::Float(_) | Token::Text(_) | Token::End) | None => "",
        };
        if word(self.at) == "not" && word(self.at + 1) == "in" {
            return Some((20, O::NotIn, 2));
        }
        let next = word(self.at);
        let known = OPERATORS.iter().find(|(sign, _, _)| *sign == next);
        known.map(|(_, binds, operator)| (*binds, *operator, 1))
    }

    fn unary(&mut self) -> Result<Node, Fault> {
        self.nested += 1;
        if self.nested > DEPTH_MAX {
            return Err(too_deep(self.peek().span));
        }
        let start = self.peek().span.0;
        let is_not = matches!(&self.peek().token, Token::Name(name) if name == "not");
        let node = if is_not || matches!(self.peek().token, Token::Sign("!")) {
            self.next();
            let inner = self.binary(NOT_BINDS)?;
            let (span, depth) = ((start, inner.span.1), inner.depth);
            node(Kind::Not(Box::new(inner)), span, depth)?
        } else if self.takes("-") {
            let inner = self.binary(SIGN_BINDS)?;
            let (span, depth) = ((start, inner.span.1), inner.depth);
            node(Kind::Negate(Box::new(inner)), span, depth)?
        } else if self.takes("+") {
            self.binary(SIGN_BINDS)?
        } else {
            let first = self.primary()?;
            self.postfix(first)?
        };
        self.nested -= 1;
        Ok(node)
    }

    fn postfix(&mut self, mut left: Node) -> Result<Node, Fault> {
        loop {
            if self.takes(".") || self.takes("?.") {
                left = self.member(left)?;
            } else if self.takes("[") {
                left = self.index(left)?;
            } else {
                return Ok(left);
            }
        }
    }

    fn member(&mut self, of: Node) -> Result<Node, Fault> {
        let name = self.next();
        let Token::Name(key) = name.token else {
            return Err(unexpected(&name, "the name of a field"));
        };
        let key = node(Kind::Literal(Value::Text(key)), name.span, 0)?;
        let (span, depth) = ((of.span.0, name.span.1), of.depth);
        node(Kind::Index(Box::new(of), Box::new(key)), span, depth)
    }

    fn index(&mut self, of: Node) -> Result<Node, Fault> {
        let first = if self.is_next(":") { None } else { Some(self.whole()?) };
        let mut depth = of.depth.max(first.as_ref().map_or(0, |first| first.depth));
        if !self.takes(":") {
            let span = (of.span.0, self.expects("]")?);
            let first = first.ok_or_else(|| Fault::new(span, "expected a place in the list"))?;
            return node(Kind::Index(Box::new(of), Box::new(first)), span, depth);
        }
        let last = if self.is_next("]") { None } else { Some(self.whole()?) };
        depth = depth.max(last.as_ref().map_or(0, |last| last.depth));
        let span = (of.span.0, self.expects("]")?);
        node(Kind::Slice(Box::new(of), first.map(Box::new), last.map(Box::new)), span, depth)
    }

    fn is_next(&self, sign: &str) -> bool {
        matches!(&self.peek().token, Token::Sign(next) if *next == sign)
    }

    fn primary(&mut self) -> Result<Node, Fault> {
        let token = self.next();
        match token.token {
            Token::Int(number) => node(Kind::Literal(Value::Int(number)), token.span, 0),
            Token::Float(number) => node(Kind::Literal(Value::Float(number)), token.span, 0),
            Token::Text(text) => node(Kind::Literal(Value::Text(text)), token.span, 0),
            Token::Name(name) => self.name(&name, token.span),
            Token::Sign("(") => {
                let inner = self.whole()?;
                let end = self.expects(")")?;
                Ok(Node { span: (token.span.0, end), ..inner })
            }
            Token::Sign("[") => {
                let (items, end) = self.several("]")?;
                let depth = deepest(&items);
                node(Kind::List(items), (token.span.0, end), depth)
            }
            Token::Sign("#") if self.bodies > 0 => node(Kind::Item, token.span, 0),
            Token::Sign("." | "?.") if self.bodies > 0 => {
                let item = node(Kind::Item, (token.span.0, token.span.0), 0)?;
                self.member(item)
            }
            Token::Sign("#") => Err(Fault::new(token.span, "# has a meaning only in a body")
                .hint("such as: all(result, {# > 0.95})")),
            Token::Sign(_) | Token::End => Err(unexpected(&token, "a value")),
        }
    }

    /// Values with commas, up to the closing sign; and where that ends.
    fn several(&mut self, closing: &'static str) -> Result<(Vec<Node>, usize), Fault> {
        let mut items = Vec::new();
        while !self.is_next(closing) {
            items.push(self.whole()?);
            if !self.takes(",") {
                break;
            }
        }
        Ok((items, self.expects(closing)?))
    }

    fn name(&mut self, name: &str, span: (usize, usize)) -> Result<Node, Fault> {
        let literal = |value| node(Kind::Literal(value), span, 0);
        match name {
            "true" => return literal(Value::Bool(true)),
            "false" => return literal(Value::Bool(false)),
            "nil" | "null" => return literal(Value::Nil),
            "result" => return node(Kind::Result, span, 0),
            _ => {}
        }
        if WORDS.contains(&name) {
            return Err(Fault::new(span, format!("expected a value, found the word {name:?}")));
        }
        let call = self.is_next("(");
        if let Some((_, each)) = function::EACH.iter().find(|(known, _)| *known == name && call) {
            return self.each(*each, span);
        }
        let Some(function) = function::ALL.iter().find(|known| known.name == name) else {
            let mut known = vec!["result", "true", "false", "nil"];
            known.extend(super::functions());
            known.extend(super::over_lists());
            return Err(Fault::new(span, problem::unknown("name", name, &known)));
        };
        self.expects("(")?;
        let (values, end) = self.several(")")?;
        let span = (span.0, end);
        if values.len() < function.least || values.len() > function.most {
            let what = format!("{name} takes {}, and has {}", function.takes(), values.len());
            return Err(Fault::new(span, what));
        }
        let depth = deepest(&values);
        node(Kind::Call(function, values), span, depth)
    }

    fn each(&mut self, each: Each, span: (usize, usize)) -> Result<Node, Fault> {
        self.expects("(")?;
        let list = self.whole()?;
        let body = if self.takes(",") { Some(self.body()?) } else { None };
        let span = (span.0, self.expects(")")?);
        if body.is_none() && each != Each::Count {
            return Err(Fault::new(span, "expected a body after the list")
                .hint("such as: all(result, {# > 0.95})"));
        }
        let depth = list.depth.max(body.as_ref().map_or(0, |body| body.depth));
        node(Kind::Each(each, Box::new(list), body.map(Box::new)), span, depth)
    }

    fn body(&mut self) -> Result<Node, Fault> {
        self.bodies += 1;
        let is_braced = self.takes("{");
        let body = self.whole()?;
        if is_braced {
            self.expects("}")?;
        }
        self.bodies -= 1;
        Ok(body)
    }
}

fn deepest(nodes: &[Node]) -> usize {
    nodes.iter().map(|node| node.depth).max().unwrap_or_default()
}

fn node(kind: Kind, span: (usize, usize), below: usize) -> Result<Node, Fault> {
    let depth = below + 1;
    if depth > DEPTH_MAX { Err(too_deep(span)) } else { Ok(Node { kind, span, depth }) }
}

fn too_deep(span: (usize, usize)) -> Fault {
    Fault::new(span, format!("the condition is nested deeper than {DEPTH_MAX}"))
        .hint("write a list and `in` for a long chain of comparisons")
}

fn unexpected(found: &Spanned, expected: &str) -> Fault {
    let found_text = match &found.token {
        Token::Int(number) => number.to_string(),
        Token::Float(number) => number.to_string(),
        Token::Text(text) => format!("the string {text:?}"),
        Token::Name(name) => format!("{name:?}"),
        Token::Sign(sign) => format!("{sign:?}"),
        Token::End => "the end".to_owned(),
    };
    Fault::new(found.span, format!("expected {expected}, found {found_text}"))
}

/// The kind of a value as far as it can be told without a result; numbers are one kind.
fn static_kind(node: &Node) -> Option<&'static str> {
    match &node.kind {
        Kind::Literal(Value::Nil) | Kind::Result | Kind::Item | Kind::Index(..) => None,
        Kind::Slice(..) | Kind::Choose(_) => None,
        Kind::Literal(Value::Int(_) | Value::Float(_)) | Kind::Negate(_) => Some("number"),
        Kind::Literal(value) => Some(value.kind()),
        Kind::List(_) => Some("list"),
        Kind::Not(_) => Some("bool"),
        Kind::Call(function, _) => function.gives,
        Kind::Each(each, ..) => Some(match each {
            Each::All | Each::Any | Each::None | Each::One => "bool",
            Each::Count => "number",
            Each::Filter | Each::Map => "list",
        }),
        Kind::Binary(operator, ..) => match operator {
            O::Plus | O::Else => None,
            O::Minus | O::Times | O::Over | O::Remainder | O::Power => Some("number"),
            O::Or | O::And | O::Equal | O::Unequal | O::Less | O::LessOrEqual | O::Greater => {
                Some("bool")
            }
            O::GreaterOrEqual | O::In | O::NotIn | O::Contains | O::StartsWith | O::EndsWith => {
                Some("bool")
            }
        },
    }
}

/// Two kinds that are known and can never be equal are a slip of the writer.
fn comparable(operator: Operator, left: &Node, right: &Node) -> Result<(), Fault> {
    let is_comparison = matches!(
        operator,
        O::Equal | O::Unequal | O::Less | O::LessOrEqual | O::Greater | O::GreaterOrEqual
    );
    match (static_kind(left), static_kind(right)) {
        (Some(one), Some(other)) if is_comparison && one != other => {
            let span = (left.span.0, right.span.1);
            Err(Fault::new(span, format!("a {one} is never comparable with a {other}"))
                .hint("asFloat(..) makes a number of a string"))
        }
        _ => Ok(()),
    }
}
