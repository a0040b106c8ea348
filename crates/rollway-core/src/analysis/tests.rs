//! Judgements by every judge, sample by sample.

use super::*;
use crate::event::{Event, What};
use crate::peers::kayenta::Class;
use crate::verdict::decision::{Doubted, Proof};
use crate::verdict::others::Other;

/// What a release has done after so many requests, one in `bad_in` of them failed.
fn arm(total: u64, bad_in: u64) -> Counters {
    let mut latency = Histogram::default();
    // From 10 ms to 3.2 s, each in a bucket of its own: the slowest are beyond p99.
    let slow = |n: u64| 0.01 * 1.06f64.powi((n % 100) as i32);
    (0..total).for_each(|n| latency.record(slow(n)));
    Counters { total, bad: total / bad_in, latency, value: None }
}

fn sample(seconds: u64, bad_in: u64) -> Sample {
    let canary = arm(50 * seconds, bad_in);
    Sample::Counters(Box::new(Pair { canary, baseline: arm(1000 + 50 * seconds, 1000) }))
}

fn quick() -> spec::Analysis {
    spec::Analysis { warmup: Millis::ZERO, min_bake: Millis::ZERO, ..spec::Analysis::default() }
}

/// The first decision, and when.
fn judged(bad_in: u64, by: &spec::Analysis) -> (u64, Verdict) {
    let mut trial = Trial::begin(by, Millis(5000), &sample(0, bad_in)).expect("good rules");
    for second in (10..3700).step_by(10) {
        trial.take(second, Millis(5000 + second * 1000), &sample(second, bad_in)).expect("new");
        if let Some(verdict) = trial.news(Millis(5000)) {
            return (second, verdict);
        }
    }
    panic!("no decision within the deadline")
}

#[test]
fn a_worse_release_is_rolled_back_and_an_equal_one_is_certified() {
    let (after, verdict) = judged(20, &quick());
    assert!(matches!(verdict.decision, Decision::Rollback { .. }), "{verdict:?}");
    assert!(after <= 20, "{after}");
    let (after, verdict) = judged(1000, &quick());
    assert_eq!(verdict.decision, Decision::Advance);
    assert!(after < 3600, "{after}");
}

#[test]
fn a_sample_counts_once_and_a_lost_one_is_in_the_next() {
    let begin = || Trial::begin(&quick(), Millis(0), &sample(0, 20)).expect("good rules");
    let mut trial = begin();
    trial.take(1, Millis(10_000), &sample(10, 20)).expect("new");
    let before = trial.clone();
    let why = trial.take(1, Millis(20_000), &sample(20, 20)).expect_err("it was taken in");
    assert!(why.contains("sample 1 comes after sample 1"), "{why}");
    assert_eq!(trial, before);
    let mut late = begin();
    late.take(1, Millis(5000), &Sample::Missed("no answer".into())).expect("new");
    assert_eq!(late.missed.as_deref(), Some("no answer"));
    late.take(2, Millis(10_000), &sample(10, 20)).expect("new");
    let seen = |trial: &Trial| trial.look(Millis(0)).findings[0].samples;
    assert_eq!(seen(&late), seen(&trial));
    assert_eq!(seen(&late).canary, Outcomes { bad: 25, total: 500 });
}

#[test]
fn counters_that_begin_anew_are_counted_from_their_beginning() {
    let before = arm(100, 10);
    assert_eq!(arm(130, 10).since(&before).total, 30);
    assert_eq!(arm(40, 10).since(&before), arm(40, 10));
}

#[test]
fn more_failures_than_requests_are_part_of_the_next_check() {
    let at = |bad: u64, total: u64| {
        let canary = Counters { total, bad, ..Counters::default() };
        Sample::Counters(Box::new(Pair { canary, baseline: arm(1000 + total, 1000) }))
    };
    let mut trial = Trial::begin(&quick(), Millis(0), &at(0, 0)).expect("good rules");
    trial.take(1, Millis(10_000), &at(5, 100)).expect("new");
    // Failures were read later than requests: 7 more of those, 2 more of these.
    trial.take(2, Millis(20_000), &at(12, 102)).expect("it is no error, and teaches nothing");
    assert_eq!(trial.missed.as_deref(), Some("canary: 7 failed of 2 since the last check"));
    trial.take(3, Millis(30_000), &at(12, 200)).expect("new");
    assert_eq!(trial.missed, None);
    let seen = trial.look(Millis(0)).findings[0].samples.canary;
    assert_eq!(seen, Outcomes { bad: 12, total: 200 });
}

