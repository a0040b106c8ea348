//! Flagger: weights, phases, mirror, readiness.

use rollway_core::peers::flagger::{
    Phase, Seen, State, Strategy, Tick, Weighting, Weights, after, readiness,
};
use serde_json::Value;

use crate::told::{Answer, Held, Told, same};

const THRESHOLD: u32 = 5;

#[test]
fn flagger_shifts_and_promotes_so() {
    let Some(mut told) = Told::of("flagger_cases.json") else { return };
    told.group("weight_sequences", weights);
    told.group("weight_sequences_derived", weights);
    told.group("phase_sequences", phases);
    told.single("mirror_then_shift", mirror);
    told.group("deployment_ready", ready);
    told.end();
}

fn small(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap_or_default()).expect("small")
}

fn list(value: &Value) -> Vec<u32> {
    value.as_array().map(|all| all.iter().map(small).collect()).unwrap_or_default()
}

fn weighting(given: &Value) -> Result<Weights, String> {
    let weighting = Weighting {
        step_weight: small(&given["stepWeight"]),
        max_weight: small(&given["maxWeight"]),
        step_weights: list(&given["stepWeights"]),
        step_weight_promotion: small(&given["stepWeightPromotion"]),
        mirror: given["mirror"] == true,
    };
    Weights::try_from(weighting).map_err(|problem| problem.to_string())
}

/// By the list, and by ticks that are all good.
fn weights(case: &Value) -> Answer {
    let weights = weighting(&case["in"])?;
    let ours = weights.sequence();
    if case.get("canary").is_some() {
        same(&ours, &list(&case["canary"]))?;
    }
    let primary: Vec<u32> = ours.iter().map(|canary| 100 - canary).collect();
    same(&primary, &list(&case["primary"]))?;
    let strategy = Strategy::Canary(weights);
    let mut state = after(State::INITIALIZED, Tick::NewRevision, &strategy, THRESHOLD);
    for weight in &ours {
        same(&(state.phase, state.canary_weight), &(Phase::Progressing, *weight))?;
        state = after(state, Tick::Good, &strategy, THRESHOLD);
    }
    same(&state.phase, &Phase::Promoting)
}

fn phases(case: &Value) -> Answer {
    let given = &case["in"];
    let strategy = match given.get("iterations") {
        Some(iterations) => Strategy::BlueGreen(small(iterations)),
        None => Strategy::Canary(weighting(given)?),
    };
    let mut state = State::INITIALIZED;
    for (at, tick) in case["ticks"].as_array().expect("ticks").iter().enumerate() {
        let phase: Phase = serde_json::from_value(tick[0].clone()).expect("a phase");
        same(&(at, state.phase), &(at, phase))?;
        if !tick[1].is_null() {
            same(&(at, state.canary_weight), &(at, small(&tick[1])))?;
        }
        let found = if at == 0 { Tick::NewRevision } else { Tick::Good };
        state = after(state, found, &strategy, THRESHOLD);
    }
    Ok(Held::Same)
}

fn mirror(case: &Value) -> Answer {
    let strategy = Strategy::Canary(weighting(&case["in"])?);
    let mut state = after(State::INITIALIZED, Tick::NewRevision, &strategy, THRESHOLD);
    for tick in case["ticks"].as_array().expect("ticks") {
        state = after(state, Tick::Good, &strategy, THRESHOLD);
        let theirs = (small(&tick["canary"]), tick["mirrored"] == true);
        same(&(state.canary_weight, state.is_mirrored), &theirs)?;
    }
    Ok(Held::Same)
}

fn ready(case: &Value) -> Answer {
    let given = &case["in"];
    let seen = Seen {
        is_generation_pending: given["generation_observed"] == false,
        wanted: small(&given["spec"]),
        replicas: small(&given["replicas"]),
        updated: small(&given["updated"]),
        available: small(&given["available"]),
        is_progress_deadline_exceeded: given["progressing_reason"] == "ProgressDeadlineExceeded",
        unavailable_seconds: given["min_unavailable_since_s"].as_u64(),
    };
    let deadline = given["deadline"].as_u64().unwrap_or_default();
    let ours = readiness(&seen, deadline, small(&given["threshold"]));
    same(&ours.is_ready, &(case["ready"] == true))?;
    if let Some(is_retriable) = case["retriable"].as_bool() {
        same(&ours.is_retriable, &is_retriable)?;
    }
    if let Some(word) = case["reason"].as_str() {
        let reason = ours.reason.unwrap_or_default();
        same(&reason.contains(word), &true).map_err(|_| format!("no {word:?} in {reason:?}"))?;
    }
    Ok(Held::Same)
}
