//! The arithmetic held against cases of Kubernetes and Argo Rollouts: their inputs, their answers.
//!
//! The cases are no part of this repository. `ROLLWAY_CASES` names their folder; without it they
//! are looked for in `../shared/cases`, and where there are none this says so and passes.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rollway_core::arithmetic::{canary_instances, fenceposts};
use rollway_core::units::{Amount, Rounding};
use serde_json::Value;

/// Cases that we answer otherwise, on purpose. A line that no longer differs is an error.
const DIFFERENT: [(&str, &str, &str); 2] = [
    ("kubernetes int_or_percent_scale", r#"{"value":"90","total":0,"round_up":false}"#, QUOTED),
    ("kubernetes int_or_percent_parse", r#""200""#, QUOTED),
];

const QUOTED: &str = "a whole number in quotes is a count: users of YAML quote what they like, \
    and it cannot be taken for a percentage without its sign";
#[test]
fn the_arithmetic_is_that_of_the_field() {
    let Some(folder) = cases() else { return };
    let kubernetes = read(&folder, "kubernetes_deployment_cases.json");
    let mut told = Told::of("kubernetes");
    told.group(&kubernetes, "resolve_fenceposts", posts);
    told.group(&kubernetes, "int_or_percent_scale", scaled);
    told.group(&kubernetes, "int_or_percent_parse", parsed);
    told.group(&kubernetes, "max_unavailable", unavailable_at_most);
    told.group(&kubernetes, "min_available", available_at_least);
    told.end();

    let argo = read(&folder, "argo_rollouts_replica_cases.json");
    let mut told = Told::of("argo_rollouts");
    told.group(&argo, "resolve_fenceposts", posts);
    told.group(&argo, "max_surge", surge_at_most);
    told.group(&argo, "max_unavailable", unavailable_at_most);
    told.group(&argo, "traffic_weight_to_replicas", canary);
    told.end();

    let oracle = read(&folder, "argo_rollouts_oracle_states.json");
    let mut told = Told::of("argo_rollouts_oracle");
    told.rows(&oracle, "resolve_fenceposts", posts_of_row);
    told.end();
}

/// What one case comes to here: the answer, an error, or nothing where we have no such thing.
type Answer = Option<Result<Value, String>>;

/// The account of one file.
struct Told {
    file: &'static str,
    held: usize,
    differ: usize,
    not_ours: usize,
    wrong: Vec<String>,
}

impl Told {
    fn of(file: &'static str) -> Self {
        Self { file, held: 0, differ: 0, not_ours: 0, wrong: Vec::new() }
    }

    /// Cases as objects: `in`, `out` and perhaps `error`.
    fn group(&mut self, file: &Value, name: &str, ours: fn(&Value) -> Answer) {
        for case in list(file, name) {
            let expected = (case["error"] != true).then(|| case["out"].clone());
            self.compare(name, case, expected.as_ref(), ours(&case["in"]));
        }
    }

    /// Cases as rows: the inputs, and then the two answers.
    fn rows(&mut self, file: &Value, name: &str, ours: fn(&Value) -> Answer) {
        for row in list(file, name) {
            let expected = serde_json::json!({"surge": row[3], "unavailable": row[4]});
            self.compare(name, row, Some(&expected), ours(row));
        }
    }

    fn compare(&mut self, name: &str, case: &Value, expected: Option<&Value>, ours: Answer) {
        let Some(ours) = ours else {
            self.not_ours += 1;
            return;
        };
        let is_same = match (&ours, expected) {
            (Ok(ours), Some(expected)) => ours == expected,
            (Err(_), None) => true,
            (Ok(_), None) | (Err(_), Some(_)) => false,
        };
        let group = format!("{} {name}", self.file);
        let is_different = DIFFERENT.iter().any(|(known, sign, _)| {
            *known == group && case["in"] == serde_json::from_str::<Value>(sign).expect("JSON")
        });
        match (is_same, is_different) {
            (true, false) => self.held += 1,
            (false, true) => self.differ += 1,
            (true, true) => self.wrong.push(format!("{group}: no longer different: {case}")),
            (false, false) => self.wrong.push(format!("{group}: ours is {ours:?} in {case}")),
        }
    }

    fn end(self) {
        say(&format!(
            "conformance: {}: {} held, {} different on purpose, {} of what we have not",
            self.file, self.held, self.differ, self.not_ours
        ));
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        assert!(self.held > 0, "{}: no case was found", self.file);
    }
}

fn posts(case: &Value) -> Answer {
    posts_by(&case["max_surge"], &case["max_unavailable"], &case["desired"])
}

fn posts_of_row(row: &Value) -> Answer {
    posts_by(&row[0], &row[1], &row[2])
}

fn posts_by(surge: &Value, unavailable: &Value, instances: &Value) -> Answer {
    let posts = amount(surge).and_then(|surge| {
        let (surge, unavailable) = fenceposts(surge, amount(unavailable)?, number(instances));
        Ok(serde_json::json!({"surge": surge, "unavailable": unavailable}))
    });
    Some(posts)
}

fn scaled(case: &Value) -> Answer {
    let rounding = if case["round_up"] == true { Rounding::Up } else { Rounding::Down };
    Some(amount(&case["value"]).map(|amount| amount.of(number(&case["total"]), rounding).into()))
}

fn parsed(case: &Value) -> Answer {
    let value = amount(case).map(|amount| match amount {
        Amount::Count(count) => serde_json::json!({"value": count, "percent": false}),
        Amount::Percent(percent) => serde_json::json!({"value": percent, "percent": true}),
    });
    Some(value)
}

fn surge_at_most(case: &Value) -> Answer {
    rolls(case).then(|| amount(&case["max_surge"]).map(|surge| of_all(surge, case, Rounding::Up)))
}

/// Never more than there are: the planner subtracts and stops at nothing.
fn available_at_least(case: &Value) -> Answer {
    let instances = number(&case["replicas"]);
    let least = fences(case).map(|(_, unavailable)| instances.saturating_sub(unavailable).into());
    rolls(case).then_some(least)
}

fn unavailable_at_most(case: &Value) -> Answer {
    let instances = number(&case["replicas"]);
    let most = fences(case).map(|(_, unavailable)| unavailable.min(instances).into());
    rolls(case).then_some(most)
}

fn canary(case: &Value) -> Answer {
    // A weight here is of a hundred, always.
    let weight = number(&case["weight"]);
    (case["max_weight"] == 100)
        .then(|| Ok(canary_instances(number(&case["replicas"]), weight).into()))
}

/// Blue-green and recreate have no pace of this kind: their plans name how many of each there are.
fn rolls(case: &Value) -> bool {
    case["strategy"] != "blue_green" && case["strategy"] != "Recreate"
}

fn fences(case: &Value) -> Result<(u32, u32), String> {
    let surge = amount(&case["max_surge"])?;
    Ok(fenceposts(surge, amount(&case["max_unavailable"])?, number(&case["replicas"])))
}

fn of_all(amount: Amount, case: &Value, rounding: Rounding) -> Value {
    amount.of(number(&case["replicas"]), rounding).into()
}

/// As the spec has it; left out is nothing.
fn amount(value: &Value) -> Result<Amount, String> {
    if value.is_null() {
        return Ok(Amount::Count(0));
    }
    serde_json::from_value(value.clone()).map_err(|error| error.to_string())
}

fn number(value: &Value) -> u32 {
    let number = value.as_u64().unwrap_or_default();
    u32::try_from(number).expect("a number that fits")
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
