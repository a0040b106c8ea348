//! Reading the cases, and the account of what held.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// What one case comes to.
pub enum Held {
    /// As expected.
    Same,
    /// As it has to be, and of a kind that is counted apart: which.
    Otherwise(&'static str),
    /// Of something that we have not: why.
    NotOurs(&'static str),
}

/// What was wrong is an error; it is told with the case's place.
pub type Answer = Result<Held, String>;

/// The account of one file.
pub struct Told {
    file: &'static str,
    cases: Value,
    wrong: Vec<String>,
    held: usize,
}

impl Told {
    /// None where there are no cases.
    pub fn of(file: &'static str) -> Option<Self> {
        let path = folder()?.join(file);
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("could not read {}: {error}", path.display()));
        let cases = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Some(Self { file, cases, wrong: Vec::new(), held: 0 })
    }

    /// All cases of one group.
    pub fn group(&mut self, name: &str, check: impl Fn(&Value) -> Answer) {
        let cases = self.cases[name].as_array();
        let cases = cases.unwrap_or_else(|| panic!("{} has no `{name}`", self.file));
        self.wrong.extend(Self::all(self.file, name, cases, &mut self.held, check));
    }

    /// A group that is one case.
    pub fn single(&mut self, name: &str, check: impl Fn(&Value) -> Answer) {
        let cases = [self.cases[name].clone()];
        self.wrong.extend(Self::all(self.file, name, &cases, &mut self.held, check));
    }

    fn all(
        file: &str,
        name: &str,
        cases: &[Value],
        held: &mut usize,
        check: impl Fn(&Value) -> Answer,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut others: Vec<(&str, usize)> = Vec::new();
        let mut same = 0;
        for (at, case) in cases.iter().enumerate() {
            let why = match check(case) {
                Ok(Held::Same) => {
                    same += 1;
                    continue;
                }
                Ok(Held::Otherwise(why) | Held::NotOurs(why)) => why,
                Err(what) => {
                    wrong.push(format!("{file}: {name}[{at}]: {what}"));
                    continue;
                }
            };
            match others.iter_mut().find(|(known, _)| *known == why) {
                Some((_, count)) => *count += 1,
                None => others.push((why, 1)),
            }
        }
        let others: String = others.iter().map(|(why, n)| format!(", {n} {why}")).collect();
        say(&format!("conformance: {file} {name}: {same} held{others}, {} wrong", wrong.len()));
        *held += same;
        wrong
    }

    pub fn end(self) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        assert!(self.held > 0, "{}: no case was found", self.file);
    }
}

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("ROLLWAY_CASES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/cases"),
        PathBuf::from,
    );
    let is_there = folder.is_dir();
    if !is_there {
        say("conformance: skipped, no cases are here; ROLLWAY_CASES names their folder");
    }
    is_there.then_some(folder)
}

/// Past the test runner, which shows a passing test's own output to nobody.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

pub fn same<T: PartialEq + std::fmt::Debug>(ours: &T, theirs: &T) -> Answer {
    if ours == theirs { Ok(Held::Same) } else { Err(format!("ours {ours:?}, theirs {theirs:?}")) }
}

/// A number, also one that JSON has no sign for.
pub fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some(text) => text.parse().unwrap_or_else(|_| panic!("{text:?} is no number")),
        None => value.as_f64().unwrap_or_else(|| panic!("{value} is no number")),
    }
}

pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().map(|all| all.iter().map(number).collect()).unwrap_or_default()
}

/// Equal within a tolerance; NaN is NaN.
pub fn near(what: &str, ours: f64, theirs: f64, tolerance: f64) -> Result<(), String> {
    let is_near = ours == theirs || (ours.is_nan() && theirs.is_nan());
    if is_near || (ours - theirs).abs() <= tolerance {
        return Ok(());
    }
    Err(format!("{what}: ours {ours}, theirs {theirs}, more than {tolerance} apart"))
}
