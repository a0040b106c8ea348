//! The rules of size and of habit, each as a function from a file to what is wrong with it.

use crate::Wrong;
use crate::source::{Source, Token, behind, text};

/// A line longer than this does not fit beside another on a screen.
const LINE_CHARACTERS_MAX: usize = 100;
/// A function longer than this does not fit on a screen.
const FUNCTION_LINES_MAX: usize = 70;
/// Lines of code in a file, beside comments, blank lines and tests.
const FILE_LINES_MAX: usize = 500;
/// Methods of a trait: each is work for everybody who implements it.
const TRAIT_METHODS_MAX: usize = 5;
/// Arguments of a function, beside `self`.
const ARGUMENTS_MAX: usize = 5;
/// Packages of others in Cargo.lock. Only ever lowered; the house style aims at 250.
/// PyO3 brought five.
pub const PACKAGES_MAX: usize = 298;

/// Everything that is wrong with one file, beside its edges.
pub fn check(source: &Source) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    lines(source, &mut wrong);
    heads(source, &mut wrong);
    habits(source, &mut wrong);
    if !source.is_test {
        sizes(source, &mut wrong);
        functions(source, &mut wrong);
        traits(source, &mut wrong);
    }
    wrong
}

fn lines(source: &Source, wrong: &mut Vec<Wrong>) {
    for (index, (line, code)) in source.text.lines().zip(source.code.lines()).enumerate() {
        let length = line.chars().count();
        // What a test expects is as long as what the user reads.
        let is_expected = source.is_test && code.chars().all(|c| c == '"') && !code.is_empty();
        if length > LINE_CHARACTERS_MAX && !is_expected {
            let what = format!("a line of {length} characters; {LINE_CHARACTERS_MAX} is the most");
            wrong.push(Wrong::new(source, index + 1, &what, "break it"));
        }
    }
}

fn heads(source: &Source, wrong: &mut Vec<Wrong>) {
    let head = source.text.lines().next().unwrap_or_default();
    if source.path.contains("/src/") && !source.is_test && !head.starts_with("//!") {
        let mend = "begin with `//!` and one sentence that says what this file is";
        wrong.push(Wrong::new(source, 1, "a file without a head", mend));
    }
}

/// Attributes and macros that are never right here. They are put together from parts so that this
/// file does not break its own rules.
fn habits(source: &Source, wrong: &mut Vec<Wrong>) {
    let everywhere = [
        (concat!("#[", "allow"), "use `#[expect(lint, reason = \"...\")]`, which says why"),
        (concat!("#![", "allow"), "use `#![expect(lint, reason = \"...\")]`, which says why"),
        (concat!("#[", "ignore"), "run it always, or under RUN_SLOW_TESTS"),
        (concat!("todo", "!"), "write it, or leave it out"),
        (concat!("unimplemented", "!"), "write it, or leave it out"),
    ];
    let outside_tests =
        [(concat!(".unwrap", "()"), "answer the error, or `expect` the invariant that holds")];
    let rules = everywhere.iter().chain(outside_tests.iter().filter(|_| !source.is_test));
    for (sign, mend) in rules {
        for (index, line) in source.code.lines().enumerate() {
            if line.replace(' ', "").contains(sign) {
                wrong.push(Wrong::new(source, index + 1, &format!("`{sign}`"), mend));
            }
        }
    }
}

fn sizes(source: &Source, wrong: &mut Vec<Wrong>) {
    let count = source.code_lines();
    if count > FILE_LINES_MAX {
        let what = format!("a file of {count} lines of code; {FILE_LINES_MAX} is the most");
        wrong.push(Wrong::new(source, 1, &what, "give one of its concerns a file of its own"));
    }
}

fn functions(source: &Source, wrong: &mut Vec<Wrong>) {
    let tokens = source.tokens();
    for at in 0..tokens.len() {
        let Some(function) = function(&tokens, at) else { continue };
        let Function { name, line, arguments, lines } = function;
        if arguments > ARGUMENTS_MAX {
            let what =
                format!("`{name}` takes {arguments} arguments; {ARGUMENTS_MAX} are the most");
            wrong.push(Wrong::new(source, line, &what, "put those that belong together in a type"));
        }
        if lines > FUNCTION_LINES_MAX {
            let what = format!("`{name}` has {lines} lines; {FUNCTION_LINES_MAX} are the most");
            wrong.push(Wrong::new(source, line, &what, "give its steps names of their own"));
        }
    }
}

/// What a function's head and body come to.
struct Function {
    name: String,
    line: usize,
    arguments: usize,
    lines: usize,
}

