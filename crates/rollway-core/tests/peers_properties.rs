//! What always holds of the peers' judgements, whatever they are given.

use proptest::prelude::*;
use rollway_core::peers::expression::{Condition, Value, pointed_at};
use rollway_core::peers::flagger::{self, Strategy as Trial, Tick, Weighting, Weights};
use rollway_core::peers::kayenta::score::{Thresholds, Verdict};
use rollway_core::peers::kayenta::{Class, Config, Manner, Metric, Values, classify, judge, shift};
use rollway_core::peers::mann_whitney::{Alternative, Continuity, Method, Samples, Solver};
use rollway_core::peers::threshold::{
    Counters, Limits, Metric as Measured, Phase, Run, assess_run,
};

/// Pieces that meet in conditions, so that many a text is nearly right.
const PIECES: [&str; 40] = [
    "result",
    "#",
    ".x",
    "[0]",
    "[1:]",
    "[-1]",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    " and ",
    " or ",
    "not ",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    "**",
    "==",
    "<=",
    "> ",
    " in ",
    "?",
    ":",
    "??",
    "1",
    "0.5",
    "9223372036854775807",
    "'a'",
    "\"é",
    "all(",
    "len(",
    "default(",
    "asInt(",
    "nil",
];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_map(Value::Float),
        ".{0,8}".prop_map(Value::Text),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            prop::collection::btree_map("[a-z]{1,2}", inner, 0..4).prop_map(Value::Map),
        ]
    })
}

/// Reads it, asks it, and shows where it is wrong.
fn is_total(text: &str, result: &Value) -> Result<(), TestCaseError> {
    let outcome =
        Condition::parse("success_condition", text).and_then(|condition| condition.holds(result));
    if let Err(problem) = outcome {
        let place = problem.place.expect("each mistake has a place");
        prop_assert!(place.offset + place.length <= text.len(), "{place:?} of {text:?}");
        prop_assert!(pointed_at(text, place).contains('^'));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_condition_of_any_text_is_read_or_refused(text in any::<String>(), result in value()) {
        is_total(&text, &result)?;
    }

    #[test]
    fn a_condition_of_any_pieces_is_read_or_refused(
        pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40),
        result in value(),
    ) {
        is_total(&pieces.concat(), &result)?;
    }

    #[test]
    fn counters_only_grow_and_add_up(
        phases in prop::collection::vec(0_usize..6, 0..60),
    ) {
        let kinds = [
            Phase::Successful, Phase::Running, Phase::Pending, Phase::Inconclusive, Phase::Error,
            Phase::Failed,
        ];
        let mut counters = Counters::default();
        for kind in phases {
            let next = counters.with(kinds[kind]);
            prop_assert!(next.count >= counters.count && next.error >= counters.error);
            prop_assert!(next.failed >= counters.failed);
            prop_assert!(next.successful >= counters.successful);
            prop_assert!(next.inconclusive >= counters.inconclusive);
            prop_assert_eq!(next.count, next.successful + next.failed + next.inconclusive);
            prop_assert!(next.consecutive_success <= next.successful);
            prop_assert!(next.consecutive_error <= next.error);
            prop_assert_eq!(next.last, Some(kinds[kind]));
            counters = next;
        }
    }

    #[test]
    fn a_limit_that_is_passed_stays_passed(
        failures in 0_u32..8,
        limit in 0_u32..5,
        later in prop::collection::vec(any::<bool>(), 0..9),
    ) {
        let limits =
            Limits { failure_limit: Some(limit), interval_seconds: Some(1), ..Limits::default() };
        let failed = |all: Counters, _| all.with(Phase::Failed);
        let mut counters = (0..failures).fold(Counters::default(), failed);
        let is_failed = |counters: &Counters| limits.assess(counters, Run::Going) == Phase::Failed;
        prop_assert_eq!(is_failed(&counters), failures > limit);
        for is_good in later {
            let was = is_failed(&counters);
            counters = counters.with(if is_good { Phase::Successful } else { Phase::Failed });
            prop_assert!(!was || is_failed(&counters));
        }
    }

    #[test]
    fn the_rank_test_looks_the_same_from_the_other_side(
        first in prop::collection::vec(-20_i32..20, 1..16),
        second in prop::collection::vec(-20_i32..20, 1..16),
    ) {
        let (first, second) = (floats(&first, 1.0), floats(&second, 1.0));
        let here = Samples::new(&first, &second).expect("finite");
        let there = Samples::new(&second, &first).expect("finite");
        prop_assert_eq!(here.u() + there.u(), (first.len() * second.len()) as f64);
        prop_assert_eq!(here.hodges_lehmann(), -there.hodges_lehmann());
        for (one, other) in [
            (Alternative::TwoSided, Alternative::TwoSided),
            (Alternative::Less, Alternative::Greater),
        ] {
            for method in [Method::Auto, Method::Normal(Continuity::Plain)] {
                let p = here.test(one, method).expect("a test").p;
                prop_assert!((p - there.test(other, method).expect("a test").p).abs() < 1e-12);
                prop_assert!((0.0..=1.0).contains(&p));
            }
        }
        let here = interval(&here);
        let there = interval(&there);
        prop_assert_eq!((here.0, here.1), (-there.1, -there.0));
        prop_assert!(here.0 <= here.1);
    }

    #[test]
    fn the_mended_judge_is_the_same_in_every_unit(
        canary in prop::collection::vec(0_i32..40, 1..14),
        baseline in prop::collection::vec(0_i32..40, 1..14),
        power in -40_i32..40,
    ) {
        let metric = Metric::default();
        let judged = |unit: f64| {
            let (canary, baseline) = (floats(&canary, unit), floats(&baseline, unit));
            let classified = classify(&metric, &canary, &baseline, Manner::Mended);
            let class = classified.expect("finite").class;
            let samples = Samples::new(&canary, &baseline).expect("finite");
            let shift = shift(&samples, 0.98, Manner::Mended).expect("a share").expect("a shift");
            (class, shift.low / unit, shift.high / unit, shift.estimate / unit)
        };
        prop_assert_eq!(judged(1.0), judged(2.0_f64.powi(power)));
    }

    #[test]
    fn flagger_always_ends_where_all_is_good(
        step in 1_u32..120, max in 0_u32..120, back in 0_u32..120, mirror in any::<bool>(),
    ) {
        let weighting = Weighting {
            step_weight: step, max_weight: max, step_weights: Vec::new(),
            step_weight_promotion: back, mirror,
        };
        let trial = Trial::Canary(Weights::try_from(weighting).expect("it grows"));
        let mut state = flagger::after(flagger::State::INITIALIZED, Tick::NewRevision, &trial, 5);
        for _ in 0..300 {
            prop_assert!(state.canary_weight <= 100);
            state = flagger::after(state, Tick::Good, &trial, 5);
        }
        prop_assert_eq!((state.phase, state.canary_weight), (flagger::Phase::Succeeded, 0));
    }
}

