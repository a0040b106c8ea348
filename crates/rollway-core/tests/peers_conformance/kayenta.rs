//! Kayenta: classes, intervals, scores, statistics, windows.

use std::collections::BTreeMap;

use rollway_core::peers::kayenta::prepare::{self, Fences};
use rollway_core::peers::kayenta::score::{Counted, score};
use rollway_core::peers::kayenta::windows::Windows;
use rollway_core::peers::kayenta::{
    Class, Classified, Direction, EffectSize, Manner, Measure, Metric, NanStrategy, classify, shift,
};
use rollway_core::peers::mann_whitney::{Alternative, Continuity, Samples, Solver};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::ranks::{samples, scale};
use crate::told::{Answer, Held, Told, near, number, numbers, same};

const NOISE: &str = "of constants that Kayenta adds noise to: its class is by chance";

#[test]
fn kayenta_judges_so() {
    let Some(mut told) = Told::of("kayenta_judge_cases.json") else { return };
    told.group("classify", classified);
    told.group("mann_whitney", asserted);
    told.group("score", scored);
    told.group("outliers_and_nan", prepared);
    told.group("statistics", statistics);
    told.group("judgement_windows", windows);
    told.group("classify_sweep", swept);
    told.group("user_reported_hard_cases", reported);
    told.end();
}

#[test]
fn kayenta_finds_the_shifts_of_the_r_data_so() {
    let Some(mut told) = Told::of("mann_whitney_r_reference.json") else { return };
    told.group("cases", |case| {
        let kayenta = &case["kayenta"];
        let metric = Metric { confidence: number(&case["conf_level"]), ..Metric::default() };
        let ours = faithful(&metric, case)?;
        let class: Class = read(&kayenta["classification"]);
        same(&ours.class, &class)?;
        near("mean ratio", ours.deviation, number(&kayenta["mean_ratio"]), 1e-9 * scale(case))?;
        shifted(case, metric.confidence, kayenta)
    });
    told.end();
}

#[test]
fn the_mended_judge_does_not_mind_the_unit() {
    let Some(mut told) = Told::of("mann_whitney_r_reference.json") else { return };
    told.group("cases", |case| {
        let metric = Metric { confidence: number(&case["conf_level"]), ..Metric::default() };
        let class = |unit: f64, manner: Manner| {
            let side = |key: &str| -> Vec<f64> {
                numbers(&case[key]).iter().map(|value| value * unit).collect()
            };
            classify(&metric, &side("experiment"), &side("control"), manner)
                .map(|classified| classified.class)
                .map_err(|problem| problem.to_string())
        };
        // A power of two, so that not even a rounding differs: about 1e-5.
        let small = 2.0_f64.powi(-17);
        same(&class(small, Manner::Mended)?, &class(1.0, Manner::Mended)?)?;
        let minds = class(small, Manner::Faithful)? != class(1.0, Manner::Faithful)?;
        let why = "that the faithful one judges otherwise in a unit of 2^-17";
        Ok(if minds { Held::Otherwise(why) } else { Held::Same })
    });
    told.end();
}

#[test]
fn kayenta_and_r_agree_on_the_statistics_file() {
    let Some(mut told) = Told::of("stats_kayenta_mw.json") else { return };
    told.group("cases", |case| {
        let metric = Metric { confidence: number(&case["conf_level"]), ..Metric::default() };
        let samples = samples(case)?;
        let scale = scale(case);
        let ours = shift(&samples, metric.confidence, Manner::Faithful);
        let ours = ours.map_err(|problem| problem.to_string())?.ok_or("all values tied")?;
        let port = &case["kayenta_port"];
        near("low", ours.low, number(&port["lower"]), 1e-9 * scale)?;
        near("high", ours.high, number(&port["upper"]), 1e-9 * scale)?;
        near("estimate", ours.estimate, number(&port["estimate"]), 1e-9 * scale)?;
        let plain = samples.location(Continuity::Plain).ok_or("all values tied")?;
        near("R estimate", plain, number(&case["r_tol1e4"]["estimate"]), 1e-9 * scale)?;
        let ours = faithful(&metric, case)?;
        same(&ours.class, &read(&case["kayenta_verdict_either"]))?;
        // R with a tolerance of 1e-12 finds what ours finds without one.
        let exact = samples.interval(metric.confidence, Alternative::TwoSided, Solver::Steps);
        let exact = exact.map_err(|problem| problem.to_string())?.ok_or("no interval")?;
        let r = &case["r_tol1e12"];
        near("exact low", exact.low, number(&r["lower"]), 1e-9 * scale)?;
        near("exact high", exact.high, number(&r["upper"]), 1e-9 * scale)?;
        Ok(Held::Same)
    });
    told.end();
}

