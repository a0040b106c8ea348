//! Kubernetes' Deployment controller.

use std::collections::BTreeMap;

use rollway_core::arithmetic::history::{Past, to_forget};
use rollway_core::arithmetic::progress::{Status, gets_on, is_complete, is_late};
use rollway_core::arithmetic::scaling::{Share, fraction, proportional};
use rollway_core::arithmetic::{Count, fences, rolling};
use rollway_core::units::{Amount, Rounding};
use serde_json::{Value, json};

use super::{Answer, Told, amount, cases, list, number, posts, posts_by, read};

/// The longest deadline there is to Kubernetes: none.
const NO_DEADLINE: u64 = i32::MAX as u64;

#[test]
fn kubernetes() {
    let Some(folder) = cases() else { return };
    let file = read(&folder, "kubernetes_deployment_cases.json");
    let mut told = Told::of("kubernetes");
    told.group(&file, "resolve_fenceposts", posts);
    told.group(&file, "int_or_percent_scale", scaled);
    told.group(&file, "int_or_percent_parse", parsed);
    told.group(&file, "max_unavailable", unavailable_max);
    told.group(&file, "min_available", available_min);
    told.group(&file, "new_rs_replicas", new_count);
    told.group(&file, "reconcile_new_rs", reconcile_new);
    told.cases(&file, "reconcile_old_rs", reconcile_old);
    told.group(&file, "cleanup_unhealthy", remove_unhealthy);
    told.group(&file, "scale_down_old_rolling", shrink);
    told.group(&file, "replica_set_fraction", fraction_of);
    told.group(&file, "proportional_scale", scale);
    told.group(&file, "deployment_complete", complete);
    told.group(&file, "deployment_progressing", progressing);
    told.group(&file, "deployment_timed_out", timed_out);
    told.group(&file, "history_cleanup_count", forgotten);
    told.group(&file, "history_cleanup_order", forgotten_names);
    told.end(&file, &[]);
}

fn scaled(case: &Value) -> Answer {
    let rounding = if case["round_up"] == true { Rounding::Up } else { Rounding::Down };
    Ok(amount(&case["value"])?.of(number(&case["total"]), rounding).into())
}

fn parsed(case: &Value) -> Answer {
    Ok(match amount(case)? {
        Amount::Count(count) => json!({"value": count, "percent": false}),
        Amount::Percent(percent) => json!({"value": percent, "percent": true}),
    })
}

/// To Kubernetes a recreation has no fence posts, and so none that may be missing.
fn unavailable_max(case: &Value) -> Answer {
    let (surge, unavailable) = (amount(&case["max_surge"])?, amount(&case["max_unavailable"])?);
    let rolls = case["strategy"] != "Recreate";
    let most = fences::unavailable_max(surge, unavailable, number(&case["replicas"]));
    Ok(if rolls { most.into() } else { 0.into() })
}

fn available_min(case: &Value) -> Answer {
    let (surge, unavailable) = (amount(&case["max_surge"])?, amount(&case["max_unavailable"])?);
    let rolls = case["strategy"] != "Recreate";
    let least = fences::available_min(surge, unavailable, number(&case["replicas"]));
    Ok(if rolls { least.into() } else { 0.into() })
}

fn new_count(case: &Value) -> Answer {
    let instances = number(&case["replicas"]);
    if case["strategy"] == "Recreate" {
        // All at once: the same rule without a bound on the total.
        return Ok(rolling::reconcile_new(instances, 0, number(&case["new_rs"]), 0).into());
    }
    let surge = amount(&case["max_surge"])?.of(instances, Rounding::Up);
    let (new, total) = (number(&case["new_rs"]), number(&case["all_rs_total"]));
    Ok(rolling::new_count(instances, surge, new, total).into())
}

/// Nothing where nothing changes.
fn changed(before: u32, after: u32) -> Value {
    if before == after { Value::Null } else { after.into() }
}

fn reconcile_new(case: &Value) -> Answer {
    let instances = number(&case["replicas"]);
    let surge = amount(&case["max_surge"])?.of(instances, Rounding::Up);
    let (new, old) = (number(&case["new"]), number(&case["old"]));
    Ok(changed(new, rolling::reconcile_new(instances, surge, new, new + old)))
}