fn floats(values: &[i32], unit: f64) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value) * unit).collect()
}

fn interval(samples: &Samples) -> (f64, f64) {
    let interval = samples.interval(0.95, Alternative::TwoSided, Solver::Steps);
    let interval = interval.expect("a share").expect("an interval");
    (interval.low, interval.high)
}

#[test]
fn a_deep_or_long_condition_is_refused_and_a_dear_one_stopped() {
    let problem = |text: &str, result: &Value| {
        Condition::parse("success_condition", text)
            .and_then(|condition| condition.holds(result))
            .expect_err("refused")
            .what
    };
    for deep in ["(", "!", "-", "[", "not ", "all(result, ", "result[", "1 ? 2 : "] {
        assert!(problem(&deep.repeat(300), &Value::Nil).contains("nested deeper"), "{deep}");
    }
    assert!(problem(&"true||".repeat(300), &Value::Nil).contains("nested deeper"));
    assert!(problem(&" ".repeat(5000), &Value::Nil).contains("the most is 4096"));
    let many = Value::List(vec![Value::Int(1); 2000]);
    for dear in [
        "all(result, {all(result, {# > 0})})",
        "all(result, {result[:][0] > 0})",
        "len(map(result, {result})) > 0",
    ] {
        assert!(problem(dear, &many).contains("steps"), "{dear}");
    }
}