fn read<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{value}: {error}"))
}

fn read_or<T: DeserializeOwned>(value: &Value, default: T) -> T {
    if value.is_null() { default } else { read(value) }
}

fn metric(case: &Value) -> Metric {
    let params = &case["params"];
    let measure = read_or(&params["effect_size_measure"], Measure::MeanRatio);
    let none = EffectSize::of(measure);
    let pair = |key: &str, at: usize, default: f64| match params.get(key) {
        Some(pair) => number(&pair[at]),
        None => default,
    };
    let or = |key: &str, default: f64| params.get(key).map_or(default, number);
    let default = Metric::default();
    Metric {
        direction: read_or(&case["direction"], Direction::Either),
        nan_strategy: read_or(&case["nan_strategy"], NanStrategy::Remove),
        critical: case["critical"] == true,
        must_have_data: case["must_have_data"] == true,
        effect_size: EffectSize {
            measure,
            allowed_decrease: pair("effect_size_thresholds", 0, none.allowed_decrease),
            allowed_increase: pair("effect_size_thresholds", 1, none.allowed_increase),
            critical_decrease: pair("critical_thresholds", 0, none.critical_decrease),
            critical_increase: pair("critical_thresholds", 1, none.critical_increase),
        },
        tolerance: or("tolerance", default.tolerance),
        confidence: or("conf_level", default.confidence),
        ..default
    }
}

fn faithful(metric: &Metric, case: &Value) -> Result<Classified, String> {
    let (canary, baseline) = (numbers(&case["experiment"]), numbers(&case["control"]));
    classify(metric, &canary, &baseline, Manner::Faithful).map_err(|problem| problem.to_string())
}

fn shifted(case: &Value, confidence: f64, theirs: &Value) -> Answer {
    // Nothing is told of samples that were not compared.
    if number(&theirs["ci_low"]).is_nan() {
        return Ok(Held::Same);
    }
    let samples = samples(case)?;
    let ours = shift(&samples, confidence, Manner::Faithful);
    let ours = ours.map_err(|problem| problem.to_string())?.ok_or("all values tied")?;
    let tolerance = 1e-9 * scale(case);
    near("low", ours.low, number(&theirs["ci_low"]), tolerance)?;
    near("high", ours.high, number(&theirs["ci_high"]), tolerance)?;
    near("estimate", ours.estimate, number(&theirs["estimate"]), tolerance)?;
    near("cles", samples.common_language_effect(), number(&theirs["cles"]), 1e-12)?;
    Ok(Held::Same)
}

fn classified(case: &Value) -> Answer {
    if case["classifier"] != "MannWhitneyClassifier" {
        return Ok(Held::NotOurs("of a classifier that no judge of Kayenta takes"));
    }
    let metric = metric(case);
    let ours = faithful(&metric, case)?;
    let judge = &case["judge"];
    same(&ours.class, &read(&judge["classification"]))?;
    same(&ours.is_critical, &(judge["critical"] == true))?;
    if metric.effect_size.measure == Measure::MeanRatio {
        // The means of constants are those of the noise that was added.
        near("deviation", ours.deviation, number(&judge["deviation"]), 1e-4)?;
    }
    if case["expected"]["reason_present"] == true && ours.reason.is_none() {
        return Err("a reason was expected".to_owned());
    }
    shifted(case, metric.confidence, judge)
}

