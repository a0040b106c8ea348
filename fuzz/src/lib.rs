//! Fuzz targets for everything that reads what others wrote, and an engine that drives them.
//!
//! ```text
//! corpus/TARGET ──> pool ──> mutate (bits, words, numbers, lines, splices) ──> target.check
//!                    ^                                                           │
//!                    └── kept if it shows the target something new <─────────────┤
//! failures/TARGET <── shrunk <── a panic, a broken promise, too long, too much <─┘
//! ```
//! It runs in one process on a stable compiler. Instead of counting edges of the machine code, a
//! target says what it saw ([`Marks`]): the problems it found, the events it folded. An input that
//! shows something new is mutated further. A seed and a commit make a run.

pub mod corpus;
pub mod judge;
pub mod mutate;
pub mod rng;
pub mod run;
pub mod shrink;
pub mod targets;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher as _};

/// Most different things that are told apart in one run.
const MARKS_MAX: usize = 1 << 17;

/// One thing that reads what others wrote, and what has to hold of it.
#[derive(Debug)]
pub struct Target {
    /// Its name, and that of its folders.
    pub name: &'static str,
    /// What it reads, and what has to hold, in a line.
    pub about: &'static str,
    /// Words that mean something to it.
    pub words: &'static [&'static str],
    /// The longest input that is tried, in bytes.
    pub bytes_max: usize,
    /// Reads an input; the error says which promise it broke. It may also panic.
    pub check: fn(&[u8], &mut Marks) -> Result<(), String>,
}

/// All targets by name, sorted.
pub const ALL: [&Target; 13] = [
    &targets::address::TARGET,
    &targets::engine::TARGET,
    &targets::events::TARGET,
    &targets::expression::TARGET,
    &targets::names::TARGET,
    &targets::quantities::TARGET,
    &targets::request::TARGET,
    &targets::spec::JSON,
    &targets::spec::TOML,
    &targets::spec::YAML,
    &targets::table::TARGET,
    &targets::template::TARGET,
    &targets::wire::TARGET,
];

/// The target of that name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    ALL.into_iter().find(|target| target.name == name)
}

/// What a target has shown so far.
#[derive(Debug, Default)]
pub struct Marks {
    known: HashSet<u64>,
    fresh: bool,
}

impl Marks {
    /// The target saw this.
    pub fn mark(&mut self, what: impl Hash) {
        if self.known.len() < MARKS_MAX {
            let mut hasher = DefaultHasher::new();
            what.hash(&mut hasher);
            self.fresh |= self.known.insert(hasher.finish());
        }
    }

    /// The target said this; what is in quotes, and every number, is the input's and left out.
    pub fn mark_words(&mut self, text: &str) {
        let outside = text.split(['"', '`', '\'']).step_by(2);
        for part in outside {
            let plain: String = part.chars().filter(|c| !c.is_ascii_digit()).take(80).collect();
            self.mark(plain);
        }
    }

    /// Whether anything was new since this was last asked.
    pub fn take_fresh(&mut self) -> bool {
        std::mem::take(&mut self.fresh)
    }

    /// How many different things were seen.
    #[must_use]
    pub fn count(&self) -> usize {
        self.known.len()
    }
}
