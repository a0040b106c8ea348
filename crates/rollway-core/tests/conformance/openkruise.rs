//! OpenKruise's partition of a Deployment.

use rollway_core::arithmetic::partition::{limit, new_count, old_to_go};
use rollway_core::units::{Amount, Rounding};
use serde_json::Value;

use super::{Answer, Told, amount, cases, list, number, read};

#[test]
fn openkruise() {
    let Some(folder) = cases() else { return };
    let file = read(&folder, "openkruise_partition_cases.json");
    let mut told = Told::of("openkruise");
    told.group(&file, "new_rs_replicas_with_partition", with_partition);
    told.group(&file, "scale_down_limit_for_old", to_go);
    told.end(&file, &[("partition_limit_rule", "the rule in words; its bounds are tested below")]);
}

/// The rule in words of that file: a percentage below all leaves one of the old.
#[test]
fn a_percentage_below_all_leaves_an_old_one() {
    let of = |text: &str, instances| limit(Amount::parse(text).expect("an amount"), instances);
    assert_eq!([of("99%", 10), of("100%", 10), of("99%", 1), of("1%", 10)], [9, 10, 1, 1]);
    assert_eq!([of("20", 10), of("3", 10), of("0%", 10)], [10, 3, 0]);
}

fn with_partition(case: &Value) -> Answer {
    let (instances, partition) = (number(&case["replicas"]), amount(&case["partition"])?);
    let surge = amount(&case["max_surge"])?.of(instances, Rounding::Up);
    let (new, old) = (number(&case["new_rs"]), number(&case["old_total"]));
    Ok(new_count(instances, partition, surge, new, old).into())
}

fn to_go(case: &Value) -> Answer {
    let (instances, partition) = (number(&case["replicas"]), amount(&case["partition"])?);
    let old = list(case, "old").iter().map(number).sum();
    Ok(old_to_go(instances, partition, number(&case["new"]), old).into())
}