fn asserted(case: &Value) -> Answer {
    let confidence = number(&case["conf_level"]);
    for assert in case["asserts"].as_array().expect("asserts") {
        let what = assert["of"].as_str().unwrap_or_default();
        let ours = found(what, case, confidence, assert)?;
        near(what, ours, number(&assert["expected"]), number(&assert["tolerance"]))?;
    }
    Ok(Held::Same)
}

fn found(what: &str, case: &Value, confidence: f64, assert: &Value) -> Result<f64, String> {
    let tied = || "all values tied".to_owned();
    let z = -rollway_core::peers::mann_whitney::normal_quantile((1.0 - confidence) / 2.0);
    match what {
        "normal_quantile((1-conf_level)/2)" | "zqUpper" => return Ok(-z),
        "zqLower" => return Ok(z),
        _ => {}
    }
    let (canary, baseline) = (numbers(&case["experiment"]), numbers(&case["control"]));
    let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = |values: &[f64]| values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let lower = least(&canary) - most(&baseline);
    let upper = most(&canary) - least(&baseline);
    let samples = samples(case)?;
    let standing = |shift: f64, quantile: f64| {
        samples.standing(shift, quantile, Continuity::Corrected).ok_or_else(tied)
    };
    let shift = || {
        let found = shift(&samples, confidence, Manner::Faithful);
        found.map_err(|problem| problem.to_string())?.ok_or_else(tied)
    };
    Ok(match what {
        "mu_min" => lower,
        "mu_max" => upper,
        "fLower1" => standing(lower, z)?,
        "fUpper1" => standing(upper, z)?,
        "fLower2" => standing(lower, -z)?,
        "fUpper2" => standing(upper, -z)?,
        "wilcoxon_diff" => standing(number(&assert["mu"]), number(&assert["quantile"]))?,
        "ci_low" | "root(+z) without the end-point guard" => shift()?.low,
        "ci_high" | "root(-z) without the end-point guard" => shift()?.high,
        "estimate" => shift()?.estimate,
        _ => return Err(format!("unknown: {what}")),
    })
}

fn scored(case: &Value) -> Answer {
    let metrics: Vec<Counted> = case["metrics"]
        .as_array()
        .expect("metrics")
        .iter()
        .map(|metric| Counted {
            class: read(&metric["classification"]),
            is_critical: metric["critical"] == true,
            is_muted: metric["muted"] == true,
            groups: read(&metric["groups"]),
        })
        .collect();
    let weights: BTreeMap<String, f64> = read(&case["group_weights"]);
    let ours = score(&metrics, &weights).summary;
    near("summary", ours, number(&case["summary_score"]), 0.0)?;
    Ok(Held::Same)
}

fn prepared(case: &Value) -> Answer {
    let data = numbers(&case["data"]);
    let marks = |param: f64| match case["detector"].as_str() {
        Some("KSigmaDetector") => Ok(prepare::outliers_by_deviation(&data, param)),
        Some("IQRDetector") => Ok(prepare::outliers_by_quartiles(&data, param, fences(case))),
        other => Err(format!("unknown detector {other:?}")),
    };
    match case["op"].as_str() {
        Some("detect") => {
            let theirs: Vec<bool> = read(&case["expected"]);
            same(&marks(number(&case["param"]))?, &theirs)
        }
        Some("remove_outliers") => {
            let ours = prepare::without(&data, &marks(number(&case["param"]))?);
            same(&ours, &numbers(&case["expected"]))
        }
        Some("remove_nan") => same(&prepare::without_nan(&data), &numbers(&case["expected"])),
        Some("replace_nan") => {
            let replace = Metric { nan_strategy: NanStrategy::Replace, ..Metric::default() };
            same(&prepare::prepared(&replace, &data), &numbers(&case["expected"]))
        }
        other => Err(format!("unknown operation {other:?}")),
    }
}

