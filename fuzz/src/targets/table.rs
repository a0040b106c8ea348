//! The proxy's tables in JSON: what has no problem can be served, and survives the disk.

use rollway::proxy::table::{ServiceTable, listen_address};

use super::{equal, survives_json};
use crate::{Marks, Target};

/// The target.
pub static TARGET: Target = Target {
    name: "table",
    about: "the proxy's tables: read or refused, weights of 100 or none, survives the disk",
    words: &[
        "\"service\":",
        "\"generation\":",
        "\"revision\":",
        "\"listen\":",
        "\"arms\":",
        "\"release\":",
        "\"weight\":",
        "\"members\":",
        "\"instance\":",
        "\"address\":",
        "\"newest\":",
        "\"testers\":",
        "\"preview\":",
        "\"sticky\":",
        "\"mode\":",
        "\"rules\":",
        "\"host\":",
        "\"path\":",
        "\"health\":",
        "\"tls\":",
        "\"127.0.0.1:9001\"",
        "\"[::1]:1\"",
        "\"pause\"",
        "\"maintenance\"",
        "\"*.example.org\"",
        "\"/api\"",
        "null",
        "[]",
        "{}",
        "..",
        "%2e",
        "4294967295",
    ],
    bytes_max: 8 << 10,
    check,
};

fn check(input: &[u8], marks: &mut Marks) -> Result<(), String> {
    let table: ServiceTable = match serde_json::from_slice(input) {
        Ok(table) => table,
        Err(error) => {
            marks.mark_words(&error.to_string());
            return Ok(());
        }
    };
    survives_json(&table)?;
    let problems = table.problems();
    for problem in &problems {
        marks.mark(&problem.path);
        marks.mark_words(&problem.what);
    }
    equal("what is wrong with a table", &problems, &table.problems())?;
    if !problems.is_empty() {
        return Ok(());
    }
    marks.mark(("served", table.arms.len(), table.rules.len(), table.mode as u8));
    let weight: u64 = table.arms.iter().map(|arm| u64::from(arm.weight)).sum();
    if weight != 0 && weight != 100 {
        return Err(format!("weights that sum to `{weight}`"));
    }
    let is_bad = |text: &String| listen_address(text).is_err();
    if table.listen.is_empty() || table.listen.iter().any(is_bad) {
        return Err("a table without a right address".to_owned());
    }
    let without = |arm: &rollway::proxy::table::Arm| arm.weight > 0 && arm.members.is_empty();
    match table.arms.iter().any(without) {
        true => Err("a share of the traffic that nobody serves".to_owned()),
        false => Ok(()),
    }
}
