//! The house rules, checked over every file: sizes, habits, and who may know whom.
//!
//! Run it alone with `cargo test -p rollway --test tidy`. What it finds it names with file and
//! line, and with how to mend it. The limits are only ever made tighter.

mod edges;
mod planted;
mod rules;
mod source;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use source::Source;

/// Folders that are made, not written.
const MADE: [&str; 3] = [".git", "dist", "target"];
/// What is read for paths of one machine; other files are not text, or not ours.
const TEXTS: [&str; 9] = ["json", "lock", "md", "rs", "sh", "toml", "txt", "yaml", "yml"];
/// The same, for files that have no ending.
const TEXT_NAMES: [&str; 4] = [".editorconfig", ".gitignore", "Makefile", "run"];

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// `file:line`.
    place: String,
    /// What is there.
    what: String,
    /// What to do about it.
    mend: String,
}

impl Wrong {
    fn new(source: &Source, line: usize, what: &str, mend: &str) -> Self {
        let place = format!("{}:{line}", source.path);
        Self { place, what: what.to_owned(), mend: mend.to_owned() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n    mend: {}", self.place, self.what, self.mend)
    }
}

#[test]
fn the_house_is_tidy() {
    let root = root();
    let mut wrong = Vec::new();
    let mut sources = Vec::new();
    let mut manifests = Vec::new();
    for path in files(&root) {
        let name = path.strip_prefix(&root).expect("below the root").display().to_string();
        let content = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("could not read {name}: {error}"));
        wrong.extend(rules::machine_paths(&name, &content));
        if name.ends_with(".rs") {
            sources.push(Source::new(&name, &content));
        } else if name.ends_with("/Cargo.toml") {
            manifests.push((name, content));
        } else if name == "Cargo.lock" {
            wrong.extend(rules::lock(&content));
        }
    }
    for source in &sources {
        wrong.extend(rules::check(source));
        wrong.extend(edges::check(source));
    }
    for (name, content) in &manifests {
        wrong.extend(rules::unused(name, content, &sources));
    }
    let list: Vec<String> = wrong.iter().map(Wrong::to_string).collect();
    assert!(list.is_empty(), "{} untidy places:\n\n{}\n", list.len(), list.join("\n"));
}

/// The root of the workspace.
fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).expect("the crate is two folders below the root").to_path_buf()
}

/// Every text that people wrote, sorted.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let ending = path.extension().unwrap_or_default().to_string_lossy().into_owned();
            let is_text = TEXTS.contains(&ending.as_str()) || TEXT_NAMES.contains(&name.as_str());
            // A link may lead out of the workspace, so it is not followed.
            if path.is_symlink() || MADE.contains(&name.as_str()) {
                continue;
            } else if path.is_dir() {
                folders.push(path);
            } else if is_text {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
