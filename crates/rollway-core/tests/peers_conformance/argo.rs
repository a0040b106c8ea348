//! Argo Rollouts: conditions, measurements, limits.

use rollway_core::peers::expression::{Condition, Value};
use rollway_core::peers::threshold::{Conditions, Counters, Limits, Phase, Run};
use serde_json::Value as Json;

use crate::told::{Answer, Held, Told, same};

#[test]
fn argo_measures_and_assesses_so() {
    let Some(mut told) = Told::of("argo_rollouts_analysis_cases.json") else { return };
    told.group("upstream_assess_metric", assessed);
    told.group("upstream_evaluate_result", |case| {
        measured(case, &Value::from(case["value"].clone()))
    });
    told.group("upstream_eval_condition", condition);
    told.group("upstream_docs_special_values", |case| measured(case, &special(&case["value"])));
    told.group("sequences", sequence);
    told.end();
}

fn text<'a>(case: &'a Json, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_default()
}

fn phase(value: &Json) -> Phase {
    serde_json::from_value(value.clone()).expect("a phase")
}

/// In these cases alone a text stands for the number that JSON cannot write.
fn special(value: &Json) -> Value {
    match value.as_str() {
        Some(text @ ("NaN" | "+Inf" | "-Inf")) => Value::Float(text.parse().expect("a number")),
        _ => Value::from(value.clone()),
    }
}

fn measured(case: &Json, result: &Value) -> Answer {
    let conditions =
        Conditions::parse(text(case, "successCondition"), text(case, "failureCondition"));
    let ours = conditions.and_then(|conditions| conditions.measure(result));
    same(&ours.unwrap_or(Phase::Error), &phase(&case["phase"]))
}

fn condition(case: &Json) -> Answer {
    let result = Value::from(case["value"].clone());
    let ours = Condition::parse("success_condition", text(case, "expr"))
        .and_then(|condition| condition.holds(&result));
    match (ours, case.get("error")) {
        (Err(problem), Some(_)) => {
            problem.place.map(|_| Held::Same).ok_or(format!("no place in {problem:?}"))
        }
        (ours, None) => {
            same(&ours.map_err(|problem| problem.to_string()), &Ok(case["out"] == true))
        }
        (Ok(ours), Some(theirs)) => Err(format!("ours {ours}, theirs an error: {theirs}")),
    }
}

fn limits(case: &Json) -> Limits {
    let metric = &case["metric"];
    let small = |key: &str| metric[key].as_u64().map(|it| u32::try_from(it).expect("small"));
    let default = Limits::default();
    Limits {
        count: small("count"),
        interval_seconds: metric["interval"].as_str().map(|_| 60),
        failure_limit: match metric["failureLimit"].as_i64() {
            Some(limit) => u32::try_from(limit).ok(),
            None => default.failure_limit,
        },
        inconclusive_limit: small("inconclusiveLimit").unwrap_or(default.inconclusive_limit),
        consecutive_error_limit: small("consecutiveErrorLimit")
            .unwrap_or(default.consecutive_error_limit),
        consecutive_success_limit: small("consecutiveSuccessLimit").unwrap_or_default(),
        ..default
    }
}

fn run(case: &Json) -> Run {
    if case["terminating"] == true { Run::Terminating } else { Run::Going }
}

fn assessed(case: &Json) -> Answer {
    let counted = &case["counters"];
    let small =
        |key: &str| u32::try_from(counted[key].as_u64().unwrap_or_default()).expect("small");
    let counters = Counters {
        count: small("count"),
        successful: small("successful"),
        failed: small("failed"),
        inconclusive: small("inconclusive"),
        error: small("error"),
        consecutive_error: small("consecutiveError"),
        consecutive_success: small("consecutiveSuccess"),
        last: counted.get("last").map(phase),
    };
    same(&limits(case).assess(&counters, run(case)), &phase(&case["phase"]))
}

fn sequence(case: &Json) -> Answer {
    let limits = limits(case);
    let mut counters = Counters::default();
    same(&limits.assess(&counters, run(case)), &phase(&case["phase_before_any"]))?;
    let measurements = case["measurements"].as_array().expect("measurements");
    let theirs = case["phase_after_each"].as_array().expect("phases");
    for (measurement, theirs) in measurements.iter().zip(theirs) {
        counters = counters.with(phase(measurement));
        // What was written down and read again goes on as it was.
        let written = serde_json::to_string(&counters).expect("JSON");
        counters = serde_json::from_str(&written).expect("counters");
        same(&limits.assess(&counters, run(case)), &phase(theirs))?;
    }
    Ok(Held::Same)
}
