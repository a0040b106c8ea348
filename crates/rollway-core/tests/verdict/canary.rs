//! Whole canaries before the judge: when they are found, certified or left in doubt, and in which
//! words.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use rollway_core::units::Millis;
use rollway_core::verdict::decision::{Decision, Look, Proof, Then, Verdict, Wait};
use rollway_core::verdict::eprocess::Pair;
use rollway_core::verdict::judge::{Applied, History, Interval, Judge, Reading, State};
use rollway_core::verdict::rules::{Inconclusive, Kind, Metric, Rules, Severity};
use rollway_core::verdict::stats::Outcomes;

use crate::cases::say;
use crate::traffic::{Chance, median};

const CHECK_SECONDS: u64 = 10;

/// Both arms of the two usual metrics in one check.
type Check<'a> = &'a dyn Fn(&mut Chance, u64) -> BTreeMap<String, Reading>;

/// A canary under the eyes of the judge, from its start.
struct Canary {
    judge: Judge,
    state: State,
    chance: Chance,
    checks: u64,
}

impl Canary {
    fn new(rules: Rules, seed: u64) -> Self {
        Self::with_history(rules, seed, 0.001)
    }

    fn with_history(rules: Rules, seed: u64, rate: f64) -> Self {
        let judge = Judge::new(rules).unwrap();
        let mut chance = Chance(seed ^ 0xabc);
        let mut histories = BTreeMap::new();
        for metric in &judge.rules().metrics {
            let latencies = match metric.kind {
                Kind::Latency(_) => chance.latencies(20_000, 1.0, 1.0),
                Kind::Errors(_) | Kind::Gauge { .. } | Kind::Guard { .. } => Default::default(),
            };
            let outcomes = chance.outcomes(30_000, rate);
            let history = History { outcomes, latencies, ..History::default() };
            histories.insert(metric.name.clone(), history);
        }
        let state = judge.begin(&histories).unwrap();
        Self { judge, state, chance: Chance(seed), checks: 0 }
    }

    fn check(&mut self, check: Check) -> Verdict {
        let readings = check(&mut self.chance, self.checks);
        let from = Millis::seconds(self.checks * CHECK_SECONDS);
        self.checks += 1;
        let until = Millis::seconds(self.checks * CHECK_SECONDS);
        let interval = Interval { id: self.checks, from, until, readings };
        self.judge.apply(&mut self.state, &interval).unwrap();
        self.judge.verdict(&self.state, Look { elapsed: until, step: until })
    }

    /// The first verdict that is not to go on.
    fn decided(&mut self, check: Check) -> Verdict {
        loop {
            let verdict = self.check(check);
            if !matches!(verdict.decision, Decision::Continue { .. }) {
                return verdict;
            }
        }
    }
}

/// One metric alone, compared from the first second on; its looks before the deadline have 1 %,
/// as in the study that the times are held against.
fn only(metric: Metric) -> Rules {
    let metrics = vec![metric];
    Rules { metrics, warmup: Millis::ZERO, alpha_rollback: 0.01 / 0.7, ..Rules::default() }
}

fn errors_only() -> Rules {
    only(Metric::errors())
}

fn errors(seen: Pair<Outcomes>) -> BTreeMap<String, Reading> {
    BTreeMap::from([("errors".to_owned(), Reading::Counts(seen))])
}

/// 100 requests a second, 5 % of them to the canary.
fn rates(canary: f64, baseline: f64) -> impl Fn(&mut Chance, u64) -> BTreeMap<String, Reading> {
    move |chance, _| errors(chance.pair((50, 950), (canary, baseline)))
}

fn slower(all: f64, tail: f64) -> impl Fn(&mut Chance, u64) -> BTreeMap<String, Reading> {
    move |chance, _| {
        let canary = chance.latencies(50, all, tail);
        let baseline = chance.latencies(950, 1.0, 1.0);
        let reading = Reading::Latencies(Pair { canary, baseline });
        BTreeMap::from([("latency".to_owned(), reading)])
    }
}

#[track_caller]
fn words(verdict: &Verdict, expected: &Expect) {
    expected.assert_eq(&verdict.words().join("\n"));
}

