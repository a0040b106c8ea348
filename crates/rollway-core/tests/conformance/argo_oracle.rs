//! Argo Rollouts: what its functions answered to generated inputs.

use rollway_core::arithmetic::basic::{Bounds, Releases, step, weighted_counts};
use rollway_core::arithmetic::routed::{Course, Weights, counts, dynamic_counts, wish};
use rollway_core::arithmetic::{Count, routed};
use serde_json::{Value, json};

use super::argo::{course, dynamic_wish, step_weights, told_counts};
use super::{Answer, Told, amount, cases, fenceposts, list, number, read};

#[test]
fn argo_rollouts_weight_grid() {
    let Some(folder) = cases() else { return };
    let file = read(&folder, "argo_rollouts_oracle_weight_grid.json");
    let mut told = Told::of("argo_rollouts_weight_grid");
    let grid = file["approximate_weighted_counts"]["grid"].as_object().expect("a grid");
    for (key, row) in grid {
        let (replicas, surge) = key.split_once('/').expect("replicas/maxSurge");
        let [replicas, surge]: [u32; 2] = [replicas, surge].map(|n| n.parse().expect("a number"));
        for (weight, expected) in (0u32..).zip(row.as_array().expect("a row")) {
            let ours = weighted_counts(replicas, weight, 100, surge);
            let input = json!([replicas, surge, weight]);
            let ours = Ok(json!([ours.canary, ours.stable]));
            told.compare("grid", &input, Some(expected.clone()), ours);
        }
    }
    told.groups.push("approximate_weighted_counts".to_owned());
    told.end(&file, &[]);
}

#[test]
fn argo_rollouts_states() {
    let Some(folder) = cases() else { return };
    let file = read(&folder, "argo_rollouts_oracle_states.json");
    let mut told = Told::of("argo_rollouts_oracle");
    for row in list(&file, "resolve_fenceposts") {
        let posts = amount(&row[0]).and_then(|surge| {
            let (surge, unavailable) = fenceposts(surge, amount(&row[1])?, number(&row[2]));
            Ok(json!([surge, unavailable]))
        });
        told.compare("resolve_fenceposts", row, Some(json!([row[3], row[4]])), posts);
    }
    for row in list(&file, "basic_canary_states") {
        let expected = json!({"canary": row[11], "stable": row[12]});
        told.compare("basic_canary_states", row, Some(expected), basic(row));
    }
    for rollout in list(&file, "basic_canary_trajectories") {
        trajectory(&mut told, rollout);
    }
    told.group(&file, "traffic_routed_states", routed_counts);
    for group in ["resolve_fenceposts", "basic_canary_states", "basic_canary_trajectories"] {
        told.groups.push(group.to_owned());
    }
    let names = "names of columns, or a description";
    told.end(
        &file,
        &[
            ("resolve_fenceposts_columns", names),
            ("basic_canary_columns", names),
            ("basic_canary_trajectories_doc", names),
            ("basic_canary_trajectory_columns", names),
        ],
    );
}

fn basic(row: &Value) -> Answer {
    let instances = number(&row[0]);
    let (surge, unavailable) = fenceposts(amount(&row[2])?, amount(&row[3])?, instances);
    let weight = match (row[10] == true, row[9] == true) {
        (true, _) => 100,
        (false, true) => 0,
        (false, false) => number(&row[1]),
    };
    let releases = Releases {
        canary: Some(Count { spec: number(&row[4]), available: number(&row[5]) }),
        stable: Some(Count { spec: number(&row[6]), available: number(&row[7]) }),
        older: row[8].as_array().into_iter().flatten().map(|older| number(&older[0])).sum(),
    };
    let target = weighted_counts(instances, weight, 100, surge);
    Ok(told_counts(step(Bounds { instances, surge, unavailable }, target, releases)))
}

/// Every tick of a rollout, and that none leaves the bounds.
fn trajectory(told: &mut Told, rollout: &Value) {
    for row in list(rollout, "rows") {
        let older = json!([]);
        let state = json!([
            rollout["replicas"],
            row[0],
            rollout["max_surge"],
            rollout["max_unavailable"],
            row[1],
            row[2],
            row[3],
            row[4],
            older,
            false,
            false
        ]);
        let expected = json!({"canary": row[5], "stable": row[6]});
        told.compare("basic_canary_trajectories", &state, Some(expected), basic(&state));
    }
}

fn routed_counts(case: &Value) -> Answer {
    let instances = number(&case["replicas"]);
    let least = number(&case["min_pods"]);
    if case["dynamic_stable_scale"] != true {
        let steps: Vec<_> = step_weights(case).into_iter().map(routed::Step::Weight).collect();
        let wished = wish(&steps, number(&case["current_step"]) as usize, course(case));
        return Ok(told_counts(counts(instances, wished, least)));
    }
    let in_effect =
        Weights { canary: number(&case["canary_weight"]), stable: number(&case["stable_weight"]) };
    // A promotion in full goes before an abort where the state has both.
    let course = match (case["promote_full"] == true, case["aborted"] == true) {
        (true, true) => Course::Aborted,
        (true, false) | (false, _) => course(case),
    };
    Ok(told_counts(dynamic_counts(instances, dynamic_wish(case), least, in_effect, course)))
}
