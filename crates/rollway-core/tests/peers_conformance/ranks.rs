//! The rank test held against R and scipy.

use rollway_core::peers::mann_whitney::{Alternative, Continuity, Method, Samples, Solver};
use serde_json::Value;

use crate::told::{Answer, Held, Told, near, number, numbers};

/// Of the search for a root that R does, in whatever the unit is.
const R_TOLERANCE: f64 = 2e-4;

#[test]
fn the_rank_test_is_that_of_r() {
    let Some(mut told) = Told::of("mann_whitney_r_reference.json") else { return };
    told.group("cases", as_r);
    told.end();
}

#[test]
fn the_rank_test_is_that_of_scipy() {
    let Some(mut told) = Told::of("stats_mannwhitneyu.json") else { return };
    told.group("cases", as_scipy);
    told.end();
}

pub fn samples(case: &Value) -> Result<Samples, String> {
    Samples::new(&numbers(&case["experiment"]), &numbers(&case["control"]))
        .map_err(|problem| problem.to_string())
}

/// How large the numbers are: what rounding is measured by.
pub fn scale(case: &Value) -> f64 {
    let all = [numbers(&case["experiment"]), numbers(&case["control"])].concat();
    all.into_iter().map(f64::abs).fold(f64::MIN_POSITIVE, f64::max)
}

fn as_r(case: &Value) -> Answer {
    let samples = samples(case)?;
    let r = &case["r"];
    let confidence = number(&case["conf_level"]);
    let told = |problem: rollway_core::problem::Problem| problem.to_string();
    let p = |method| samples.test(Alternative::TwoSided, method).map(|outcome| outcome.p);
    let scale = scale(case);
    near("W", samples.u(), number(&r["W"]), 0.0)?;
    for (key, method) in [
        ("p_normal_cc", Method::Normal(Continuity::Corrected)),
        ("p_normal_nocc", Method::Normal(Continuity::Plain)),
        ("p_exact", Method::Exact),
    ] {
        if let Some(theirs) = r.get(key) {
            let theirs = number(theirs);
            near(key, p(method).map_err(told)?, theirs, 1e-9 * theirs)?;
        }
    }
    let hodges_lehmann = samples.hodges_lehmann();
    near("median", hodges_lehmann, number(&r["hodges_lehmann_median"]), 1e-12 * scale)?;
    let interval = samples.interval(confidence, Alternative::TwoSided, Solver::R).map_err(told)?;
    let interval = interval.ok_or("all values tied")?;
    near("low", interval.low, number(&r["ci_low"]), 1e-9 * scale)?;
    near("high", interval.high, number(&r["ci_high"]), 1e-9 * scale)?;
    let estimate = samples.location(Continuity::Plain).ok_or("all values tied")?;
    near("estimate", estimate, number(&r["estimate"]), 1e-9 * scale)?;
    if r.get("exact_ci_low").is_some() {
        let exact = samples.interval_exact(confidence).map_err(told)?;
        near("exact low", exact.low, number(&r["exact_ci_low"]), 1e-12 * scale)?;
        near("exact high", exact.high, number(&r["exact_ci_high"]), 1e-12 * scale)?;
        near("exact estimate", hodges_lehmann, number(&r["exact_estimate"]), 1e-12 * scale)?;
        let is_auto = samples.test(Alternative::TwoSided, Method::Auto).map_err(told)?.method;
        if is_auto != Method::Exact {
            return Err(format!("R took the exact distribution, we {is_auto:?}"));
        }
    }
    steps(&samples, confidence, (number(&r["ci_low"]), number(&r["ci_high"])))
}

/// The exact ends are where R's search for them ends, as far as that is precise.
fn steps(samples: &Samples, confidence: f64, theirs: (f64, f64)) -> Answer {
    let ours = samples.interval(confidence, Alternative::TwoSided, Solver::Steps);
    let ours = ours.map_err(|problem| problem.to_string())?.ok_or("no interval")?;
    if ours.low > ours.high {
        return Err(format!("inverted: {ours:?}"));
    }
    near("exact step low", ours.low, theirs.0, R_TOLERANCE)?;
    near("exact step high", ours.high, theirs.1, R_TOLERANCE)?;
    Ok(Held::Same)
}

fn as_scipy(case: &Value) -> Answer {
    let samples = Samples::new(&numbers(&case["x"]), &numbers(&case["y"]));
    let samples = samples.map_err(|problem| problem.to_string())?;
    let alternative = match case["alternative"].as_str() {
        Some("less") => Alternative::Less,
        Some("greater") => Alternative::Greater,
        _ => Alternative::TwoSided,
    };
    let is_corrected = case["use_continuity"] == true;
    let by = if is_corrected { Continuity::Corrected } else { Continuity::Plain };
    let method = if case["method"] == "exact" { Method::Exact } else { Method::Normal(by) };
    let ours = samples.test(alternative, method).map_err(|problem| problem.to_string())?;
    let p = number(&case["p"]);
    near("U", ours.u, number(&case["U1"]), 0.0)?;
    near("p", ours.p, p, 1e-9 * p)?;
    Ok(Held::Same)
}
