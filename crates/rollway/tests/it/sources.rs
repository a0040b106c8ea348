//! Canaries that are judged by the numbers of others: a command's, and servers that do not answer.

use std::net::TcpListener;
use std::path::Path;

use rollway_core::event::DeploymentState;
use rollway_core::explain::Explanation;
use rollway_core::verdict::decision::{Decision, Then};
use rollway_core::view::VerbArgs;

use crate::shop::Shop;
use crate::world::{LOOK, World};

/// Judged over its steps, by numbers from this source.
const WATCHED: &str = "{canary: {steps: [{weight: 50}, {hold: 60s}], \
                       analysis: {interval: 300ms, warmup: 0s, source: &, \
                       judge: {sequential: {metrics: [errors]}}}}}";
/// Goes on only with a certificate, or without one where nothing speaks against it.
const GATED: &str = "{canary: {steps: [{weight: 50}, {analyse: {interval: 300ms, warmup: 0s, \
                     min_bake: 0s, deadline: 3s, inconclusive: promote_if_clean, source: &, \
                     judge: {sequential: {metrics: [errors]}}}}], \
                     analysis: {judge: none}}}";

/// v1 serves, and v2 is on its way.
async fn judged(strategy: &str, source: &str) -> (World, u64) {
    let world = World::new().await;
    let shop = Shop::new(1, &strategy.replace('&', source));
    count(world.root(), 1, (1000, 1));
    count(world.root(), 2, (0, 0));
    world.roll_out(&shop, "v1").await;
    let number = world.deploy(&shop, "v2").await;
    (world, number)
}

async fn explained(world: &World, number: u64) -> Explanation {
    let path = format!("/v1/services/shop/deployments/{number}/analysis");
    world.get(&path).await.unwrap_or_else(|refused| panic!("{}", refused.text()))
}

/// Replaces the counters that a release has so far.
fn count(folder: &Path, release: u64, (total, bad): (u64, u64)) {
    let fresh = folder.join(format!("counters-{release}.new"));
    std::fs::write(&fresh, format!(r#"{{"total": {total}, "bad": {bad}}}"#)).unwrap();
    std::fs::rename(fresh, folder.join(format!("counters-{release}.json"))).unwrap();
}

#[tokio::test]
async fn a_version_that_is_worse_by_the_counters_of_a_command_is_rolled_back() {
    let source = "{command: {argv: [/bin/cat, \"counters-{{release}}.json\"]}}";
    let (world, number) = judged(WATCHED, source).await;
    let mut requests = 0;
    while world.view().await.deployment.is_some_and(|one| !one.state.is_terminal()) {
        requests += 100;
        count(world.root(), 1, (1000 + requests, 1 + requests / 1000));
        count(world.root(), 2, (requests, requests / 5));
        tokio::time::sleep(LOOK).await;
    }
    let ended = world.ended_as(number, DeploymentState::RolledBack).await;
    let said = ended.reasons.join("\n");
    assert!(said.contains("roll back: errors is worse"), "{said}");
    let explanation = explained(&world, number).await;
    assert!(explanation.is_same(), "{explanation:#?}");
    let verdict = &explanation.judgements[0].verdicts[0].verdict;
    let metrics: Vec<&str> = verdict.findings.iter().map(|one| one.metric.as_str()).collect();
    assert_eq!(metrics, ["errors"], "a command tells nothing of latencies");
    world.ends_in_order().await;
}

/// Nothing is learned, for this reason, and so nothing goes on.
async fn teaches_nothing(source: &str, reason: &str) {
    let (world, number) = judged(GATED, source).await;
    world.waits_for("the judge came to no decision").await;
    let explanation = explained(&world, number).await;
    let gate = &explanation.judgements[0];
    assert_eq!((gate.missed, gate.samples > 0), (gate.samples, true), "{gate:#?}");
    let why = gate.last_missed.as_deref().unwrap();
    assert!(why.contains(reason), "{why}");
    let decision = &gate.verdicts[0].verdict.decision;
    assert!(matches!(decision, Decision::Inconclusive { then: Then::Hold, .. }), "{decision:?}");
    world.verb("abort", VerbArgs::default()).await;
    world.ended_as(number, DeploymentState::RolledBack).await;
    world.ends_in_order().await;
}

#[tokio::test]
async fn a_sign_in_page_instead_of_counters_is_no_good_sign() {
    let source = "{command: {argv: [/bin/echo, \"<html>Sign in</html>\"]}}";
    teaches_nothing(source, "HTML or XML, not JSON").await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_no_good_sign() {
    // Connections are made by the system; nobody ever takes one.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let source = format!("{{http: {{url: \"{url}\", timeout: 200ms}}}}");
    teaches_nothing(&source, "no answer within 200ms").await;
}
