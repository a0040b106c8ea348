//! Deployments that fail: what is served meanwhile, what is left, and what is said about it.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use rollway_core::event::DeploymentState;
use rollway_core::view::{DeploymentView, VerbArgs};

use crate::shop::Shop;
use crate::world::{World, assert_none_lost};

/// Requests a second while things fail.
const RATE: u32 = 200;
const CANARY: &str = "{canary: {steps: [{weight: 50}, {hold: 60s}]}}";
const BLUE_GREEN: &str = "{blue_green: {scale_down_delay: 60s}}";

/// v1 serves; v2 with these flags fails by itself under load, and v1 goes on undisturbed.
async fn fails_and_goes_back(strategy: &str, flags: &str, update: &str) -> (World, DeploymentView) {
    let world = World::new().await;
    let good = Shop::new(3, strategy).update(update);
    world.roll_out(&good, "v1").await;
    let load = world.load(RATE);
    let old = world.pids(1).await;
    let number = world.deploy(&good.flags(flags), "v2").await;
    let ended = world.ended_as(number, DeploymentState::RolledBack).await;
    let view = world.view().await;
    assert_eq!(view.serving.unwrap().version, "v1");
    assert!(!view.needs_operator);
    assert_eq!(view.arms.len(), 1, "{:#?}", view.arms);
    assert_eq!((view.instances_ready, world.shops().len()), (3, 3));
    if strategy != "recreate" {
        let lost: Vec<_> = old.iter().collect();
        let now = world.pids(1).await;
        assert!(strategy == "rolling" || lost.iter().all(|pid| now.contains(pid)), "{now:?}");
    }
    let before = load.snapshot();
    world.wait_until("requests", || load.snapshot().since(&before).finished >= 50).await;
    world.none_lost(load).await;
    world.verify_history().await;
    (world, ended)
}

fn said(ended: &DeploymentView) -> String {
    ended.reasons.join("\n")
}

#[tokio::test]
async fn a_crash_at_the_start_is_rolled_back_with_the_last_log_lines() {
    for strategy in ["rolling", CANARY, BLUE_GREEN] {
        let update = "healthy_deadline: 30s";
        let (world, ended) = fails_and_goes_back(strategy, "--crash-at-start", update).await;
        let said = said(&ended);
        assert!(said.contains("exited with code 1"), "{said}");
        assert!(said.contains("crashed at the start, as told"), "no log line: {said}");
        assert!(ended.instances_failed >= 1);
        world.ends_in_order().await;
    }
}

#[tokio::test]
async fn a_recreate_that_crashes_brings_the_old_version_back_and_loses_nothing() {
    let (world, ended) =
        fails_and_goes_back("recreate", "--crash-at-start", "healthy_deadline: 30s").await;
    assert!(said(&ended).contains("exited with code 1"), "{}", said(&ended));
    world.ends_in_order().await;
}

#[tokio::test]
async fn an_instance_that_is_never_healthy_is_rolled_back_with_what_its_probe_said() {
    let (world, ended) =
        fails_and_goes_back(CANARY, "--never-healthy", "healthy_deadline: 30s").await;
    let said = said(&ended);
    assert!(said.contains("never healthy, as told"), "{said}");
    assert!(said.contains("503"), "{said}");
    world.ends_in_order().await;
}

#[tokio::test]
async fn an_instance_that_opens_no_port_misses_its_healthy_deadline() {
    let world = World::new().await;
    let mut good = Shop::new(2, "rolling");
    good.health = "interval: 200ms, start_period: 60s".into();
    good.update = "healthy_deadline: 1s".into();
    world.roll_out(&good, "v1").await;
    let load = world.load(RATE);
    let began = Instant::now();
    let number = world.deploy(&good.flags("--listen-after 60s"), "v2").await;
    let ended = world.ended_as(number, DeploymentState::RolledBack).await;
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert!(said(&ended).contains("was not healthy 1s after its start"), "{}", said(&ended));
    world.none_lost(load).await;
    world.ends_in_order().await;
}

