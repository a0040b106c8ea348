//! The judge's own e-processes against 40-digit arithmetic.

use rollway_core::verdict::eprocess::{EProcess, Guess, Hope, Null, Pair, Starts};
use rollway_core::verdict::gauge::ln_t_evalue;
use rollway_core::verdict::rank::{self, Bands};
use rollway_core::verdict::stats::Outcomes;
use rollway_core::verdict::stats::descriptive::{mean, variance};
use serde_json::Value;

use crate::cases::{Told, number, numbers, whole};

/// Sums of logarithms of numbers near 1 have no more digits than this.
const LOGARITHMS: f64 = 1e-14;

#[test]
fn eprocesses_are_those_of_the_reference() {
    let Some(told) = Told::of("stats_judge_eprocess") else { return };
    told.all(|case, compared| {
        let given = &case["params"];
        let null = Null {
            hope: if given["sign"] == 1 { Hope::Worse } else { Hope::Better },
            ratio: number(&given["r"]),
            margin: number(&given["d"]),
        };
        let guess = Guess { sum: number(&given["x0"]), total: number(&given["n0"]) };
        let starts = starts(given);
        let mut process = EProcess::new(null, starts, number(&given["temper"]), guess);
        let checks = whole(&case["n_checks"]);
        let intervals = case["intervals"].as_array().expect("a list");
        let ours: Vec<f64> = (0..)
            .zip(intervals)
            .map(|(done, interval)| {
                let arm = |bad: usize, total: usize| Outcomes {
                    bad: whole(&interval[bad]),
                    total: whole(&interval[total]),
                };
                process.observe(
                    starts.due(done, checks),
                    Pair { canary: arm(0, 1), baseline: arm(2, 3) },
                )
            })
            .collect();
        compared.list("ln E", &ours, &case["log_e"], LOGARITHMS);
    });
}

#[test]
fn rank_scores_are_those_of_the_reference() {
    let Some(told) = Told::of("stats_rank_eprocess") else { return };
    told.all(|case, compared| {
        compared.same("scores", &numbers(&case["scores"]), &rank::SCORES.to_vec());
        let starts = starts(case);
        let mut capital = rank::capital(starts);
        let mut guess = rank::guess(number(&case["history_mean"]), number(&case["history_n"]));
        let bands = |arm: &str| {
            let bands = case[arm].as_array().expect("a list").clone();
            bands.into_iter().map(|bands| {
                let bands: Vec<u64> = bands.as_array().expect("six").iter().map(whole).collect();
                Bands::try_from(bands).expect("six bands")
            })
        };
        let both = bands("canary_bands").zip(bands("baseline_bands"));
        let ours: Vec<f64> = (0..)
            .zip(both)
            .map(|(done, (canary, baseline))| {
                capital.restart(starts, starts.due(done, whole(&case["n_checks"])));
                capital.grow(&rank::ln_factors(&guess, &Pair { canary, baseline }), 1.0);
                rank::learn(&mut guess, &baseline);
                capital.ln_e()
            })
            .collect();
        compared.list("ln E", &ours, &case["log_e"], LOGARITHMS);
    });
}

#[test]
fn t_evalues_are_those_of_the_reference() {
    let Some(told) = Told::of("stats_t_eprocess") else { return };
    told.all(|case, compared| {
        let (n, phi) = (number(&case["n"]), number(&case["phi"]));
        let ln_e = ln_t_evalue(n, number(&case["mean"]), number(&case["var"]), phi);
        compared.near("ln E", ln_e, &case["log_e"], LOGARITHMS);
        if !case["x"].is_null() {
            let x = numbers(&case["x"]);
            let ln_e = ln_t_evalue(n, mean(&x), variance(&x), phi);
            compared.near("ln E of the samples", ln_e, &case["log_e"], LOGARITHMS);
        }
    });
}

fn starts(case: &Value) -> Starts {
    let later = u32::try_from(whole(&case["restarts"])).expect("a few");
    Starts { at_once: number(&case["pi0"]), later }
}