#[test]
fn a_source_that_never_answers_is_no_good_sign() {
    let by = spec::Analysis { deadline: Millis::seconds(60), ..quick() };
    let mut trial = Trial::begin(&by, Millis(0), &Sample::Missed("gone".into())).expect("good");
    for id in 1..=6 {
        assert_eq!(trial.news(Millis(0)), None, "before sample {id}");
        trial.take(id, Millis(id * 10_000), &Sample::Missed("gone".into())).expect("new");
    }
    trial.verdict = trial.news(Millis(0));
    assert!(trial.holds() && !trial.advances(), "{:?}", trial.verdict);
}

#[test]
fn events_keep_samples_and_verdicts_to_the_last_bit() {
    let (_, verdict) = judged(20, &quick());
    for what in [
        What::AnalysisSample { watch: 0, id: 7, sample: sample(30, 20) },
        What::AnalysisVerdict { watch: 0, verdict: Box::new(verdict) },
    ] {
        let event = Event { clock: Millis(1), what };
        let text = serde_json::to_string(&event).expect("JSON");
        assert_eq!(serde_json::from_str::<Event>(&text).expect("an event"), event);
        let value = serde_json::to_value(&event).expect("JSON");
        assert_eq!(serde_json::from_value::<Event>(value).expect("an event"), event);
    }
}

/// A judgement by another judge, check by check, with what both have counted at each.
struct Told {
    trial: Trial,
    now: Millis,
    both: Pair<Counters>,
}

impl Told {
    /// Every 10 s a check, without a warm-up; `judge` is as in a spec.
    fn by(judge: &str) -> Self {
        let judge: spec::Judge = serde_json::from_str(judge).expect("a judge");
        let deadline = Millis::seconds(600);
        let by = spec::Analysis { judge, deadline, ..quick() };
        let both = Pair { canary: arm(1000, 1000), baseline: arm(1000, 1000) };
        let begin = Sample::Counters(Box::new(both.clone()));
        let trial = Trial::begin(&by, Millis::ZERO, &begin).expect("good rules");
        Self { trial, now: Millis::ZERO, both }
    }

    fn take(&mut self, sample: &Sample) -> Verdict {
        self.now = Millis(self.now.0 + 10_000);
        let id = self.trial.last + 1;
        self.trial.take(id, self.now, sample).expect("a new one");
        // What the engine does with it.
        if let Some(verdict) = self.trial.news(Millis::ZERO) {
            self.trial.verdict = Some(verdict);
        }
        let verdict = self.trial.look(Millis::ZERO);
        let text = serde_json::to_string(&verdict).expect("JSON");
        assert_eq!(serde_json::from_str::<Verdict>(&text).expect("a verdict"), verdict, "{text}");
        verdict
    }

    /// Both have had 100 requests more, of which so many failed.
    fn bad(&mut self, canary: u64, baseline: u64) -> Verdict {
        for (arm, bad) in [(&mut self.both.canary, canary), (&mut self.both.baseline, baseline)] {
            arm.total += 100;
            arm.bad += bad;
        }
        self.take(&Sample::Counters(Box::new(self.both.clone())))
    }

    fn missed(&mut self) -> Verdict {
        self.take(&Sample::Missed("no answer".to_owned()))
    }
}

const ERRORS: &str = r#"{"threshold": {"metrics": [{"measure": "error_rate",
    "success_condition": "result < 0.05", "failure_limit": 2, "count": 5}]}}"#;

fn rolled_back(verdict: &Verdict, by: Proof) -> &str {
    match &verdict.decision {
        Decision::Rollback { metric, because } if *because == by => metric,
        Decision::Rollback { .. }
        | Decision::Advance
        | Decision::Continue { .. }
        | Decision::Inconclusive { .. } => panic!("{:?}", verdict.words()),
    }
}

