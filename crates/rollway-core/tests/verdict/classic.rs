//! Classic statistics against scipy, numpy and statsmodels.

use rollway_core::verdict::stats::binomial::{self, clopper_pearson, wilson, wilson_corrected};
use rollway_core::verdict::stats::proportions::{
    fisher_greater, ln_conditional_binomial, newcombe, pooled_z, traffic_share, z_p_value,
};
use rollway_core::verdict::stats::special::Share;
use rollway_core::verdict::stats::student::{Difference, Estimate};
use rollway_core::verdict::stats::{Alternative, Outcomes, Range, descriptive, multiplicity};
use serde_json::Value;

use crate::cases::{Case, Told, number, numbers, whole};

/// A probability below this is 0 in the reference, which has no logarithms.
const LN_SMALLEST: f64 = -708.0;
/// The reference computes these as `1 - cdf`: that has no digits below this.
const ONE_LESS: f64 = 4e-16;

#[test]
fn binomial_tests_and_intervals() {
    let Some(told) = Told::of("stats_binomial") else { return };
    told.all(|case, compared| {
        let seen = Outcomes { bad: whole(&case["k"]), total: whole(&case["n"]) };
        let p0 = number(&case["p0"]);
        let alternative = match case["alternative"].as_str() {
            Some("greater") => Alternative::Greater,
            Some("less") => Alternative::Less,
            Some("two-sided") => Alternative::TwoSided,
            other => panic!("an alternative {other:?}"),
        };
        compared.near("p", binomial::test(seen, p0, alternative), &case["p"], 1e-300);
        let ln_tail = binomial::ln_at_least(seen.bad, seen.total, Share::new(p0));
        if case["logsf"] == "-inf" {
            let reason = "the reference takes the logarithm of an underflow; ours is finite";
            compared.different(reason, ln_tail < LN_SMALLEST && ln_tail.is_finite());
        } else {
            compared.near("ln tail", ln_tail, &case["logsf"], 1e-14);
        }
        for (name, interval) in [
            ("exact", clopper_pearson(seen, 0.99, alternative)),
            ("wilson", wilson(seen, 0.99, alternative)),
            ("wilsoncc", wilson_corrected(seen, 0.99, alternative)),
        ] {
            range(compared, name, interval, &case["ci99"][name], 1e-300);
        }
    });
}

#[test]
fn two_proportions() {
    let Some(told) = Told::of("stats_two_proportions") else { return };
    told.all(|case, compared| {
        let arm = |bad: &str, total: &str| Outcomes {
            bad: whole(&case[bad]),
            total: whole(&case[total]),
        };
        let (first, second) = (arm("x1", "n1"), arm("x2", "n2"));
        let z = pooled_z(first, second);
        compared.near("z", z, &case["z"], 1e-12);
        compared.near("p of z", z_p_value(z), &case["p_z_larger"], 1e-300);
        let fisher = fisher_greater(first, second);
        compared.near("Fisher", fisher, &case["p_fisher_greater"], 1e-300);
        range(compared, "Newcombe", newcombe(first, second, 0.95), &case["newcombe95_diff"], 1e-14);
        let share = traffic_share(first.total, second.total);
        let conditional = ln_conditional_binomial(first.bad, second.bad, share).exp();
        for name in ["p_conditional_binomial_greater", "p_poisson_exact_cond_larger"] {
            compared.near(name, conditional, &case[name], 1e-300);
        }
    });
}

#[test]
fn descriptions_of_samples() {
    let Some(told) = Told::of("stats_descriptive") else { return };
    told.all(|case, compared| {
        let (x, y) = (numbers(&case["x"]), numbers(&case["y"]));
        for (percent, known) in case["percentiles_r7"].as_object().expect("a map") {
            let ours = descriptive::percentile(&x, percent.parse().expect("a number"));
            compared.near(percent, ours, known, 1e-14);
        }
        let mean = descriptive::mean(&x);
        compared.near("mean", mean, &case["mean"], 1e-14);
        compared.near("sd", descriptive::standard_deviation(&x), &case["sd"], 1e-14);
        let fences = descriptive::kayenta_fences(&x, 3.0);
        range(compared, "fences", fences, &case["kayenta_iqr_fences_factor3"], 1e-14);
        compared.near("effect", descriptive::effect_size(&x, &y), &case["cles"], 0.0);
        let ratio = mean / descriptive::mean(&y);
        if case["mean_ratio"].is_null() {
            compared.same("a ratio", &ratio.is_finite(), &false);
        } else {
            compared.near("ratio", ratio, &case["mean_ratio"], 1e-14);
        }
        let gap = descriptive::kolmogorov_smirnov(&x, &y);
        compared.near("gap", gap, &case["ks_2samp"], 1e-15);
        compared.near("t", descriptive::welch_t(&x, &y), &case["welch_t"], 1e-14);
    });
}