/// The function whose `fn` is at `at`.
fn function(tokens: &[Token], at: usize) -> Option<Function> {
    let name = text(tokens, at + 1);
    if text(tokens, at) != "fn" || !name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
        return None;
    }
    let open = behind_generics(tokens, at + 2);
    let close = behind(tokens, open);
    let inside = tokens.get(open + 1..close - 1).unwrap_or_default();
    let arguments = arguments(inside);
    // Behind the arguments: the answer and the bounds, then `;` or the body.
    let mut end = close;
    while !matches!(text(tokens, end), "" | ";" | "{") {
        end = if matches!(text(tokens, end), "(" | "[") { behind(tokens, end) } else { end + 1 };
    }
    let line = tokens[at].line;
    let last = if text(tokens, end) == "{" { behind(tokens, end) - 1 } else { end };
    let lines = tokens.get(last).map_or(0, |token| token.line + 1 - line);
    Some(Function { name: name.to_owned(), line, arguments, lines })
}

/// The place behind `<...>`, or `at` where there is none.
fn behind_generics(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0usize;
    for (place, token) in tokens.iter().enumerate().skip(at) {
        match token.text.as_str() {
            "<" => depth += 1,
            ">" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return if place == at { at } else { place + 1 };
        }
    }
    tokens.len()
}

/// How many arguments there are, beside `self`.
fn arguments(inside: &[Token]) -> usize {
    let mut depth = 0usize;
    let mut count = 0;
    let mut is_self = false;
    let mut is_empty = true;
    for token in inside {
        match token.text.as_str() {
            "(" | "[" | "{" | "<" => depth += 1,
            ")" | "]" | "}" | ">" => depth = depth.saturating_sub(1),
            "," if depth == 0 => {
                count += usize::from(!is_self && !is_empty);
                (is_self, is_empty) = (false, true);
                continue;
            }
            "self" if depth == 0 => is_self = true,
            _ => {}
        }
        is_empty = false;
    }
    count + usize::from(!is_self && !is_empty)
}

fn traits(source: &Source, wrong: &mut Vec<Wrong>) {
    let tokens = source.tokens();
    for (at, token) in tokens.iter().enumerate().filter(|(_, token)| token.text == "trait") {
        let name = text(&tokens, at + 1).to_owned();
        let Some(open) = (at..tokens.len()).find(|at| text(&tokens, *at) == "{") else { continue };
        let close = behind(&tokens, open);
        let mut methods = 0;
        let mut inside = open + 1;
        while inside < close {
            methods += usize::from(text(&tokens, inside) == "fn");
            let is_body = text(&tokens, inside) == "{";
            inside = if is_body { behind(&tokens, inside) } else { inside + 1 };
        }
        if methods > TRAIT_METHODS_MAX {
            let what = format!("`{name}` has {methods} methods; {TRAIT_METHODS_MAX} are the most");
            wrong.push(Wrong::new(source, token.line, &what, "make it two traits, or functions"));
        }
    }
}

/// What is wrong with Cargo.lock.
pub fn lock(text: &str) -> Option<Wrong> {
    // Our own crates come from nowhere, and cost nothing.
    let count = text.lines().filter(|line| line.starts_with("source = ")).count();
    (count > PACKAGES_MAX).then(|| Wrong {
        place: "Cargo.lock:1".to_owned(),
        what: format!("{count} packages; {PACKAGES_MAX} are the most"),
        mend: "do without the new dependency, or switch off what it does not need".to_owned(),
    })
}

/// Dependencies that a manifest names and no source of its crate uses.
pub fn unused(path: &str, manifest: &str, sources: &[Source]) -> Vec<Wrong> {
    let folder = path.trim_end_matches("Cargo.toml");
    let mut wrong = Vec::new();
    let mut is_list = false;
    for (index, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            is_list = matches!(line, "[dependencies]" | "[dev-dependencies]");
            continue;
        }
        let name = line.split([' ', '.', '=']).next().unwrap_or_default();
        let (path_of, import) = (name.replace('-', "_") + "::", name.replace('-', "_") + ";");
        let mut own = sources.iter().filter(|source| source.path.starts_with(folder));
        let is_used = own.any(|it| it.text.contains(&path_of) || it.text.contains(&import));
        if is_list && !name.is_empty() && !name.starts_with('#') && !is_used {
            wrong.push(Wrong {
                place: format!("{path}:{}", index + 1),
                what: format!("nothing uses the dependency `{name}`"),
                mend: "take it out".to_owned(),
            });
        }
    }
    wrong
}

/// Folders of the machine on which this was written: nobody else has them.
pub fn machine_paths(path: &str, content: &str) -> Vec<Wrong> {
    let folders = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
    let mut wrong = Vec::new();
    for (index, line) in content.lines().enumerate() {
        let is_start = |at: usize| {
            let before = line[..at].chars().next_back();
            !before.is_some_and(|letter| letter.is_alphanumeric() || "./_-}".contains(letter))
        };
        for folder in folders {
            if line.match_indices(folder).any(|(at, _)| is_start(at)) {
                wrong.push(Wrong {
                    place: format!("{path}:{}", index + 1),
                    what: format!("a path of one machine, `{folder}`"),
                    mend: "use a relative path, or a temporary folder".to_owned(),
                });
            }
        }
    }
    wrong
}
