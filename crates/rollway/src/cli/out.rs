//! What is printed: data to stdout, everything else to stderr, colour only where a person sees it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use super::wrong::Wrong;
use crate::failure::{Failure, FailureKind};

/// Width that messages are laid out for.
pub const WIDTH: usize = 100;

/// How a piece of text is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As any other.
    Plain,
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// To be looked at.
    Warn,
    /// Less important than the rest.
    Faint,
    /// More important than the rest.
    Strong,
}

/// Where output goes, and in which form.
#[derive(Debug, Clone, Copy)]
pub struct Out {
    /// Whether stdout is to be JSON.
    pub json: bool,
    /// Whether stderr is to have only errors.
    pub quiet: bool,
    /// Whether colour was not refused.
    pub colour: bool,
}

impl Out {
    /// Whether a person looks at stdout.
    #[must_use]
    pub fn stdout_is_terminal(self) -> bool {
        io::stdout().is_terminal()
    }

    /// Whether a person looks at stderr, and it can be redrawn.
    #[must_use]
    pub fn stderr_is_terminal(self) -> bool {
        io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// Text in its tone for stdout.
    #[must_use]
    pub fn paint(self, tone: Tone, text: &str) -> String {
        painted(self.colour && self.stdout_is_terminal(), tone, text)
    }

    /// Text in its tone for stderr.
    #[must_use]
    pub fn paint_error(self, tone: Tone, text: &str) -> String {
        painted(self.colour && self.stderr_is_terminal(), tone, text)
    }

    /// Writes data, as it is.
    pub fn data(self, text: &str) -> Result<(), Wrong> {
        self.bytes(text.as_bytes())
    }

    /// Writes data, as it is.
    pub fn bytes(self, bytes: &[u8]) -> Result<(), Wrong> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(()),
            // Whoever read it has seen enough, as `head` has.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Wrong::Said(0)),
            Err(error) => {
                let doing = "could not write to the standard output";
                Err(Failure::because(FailureKind::NotDone, doing, error).into())
            }
        }
    }

    /// Writes a line of data.
    pub fn line(self, text: &str) -> Result<(), Wrong> {
        self.data(&format!("{text}\n"))
    }

    /// Writes a value as indented JSON.
    pub fn value(self, value: &impl Serialize) -> Result<(), Wrong> {
        let text = serde_json::to_string_pretty(value).expect("a view is plain data");
        self.line(&text)
    }

    /// Writes a value as JSON on one line, for streams.
    pub fn value_line(self, value: &impl Serialize) -> Result<(), Wrong> {
        let text = serde_json::to_string(value).expect("a view is plain data");
        self.line(&text)
    }

    /// Says something that is neither data nor wrong.
    pub fn note(self, text: &str) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// Says something that must be seen.
    pub fn say(self, text: &str) {
        // There is nobody left to tell that nobody can be told.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Says a warning.
    pub fn warn(self, text: &str) {
        self.note(&format!("{} {}", self.paint_error(Tone::Warn, "warning:"), clean(text)));
    }

    /// Says how to go on.
    pub fn hint(self, text: &str) {
        self.note(&format!("{} {}", self.paint_error(Tone::Faint, "hint:"), clean(text)));
    }
}

fn painted(colour: bool, tone: Tone, text: &str) -> String {
    let code = match tone {
        Tone::Plain => return text.to_owned(),
        Tone::Good => "32",
        Tone::Bad => "31",
        Tone::Warn => "33",
        Tone::Faint => "2",
        Tone::Strong => "1",
    };
    if colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// Whether a character could change what a terminal shows, other than by being shown: control
/// characters, and those that turn the direction of the text.
#[must_use]
pub fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}')
}

/// The text with every dangerous character written out, but for line feeds and tabs.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => cleaned.push(c),
            c if is_dangerous(c) => {
                write!(cleaned, "{}", c.escape_unicode()).expect("a String takes every write");
            }
            c => cleaned.push(c),
        }
    }
    cleaned
}

/// The text on one line: nobody's text can begin a line of ours.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut lines = text.split('\n').map(str::trim_end).filter(|line| !line.is_empty());
    let mut joined = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        joined.push_str(" | ");
        joined.push_str(line.trim_start());
    }
    clean(&joined.replace('\t', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_move_the_cursor_is_written_out() {
        let nasty = "a\u{1b}[2Jb\u{7}\u{9b}31m\rc\u{202e}d\u{1b}]8;;http://x\u{1b}\\";
        let cleaned = clean(nasty);
        assert_eq!(cleaned, r"a\u{1b}[2Jb\u{7}\u{9b}31m\u{d}c\u{202e}d\u{1b}]8;;http://x\u{1b}\");
        assert_eq!(clean("größe\tok\n"), "größe\tok\n");
    }

    #[test]
    fn a_text_of_several_lines_stays_on_one() {
        assert_eq!(one_line("exit 1\n  error: forged\n\n"), "exit 1 | error: forged");
    }
}