fn reconcile_old(case: &Value) -> Answer {
    let case = &case["in"];
    let instances = number(&case["replicas"]);
    let (_, unavailable) = posts_by(case, instances)?;
    let new = Count { spec: number(&case["new"]), available: number(&case["ready_new"]) };
    let old = Count { spec: number(&case["old"]), available: number(&case["ready_old"]) };
    let after = rolling::reconcile_old(instances, unavailable, new, &[old])[0];
    Ok(json!({"scaled": after != old.spec, "old_after": changed(old.spec, after)}))
}

fn remove_unhealthy(case: &Value) -> Answer {
    let old = Count { spec: number(&case["old"]), available: number(&case["ready"]) };
    let after = rolling::remove_unhealthy(&[old], number(&case["max_cleanup"]));
    Ok((old.spec - after[0]).into())
}

fn shrink(case: &Value) -> Answer {
    let (surge, unavailable) = (amount(&case["max_surge"])?, amount(&case["max_unavailable"])?);
    let least = fences::available_min(surge, unavailable, number(&case["replicas"]));
    let old = number(&case["old"]);
    let spare = number(&case["ready"]).saturating_sub(least);
    Ok(changed(old, rolling::shrink(&[old], spare)[0]))
}

fn fraction_of(case: &Value) -> Answer {
    let instances = number(&case["replicas"]);
    let most_then = &case["max_replicas_annotation"];
    let share = Share {
        size: number(&case["rs_replicas"]),
        available: 0,
        age: 0,
        is_new: false,
        wanted_then: 0,
        most_then: (!most_then.is_null()).then(|| number(most_then)),
    };
    let surge = amount(&case["max_surge"])?.of(instances, Rounding::Up);
    Ok(fraction(instances, surge, number(&case["status_replicas"]), &share).into())
}

fn scale(case: &Value) -> Answer {
    let (instances, before) = (number(&case["replicas"]), number(&case["previous_replicas"]));
    let surge_then = amount(&case["previous_max_surge"])?.of(before, Rounding::Up);
    let surge = amount(&case["max_surge"])?.of(instances, Rounding::Up);
    let sets = list(case, "replica_sets");
    let share = |set: &Value| {
        let own = &case["desired_annotation_override"][set["name"].as_str().expect("a name")];
        let wanted_then = if own.is_null() { before } else { number(own) };
        Share {
            size: number(&set["size"]),
            available: number(&set["available"]),
            age: number(&set["age"]),
            is_new: set["is_new"] == true,
            wanted_then,
            most_then: Some(wanted_then + surge_then),
        }
    };
    let shares: Vec<_> = sets.iter().map(share).collect();
    let running = shares.iter().map(|share| share.size).sum();
    let sizes = proportional(instances, surge, running, &shares);
    let names = sets.iter().map(|set| set["name"].as_str().expect("a name"));
    Ok(json!(names.zip(sizes).collect::<BTreeMap<_, _>>()))
}

fn status(value: &Value) -> Status {
    Status {
        total: number(&value["current"]),
        updated: number(&value["updated"]),
        ready: number(&value["ready"]),
        available: number(&value["available"]),
    }
}

fn complete(case: &Value) -> Answer {
    Ok(is_complete(number(&case["desired"]), status(case)).into())
}

fn progressing(case: &Value) -> Answer {
    Ok(gets_on(status(&case["old"]), status(&case["new"])).into())
}

fn timed_out(case: &Value) -> Answer {
    let seconds = |name: &str| case[name].as_u64();
    let deadline = seconds("progress_deadline_seconds").filter(|time| *time != NO_DEADLINE);
    // A change that is complete is not under way any more.
    let deadline = deadline.filter(|_| case["progressing_reason"] != "NewReplicaSetAvailable");
    let (last, now) = (seconds("last_update_s"), seconds("now_s"));
    Ok(is_late(last.unwrap_or(0), deadline, now.unwrap_or(0)).into())
}

fn to_forget_of(case: &Value) -> Vec<usize> {
    let past = |set: &Value| Past {
        revision: set["revision"].as_u64(),
        created: set["created"].as_i64().unwrap_or(0),
        has_instances: ["spec", "status", "replicas"].iter().any(|name| number(&set[name]) > 0),
        is_leaving: set["already_deleting"] == true,
    };
    let past: Vec<_> = list(case, "old").iter().map(past).collect();
    to_forget(&past, number(&case["revision_history_limit"]) as usize)
}

fn forgotten(case: &Value) -> Answer {
    Ok(to_forget_of(case).len().into())
}

fn forgotten_names(case: &Value) -> Answer {
    let old = list(case, "old");
    Ok(to_forget_of(case).into_iter().map(|place| old[place]["name"].clone()).collect())
}