#[test]
fn many_tests_at_once() {
    let Some(told) = Told::of("stats_multiplicity") else { return };
    told.all(|case, compared| {
        let (ln_e, weights) = (numbers(&case["log_e"]), numbers(&case["weights"]));
        let alpha = number(&case["alpha"]);
        for (name, ours) in [
            ("e_bh", multiplicity::e_bh(&ln_e, alpha)),
            ("e_bonferroni_weighted", multiplicity::bonferroni(&ln_e, &weights, alpha)),
        ] {
            let places = (0u64..).zip(ours).filter(|(_, is_rejected)| *is_rejected);
            let places: Vec<u64> = places.map(|(place, _)| place).collect();
            let known: Vec<u64> =
                case[name].as_array().expect("a list").iter().map(whole).collect();
            compared.same(name, &places, &known);
        }
        let mean = multiplicity::mean_e(&ln_e, &weights);
        compared.near("mean", mean, &case["mean_e"], 0.0);
        let is_rejected = mean >= 1.0 / alpha;
        compared.same("global", &Value::from(is_rejected), &case["global_reject_mean"]);
        let closed = multiplicity::closed_mean(&ln_e);
        compared.list("closed", &closed, &case["closed_mean_e"], 0.0);
        let p: Vec<f64> = ln_e.iter().map(|ln_e| multiplicity::p_of_e(*ln_e)).collect();
        compared.list("p", &p, &case["p"], 0.0);
        let rejected = Value::from(multiplicity::p_bonferroni(&p, alpha));
        compared.same("Bonferroni", &rejected, &case["p_bonferroni"]);
        compared.list("Holm", &multiplicity::holm(&p), &case["p_holm_adj"], 0.0);
        compared.list("BH", &multiplicity::benjamini_hochberg(&p), &case["p_bh_adj"], 0.0);
        compared.list("BY", &multiplicity::benjamini_yekutieli(&p), &case["p_by_adj"], 0.0);
    });
}

#[test]
fn means_by_t_fixed_and_sequential() {
    let Some(told) = Told::of("stats_growthbook_sequential") else { return };
    told.all(|case, compared| {
        let data = &case["data"];
        let arm = |name: &str| {
            let given = &data[name];
            if data["kind"] == "proportion" {
                let outcomes = Outcomes { bad: whole(&given[1]), total: whole(&given[0]) };
                Estimate::of_outcomes(outcomes)
            } else {
                Estimate::of_sums(whole(&given[0]), number(&given[1]), number(&given[2]))
            }
        };
        let difference = Difference::new(arm("canary"), arm("baseline"));
        let (alpha, tuning) = (number(&case["alpha"]), number(&case["tuning"]));
        let (sequential, fixed) = (&case["seq"], &case["fixed"]);
        compared.near("estimate", difference.estimate(), &sequential["estimate"], 1e-14);
        let interval = difference.sequential_interval(alpha, tuning);
        range(compared, "sequential", interval, &sequential["ci"], 1e-14);
        let p = difference.sequential_p_value(alpha, tuning);
        compared.near("sequential p", p, &sequential["p"], 1e-300);
        range(compared, "fixed", difference.fixed_interval(alpha), &fixed["ci"], 1e-12);
        compared.near("fixed p", difference.fixed_p_value(), &fixed["p"], ONE_LESS);
    });
}

fn range(compared: &mut Case, name: &str, ours: Range, known: &Value, absolute: f64) {
    compared.list(name, &[ours.lower, ours.upper], known, absolute);
}
