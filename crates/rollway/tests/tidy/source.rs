//! Rust source as the rules see it: comments, texts and tests blanked out, then cut into tokens.

/// One source file, as a rule looks at it.
pub struct Source {
    /// Its path from the root of the workspace, with `/`.
    pub path: String,
    /// What is written there.
    pub text: String,
    /// The same lines with comments blank and the insides of texts as `"`; tests are blank too.
    pub code: String,
    /// Whether the whole file is a test.
    pub is_test: bool,
}

impl Source {
    /// Reads a file's text.
    pub fn new(path: &str, text: &str) -> Self {
        let is_test = path
            .trim_end_matches(".rs")
            .split('/')
            .any(|part| part == "tests" || part.ends_with("_tests"));
        let masked = mask(text);
        let code = if is_test { masked } else { without_tests(&masked) };
        Self { path: path.to_owned(), text: text.to_owned(), code, is_test }
    }

    /// Lines that have code on them: not blank, not comment, not test.
    pub fn code_lines(&self) -> usize {
        self.code.lines().filter(|line| !line.trim().is_empty()).count()
    }

    /// The tokens of the code.
    pub fn tokens(&self) -> Vec<Token> {
        tokens(&self.code)
    }
}

/// A word, a number or a sign, and the line that it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What is written.
    pub text: String,
    /// The line, from 1.
    pub line: usize,
}

/// A path such as `crate::store::Store`, and the line that it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathSeen {
    /// Its segments.
    pub segments: Vec<String>,
    /// The line, from 1.
    pub line: usize,
}

/// Every path with at least two segments; `a::{b, c::d}` are two.
pub fn paths(tokens: &[Token]) -> Vec<PathSeen> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let starts = is_word(&tokens[at]) && text(tokens, at + 1) == "::";
        at = if starts { tree(tokens, at, &[], &mut found) } else { at + 1 };
    }
    found
}

/// Reads one path tree and returns the place behind it.
fn tree(tokens: &[Token], mut at: usize, before: &[String], found: &mut Vec<PathSeen>) -> usize {
    let mut segments = before.to_vec();
    let line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        if is_word(token) {
            segments.push(token.text.clone());
            at += 1;
            if text(tokens, at) != "::" {
                break;
            }
            at += 1;
        } else if token.text == "{" {
            return group(tokens, at + 1, &segments, found);
        } else {
            break;
        }
    }
    if segments.len() > 1 {
        found.push(PathSeen { segments, line });
    }
    at
}

/// Reads what stands between the braces of a `use`, and returns the place behind it.
fn group(tokens: &[Token], mut at: usize, before: &[String], found: &mut Vec<PathSeen>) -> usize {
    while let Some(token) = tokens.get(at) {
        if token.text == "}" {
            return at + 1;
        }
        let is_entry = is_word(token) && token.text != "as";
        at = if is_entry { tree(tokens, at, before, found) } else { at + 1 };
    }
    at
}

fn is_word(token: &Token) -> bool {
    token.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The text at a place, or nothing behind the end.
pub fn text(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| token.text.as_str())
}

/// The place behind the bracket that closes the one at `open`.
pub fn behind(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

fn tokens(code: &str) -> Vec<Token> {
    let mut found: Vec<Token> = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let length = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if ["::", "->", "=>"].iter().any(|sign| rest.starts_with(sign)) {
                2
            } else {
                first.len_utf8()
            };
            found.push(Token { text: rest[..length].to_owned(), line: index + 1 });
            rest = rest[length..].trim_start();
        }
    }
    found
}

/// Blanks out comments, and puts `"` for what stands in texts and characters.
fn mask(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < letters.len() {
        let (length, fill) = piece(&letters, at);
        for letter in &letters[at..at + length] {
            let put = fill.filter(|_| *letter != '\n').unwrap_or(*letter);
            out.push(put);
        }
        at += length;
    }
    out
}

/// How long the piece at `at` is, and what hides it; code is not hidden.
fn piece(letters: &[char], at: usize) -> (usize, Option<char>) {
    let rest = &letters[at..];
    let inside_word = at > 0 && (letters[at - 1].is_alphanumeric() || letters[at - 1] == '_');
    match rest {
        ['/', '/', ..] => (until(rest, &['\n']), Some(' ')),
        ['/', '*', ..] => (block_comment(rest), Some(' ')),
        ['"', ..] => (quoted(rest, '"'), Some('"')),
        ['r', '"' | '#', ..] | ['b' | 'c', 'r', '"' | '#', ..] if !inside_word => {
            raw(rest).map_or((1, None), |length| (length, Some('"')))
        }
        ['\'', '\\', ..] => (quoted(rest, '\''), Some('"')),
        ['\'', _, '\'', ..] => (3, Some('"')),
        _ => (1, None),
    }
}

fn until(rest: &[char], end: &[char]) -> usize {
    rest.windows(end.len()).position(|seen| seen == end).unwrap_or(rest.len())
}

fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[char], end: char) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            seen if seen == end => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of `r#"..."#`, or nothing where it is a raw name such as `r#type`.
fn raw(rest: &[char]) -> Option<usize> {
    let start = rest.iter().position(|letter| *letter == 'r')? + 1;
    let marks = rest[start..].iter().take_while(|letter| **letter == '#').count();
    let open = start + marks;
    if rest.get(open) != Some(&'"') {
        return None;
    }
    let mut end = vec!['"'];
    end.extend(std::iter::repeat_n('#', marks));
    Some((open + 1 + until(&rest[open + 1..], &end) + end.len()).min(rest.len()))
}

/// Blanks out every item under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        let length = MARK.len() + item(&rest[start + MARK.len()..]);
        out.push_str(&rest[..start]);
        let hidden = &rest[start..start + length];
        out.extend(hidden.chars().map(|letter| if letter == '\n' { '\n' } else { ' ' }));
        rest = &rest[start + length..];
    }
    out.push_str(rest);
    out
}

/// The length of the item at the start: up to its `;`, or to the `}` of its body.
fn item(code: &str) -> usize {
    let mut depth = 0usize;
    for (at, letter) in code.char_indices() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}
