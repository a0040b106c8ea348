//! Reads a file of cases, and keeps the account of how many hold.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The account of one file.
pub struct Told {
    name: String,
    rel_tol: f64,
    cases: Vec<Value>,
    held: usize,
    numbers: usize,
    differ: usize,
    wrong: Vec<String>,
}

impl Told {
    /// The cases of `name`, or nothing where there are none here.
    pub fn of(name: &str) -> Option<Self> {
        let path = folder()?.join(format!("{name}.json"));
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("could not read {}: {error}", path.display()));
        let file: Value = serde_json::from_str(&text).expect("JSON");
        let cases = file["cases"].as_array().expect("the cases are a list").clone();
        // A file without a tolerance is one of a grid: its values are exact, but for rounding.
        let rel_tol = file["rel_tol"].as_f64().unwrap_or(1e-12);
        let name = name.to_owned();
        Some(Self { name, rel_tol, cases, held: 0, numbers: 0, differ: 0, wrong: Vec::new() })
    }

    /// Compares every case by `check`, and says how many held; all of them must.
    pub fn all(mut self, check: impl Fn(&Value, &mut Case)) {
        for case in std::mem::take(&mut self.cases) {
            let mut compared = Case { rel_tol: self.rel_tol, ..Case::default() };
            check(&case, &mut compared);
            self.numbers += compared.numbers;
            self.differ += compared.differ;
            if compared.wrong.is_empty() && compared.numbers > 0 {
                self.held += 1;
            } else {
                let text: String = case.to_string().chars().take(300).collect();
                self.wrong.push(format!("{}\n    in {text}", compared.wrong.join("\n")));
            }
        }
        let Self { name, held, numbers, differ, wrong, .. } = self;
        say(&format!(
            "conformance: {name}: {held} held ({numbers} numbers), {differ} different on purpose"
        ));
        assert!(wrong.is_empty(), "{name}: {} wrong\n{}", wrong.len(), wrong.join("\n"));
        assert!(held > 0, "{name}: no case was found");
    }
}

/// What came of one case.
#[derive(Default)]
pub struct Case {
    rel_tol: f64,
    numbers: usize,
    differ: usize,
    wrong: Vec<String>,
}

impl Case {
    /// Ours is that of the reference, within the file's tolerance. Near 0 the tolerance is
    /// `absolute`: what is left of a difference of large numbers has no more digits than that.
    pub fn near(&mut self, what: &str, ours: f64, known: &Value, absolute: f64) {
        let known = number(known);
        self.numbers += 1;
        let is_near = (ours - known).abs() <= (self.rel_tol * known.abs()).max(absolute);
        if !(is_near || ours.to_bits() == known.to_bits() || ours.is_nan() && known.is_nan()) {
            self.wrong.push(format!("{what}: ours is {ours:e}, the reference is {known:e}"));
        }
    }

    /// The same for lists.
    pub fn list(&mut self, what: &str, ours: &[f64], known: &Value, absolute: f64) {
        let known = known.as_array().expect("a list");
        self.same(what, &ours.len(), &known.len());
        for (ours, known) in ours.iter().zip(known) {
            self.near(what, *ours, known, absolute);
        }
    }

    /// Ours is the reference's.
    pub fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, ours: &T, known: &T) {
        self.numbers += 1;
        if ours != known {
            self.wrong.push(format!("{what}: ours is {ours:?}, the reference is {known:?}"));
        }
    }

    /// Ours differs on purpose, and still must be what the reason says.
    pub fn different(&mut self, reason: &str, is_as_told: bool) {
        self.numbers += 1;
        self.differ += 1;
        if !is_as_told {
            self.wrong.push(format!("not even as told: {reason}"));
        }
    }
}

/// A number; what JSON has none for is a word.
pub fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some("inf") => f64::INFINITY,
        Some("-inf") => f64::NEG_INFINITY,
        Some("nan") => f64::NAN,
        Some(other) => panic!("{other:?} is no number"),
        None => value.as_f64().unwrap_or_else(|| panic!("{value} is no number")),
    }
}

/// A list of numbers.
pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(number).collect()
}

/// A count.
pub fn whole(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
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
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
