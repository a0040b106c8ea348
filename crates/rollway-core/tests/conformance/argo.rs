//! Argo Rollouts: what its own tests assert.

use rollway_core::arithmetic::basic::{
    Availability, Bounds, Releases, counted, step, weighted_counts,
};
use rollway_core::arithmetic::blue_green::{self, Standing, preview_instances};
use rollway_core::arithmetic::history::is_within_window;
use rollway_core::arithmetic::progress::{Threshold, all_available, has_counts, is_enough};
use rollway_core::arithmetic::routed::{
    Course, Drain, Step, Weights, Wish, counts, dynamic_counts, step_down_weight, weight_instances,
    wish,
};
use rollway_core::arithmetic::{Count, Counts, fences};
use rollway_core::units::Rounding;
use serde_json::{Value, json};

use super::{Answer, Told, amount, cases, count, list, number, posts, posts_by, read};

#[test]
fn argo_rollouts() {
    let Some(folder) = cases() else { return };
    let file = read(&folder, "argo_rollouts_replica_cases.json");
    let mut told = Told::of("argo_rollouts");
    told.cases(&file, "calculate_replica_counts", |case| match case["mode"] == "basic" {
        true => basic(&case["in"]),
        false => routed(&case["in"]),
    });
    told.group(&file, "approximate_weighted_counts", weighted);
    told.group(&file, "dynamic_stable_scale", dynamic);
    told.group(&file, "traffic_weight_to_replicas", carrying);
    told.group(&file, "replicas_for_scale_down", for_scale_down);
    told.group(&file, "all_desired_available", available);
    told.group(&file, "replica_progress_threshold", enough);
    told.group(&file, "abort_weight_stepdown", stepped_down);
    told.group(&file, "canary_replicas_or_weight", wished);
    told.group(&file, "at_desired_counts", at_desired);
    told.group(&file, "resolve_fenceposts", posts);
    told.group(&file, "max_surge", surge_max);
    told.group(&file, "max_unavailable", unavailable_max);
    told.group(&file, "blue_green_preview_replicas", preview);
    told.group(&file, "rollback_window", in_window);
    told.end(&file, &[]);
}

pub fn told_counts(counts: Counts) -> Value {
    json!({"canary": counts.canary, "stable": counts.stable})
}

fn basic(case: &Value) -> Answer {
    let instances = number(&case["replicas"]);
    let (surge, unavailable) = posts_by(case, instances)?;
    let (canary, stable) = (count(&case["canary"]), count(&case["stable"]));
    let is_full = case["promote_full"] == true || stable.is_none();
    let weight = match (is_full, case["aborted"] == true) {
        (true, _) => 100,
        (false, true) => 0,
        (false, false) => number(&case["set_weight"]),
    };
    let older = &case["older"];
    // One of them, or a list.
    let older = match older.as_array() {
        Some(several) => several.iter().map(|one| number(&one["spec"])).sum(),
        None => number(&older["spec"]),
    };
    let target = weighted_counts(instances, weight, 100, surge);
    let bounds = Bounds { instances, surge, unavailable };
    Ok(told_counts(step(bounds, target, Releases { canary, stable, older })))
}

fn routed(case: &Value) -> Answer {
    let scale = &case["set_canary_scale"];
    let mut steps = vec![Step::Weight(number(&case["set_weight"]))];
    if !scale.is_null() {
        steps.push(scale_step(scale, ["matchTrafficWeight", "replicas", "weight"]));
    }
    let course = course(case);
    let wished = wish(&steps, steps.len() - 1, course);
    let least = number(&case["min_pods_per_replica_set"]);
    Ok(told_counts(counts(number(&case["replicas"]), wished, least)))
}

fn scale_step(scale: &Value, names: [&str; 3]) -> Step {
    let [matches, instances, weight] = names.map(|name| &scale[name]);
    match (matches == true, instances.is_null(), weight.is_null()) {
        (true, _, _) => Step::MatchWeight,
        (false, false, _) => Step::Scale(Wish::Instances(number(instances))),
        (false, true, false) => Step::Scale(Wish::Weight(number(weight))),
        (false, true, true) => Step::Other,
    }
}

