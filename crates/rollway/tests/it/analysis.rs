//! Canaries that are judged by what the real proxy counts under real load.

use std::time::{Duration, Instant};

use rollway_core::event::DeploymentState;
use rollway_core::explain::Explanation;
use rollway_core::view::DeploymentView;

use crate::shop::Shop;
use crate::world::World;

/// Requests a second.
const RATE: u32 = 300;
/// The stable version's answers take this long, so that "slower" means something.
const FLAGS: &str = "--latency 5ms";
/// Judged in the background, and nothing but the judge could end it early.
const WATCHED: &str = "{canary: {steps: [{weight: 50}, {hold: 60s}], \
                       analysis: {interval: 500ms, warmup: 0s}}}";
/// Promoted as soon as it is certified, within wide margins since time is short. One that is less
/// than twice as slow is let be, and requests that wait together count as one: on a machine that
/// is busy with other tests, each process stands still now and then.
const GATED: &str = "{canary: {steps: [{weight: 50}, {analyse: {interval: 500ms, warmup: 2s, \
                     min_bake: 4s, deadline: 50s, inconclusive: hold, judge: &}}], \
                     analysis: {interval: 500ms, warmup: 2s, judge: &}}}";
const JUDGE: &str = "{sequential: {error_margin: 0.02, latency_margin: 2.0, latency_floor: 1.0, \
                     max_cluster: 5}}";

fn gated(min_bake: &str) -> String {
    GATED.replace("min_bake: 4s", &format!("min_bake: {min_bake}")).replace('&', JUDGE)
}

/// v1 is like this, and serves under load until there is a history.
async fn stable(strategy: &str, flags: &str) -> (World, Shop, rollway::load::Load) {
    let world = World::new().await;
    let shop = Shop::new(2, strategy).flags(flags);
    world.roll_out(&shop, "v1").await;
    let load = world.load(RATE);
    // The slowness of the first requests must not be all that the judge knows of v1.
    let history = || load.snapshot().finished >= 5 * u64::from(RATE);
    world.wait_until("a history of the stable version", history).await;
    (world, shop, load)
}

async fn explained(world: &World, number: u64) -> Explanation {
    let path = format!("/v1/services/shop/deployments/{number}/analysis");
    world.get(&path).await.unwrap_or_else(|refused| panic!("{}", refused.text()))
}

#[expect(clippy::print_stdout, reason = "how many requests failed is to be seen")]
fn say(what: &str) {
    println!("{what}");
}

/// v1 and v2 are like this, and the judge rolls v2 back; what was said.
async fn rolled_back(before: &str, flags: &str) -> (World, DeploymentView, Explanation, u64) {
    rolled_back_by(WATCHED, before, flags).await
}

async fn rolled_back_by(
    strategy: &str,
    before: &str,
    flags: &str,
) -> (World, DeploymentView, Explanation, u64) {
    let (world, shop, load) = stable(strategy, before).await;
    let began = Instant::now();
    let number = world.deploy(&shop.flags(flags), "v2").await;
    let ended = world.ended_as(number, DeploymentState::RolledBack).await;
    let report = load.stop().await;
    let failed = report.tally.failed();
    let of_v2 = report.tally.of_version("v2");
    let after = began.elapsed();
    say(&format!("{flags}: rolled back after {after:?}, {failed} failed, {of_v2} by v2"));
    let said = ended.reasons.join("\n");
    assert!(said.contains("the judge found the new release worse"), "{said}");
    assert_eq!(ended.instances_failed, 0, "it was not the probes: {said}");
    let explanation = explained(&world, number).await;
    assert!(explanation.is_same(), "{explanation:#?}");
    let verdict = explanation.judgements[0].verdicts.last().expect("a verdict");
    assert!(verdict.words[0].starts_with("roll back"), "{:?}", verdict.words);
    assert!(!verdict.otherwise.is_empty());
    world.verify_history().await;
    replayed(&world, number);
    (world, ended, explanation, failed)
}

fn rollway(world: &World, arguments: &[&str]) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_rollway"))
        .args(arguments)
        .env("ROLLWAY_STATE_DIR", world.state())
        .current_dir(world.root())
        .output()
        .unwrap()
}