#[tokio::test]
async fn a_version_that_gets_unwell_under_traffic_is_rolled_back() {
    let (world, ended) =
        fails_and_goes_back(CANARY, "--unhealthy-after 1s", "healthy_deadline: 30s").await;
    assert!(said(&ended).contains("is not healthy"), "{}", said(&ended));
    world.ends_in_order().await;
}

#[tokio::test]
async fn some_failures_are_allowed_and_replaced() {
    let world = World::new().await;
    world.roll_out(&Shop::new(4, "rolling"), "v1").await;
    let load = world.load(RATE);
    // The first one that comes up takes the marker and fails; the others find it taken.
    let marker = world.root().join("marker");
    let script = format!(
        "if mkdir {} 2>/dev/null; then exit 3; fi; exec ./shop --port \"$PORT\" --version v2",
        marker.display()
    );
    let mut shop = Shop::new(4, "rolling");
    shop.update = "max_failure_ratio: 0.25, healthy_deadline: 20s".into();
    let args = {
        let mut args = world.deploy_args(&shop, "v2");
        let begin = args.spec.find("command: [").unwrap();
        let end = args.spec.find("], env").unwrap();
        let command = format!("command: [/bin/sh, -c, {script:?}");
        args.spec.replace_range(begin..end, &command);
        args
    };
    let begun: Result<DeploymentView, _> =
        world.ask(http::Method::POST, "/v1/deployments", &args).await;
    let done = world.completed(begun.unwrap().number).await;
    assert_eq!((done.instances_failed, done.failures.len()), (1, 1), "{:#?}", done.failures);
    assert!(done.failures[0].why.contains("exited with code 3"), "{:#?}", done.failures);
    assert_eq!(world.view().await.instances_ready, 4);
    world.none_lost(load).await;
    world.ends_in_order().await;
}

#[tokio::test]
async fn a_hook_that_fails_rolls_back() {
    for (point, strategy) in
        [("before_deploy", "rolling"), ("before_switch", BLUE_GREEN), ("after_switch", CANARY)]
    {
        let world = World::new().await;
        let canary = "{canary: {steps: [{weight: 50}]}}";
        let shop = Shop::new(2, if strategy == CANARY { canary } else { strategy });
        world.roll_out(&shop, "v1").await;
        let old = world.pids(1).await;
        let load = world.load(RATE);
        let told = world.root().join("told");
        let hooks = format!(
            "hooks: {{{point}: {{command: [/bin/sh, -c, \"echo no such luck; exit 7\"]}}, \
             on_rollback: {{command: [/bin/sh, -c, \"echo $ROLLWAY_HOOK > {}\"]}}}}",
            told.display()
        );
        let number = world.deploy(&shop.rest(&hooks), "v2").await;
        let ended = world.ended_as(number, DeploymentState::RolledBack).await;
        let said = said(&ended);
        assert!(said.contains(&format!("the hook {point} failed")), "{said}");
        assert!(said.contains("no such luck"), "what the hook said is missing: {said}");
        assert_eq!(std::fs::read_to_string(&told).unwrap(), "on_rollback\n");
        assert_eq!(world.pids(1).await, old, "{point}");
        assert_eq!(world.shops().len(), 2);
        world.none_lost(load).await;
        world.ends_in_order().await;
    }
}

#[tokio::test]
async fn abort_brings_the_traffic_back_and_starts_nothing_more() {
    let world = World::new().await;
    let shop = Shop::new(3, CANARY);
    world.roll_out(&shop, "v1").await;
    let old = world.pids(1).await;
    let load = world.load(RATE);
    let number = world.deploy(&shop, "v2").await;
    world.waits_for("the hold").await;
    let args = VerbArgs { reason: Some("a bad feeling".into()), ..VerbArgs::default() };
    assert_eq!(world.verb("abort", args).await, number);
    let aborted = world.witnessed().len();
    let ended = world.ended_as(number, DeploymentState::RolledBack).await;
    let back = Instant::now();
    assert!(said(&ended).contains("a bad feeling"), "{}", said(&ended));
    assert!(world.witnessed()[aborted..].iter().all(|line| line.event == "stop"));
    assert_eq!(world.pids(1).await, old);
    let before = load.snapshot();
    world.wait_until("requests", || load.snapshot().since(&before).finished >= 50).await;
    let report = load.stop().await;
    assert_none_lost(&report);
    assert_eq!(report.answers_of("v2", back), 0);
    world.ends_in_order().await;
}