pub fn course(case: &Value) -> Course {
    let keeps = case["abort_scale_down_delay_seconds"] == 0;
    match (case["promote_full"] == true, case["aborted"] == true, keeps) {
        (true, _, _) => Course::Full,
        (false, true, true) => Course::AbortedAndKept,
        (false, true, false) => Course::Aborted,
        (false, false, _) => Course::Forward,
    }
}

fn weighted(case: &Value) -> Answer {
    let [replicas, weight, most, surge] =
        ["replicas", "weight", "max_weight", "max_surge"].map(|name| number(&case[name]));
    Ok(told_counts(weighted_counts(replicas, weight, most, surge)))
}

pub fn step_weights(case: &Value) -> Vec<u32> {
    list(case, "step_weights").iter().map(number).collect()
}

pub fn stepped_down_weight(case: &Value) -> u32 {
    let delay = case["abort_scale_down_delay_seconds"].as_u64().unwrap_or(0);
    let drain = if delay > 0 { Drain::AfterDelay } else { Drain::BySize };
    let [canary, stable] = ["canary", "stable"].map(|name| count(&case[name]).unwrap_or_default());
    step_down_weight(number(&case["replicas"]), &step_weights(case), canary, stable, drain)
}

/// What is wanted, where an abort gives the weight back by steps.
pub fn dynamic_wish(case: &Value) -> Wish {
    let course = course(case);
    let steps: Vec<_> = step_weights(case).into_iter().map(Step::Weight).collect();
    let has_both = !case["canary"].is_null() && !case["stable"].is_null();
    match course {
        Course::Aborted | Course::AbortedAndKept if has_both => {
            Wish::Weight(stepped_down_weight(case))
        }
        Course::Aborted | Course::AbortedAndKept | Course::Forward | Course::Full => {
            wish(&steps, number(&case["current_step"]) as usize, course)
        }
    }
}

fn dynamic(case: &Value) -> Answer {
    let in_effect = Weights {
        canary: number(&case["current_weights"]["canary"]),
        stable: number(&case["current_weights"]["stable"]),
    };
    let (instances, wished) = (number(&case["replicas"]), dynamic_wish(case));
    if case["dynamic_stable_scale"] == false {
        return Ok(told_counts(counts(instances, wished, 0)));
    }
    Ok(told_counts(dynamic_counts(instances, wished, 0, in_effect, course(case))))
}

fn stepped_down(case: &Value) -> Answer {
    Ok(json!({"desired_canary_weight": stepped_down_weight(case)}))
}

fn carrying(case: &Value) -> Answer {
    let [replicas, weight, most] =
        ["replicas", "weight", "max_weight"].map(|name| number(&case[name]));
    Ok(weight_instances(replicas, weight, most).into())
}

fn for_scale_down(case: &Value) -> Answer {
    let ignores = case["ignore_availability"] == true;
    let availability = if ignores { Availability::Ignored } else { Availability::Minded };
    Ok(counted(count(&case["rs"]), availability).into())
}

/// A count that is left out is 1, as Kubernetes has it.
fn count_or_one(value: &Value) -> Option<Count> {
    let spec = value["spec"].as_u64().map_or(1, |spec| spec as u32);
    count(value).map(|count| Count { spec, ..count })
}

fn available(case: &Value) -> Answer {
    Ok(all_available(count_or_one(&case["rs"]), number(&case["desired"])).into())
}

fn enough(case: &Value) -> Answer {
    let threshold = &case["threshold"];
    let value = threshold["value"].as_i64().unwrap_or(-1);
    let threshold = match threshold["type"].as_str() {
        None => Threshold::All,
        Some("Percent") => Threshold::Percent(value),
        Some("Pod") => Threshold::Instances(value),
        Some(other) => return Err(format!("a threshold of the type {other}")),
    };
    Ok(is_enough(threshold, count_or_one(&case["rs"]), number(&case["desired"])).into())
}