#[test]
fn conditions_mean_what_the_documentation_of_argo_shows() {
    let result: Value = serde_json::from_str::<serde_json::Value>(
        r#"{"count": 3, "code": "OK", "rows": [{"ok": true, "ms": 4}, {"ok": true, "ms": 9.5}]}"#,
    )
    .expect("JSON")
    .into();
    for (text, is_so) in [
        (r#"result.code == "OK" && result.count >= 2"#, true),
        ("result['code'] in ['OK', 'FINE']", true),
        ("result.count not in [1, 2]", true),
        ("all(result.rows, {.ok})", true),
        ("any(result.rows, {#.ms > 9}) and not (len(result.rows) < 2)", true),
        ("len(filter(result.rows, {.ms < 5})) == 1", true),
        ("count(map(result.rows, .ok)) == 2", true),
        ("result.absent == nil && isNil(result.absent)", true),
        ("default(result.absent, 7) - 2 * 3 == 1", true),
        ("(result.absent ?? 0.01) < 0.05", true),
        ("-2 ** 2 == -4 ? true : false", true),
        ("7 % 4 == 3 and 7 / 2 == 3.5 and 2 + 3 * 4 == 14", true),
        ("result.rows[-1].ms == 9.5 and len(result.rows[1:]) == 1", true),
        (r#"result.code startsWith "O" and result.code contains "K""#, true),
        ("max(map(result.rows, {.ms})) < 9", false),
        ("1 == 1 or result.rows[7].ms > 0", true),
    ] {
        let condition = Condition::parse("success_condition", text).expect(text);
        assert_eq!(condition.holds(&result), Ok(is_so), "{text}");
    }
}

#[test]
fn a_mistake_in_a_condition_says_where_and_what() {
    let told = |text: &str| {
        let outcome = Condition::parse("success_condition", text)
            .and_then(|condition| condition.holds(&Value::List(vec![Value::Int(1)])));
        let problem = outcome.expect_err("a mistake");
        format!("{}\n{}", problem.what, pointed_at(text, problem.place.expect("a place")))
    };
    assert_eq!(told("true &\ttrue"), "unexpected '&'\ntrue &\ttrue\n     ^");
    assert_eq!(
        told("result[3] > 0"),
        "there is no item 3: the list has 1; ask for len(..) first\nresult[3] > 0\n^^^^^^^^^"
    );
    assert_eq!(told("result >= 0.95 or\n resutl < 1").lines().nth(1), Some(" resutl < 1"),);
    assert!(told("resutl < 1").starts_with("unknown name \"resutl\"; known: result, "));
    assert!(told("len(result)").starts_with("expected a condition (bool), but this is a value"));
    assert!(told("result > 1").starts_with("a list and a int have no order"));
}

#[test]
fn a_run_is_as_bad_as_its_worst_metric_and_a_dry_one_decides_nothing() {
    let metric = |name: &str, phase: Phase, is_dry_run: bool| Measured {
        name: name.to_owned(),
        is_dry_run,
        limits: Limits::default(),
        counters: Counters::default().with(phase),
    };
    let good = || metric("good", Phase::Successful, false);
    let open = Measured { name: "open".to_owned(), ..Measured::default() };
    let dry = assess_run(&[good(), metric("dry", Phase::Failed, true)], Run::Going);
    assert_eq!((dry.phase, dry.by), (Phase::Successful, vec!["good".to_owned()]));
    let bad = assess_run(&[good(), open.clone(), metric("bad", Phase::Failed, false)], Run::Going);
    assert_eq!((bad.phase, bad.run, bad.by), (Phase::Failed, Run::Terminating, vec!["bad".into()]));
    assert_eq!(assess_run(std::slice::from_ref(&open), Run::Going).phase, Phase::Pending);
    assert_eq!(assess_run(&[good(), open], Run::Going).phase, Phase::Running);
}

#[test]
fn the_next_measurement_is_due_after_delay_interval_or_a_short_retry() {
    let limits = Limits {
        interval_seconds: Some(60),
        initial_delay_seconds: 30,
        count: Some(3),
        ..Limits::default()
    };
    let start = Counters::default();
    assert_eq!(limits.next_in_seconds(&start), Some(30));
    assert_eq!(limits.next_in_seconds(&start.with(Phase::Successful)), Some(60));
    assert_eq!(limits.next_in_seconds(&start.with(Phase::Error)), Some(10));
    assert_eq!(limits.next_in_seconds(&start.with(Phase::Failed)), None);
}

#[test]
fn the_mended_judge_says_nothing_of_too_few_samples_where_kayenta_does() {
    let class = |canary: &[f64], baseline: &[f64], least: usize, manner: Manner| {
        let metric = Metric { samples_min: least, ..Metric::default() };
        classify(&metric, canary, baseline, manner).expect("finite").class
    };
    let (two, other_two) = ([3.0, 4.0], [1.0, 2.0]);
    assert_eq!(class(&two, &other_two, 1, Manner::Faithful), Class::High);
    assert_eq!(class(&two, &other_two, 1, Manner::Mended), Class::Nodata);
    // With four a side even the most extreme order comes 1 time in 35: no confidence of 98 %.
    let (four, other_four) = ([5.0, 6.0, 7.0, 8.0], [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(class(&four, &other_four, 1, Manner::Mended), Class::Nodata);
    let (five, other_five) = ([6.0, 7.0, 8.0, 9.0, 10.0], [1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(class(&five, &other_five, 5, Manner::Mended), Class::High);
    // Constants are compared as they are, and no data never passes.
    assert_eq!(class(&[10.0; 6], &[1.0; 6], 5, Manner::Mended), Class::High);
    assert_eq!(class(&[], &five, 5, Manner::Mended), Class::Nodata);
}

#[test]
fn a_class_without_a_ratio_is_read_as_it_was_written() {
    let metric = Metric::default();
    let high = classify(&metric, &[1.0, 4.0, 2.0, 3.0, 1.0], &[0.0; 5], Manner::Mended);
    let written = serde_json::to_string(&high.expect("finite")).expect("JSON");
    let read: rollway_core::peers::kayenta::Classified =
        serde_json::from_str(&written).expect("as it was written");
    assert_eq!(read.class, Class::High);
    assert!(read.deviation.is_nan(), "{written}");
}

#[test]
fn of_alike_samples_the_mended_judge_calls_no_more_different_than_its_confidence() {
    // Every order of five and five values is as probable as any other if they are alike.
    let metric = Metric { tolerance: 0.0, ..Metric::default() };
    let orders = (0_u32..1 << 10).filter(|order| order.count_ones() == 5);
    let mut counts = [0, 0];
    for order in orders {
        let side = |bit: u32| -> Vec<f64> {
            (0..10).filter(|at| order >> at & 1 == bit).map(f64::from).collect()
        };
        let class = classify(&metric, &side(1), &side(0), Manner::Mended).expect("finite").class;
        counts[usize::from(class != Class::Pass)] += 1;
    }
    // The two most extreme orders of each side: 1.6 %, and the confidence is 98 %.
    assert_eq!(counts, [248, 4]);
}

#[test]
fn a_whole_judgement_weighs_groups_and_names_its_metrics() {
    let config: Config = serde_json::from_value(serde_json::json!({
        "metrics": {
            "errors": {"groups": ["errors"], "canary": {"direction": "increase"}},
            "latency": {"groups": ["latency"]},
            "notes": {"groups": ["latency"], "canary": {"muted": true}}
        },
        "groupWeights": {"errors": 75.0},
        "thresholds": {"pass": 90.0, "marginal": 50.0}
    }))
    .expect("a configuration");
    let values = |shift: f64| Values {
        canary: (0..12).map(|at| f64::from(at) + shift).chain([f64::NAN]).collect(),
        baseline: (0..12).map(f64::from).collect(),
    };
    let judged = |errors: f64, latency: f64| {
        let all = [("errors".to_owned(), values(errors)), ("latency".to_owned(), values(latency))];
        let judgement = judge(&config, &all.into()).expect("known metrics");
        (judgement.score.summary, judgement.verdict, judgement.metrics["errors"].class)
    };
    assert_eq!(judged(0.0, 0.0), (100.0, Verdict::Pass, Class::Pass));
    assert_eq!(judged(0.0, 50.0), (75.0, Verdict::Marginal, Class::Pass));
    assert_eq!(judged(50.0, 0.0), (25.0, Verdict::Fail, Class::High));
    assert_eq!(judged(-50.0, 0.0), (100.0, Verdict::Pass, Class::Pass));
    let unknown = judge(&config, &[("error".to_owned(), values(0.0))].into()).expect_err("unknown");
    assert_eq!(unknown.what, "unknown metric \"error\"; known: errors, latency, notes");
    // Without any values there is no data, and that is never a pass.
    assert_eq!(judge(&config, &[].into()).expect("nothing").verdict, Verdict::Fail);
}

#[test]
fn a_standalone_run_ends_at_a_marginal_score_and_its_last_one_decides() {
    let thresholds = Thresholds { pass: 90.0, marginal: 50.0 };
    assert_eq!(thresholds.of_run(&[60.0, 95.0]), Verdict::Pass);
    assert_eq!(thresholds.of_run(&[50.0, 95.0]), Verdict::Fail);
    assert_eq!(thresholds.of_run(&[95.0, 60.0]), Verdict::Fail);
    assert_eq!(thresholds.of_run(&[]), Verdict::Fail);
}

#[test]
fn flagger_gives_up_after_enough_failed_checks_and_starts_again_with_a_revision() {
    let trial = Trial::AbTesting(2);
    let run = |ticks: &[Tick]| {
        ticks.iter().fold(flagger::State::INITIALIZED, |state, tick| {
            flagger::after(state, *tick, &trial, 2)
        })
    };
    let failed = run(&[Tick::NewRevision, Tick::Bad, Tick::Good, Tick::Bad, Tick::Good]);
    assert_eq!((failed.phase, failed.canary_weight), (flagger::Phase::Failed, 0));
    let again = run(&[Tick::NewRevision, Tick::Bad, Tick::Good, Tick::NewRevision]);
    assert_eq!(
        (again.phase, again.failed_checks, again.iterations),
        (flagger::Phase::Progressing, 0, 0)
    );
    let stuck = run(&[Tick::NewRevision, Tick::Waiting, Tick::Stuck]);
    assert_eq!(stuck.phase, flagger::Phase::Failed);
    let promoting = [Tick::NewRevision, Tick::Good, Tick::Good, Tick::Good, Tick::PrimaryNotReady];
    let lost = run(&promoting);
    assert_eq!((lost.phase, lost.canary_weight), (flagger::Phase::Failed, 100));
}