#[tokio::test]
async fn an_abort_in_the_middle_of_the_starts_leaves_the_old_version_alone() {
    let world = World::new().await;
    let shop = Shop::new(3, BLUE_GREEN);
    world.roll_out(&shop, "v1").await;
    let old = world.pids(1).await;
    let load = world.load(RATE);
    let number = world.deploy(&shop.flags("--ready-after 30s"), "v2").await;
    world.wait_until("a start", || world.shops().len() > 3).await;
    world.verb("abort", VerbArgs::default()).await;
    let starts =
        |world: &World| world.witnessed().iter().filter(|line| line.event == "start").count();
    world.ended_as(number, DeploymentState::RolledBack).await;
    let after = starts(&world);
    assert_eq!((world.pids(1).await, world.shops().len()), (old, 3));
    assert_eq!(starts(&world), after);
    world.none_lost(load).await;
    world.ends_in_order().await;
}

#[tokio::test]
async fn a_first_deployment_that_fails_leaves_nothing_behind() {
    let world = World::new().await;
    for (version, flags) in [("v1", "--crash-at-start"), ("v2", "--never-healthy")] {
        let shop = Shop::new(2, "rolling").flags(flags);
        let number = world.deploy(&shop, version).await;
        let ended = world.ended_as(number, DeploymentState::Failed).await;
        assert!(!ended.reasons.is_empty());
        let view = world.view().await;
        assert_eq!((view.serving, view.desired.as_str()), (None, "down"));
        assert!(!view.needs_operator);
        world.wait("no arms", |view| view.arms.is_empty()).await;
        assert_eq!(world.shops(), []);
        assert!(TcpListener::bind(world.address()).is_ok(), "somebody still listens");
    }
    // And the next one finds everything free.
    world.roll_out(&Shop::default(), "v3").await;
    world.verify_history().await;
    world.ends_in_order().await;
}

#[tokio::test]
async fn without_automatic_rollback_a_failure_pauses_for_the_operator() {
    let world = World::new().await;
    let shop = Shop::new(2, CANARY).rest("rollback: {automatic: false}");
    world.roll_out(&shop, "v1").await;
    let load = world.load(RATE);
    let number = world.deploy(&shop.flags("--never-healthy"), "v2").await;
    let paused = |view: &rollway_core::view::ServiceView| {
        view.deployment.as_ref().is_some_and(|one| one.state == DeploymentState::Paused)
    };
    let view = world.wait("the pause", paused).await;
    let reasons = view.deployment.unwrap().reasons.join("\n");
    assert!(reasons.contains("never healthy, as told"), "{reasons}");
    assert_eq!(world.view().await.serving.unwrap().version, "v1");
    world.verb("abort", VerbArgs::default()).await;
    world.ended_as(number, DeploymentState::RolledBack).await;
    world.none_lost(load).await;
    world.ends_in_order().await;
}

#[tokio::test]
async fn a_pause_stops_where_it_is_and_resume_goes_on() {
    let world = World::new().await;
    let shop = Shop::new(2, "{canary: {steps: [{weight: 50}, {hold: 500ms}]}}");
    world.roll_out(&shop, "v1").await;
    let load = world.load(RATE);
    let number = world.deploy(&shop, "v2").await;
    world.waits_for("the hold").await;
    world.verb("pause", VerbArgs::default()).await;
    let before = load.snapshot();
    // Far longer than the hold.
    world.wait_until("requests", || load.snapshot().since(&before).finished >= 300).await;
    let view = world.view().await;
    assert_eq!(view.deployment.unwrap().state, DeploymentState::Paused);
    assert_eq!(view.arms.iter().map(|arm| arm.weight).collect::<Vec<_>>(), [50, 50]);
    world.verb("resume", VerbArgs::default()).await;
    world.completed(number).await;
    world.none_lost(load).await;
    world.ends_in_order().await;
}