#[test]
fn thresholds_bear_so_many_failures_and_no_more() {
    let mut told = Told::by(ERRORS);
    for (bad, words) in [(0, "errors"), (6, "1 failed"), (0, "2 successful"), (5, "2 failed")] {
        let verdict = told.bad(bad, 50);
        assert!(matches!(verdict.decision, Decision::Continue { .. }), "{verdict:?}");
        assert!(verdict.words()[1].contains(words), "{:?}", verdict.words());
    }
    let verdict = told.bad(7, 0);
    assert_eq!(rolled_back(&verdict, Proof::Limits), "error_rate");
    assert_eq!(
        verdict.words(),
        [
            "roll back: error_rate has gone beyond its limits",
            "error_rate: failed: 5 of 5 measured, 2 successful, 3 failed, 0 inconclusive, \
             0 errors; last 0.07",
        ]
    );
    // What comes after the end is not measured any more.
    assert_eq!(told.bad(0, 0).others, verdict.others);
}

#[test]
fn thresholds_that_hold_let_it_go_on_and_a_step_bakes() {
    let mut told = Told::by(ERRORS);
    (0..4).for_each(|_| {
        assert!(matches!(told.bad(4, 0).decision, Decision::Continue { .. }));
    });
    let verdict = told.bad(4, 0);
    assert_eq!(verdict.words()[0], "advance: every metric is successful");
    assert!(told.trial.advances());
}

#[test]
fn what_is_not_learned_is_an_error_and_too_many_in_a_row_roll_back() {
    let mut told = Told::by(ERRORS);
    (0..4).for_each(|_| {
        assert!(matches!(told.missed().decision, Decision::Continue { .. }));
    });
    // Five checks in one: 2 of 100 since the begin. The errors in a row begin anew.
    assert!(told.bad(2, 0).words()[1].contains("last 0.02"));
    (0..4).for_each(|_| drop(told.missed()));
    let verdict = told.missed();
    assert_eq!(rolled_back(&verdict, Proof::Limits), "error_rate");
    assert!(verdict.words()[1].ends_with("the last error: no answer"), "{:?}", verdict.words());
    let mut silent = Told::by(ERRORS);
    let same = Sample::Counters(Box::new(silent.both.clone()));
    (0..5).for_each(|_| drop(silent.take(&same)));
    let words = silent.trial.look(Millis::ZERO).words();
    assert!(words[1].ends_with("the last error: there were no requests"), "{words:?}");
}

#[test]
fn what_is_neither_good_nor_bad_is_held() {
    let mut told = Told::by(
        r#"{"threshold": {"metrics": [{"measure": "error_rate", "count": 3,
            "success_condition": "result < 0.01", "failure_condition": "result > 0.1"}]}}"#,
    );
    let verdict = told.bad(5, 0);
    let doubted = Doubt { metric: "error_rate".to_owned(), what: Doubted::Inconclusive };
    let held = Decision::Inconclusive { then: Then::Hold, doubts: vec![doubted] };
    assert_eq!(verdict.decision, held);
    assert!(told.trial.holds());
}

#[test]
fn a_dry_run_is_told_and_decides_nothing() {
    let mut told = Told::by(
        r#"{"threshold": {"metrics": [
            {"name": "strict", "measure": "error_rate", "success_condition": "result == 0",
             "dry_run": true, "count": 2},
            {"measure": "requests", "success_condition": "result >= 100", "count": 2}]}}"#,
    );
    told.bad(5, 0);
    let verdict = told.bad(5, 0);
    assert_eq!(verdict.decision, Decision::Advance, "{:?}", verdict.words());
    assert!(verdict.words()[1].starts_with("strict (dry run): failed"), "{:?}", verdict.words());
}

#[test]
fn a_metric_has_its_own_interval_and_delay() {
    let mut told = Told::by(
        r#"{"threshold": {"metrics": [{"measure": "error_rate", "count": 2,
            "success_condition": "result < 0.05", "interval": "30s", "initial_delay": "20s"}]}}"#,
    );
    // Everything fails within the delay, which is not measured.
    told.bad(100, 0);
    told.bad(100, 0);
    let count = |verdict: &Verdict| match &verdict.others[0] {
        Other::Threshold(of) => (of.counters.count, of.last),
        Other::Ranks(of) => panic!("{of:?}"),
    };
    assert_eq!(count(&told.bad(2, 0)), (1, Some(0.02)));
    assert_eq!(count(&told.bad(6, 0)), (1, Some(0.02)));
    assert_eq!(count(&told.bad(3, 0)), (1, Some(0.02)));
    let verdict = told.bad(3, 0);
    assert_eq!(count(&verdict), (2, Some(0.04)), "12 of the last 300");
    assert_eq!(verdict.decision, Decision::Advance);
}

