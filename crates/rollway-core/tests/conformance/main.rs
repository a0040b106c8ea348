//! The arithmetic held against cases of Kubernetes, Argo Rollouts and OpenKruise: their inputs,
//! their answers.
//!
//! The cases are no part of this repository. `ROLLWAY_CASES` names their folder; without it they
//! are looked for in `../shared/cases`, and where there are none this says so and passes.

mod argo;
mod argo_oracle;
mod kubernetes;
mod openkruise;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rollway_core::arithmetic::Count;
use rollway_core::arithmetic::fences::fenceposts;
use rollway_core::units::Amount;
use serde_json::{Value, json};

/// Groups of which we answer some cases otherwise, on purpose: the input that differs, and why. A
/// line that no longer differs is an error.
const DIFFERENT: [Difference; 2] = [
    Difference {
        group: "kubernetes int_or_percent_scale",
        differs: |case| is_quoted_number(&case["value"]),
        why: QUOTED,
    },
    Difference { group: "kubernetes int_or_percent_parse", differs: is_quoted_number, why: QUOTED },
];

const QUOTED: &str = "a whole number in quotes is a count: users of YAML quote what they like, \
    and it cannot be taken for a percentage without its sign";

struct Difference {
    group: &'static str,
    differs: fn(&Value) -> bool,
    why: &'static str,
}

fn is_quoted_number(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.parse::<u32>().is_ok())
}

/// What one case comes to here: the answer, or the error.
type Answer = Result<Value, String>;

/// The account of one file.
struct Told {
    file: &'static str,
    held: usize,
    differ: Vec<&'static str>,
    wrong: Vec<String>,
    groups: Vec<String>,
}

impl Told {
    fn of(file: &'static str) -> Self {
        let (differ, wrong) = (Vec::new(), Vec::new());
        Self { file, held: 0, differ, wrong, groups: vec!["source".to_owned()] }
    }

    /// Cases as objects: `in`, `out` and perhaps `error`.
    fn group(&mut self, file: &Value, name: &str, ours: fn(&Value) -> Answer) {
        self.cases(file, name, |case| ours(&case["in"]));
    }

    /// The same for an answer that needs more of the case than its input.
    fn cases(&mut self, file: &Value, name: &str, ours: impl Fn(&Value) -> Answer) {
        for case in list(file, name) {
            let expected = (case["error"] != true).then(|| case["out"].clone());
            self.compare(name, &case["in"], expected, ours(case));
        }
        self.groups.push(name.to_owned());
    }

    fn compare(&mut self, name: &str, input: &Value, expected: Option<Value>, ours: Answer) {
        let is_same = match (&ours, &expected) {
            (Ok(ours), Some(expected)) => ours == expected,
            (Err(_), None) => true,
            (Ok(_), None) | (Err(_), Some(_)) => false,
        };
        let group = format!("{} {name}", self.file);
        let different = DIFFERENT.iter().find(|it| it.group == group && (it.differs)(input));
        match (is_same, different) {
            (true, None) => self.held += 1,
            (false, Some(difference)) => self.differ.push(difference.why),
            (true, Some(_)) => self.wrong.push(format!("{group}: no longer different: {input}")),
            (false, None) => {
                let line = format!("{group}: {ours:?}, not {expected:?}, of {input}");
                self.wrong.push(line);
            }
        }
    }

    /// Every group of the file has been asked, or is named with a reason.
    fn end(mut self, file: &Value, not_applicable: &[(&str, &str)]) {
        for (group, why) in not_applicable {
            say(&format!("conformance: {} {group}: not applicable: {why}", self.file));
            self.groups.push((*group).to_owned());
        }
        let named = |key: &&String| self.groups.iter().any(|group| group == *key);
        let keys = file.as_object().expect("a file of groups").keys();
        let left: Vec<_> = keys.filter(|key| !named(key)).collect();
        say(&format!(
            "conformance: {}: {} held, {} different on purpose, {} wrong",
            self.file,
            self.held,
            self.differ.len(),
            self.wrong.len()
        ));
        self.differ.dedup();
        for why in &self.differ {
            say(&format!("conformance: {}: different: {why}", self.file));
        }
        assert!(left.is_empty(), "{}: groups that nobody asked: {left:?}", self.file);
        let shown = &self.wrong[..self.wrong.len().min(20)];
        assert!(shown.is_empty(), "{} wrong:\n{}", self.wrong.len(), shown.join("\n"));
        assert!(self.held > 0, "{}: no case was found", self.file);
    }
}

fn posts(case: &Value) -> Answer {
    let (surge, unavailable) = posts_by(case, number(&case["desired"]))?;
    Ok(json!({"surge": surge, "unavailable": unavailable}))
}

fn posts_by(case: &Value, instances: u32) -> Result<(u32, u32), String> {
    let surge = amount(&case["max_surge"])?;
    Ok(fenceposts(surge, amount(&case["max_unavailable"])?, instances))
}

/// A release's counts; absent where there is none.
fn count(value: &Value) -> Option<Count> {
    let (spec, available) = (number(&value["spec"]), number(&value["available"]));
    (!value.is_null()).then_some(Count { spec, available })
}

/// As the spec has it; left out is nothing.
fn amount(value: &Value) -> Result<Amount, String> {
    if value.is_null() {
        return Ok(Amount::Count(0));
    }
    serde_json::from_value(value.clone()).map_err(|error| error.to_string())
}

fn number(value: &Value) -> u32 {
    assert!(value.is_null() || value.is_u64(), "a count, not {value}");
    u32::try_from(value.as_u64().unwrap_or_default()).expect("a number that fits")
}

fn list<'a>(file: &'a Value, name: &str) -> &'a [Value] {
    file[name].as_array().unwrap_or_else(|| panic!("the cases have no `{name}`"))
}

fn read(folder: &Path, name: &str) -> Value {
    let path = folder.join(name);
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("could not read {}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn cases() -> Option<PathBuf> {
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