fn wished(case: &Value) -> Answer {
    let (spec, status) = (&case["Spec"]["Strategy"]["Canary"], &case["Status"]);
    let is_routed = !spec["TrafficRouting"].is_null();
    let step = |step: &Value| match (&step["SetWeight"], &step["SetCanaryScale"]) {
        (Value::Null, Value::Null) => Step::Other,
        (Value::Null, scale) if is_routed => {
            scale_step(scale, ["MatchTrafficWeight", "Replicas", "Weight"])
        }
        (Value::Null, _) => Step::Other,
        (weight, _) => Step::Weight(number(weight)),
    };
    let steps: Vec<_> = spec["Steps"].as_array().into_iter().flatten().map(step).collect();
    let nothing_serves = status["StableRS"].is_null() || status["StableRS"] == "";
    let is_stable = status["CurrentPodHash"] == status["StableRS"];
    let course = match (status["PromoteFull"] == true || nothing_serves || is_stable, status) {
        (true, _) => Course::Full,
        (false, status) if status["Abort"] == true => Course::Aborted,
        (false, _) => Course::Forward,
    };
    Ok(match wish(&steps, number(&status["CurrentStepIndex"]) as usize, course) {
        Wish::Instances(replicas) => json!({"replicas": replicas, "weight": 0}),
        Wish::Weight(weight) => json!({"replicas": null, "weight": weight}),
    })
}

fn at_desired(case: &Value) -> Answer {
    let instances = number(&case["replicas"]);
    let (surge, _) = posts_by(case, instances)?;
    let wanted = weighted_counts(instances, number(&case["set_weight"]), 100, surge);
    let [canary, stable] = ["canary", "stable"].map(|name| count(&case[name]).unwrap_or_default());
    let running = number(&case["stable"]["actual"]);
    let older = case["older"]["available"].as_u64().unwrap_or(0) as u32;
    Ok(has_counts(wanted, canary, (stable, running), older).into())
}

fn is_blue_green(case: &Value) -> bool {
    case["strategy"] == "blue_green"
}

fn surge_max(case: &Value) -> Answer {
    let surge = amount(&case["max_surge"])?.of(number(&case["replicas"]), Rounding::Up);
    Ok(if is_blue_green(case) { 0.into() } else { surge.into() })
}

fn unavailable_max(case: &Value) -> Answer {
    let (surge, unavailable) = (amount(&case["max_surge"])?, amount(&case["max_unavailable"])?);
    let instances = number(&case["replicas"]);
    Ok(match is_blue_green(case) {
        true => blue_green::unavailable_max(unavailable, instances).into(),
        false => fences::unavailable_max(surge, unavailable, instances).into(),
    })
}

fn preview(case: &Value) -> Answer {
    let preview = &case["preview_replica_count"];
    let standing = Standing {
        another_serves: case["active_selector"] != ""
            && case["active_selector"] != case["new_hash"],
        is_current: case["current_pod_hash"] == case["new_hash"],
        is_checked: case["scale_up_preview_checkpoint"] == true,
        is_full: case["promote_full"] == true,
    };
    let preview = (!preview.is_null()).then(|| number(preview));
    Ok(preview_instances(number(&case["replicas"]), preview, standing).into())
}

fn in_window(case: &Value) -> Answer {
    let revisions = list(case, "revisions");
    let made = |name: &Value| {
        let found = revisions.iter().find(|revision| revision["name"] == *name);
        found.and_then(|revision| revision["t"].as_i64())
    };
    let (Some(stable), Some(new)) = (made(&case["stable"]), made(&case["new"])) else {
        return Ok(false.into());
    };
    let ours = revisions.iter().filter(|revision| revision["experiment"] != true);
    let others: Vec<_> = ours.filter_map(|revision| revision["t"].as_i64()).collect();
    Ok(is_within_window(new, stable, &others, number(&case["window"]) as usize).into())
}