/// An export gives the same verdicts again, and one with other samples does not.
fn replayed(world: &World, number: u64) {
    let rollway = |arguments: &[&str]| rollway(world, arguments);
    let export = rollway(&["history", "export", "shop"]).stdout;
    let file = world.root().join("export.jsonl");
    let replay =
        || rollway(&["analysis", "replay", &format!("shop-{number}"), "--file", "export.jsonl"]);
    std::fs::write(&file, &export).unwrap();
    let same = replay();
    let said = String::from_utf8(same.stdout).unwrap();
    assert!(said.ends_with(" come out the same from the stored samples\n"), "{said}");
    assert_eq!(same.status.code(), Some(0), "{said}");
    // Ten times as many requests, at least, in the last sample before the verdict.
    let text = String::from_utf8(export).unwrap();
    let verdict = text.find("\"analysis_verdict\"").unwrap();
    let at = text[..verdict].rfind("{\"canary\":{\"total\":").unwrap();
    let altered =
        format!("{}{}", &text[..at], text[at..].replacen(":{\"total\":", ":{\"total\":1", 1));
    std::fs::write(&file, altered).unwrap();
    let other = replay();
    let said = String::from_utf8(other.stdout).unwrap();
    assert_eq!(other.status.code(), Some(1), "{said}");
    assert!(said.contains("differs: sample "), "{said}");
}

#[tokio::test]
async fn a_version_that_fails_five_percent_is_rolled_back_by_the_judge() {
    let (world, ended, explanation, failed) =
        rolled_back(FLAGS, "--latency 5ms --error-rate 5%").await;
    let said = ended.reasons.join("\n");
    assert!(said.contains("roll back: errors is worse"), "{said}");
    assert!(said.contains("needed"), "no evidence: {said}");
    let finding = &explanation.judgements[0].verdicts[0].verdict.findings[0];
    assert!(finding.samples.canary.bad > 0 && finding.samples.baseline.bad == 0, "{finding:?}");
    // 5 % of half of the requests of the hold would be 450.
    assert!((1..300).contains(&failed), "{failed} requests failed");
    world.ends_in_order().await;
}

#[tokio::test]
async fn a_version_that_is_three_times_as_slow_is_rolled_back_by_the_judge() {
    let (world, ended, _, failed) = rolled_back(FLAGS, "--latency 15ms").await;
    let said = ended.reasons.join("\n");
    assert!(said.contains("roll back: latency is worse"), "{said}");
    assert_eq!(failed, 0);
    world.ends_in_order().await;
}

#[tokio::test]
async fn a_version_whose_slowest_requests_are_three_times_as_slow_is_rolled_back() {
    // One request in twenty is slow: the median stays what it was, and p99 does not.
    let before = "--latency 5ms --tail 40ms";
    let (world, ended, explanation, failed) =
        rolled_back(before, "--latency 5ms --tail 130ms").await;
    let said = ended.reasons.join("\n");
    assert!(said.contains("roll back: latency is worse"), "{said}");
    let verdict = &explanation.judgements[0].verdicts[0].verdict;
    let latency = verdict.findings.iter().find(|one| one.metric == "latency").unwrap();
    let slow = latency.samples;
    assert!(slow.canary.share() > slow.baseline.share(), "{slow:?}");
    assert_eq!(failed, 0);
    world.ends_in_order().await;
}

/// Argo's conditions, in a step and beside all steps.
const LIMITED: &str = "{canary: {steps: [{weight: 50}, {analyse: {interval: 300ms, warmup: 0s, \
                       min_bake: 0s, deadline: 50s, judge: {threshold: {metrics: [\
                       {measure: error_rate, success_condition: result < 0.02, \
                       failure_limit: 3, count: 10}, \
                       {measure: latency_p99, success_condition: result < 0.001, dry_run: true, \
                       count: 2}]}}}}], analysis: {judge: none}}}";