/// The medians over so many canaries of when they are rolled back, and of their bad requests;
/// `history` is the rate that the stable version had before.
fn rolled_back(rules: &Rules, canaries: u64, history: f64, check: Check) -> (f64, f64) {
    let run = |seed| {
        let verdict = Canary::with_history(rules.clone(), seed, history).decided(check);
        let is_back = matches!(verdict.decision, Decision::Rollback { .. });
        let bad = u32::try_from(verdict.findings[0].samples.canary.bad).unwrap();
        let seconds = u32::try_from(verdict.elapsed.0 / 1000).unwrap();
        if is_back { (f64::from(seconds), f64::from(bad)) } else { (f64::INFINITY, f64::INFINITY) }
    };
    let (seconds, bad) = (0..canaries).map(run).unzip();
    (median(seconds), median(bad))
}

#[test]
fn regressions_of_errors_are_found_in_time() {
    for (canary, baseline, seconds_most, bad_most) in
        [(0.05, 0.001, 20.0, 6.0), (0.005, 0.001, 340.0, 10.0), (0.02, 0.01, 340.0, 40.0)]
    {
        let found = rolled_back(&errors_only(), 201, baseline, &rates(canary, baseline));
        say(&format!("errors {baseline} to {canary}: {} s, {} bad", found.0, found.1));
        assert!(found.0 <= seconds_most && found.1 <= bad_most, "{canary}: {found:?}");
    }
}

#[test]
fn regressions_of_latency_are_found_in_time() {
    for (all, tail, seconds_most) in [(1.0, 3.0, 60.0), (1.1, 1.0, 120.0)] {
        let rules = only(Metric::latency());
        let found = rolled_back(&rules, 31, 0.001, &slower(all, tail));
        say(&format!("latency all by {all}, tail by {tail}: {} s", found.0));
        assert!(found.0 <= seconds_most, "{all} {tail}: {found:?}");
    }
}