#[test]
fn what_is_measured_without_end_is_good_at_the_deadline_if_it_was_measured() {
    let endless = ERRORS.replace(r#", "count": 5"#, "");
    let mut told = Told::by(&endless);
    for _ in 1..60 {
        assert!(matches!(told.bad(1, 0).decision, Decision::Continue { .. }));
    }
    assert_eq!(told.bad(1, 0).decision, Decision::Advance);
    let silent =
        endless.replace("failure_limit", "consecutive_error_limit\": 100, \"failure_limit");
    let mut told = Told::by(&silent);
    (0..60).for_each(|_| drop(told.missed()));
    let doubt = Doubt { metric: "error_rate".to_owned(), what: Doubted::NoData };
    let held = Decision::Inconclusive { then: Then::Hold, doubts: vec![doubt] };
    assert_eq!(told.trial.look(Millis::ZERO).decision, held);
    // Every other check fails: 5 of 100 measurements at the deadline are no end.
    let late = silent.replace(r#""success_condition""#, r#""count": 100, "success_condition""#);
    let mut told = Told::by(&late);
    (0..60).for_each(|_| drop(told.bad(1, 0)));
    let doubt = Doubt { metric: "error_rate".to_owned(), what: Doubted::Unfinished };
    let promoted = Decision::Inconclusive { then: Then::Promote, doubts: vec![doubt] };
    assert_eq!(told.trial.look(Millis::ZERO).decision, promoted);
}

const RANKS: &str = r#"{"mann_whitney": {"lifetime": "100s",
    "metrics": [{"measure": "error_rate"}]}}"#;

/// So many checks: the baseline's failures go round, the canary's are by so many more.
fn checks(told: &mut Told, count: u64, more: u64) -> Verdict {
    let mut last = None;
    for _ in 0..count {
        let n = told.trial.last;
        last = Some(told.bad(3 + n * 7 % 10 + more, 3 + n * 3 % 10));
    }
    last.expect("one at least")
}

#[test]
fn ranks_are_looked_at_once_when_the_values_are_complete() {
    let mut told = Told::by(RANKS);
    let verdict = checks(&mut told, 9, 40);
    let left = Millis::seconds(10);
    assert_eq!(verdict.decision, Decision::Continue { waits: vec![Wait::Lifetime { left }] });
    let verdict = checks(&mut told, 1, 40);
    assert_eq!(rolled_back(&verdict, Proof::Ranks), "error_rate");
    let Other::Ranks(found) = &verdict.others[0] else { panic!("{verdict:?}") };
    assert_eq!((found.values.canary, found.values.baseline), (10, 10));
    assert_eq!(found.class, Some(Class::High));
    // The first sample is wholly above the second, without ties: one of all ways to choose 10
    // of 20.
    let p = found.p.expect("a p");
    assert!((p - 1.0 / 184_756.0).abs() < 1e-12, "{p}");
    let mut alike = Told::by(RANKS);
    let verdict = checks(&mut alike, 10, 0);
    assert_eq!(verdict.decision, Decision::Advance);
    assert_eq!(verdict.words()[0], "advance: no metric is worse");
    assert_eq!(checks(&mut alike, 10, 40).decision, Decision::Advance, "there is one look");
}

#[test]
fn without_values_the_rank_test_waits_and_then_holds() {
    let mut told = Told::by(RANKS);
    checks(&mut told, 4, 40);
    (0..7).for_each(|_| drop(told.missed()));
    let verdict = told.trial.look(Millis::ZERO);
    let waits = vec![Wait::Values { metric: "error_rate".to_owned() }];
    assert_eq!(verdict.decision, Decision::Continue { waits });
    // The values that were missing come, and it looks.
    let verdict = checks(&mut told, 6, 40);
    assert_eq!(rolled_back(&verdict, Proof::Ranks), "error_rate");
    let mut silent = Told::by(RANKS);
    (0..60).for_each(|_| drop(silent.missed()));
    let doubt = Doubt { metric: "error_rate".to_owned(), what: Doubted::NoData };
    let held = Decision::Inconclusive { then: Then::Hold, doubts: vec![doubt] };
    assert_eq!(silent.trial.look(Millis::ZERO).decision, held);
}