#[tokio::test]
async fn a_version_beyond_its_thresholds_is_rolled_back_and_one_within_them_goes_on() {
    let (world, ended, explanation, failed) =
        rolled_back_by(LIMITED, FLAGS, "--latency 5ms --error-rate 20%").await;
    let said = ended.reasons.join("\n");
    assert!(said.contains("roll back: error_rate has gone beyond its limits"), "{said}");
    assert!(said.contains("4 failed"), "{said}");
    assert!(failed > 0);
    let recorded = &explanation.judgements[0].verdicts[0];
    assert_eq!(recorded.otherwise[0], "error_rate: at most 3 failures, and not 4");
    let explained = rollway(&world, &["explain", &format!("shop-{}", ended.number)]).stdout;
    let explained = String::from_utf8(explained).unwrap();
    assert!(explained.contains("judged by threshold; a gate"), "{explained}");
    assert!(explained.contains("latency_p99 (dry run): failed: "), "{explained}");
    let shop = Shop::new(2, LIMITED).flags(FLAGS);
    let load = world.load(RATE);
    let number = world.deploy(&shop, "v3").await;
    world.completed(number).await;
    world.none_lost(load).await;
    let explanation = self::explained(&world, number).await;
    assert!(explanation.is_same(), "{explanation:#?}");
    let words = &explanation.judgements[0].verdicts[0].words;
    assert_eq!(words[0], "advance: every metric is successful");
    assert!(words[1].starts_with("error_rate: successful: 10 of 10 measured"), "{words:?}");
    world.verify_history().await;
    world.ends_in_order().await;
}

#[tokio::test]
async fn a_version_that_the_ranks_of_its_values_speak_against_is_rolled_back() {
    for judge in ["mann_whitney: {", "kayenta: {pass: 90, "] {
        let strategy = format!(
            "{{canary: {{steps: [{{weight: 50}}, {{hold: 60s}}], analysis: {{interval: 300ms, \
             warmup: 0s, judge: {{{judge}lifetime: 6s, metrics: [{{measure: error_rate, \
             direction: increase}}]}}}}}}}}}}"
        );
        let (world, ended, explanation, _) =
            rolled_back_by(&strategy, FLAGS, "--latency 5ms --error-rate 20%").await;
        let said = ended.reasons.join("\n");
        assert!(said.contains("error_rate: high, the canary is higher by"), "{said}");
        let verdict = &explanation.judgements[0].verdicts[0].verdict;
        assert_eq!(verdict.score.is_some(), judge.starts_with("kayenta"), "{verdict:?}");
        world.ends_in_order().await;
    }
}

#[tokio::test]
async fn an_equal_version_is_promoted_with_a_certificate_whatever_ends_the_control_plane() {
    let (mut world, shop, load) = stable(&gated("4s"), FLAGS).await;
    let number = world.deploy(&shop, "v2").await;
    world.waits_for("the judge").await;
    world.kill_control_plane();
    world.start_control_plane().await;
    world.completed(number).await;
    world.none_lost(load).await;
    let explanation = explained(&world, number).await;
    assert!(explanation.is_same(), "{explanation:#?}");
    let gate = explanation.judgements.iter().find(|one| one.by.is_gate).expect("the gate");
    assert_eq!(gate.verdicts.len(), 1, "{gate:#?}");
    assert_eq!(gate.verdicts[0].words[0], "advance: every hard metric is certified");
    let beside = explanation.judgements.iter().find(|one| !one.by.is_gate).expect("the other");
    assert_eq!(beside.verdicts.len(), 1, "how it stood at the end is recorded: {beside:#?}");
    world.verify_history().await;
    world.ends_in_order().await;
}

#[tokio::test]
async fn what_makes_both_versions_slow_neither_rolls_back_nor_promotes() {
    let (world, shop, load) = stable(&gated("4s"), FLAGS).await;
    let shop = Shop { strategy: gated("10s"), ..shop };
    let number = world.deploy(&shop, "v2").await;
    world.waits_for("the judge").await;
    // All instances of both versions stand still for most of a while, again and again.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(6) {
        signal(&world, "STOP");
        tokio::time::sleep(Duration::from_millis(60)).await;
        signal(&world, "CONT");
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    let view = world.view().await.deployment.expect("it is under way");
    assert_eq!(view.state, DeploymentState::InProgress, "{view:#?}");
    assert!(!view.undoing, "{view:#?}");
    world.completed(number).await;
    world.none_lost(load).await;
    world.ends_in_order().await;
}

fn signal(world: &World, name: &str) {
    let pids = world.shops();
    let pids = pids.iter().map(|process| process.pid.to_string());
    let status = std::process::Command::new("kill").arg(format!("-{name}")).args(pids).status();
    assert!(status.unwrap().success());
}