#[test]
fn a_canary_that_fails_everything_is_found_when_fed_early() {
    let mut canary = Canary::new(errors_only(), 1);
    let one = |chance: &mut Chance, _| errors(chance.pair((1, 19), (1.0 - 1e-12, 1e-3)));
    let verdict = canary.decided(&one);
    let bad = verdict.findings[0].samples.canary.bad;
    assert!(matches!(verdict.decision, Decision::Rollback { .. }) && bad <= 4, "{bad}");
    words(
        &verdict,
        &expect![[r#"
            roll back: errors is worse
            errors: canary 3 of 3 (100.00 %), baseline 0 of 57 (0.00 %)
            errors: ratio unknown (2.01 to any)
            errors: evidence that it is worse: 397 of 100 needed
            errors: evidence that it is good enough: 0.2 of 20 needed"#]],
    );
}

#[test]
fn a_good_canary_is_certified() {
    let rules = Rules { warmup: Millis::ZERO, ..Rules::default() };
    let both = |chance: &mut Chance, _| {
        let latencies = Pair {
            canary: chance.latencies(250, 1.0, 1.0),
            baseline: chance.latencies(250, 1.0, 1.0),
        };
        let mut readings = errors(chance.pair((500, 500), (0.001, 0.001)));
        readings.insert("latency".to_owned(), Reading::Latencies(latencies));
        readings
    };
    let verdict = Canary::new(rules, 3).decided(&both);
    assert_eq!(verdict.decision, Decision::Advance);
    words(
        &verdict,
        &expect![[r#"
            advance: every hard metric is certified
            errors: canary 17 of 17500 (0.10 %), baseline 17 of 17500 (0.10 %)
            errors: ratio 1.00 (0.25 to 4.06)
            errors: evidence that it is worse: 0.4 of 286 needed
            errors: evidence that it is good enough: 533666 of 20 needed
            latency: slower than p99 was: canary 80 of 8750 (0.91 %), baseline 81 of 8750 (0.93 %)
            latency: ratio 0.99 (0.57 to 1.71)
            latency: evidence that it is worse: 0.3 of 286 needed
            latency: evidence that it is good enough: 29 of 20 needed"#]],
    );
}

#[test]
fn a_step_bakes_even_where_all_is_proven() {
    let rules = Rules { min_bake: Millis::seconds(3000), ..errors_only() };
    let mut canary = Canary::new(rules, 3);
    let verdict = (0..200)
        .map(|_| canary.check(&|chance, _| errors(chance.pair((500, 500), (0.001, 0.001)))));
    let left = Millis::seconds(1000);
    let expected = Decision::Continue { waits: vec![Wait::Bake { left }] };
    assert_eq!(verdict.last().unwrap().decision, expected);
}

/// The verdict at the deadline of a canary with these rates and little traffic.
fn at_deadline(inconclusive: Inconclusive, canary: f64, baseline: f64) -> Verdict {
    let rules = Rules { inconclusive, deadline: Millis::seconds(600), ..errors_only() };
    let check = move |chance: &mut Chance, _| errors(chance.pair((5, 95), (canary, baseline)));
    Canary::new(rules, 9).decided(&check)
}

#[test]
fn the_deadline_decides_by_the_rules() {
    let clean = at_deadline(Inconclusive::PromoteIfClean, 1e-9, 0.001);
    words(
        &clean,
        &expect![[r#"
            inconclusive, promote, not certified: errors is clean but not certified
            errors: canary 0 of 300 (0.00 %), baseline 11 of 5700 (0.19 %)
            errors: ratio 0.00 (0.00 to 11.02)
            errors: evidence that it is worse: 0.4 of 100 needed
            errors: evidence that it is good enough: 2.2 of 20 needed"#]],
    );
    let hold = at_deadline(Inconclusive::Hold, 1e-9, 0.001);
    assert!(matches!(hold.decision, Decision::Inconclusive { then: Then::Hold, .. }));
    let back = at_deadline(Inconclusive::Rollback, 1e-9, 0.001);
    assert!(matches!(back.decision, Decision::Inconclusive { then: Then::Rollback, .. }));
    let by = Millis::seconds(60);
    let longer = at_deadline(Inconclusive::Extend { by }, 1e-9, 0.001);
    let until = Millis::seconds(660);
    assert!(matches!(&longer.decision, Decision::Inconclusive { then, .. }
        if *then == Then::Extend { until }));
}

#[test]
fn no_data_is_no_health() {
    let mut canary = Canary::new(errors_only(), 1);
    let verdict = canary.decided(&|_, _| BTreeMap::new());
    words(
        &verdict,
        &expect![[r#"
            inconclusive, hold for a person: errors has no data
            errors: canary 0 of 0 (0.00 %), baseline 0 of 0 (0.00 %)
            errors: ratio unknown (0.00 to any)
            errors: evidence that it is worse: 1.0 of 100 needed
            errors: evidence that it is good enough: 1.0 of 20 needed"#]],
    );
}

#[test]
fn the_exact_test_at_the_deadline_finds_what_the_looks_did_not() {
    // Just short of the evidence: 6 of 200 against 4 of 3800 and a wrong guess of the rate.
    let rules = Rules { deadline: Millis::seconds(600), ..errors_only() };
    let judge = Judge::new(rules).unwrap();
    let outcomes = Outcomes { bad: 3000, total: 30_000 };
    let history = History { outcomes, ..History::default() };
    let mut state = judge.begin(&BTreeMap::from([("errors".to_owned(), history)])).unwrap();
    let arm = |bad, total| Outcomes { bad, total };
    let seen = Pair { canary: arm(6, 200), baseline: arm(4, 3800) };
    let (from, until) = (Millis::ZERO, Millis::seconds(600));
    let interval = Interval { id: 1, from, until, readings: errors(seen) };
    assert_eq!(judge.apply(&mut state, &interval), Ok(Applied::Counted));
    let at = |seconds| Look { elapsed: Millis::seconds(seconds), step: Millis::seconds(seconds) };
    let early = judge.verdict(&state, at(599)).decision;
    assert!(matches!(early, Decision::Continue { .. }), "{early:?}");
    let late = judge.verdict(&state, at(600));
    let ln_p = late.findings[0].ln_p;
    assert!(ln_p.is_some_and(|ln_p| ln_p < -7.0), "{ln_p:?}");
    let metric = "errors".to_owned();
    assert_eq!(late.decision, Decision::Rollback { metric, because: Proof::Deadline });
    // What comes after the deadline is no second try.
    let more = Pair { canary: arm(0, 20_000), baseline: arm(0, 20_000) };
    let (from, until) = (until, Millis::seconds(610));
    let interval = Interval { id: 2, from, until, readings: errors(more) };
    judge.apply(&mut state, &interval).unwrap();
    assert_eq!(judge.verdict(&state, at(610)).findings[0].ln_p, ln_p);
    assert_eq!(judge.verdict(&state, at(599)).findings[0].ln_p, None);
}

#[test]
fn a_gauge_holds_and_does_not_roll_back_unless_it_is_hard() {
    let leaking = |chance: &mut Chance, _| {
        let mut readings = errors(chance.pair((500, 500), (0.001, 0.001)));
        let gauges = Pair { canary: 2.0 + chance.share() / 5.0, baseline: 1.0 };
        readings.insert("memory".to_owned(), Reading::Gauges(gauges));
        readings
    };
    let mut rules = errors_only();
    rules.metrics.push(Metric::gauge("memory"));
    let mut canary = Canary::new(rules.clone(), 5);
    let last = (0..100).map(|_| canary.check(&leaking)).last().unwrap();
    let waits = vec![Wait::Advised { metric: "memory".to_owned() }];
    assert_eq!(last.decision, Decision::Continue { waits });
    rules.metrics[1].severity = Severity::Hard;
    let verdict = Canary::new(rules, 5).decided(&leaking);
    let metric = "memory".to_owned();
    assert_eq!(verdict.decision, Decision::Rollback { metric, because: Proof::Evidence });
}

#[test]
fn a_guard_needs_no_baseline() {
    let kind = Kind::Guard { limit: 0.05 };
    let guard = Metric { kind, name: "limit".to_owned(), ..Metric::errors() };
    let rules = Rules { metrics: vec![guard], ..Rules::default() };
    let alone = |rate: f64| {
        move |chance: &mut Chance, _| {
            let seen = Pair { canary: chance.outcomes(100, rate), baseline: Outcomes::default() };
            BTreeMap::from([("limit".to_owned(), Reading::Counts(seen))])
        }
    };
    let bad = Canary::new(rules.clone(), 1).decided(&alone(0.2));
    assert!(matches!(bad.decision, Decision::Rollback { .. }) && bad.elapsed < Millis(30_000));
    let good = Canary::new(rules, 1).decided(&alone(0.01));
    let Decision::Inconclusive { then: Then::Promote, .. } = good.decision else {
        panic!("{:?}", good.decision)
    };
}

#[test]
fn clusters_are_tempered() {
    let judge = Judge::new(errors_only()).unwrap();
    let clusters: Vec<u64> = (0..1800).map(|n| if n % 100 == 0 { 10 } else { 0 }).collect();
    let history = History { bad_per_second: clusters, ..History::default() };
    let state = judge.begin(&BTreeMap::from([("errors".to_owned(), history)])).unwrap();
    let look = Look { elapsed: Millis::ZERO, step: Millis::ZERO };
    let temper = judge.verdict(&state, look).findings[0].temper;
    assert!((temper - 10.0).abs() < 0.5, "{temper}");
}

#[test]
fn what_cannot_be_read_is_refused_and_changes_nothing() {
    let judge = Judge::new(Rules::default()).unwrap();
    let mut state = judge.begin(&BTreeMap::new()).unwrap();
    let before = state.clone();
    let mut refused = |name: &str, reading: Reading| {
        let readings = BTreeMap::from([(name.to_owned(), reading)]);
        let (from, until) = (Millis::ZERO, Millis::seconds(10));
        let problem = judge.apply(&mut state, &Interval { id: 1, from, until, readings });
        problem.unwrap_err().to_string()
    };
    let counts = Pair { canary: Outcomes { bad: 2, total: 1 }, ..Pair::default() };
    let messages = [
        refused("eror", Reading::Counts(Pair::default())),
        refused("latency", Reading::Counts(Pair::default())),
        refused("errors", Reading::Counts(counts)),
    ];
    assert_eq!(state, before);
    expect![[r#"
        readings.eror: unknown metric "eror"; known: errors, latency
        readings.latency: is of counts; a metric of the kind latency is read as latencies
        readings.errors: has 2 bad of 1 requests"#]]
    .assert_eq(&messages.join("\n"));
    let rules = Rules { alpha_rollback: 1.5, ..Rules::default() };
    let problem = Judge::new(rules).unwrap_err().to_string();
    expect!["alpha_rollback: is 1.5; expected a probability above 0 and below 1"]
        .assert_eq(&problem);
}

#[test]
fn a_state_is_small() {
    let state = Canary::new(Rules::default(), 1).state;
    assert!(state.bytes() <= 2048, "{} bytes", state.bytes());
}
