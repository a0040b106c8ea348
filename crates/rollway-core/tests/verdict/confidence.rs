//! Confidence sequences against confseq, and the mixture of Lindon and Malek.

use rollway_core::verdict::stats::boundaries::{
    Best, Martingale, Sides, Stitching, bernoulli, empirical_process,
};
use rollway_core::verdict::stats::mixture::Mixture;
use rollway_core::verdict::stats::multiplicity::p_of_e;
use rollway_core::verdict::stats::quantile::QuantileTest;
use rollway_core::verdict::stats::special::Share;
use rollway_core::verdict::stats::{Outcomes, betting};

use crate::cases::{Told, number, numbers, whole};

/// So near to 1 a share has too few digits left for the logarithm of its odds.
const ROOT: f64 = 1e-9;

#[test]
fn lindon_and_malek() {
    let Some(told) = Told::of("stats_multinomial_evalue") else { return };
    told.all(|case, compared| {
        let mixture = Mixture {
            traffic: Share::new(number(&case["rho"])),
            concentration: number(&case["k"]),
        };
        let (x, y) = (whole(&case["canary_errors"]), whole(&case["baseline_errors"]));
        let alpha = number(&case["alpha"]);
        let ln_e = mixture.ln_e(x, y);
        compared.near("ln e", ln_e, &case["log_e"], 1e-12);
        compared.near("p", p_of_e(ln_e), &case["p_value"], 0.0);
        let shares = mixture.share_interval(x, y, alpha);
        compared.list("shares", &[shares.lower, shares.upper], &case["theta_cs"], 1e-14);
        let ratios = mixture.ln_ratio_interval(x, y, alpha);
        let (ours, known) = ([ratios.lower, ratios.upper], &case["log_rate_ratio_cs"]);
        if shares.upper < 1.0 && shares.upper > 1.0 - ROOT {
            compared.near("lower ratio", ours[0], &known[0], 1e-10);
            let reason = "the reference's root of the share is good to 2e-12, and its logit is not";
            compared.different(reason, (ours[1] - number(&known[1])).abs() < 0.1);
        } else {
            compared.list("ratios", &ours, known, 1e-10);
        }
    });
}

#[test]
fn uniform_boundaries() {
    let Some(told) = Told::of("stats_confseq_boundaries") else { return };
    told.all(|case, compared| {
        let at = |name: &str| number(&case[name]);
        let (s, v, alpha, c) = (at("s"), at("v"), at("alpha"), at("c"));
        let best = Best { v: at("v_opt"), alpha: 0.05 };
        for (sides, name) in [(Sides::One, "one"), (Sides::Two, "two")] {
            let normal = Martingale::normal(best, sides);
            let beta = Martingale::beta_binomial(best, at("g"), at("h"), sides);
            for (kind, martingale, s) in
                [("normal", normal, s), ("beta_binomial", beta, at("s_bb"))]
            {
                let value = format!("{kind}_log_mixture_{name}");
                compared.near(&value, martingale.ln_value(s, v), &case[&value], 1e-9);
                let bound = format!("{kind}_mixture_bound_{name}");
                compared.near(&bound, martingale.bound(v, alpha), &case[&bound], 0.0);
            }
        }
        for (kind, martingale) in [
            ("gamma_exponential", Martingale::gamma_exponential(best, c)),
            ("gamma_poisson", Martingale::gamma_poisson(best, c)),
        ] {
            let value = format!("{kind}_log_mixture");
            // The reference has the value of the sum's size, whatever its sign.
            compared.near(&value, martingale.ln_value(s.abs(), v), &case[&value], 1e-8);
            let bound = format!("{kind}_mixture_bound");
            compared.near(&bound, martingale.bound(v, alpha), &case[&bound], 0.0);
        }
        let stitched = Stitching::from(best.v.min(100.0)).polynomial(v, c, alpha);
        compared.near("stitched", stitched, &case["poly_stitching_bound"], 0.0);
        let gap = empirical_process(at("t"), 32.0, 0.85, alpha);
        compared.near("empirical", gap, &case["empirical_process_lil_bound_tmin32"], 0.0);
        let double = Stitching::from(32.0).quantiles(at("quantile_p"), at("t"), alpha, 0.5);
        compared.near("quantiles", double, &case["double_stitching_bound_topt32"], 0.0);
    });
}

#[test]
fn proportions_at_any_time() {
    let Some(told) = Told::of("stats_confseq_bernoulli_cs") else { return };
    told.all(|case, compared| {
        let seen = Outcomes { bad: whole(&case["k"]), total: whole(&case["n"]) };
        let ours = bernoulli(seen, number(&case["alpha"]), number(&case["t_opt"]), 0.05);
        compared.near("lower", ours.lower, &case["lower"], 1e-12);
        compared.near("upper", ours.upper, &case["upper"], 1e-12);
    });
}

#[test]
fn quantiles_of_two_arms() {
    let Some(told) = Told::of("stats_confseq_quantile_ab") else { return };
    told.all(|case, compared| {
        let test = QuantileTest {
            quantile: number(&case["quantile_p"]),
            best_total: number(&case["t_opt"]),
            best_alpha: number(&case["alpha_opt"]),
        };
        let p = test.p_value(&numbers(&case["a"]), &numbers(&case["b"]));
        compared.near("p", p, &case["p_value"], 1e-300);
    });
}

#[test]
fn means_by_betting() {
    let Some(told) = Told::of("stats_confseq_betting_cs") else { return };
    told.all(|case, compared| {
        let (x, alpha) = (numbers(&case["x"]), number(&case["alpha"]));
        let breaks = u32::try_from(whole(&case["breaks"])).expect("a thousand");
        let at: Vec<usize> = numbers_whole(&case["at"]);
        let both = betting::hedged(&x, alpha, breaks);
        let one = betting::lower(&x, alpha, breaks);
        let picked = |of: &dyn Fn(usize) -> f64| at.iter().map(|at| of(*at)).collect::<Vec<_>>();
        compared.list("lower", &picked(&|at| both[at].lower), &case["lower"], 1e-12);
        compared.list("upper", &picked(&|at| both[at].upper), &case["upper"], 1e-12);
        compared.list("one-sided", &picked(&|at| one[at]), &case["one_sided_lower"], 1e-12);
    });
}

fn numbers_whole(value: &serde_json::Value) -> Vec<usize> {
    let list = value.as_array().expect("a list").iter();
    list.map(|value| usize::try_from(whole(value)).expect("a place")).collect()
}