fn fences(case: &Value) -> Fences {
    let is_wide = case["reduce_sensitivity"] == true || case["reduceSensitivity"] == true;
    if is_wide { Fences::Wide } else { Fences::Plain }
}

fn statistics(case: &Value) -> Answer {
    let data = numbers(&case["data"]);
    if let Some(summary) = case.get("summary") {
        let ours = prepare::summary(&data).ok_or("no summary")?;
        near("min", ours.min, number(&summary["min"]), 0.0)?;
        near("max", ours.max, number(&summary["max"]), 0.0)?;
        near("mean", ours.mean, number(&summary["mean"]), 1e-4)?;
        near("std", ours.std, number(&summary["std"]), 1e-4)?;
        same(&u64::try_from(ours.count).ok(), &summary["count"].as_f64().map(|it| it as u64))?;
    }
    for percentile in case["percentiles"].as_array().into_iter().flatten() {
        let ours = prepare::percentile(&data, number(&percentile["p"]));
        near(
            "percentile",
            ours,
            number(&percentile["value"]),
            number(&percentile["tol"]).max(1e-9),
        )?;
    }
    if let Some(effect) = case.get("effect_size") {
        let (canary, baseline) = (numbers(&case["experiment"]), numbers(&case["control"]));
        let ours = match effect["measure"].as_str() {
            Some("meanRatio") => prepare::mean_ratio(&baseline, &canary),
            Some("cohenD") => prepare::cohens_d(&canary, &baseline),
            Some("cles") => Samples::new(&canary, &baseline)
                .map_err(|problem| problem.to_string())?
                .common_language_effect(),
            other => return Err(format!("unknown measure {other:?}")),
        };
        near("effect", ours, number(&effect["value"]), number(&effect["tol"]).max(1e-12))?;
    }
    Ok(Held::Same)
}

fn windows(case: &Value) -> Answer {
    let theirs: Vec<(i64, i64)> = read(&case["windows_minutes_from_now"]);
    let request = &case["request"];
    let small = |value: &Value| value.as_u64().map(|it| u32::try_from(it).expect("small"));
    let interval = small(&case["interval_minutes"]).expect("an interval");
    let windows = Windows {
        // The cases tell the judgements and not how long the run is.
        lifetime_minutes: interval * u32::try_from(theirs.len()).expect("few") + interval - 1,
        interval_minutes: interval,
        lookback_minutes: small(&request["lookback"]),
        begin_after_minutes: small(&request["begin_after"]).unwrap_or_default(),
        start_minutes: request["start"].as_i64(),
        end_minutes: request["end"].as_i64(),
    };
    same(&windows.all(), &theirs)
}

fn swept(case: &Value) -> Answer {
    if case["nondeterministic_upstream"] == true {
        return Ok(Held::NotOurs(NOISE));
    }
    let ours = faithful(&metric(case), case)?;
    let out = &case["out"];
    let theirs = match out["classification"].as_str() {
        Some("Exception") => Class::Error,
        _ => read(&out["classification"]),
    };
    same(&(ours.class, ours.is_critical), &(theirs, out["critical"] == true))
}

fn reported(case: &Value) -> Answer {
    let mut case = case.clone();
    let judge = match case.get("judge") {
        Some(judge) => judge.clone(),
        None => case["judge_default_params"].clone(),
    };
    if case.get("critical").is_none() {
        case["critical"] = judge["critical"].clone();
    }
    let metric = metric(&case);
    let ours = faithful(&metric, &case)?;
    let theirs = (read(&judge["classification"]), judge["critical"] == true);
    same(&(ours.class, ours.is_critical), &theirs)?;
    near("deviation", ours.deviation, number(&judge["deviation"]), 1e-9 * scale(&case))?;
    shifted(&case, metric.confidence, &judge)
}
