//! From text to tokens.

use super::{Fault, TEXT_BYTES_MAX};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Int(i64),
    Float(f64),
    Text(String),
    Name(String),
    Sign(&'static str),
    End,
}

#[derive(Debug, Clone)]
pub(super) struct Spanned {
    pub token: Token,
    pub span: (usize, usize),
}

/// Longer ones first: `<=` is not `<` and `=`.
const SIGNS: [&str; 30] = [
    "==", "!=", "<=", ">=", "&&", "||", "**", "??", "?.", "<", ">", "+", "-", "*", "/", "%", "^",
    "!", "(", ")", "[", "]", "{", "}", ",", ".", "#", "?", ":", ";",
];

pub(super) fn tokens(text: &str) -> Result<Vec<Spanned>, Fault> {
    if text.len() > TEXT_BYTES_MAX {
        let what = format!("the condition has {} bytes; the most is {TEXT_BYTES_MAX}", text.len());
        return Err(Fault::new((0, 0), what));
    }
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (token, length) = token(&text[at..], first, at)?;
        all.push(Spanned { token, span: (at, at + length) });
        at += length;
    }
    all.push(Spanned { token: Token::End, span: (text.len(), text.len()) });
    Ok(all)
}

fn token(rest: &str, first: char, at: usize) -> Result<(Token, usize), Fault> {
    let second = rest.as_bytes().get(1).copied().unwrap_or_default();
    if first.is_ascii_digit() || (first == '.' && second.is_ascii_digit()) {
        return number(rest, at);
    }
    if first.is_alphabetic() || first == '_' {
        let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
        let length = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
        return Ok((Token::Name(rest[..length].to_owned()), length));
    }
    if matches!(first, '"' | '\'' | '`') {
        return quoted(rest, first, at);
    }
    if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        return Ok((Token::Sign(sign), sign.len()));
    }
    let fault = Fault::new((at, at + first.len_utf8()), format!("unexpected {first:?}"));
    Err(match first {
        '=' => fault.hint("to compare, write =="),
        '&' => fault.hint("for both, write && or and"),
        '|' => fault.hint("for either, write || or or"),
        _ => fault,
    })
}

fn number(rest: &str, at: usize) -> Result<(Token, usize), Fault> {
    let digits = |from: usize| rest[from..].bytes().take_while(u8::is_ascii_digit).count();
    let byte = |at: usize| rest.as_bytes().get(at).copied().unwrap_or_default();
    let mut length = digits(0);
    let mut is_whole = true;
    if byte(length) == b'.' && byte(length + 1).is_ascii_digit() {
        is_whole = false;
        length += 1 + digits(length + 1);
    }
    if matches!(byte(length), b'e' | b'E') {
        let signed = usize::from(matches!(byte(length + 1), b'+' | b'-'));
        let exponent = digits(length + 1 + signed);
        if exponent > 0 {
            is_whole = false;
            length += 1 + signed + exponent;
        }
    }
    let text = &rest[..length];
    let fault = || Fault::new((at, at + length), format!("{text} is too large for a whole number"));
    if is_whole {
        return Ok((Token::Int(text.parse().map_err(|_| fault())?), length));
    }
    Ok((Token::Float(text.parse().map_err(|_| fault())?), length))
}

fn quoted(rest: &str, quote: char, at: usize) -> Result<(Token, usize), Fault> {
    let mut text = String::new();
    let mut letters = rest.char_indices().skip(1);
    while let Some((offset, letter)) = letters.next() {
        if letter == quote {
            return Ok((Token::Text(text), offset + 1));
        }
        if letter != '\\' || quote == '`' {
            text.push(letter);
            continue;
        }
        let escaped = letters.next();
        let span = (at + offset, at + offset + 1 + escaped.map_or(0, |(_, it)| it.len_utf8()));
        text.push(match escaped.map(|(_, escaped)| escaped) {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some(same @ ('\\' | '"' | '\'')) => same,
            _ => {
                let fault = Fault::new(span, "unknown escape in a string");
                return Err(fault.hint(r#"known: \n, \t, \r, \\, \", \'"#));
            }
        });
    }
    Err(Fault::new((at, at + rest.len()), format!("the string has no closing {quote}")))
}
