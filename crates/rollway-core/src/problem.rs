//! What is wrong with what the user gave us: where, what was expected, how to mend it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A place in a text that the user wrote; lines and columns count from 1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
    /// The offset of the first byte.
    pub offset: usize,
    /// How many bytes are meant.
    pub length: usize,
}

/// One thing that is wrong with what the user gave us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Which part is meant: `update.max_surge`, `--version`, a file's path.
    pub path: String,
    /// What is wrong and what was expected, lower case, no full stop.
    pub what: String,
    /// How to mend it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

impl Problem {
    /// A problem without a place in a file.
    #[must_use]
    pub fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self { path: path.into(), what: what.into(), hint: None, place: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a place.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return f.write_str(&self.what);
        }
        write!(f, "{}: {}", self.path, self.what)
    }
}

impl std::error::Error for Problem {}

/// `unknown strategy "canry"; known: canary, blue_green, ...` with the nearest name first.
#[must_use]
pub fn unknown(kind: &str, given: &str, known: &[&str]) -> String {
    format!("unknown {kind} {given:?}; known: {}", nearest_first(given, known).join(", "))
}

/// The known names, those most like `given` first, then alphabetically.
#[must_use]
pub fn nearest_first<'a>(given: &str, known: &[&'a str]) -> Vec<&'a str> {
    let mut names = known.to_vec();
    names.sort_unstable();
    if let Some(best) = nearest(given, &names) {
        names.retain(|name| *name != best);
        names.insert(0, best);
    }
    names
}

/// The known name that `given` was probably meant to be, if any is near enough.
#[must_use]
pub fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let given = given.to_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&given, &name.to_lowercase());
    let best = known.iter().copied().min_by_key(|name| distance(name))?;
    // A third of the letters wrong, or two in a short name, is still a slip of the keyboard.
    let most = (best.len() / 3).max(2);
    (distance(best) <= most).then_some(best)
}