#[test]
fn a_score_below_marginal_rolls_back_at_its_judgement() {
    let judge = r#"{"kayenta": {"lifetime": "200s", "every": "100s", "pass": 90, "marginal": 40,
        "metrics": [{"measure": "error_rate", "groups": ["errors"]},
                    {"measure": "success_rate", "groups": ["good"]}],
        "group_weights": [{"name": "errors", "weight": 70}]}}"#;
    let mut told = Told::by(judge);
    let verdict = checks(&mut told, 10, 40);
    // Both are other than the baseline's: nothing passes.
    assert_eq!(rolled_back(&verdict, Proof::Score), "success_rate");
    let score = verdict.score.as_ref().expect("a score");
    assert_eq!((score.summary, score.number, score.of), (0.0, 1, 2));
    assert!(verdict.words()[1].starts_with("score 0 of 100: passes from 90 on"));
    let mut alike = Told::by(judge);
    let verdict = checks(&mut alike, 10, 0);
    assert!(matches!(verdict.decision, Decision::Continue { .. }), "{verdict:?}");
    let verdict = checks(&mut alike, 10, 0);
    assert_eq!(verdict.words()[0], "advance: the score passes");
    assert_eq!(verdict.score.map(|score| (score.summary, score.number)), Some((100.0, 2)));
}

#[test]
fn a_marginal_score_is_held() {
    let mut told = Told::by(
        r#"{"kayenta": {"lifetime": "100s", "marginal": 50, "metrics": [
            {"measure": "error_rate"},
            {"measure": "success_rate", "direction": "increase"}]}}"#,
    );
    let verdict = checks(&mut told, 10, 40);
    assert_eq!(verdict.score.as_ref().map(|score| score.summary), Some(50.0));
    let doubt = Doubt { metric: "score".to_owned(), what: Doubted::Marginal };
    let held = Decision::Inconclusive { then: Then::Hold, doubts: vec![doubt] };
    assert_eq!(verdict.decision, held);
}

#[test]
fn no_data_is_no_score_and_a_critical_metric_fails_all() {
    let critical = r#"{"kayenta": {"lifetime": "100s", "pass": 50, "marginal": 40, "metrics": [
        {"measure": "error_rate", "critical": true}, {"measure": "value"},
        {"measure": "latency_p50"}]}}"#;
    let mut told = Told::by(critical);
    let verdict = checks(&mut told, 10, 0);
    let waits = ["latency_p50", "value"].map(|name| Wait::Values { metric: name.to_owned() });
    let Decision::Continue { waits: found } = &verdict.decision else { panic!("{verdict:?}") };
    assert!(waits.iter().all(|wait| found.contains(wait)) && found.len() == 2, "{found:?}");
    let mut told = Told::by(critical);
    assert_eq!(rolled_back(&checks(&mut told, 10, 40), Proof::Score), "error_rate");
}

#[test]
fn numbers_of_the_source_are_judged_as_they_are() {
    let mut told = Told::by(
        r#"{"threshold": {"metrics": [{"measure": "value", "count": 2,
            "success_condition": "result >= 0.9"}]}}"#,
    );
    let sample = |value| {
        let canary = Counters { value, ..Counters::default() };
        Sample::Counters(Box::new(Pair { canary, baseline: Counters::default() }))
    };
    told.take(&sample(Some(0.95)));
    assert_eq!(
        told.take(&sample(None)).decision,
        Decision::Continue { waits: vec![Wait::Measurements { metric: "value".to_owned() }] }
    );
    let verdict = told.take(&sample(Some(0.5)));
    assert_eq!(rolled_back(&verdict, Proof::Limits), "value");
}

#[test]
fn other_judges_do_not_look_before_their_time() {
    let mut told = Told::by(ERRORS);
    told.both.canary.bad += 50;
    told.both.canary.total += 50;
    let sample = Sample::Counters(Box::new(told.both.clone()));
    assert!(!told.trial.is_urgent(&sample));
}
