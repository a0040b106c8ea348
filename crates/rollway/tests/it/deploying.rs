//! Every strategy and verb, under load: what is served meanwhile, and what is left afterwards.

use std::time::{Duration, Instant};

use rollway_core::view::{ServiceView, VerbArgs};

use crate::shop::Shop;
use crate::world::{World, assert_none_lost};

/// Requests a second while things change.
const RATE: u32 = 200;

fn serving(view: &ServiceView) -> String {
    view.serving.as_ref().map(|release| release.version.clone()).unwrap_or_default()
}

/// The split as text: `v1 90 % x3, v2 10 % x1`.
fn arms(view: &ServiceView) -> String {
    let arm = |arm: &rollway_core::view::ArmView| {
        format!("{} {} % x{}", arm.release.version, arm.weight, arm.ready)
    };
    view.arms.iter().map(arm).collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn the_first_deployment_serves_and_nothing_is_left_at_the_end() {
    let world = World::new().await;
    let done = world.roll_out(&Shop::default(), "v1").await;
    assert_eq!((done.id.as_str(), done.instances_started), ("shop-1", 2));
    let load = world.load(RATE);
    let view = world.view().await;
    assert_eq!((serving(&view), view.instances_ready), ("v1".into(), 2));
    world.wait_until("some answers", || load.snapshot().of_version("v1") > 100).await;
    world.none_lost(load).await;
    world.verify_history().await;
    world.assert_started_once();
    world.ends_in_order().await;
}

#[tokio::test]
async fn a_canary_is_promoted_by_its_gates() {
    let world = World::new().await;
    let steps = "[{weight: 10}, {hold: 300ms}, {weight: 50}, {approve: look}]";
    let shop = Shop::new(3, &format!("{{canary: {{steps: {steps}}}}}"));
    world.roll_out(&shop, "v1").await;
    let load = world.load(RATE);
    let began = Instant::now();
    let number = world.deploy(&shop, "v2").await;
    let view = world.at_gate().await;
    assert!(began.elapsed() >= Duration::from_millis(300), "the hold was not kept");
    assert_eq!(arms(&view), "v1 50 % x3, v2 50 % x2");
    assert_eq!(serving(&view), "v1");
    // Half of what is asked from now on.
    let before = load.snapshot();
    world.wait_until("requests", || load.snapshot().since(&before).finished >= 200).await;
    let share = load.snapshot().since(&before);
    let new = 100 * share.of_version("v2") / share.finished;
    assert!((45..=55).contains(&new), "{new} % of {} were answered by v2", share.finished);
    world.verb("promote", VerbArgs::default()).await;
    let done = world.completed(number).await;
    let switched = Instant::now();
    assert_eq!(arms(&world.view().await), "v2 100 % x3");
    assert_eq!(done.instances_started, 3);
    world.wait_until("requests", || load.snapshot().since(&before).finished >= 400).await;
    let report = load.stop().await;
    assert_none_lost(&report);
    assert_eq!(report.answers_of("v1", switched), 0);
    world.assert_started_once();
    world.ends_in_order().await;
}

#[tokio::test]
async fn promote_in_full_opens_all_gates() {
    let world = World::new().await;
    let steps = "[{weight: 10}, {approve: one}, {weight: 50}, {approve: two}]";
    let shop = Shop::new(2, &format!("{{canary: {{steps: {steps}}}}}"));
    world.roll_out(&shop, "v1").await;
    let load = world.load(RATE);
    let number = world.deploy(&shop, "v2").await;
    world.waits_for("one").await;
    world.verb("promote", VerbArgs { full: true, ..VerbArgs::default() }).await;
    world.completed(number).await;
    world.none_lost(load).await;
}

#[tokio::test]
async fn blue_green_goes_back_within_the_delay_by_a_switch_only() {
    let world = World::new().await;
    let shop = Shop::new(2, "{blue_green: {scale_down_delay: 60s}}");
    world.roll_out(&shop, "v1").await;
    let load = world.load(RATE);
    world.roll_out(&shop, "v2").await;
    let view = world.view().await;
    assert_eq!(arms(&view), "v1 0 % x2, v2 100 % x2");
    assert_eq!(view.standby.map(|standby| standby.release.version), Some("v1".into()));
    let (old, started) = (world.pids(1).await, world.witnessed().len());
    let before = Instant::now();
    let args = VerbArgs { wait: true, ..VerbArgs::default() };
    let number = world.verb("rollback", args).await;
    let switched = Instant::now();
    world.completed(number).await;
    assert_eq!(serving(&world.view().await), "v1");
    assert_eq!(world.pids(1).await, old, "going back must be a switch only");
    let starts = world.witnessed()[started..].iter().filter(|one| one.event == "start").count();
    assert_eq!(starts, 0);
    world.wait_until("requests", || load.snapshot().finished > 200).await;
    let report = load.stop().await;
    assert_none_lost(&report);
    assert_eq!(report.answers_of("v2", switched), 0, "{:?}", switched - before);
    world.ends_in_order().await;
}

#[tokio::test]
async fn blue_green_waits_for_promote_and_shows_a_preview() {
    let world = World::new().await;
    let preview = world.preview();
    let settings = format!("auto_promote: false, preview: \"{preview}\", scale_down_delay: 300ms");
    let shop = Shop::new(2, &format!("{{blue_green: {{{settings}}}}}"));
    world.roll_out(&shop, "v1").await;
    let load = world.load(RATE);
    let number = world.deploy(&shop, "v2").await;
    let view = world.at_gate().await;
    assert_eq!(arms(&view), "v1 100 % x2, v2 0 % x2");
    let (status, body) = crate::world::fetch(preview, "/").await.unwrap();
    assert!(status == 200 && body.contains("\"version\":\"v2\""), "{status} {body}");
    world.verb("promote", VerbArgs::default()).await;
    world.completed(number).await;
    let view = world.wait("the end of the standby", |view| view.standby.is_none()).await;
    assert_eq!(serving(&view), "v2");
    world.wait("v1 to be retired", |view| view.arms.len() == 1).await;
    assert!(crate::world::fetch(preview, "/").await.is_err(), "the preview is still there");
    world.none_lost(load).await;
    world.assert_started_once();
    world.ends_in_order().await;
}

#[tokio::test]
async fn rolling_starts_first_and_never_runs_more_than_allowed() {
    let world = World::new().await;
    let shop = Shop::new(4, "rolling").update("max_surge: 1, max_unavailable: 0");
    world.roll_out(&shop, "v1").await;
    let load = world.load(RATE);
    world.roll_out(&shop, "v2").await;
    world.none_lost(load).await;
    assert_eq!(most_and_least(&world, 4), (5, 4));
    world.assert_started_once();
    world.ends_in_order().await;
}

#[tokio::test]
async fn rolling_stops_first_and_never_runs_fewer_than_allowed() {
    let world = World::new().await;
    let shop = Shop::new(4, "rolling").update("order: stop_first, max_unavailable: 1");
    world.roll_out(&shop, "v1").await;
    let load = world.load(RATE);
    world.roll_out(&shop, "v2").await;
    world.none_lost(load).await;
    assert_eq!(most_and_least(&world, 4), (4, 3));
    world.assert_started_once();
    world.ends_in_order().await;
}

/// How many instances ran at most, and served at least, since `wanted` were ready, by the
/// instances' own words.
fn most_and_least(world: &World, wanted: i32) -> (i32, i32) {
    let (mut runs, mut ready) = (0, 0);
    let (mut most, mut least) = (0, wanted);
    let mut complete = false;
    for line in world.witnessed() {
        match line.event.as_str() {
            "start" => runs += 1,
            "ready" => ready += 1,
            "stop" => (runs, ready) = (runs - 1, ready - 1),
            other => panic!("{other}?"),
        }
        complete |= ready == wanted;
        most = most.max(runs);
        if complete {
            least = least.min(ready);
        }
    }
    (most, least)
}

#[tokio::test]
async fn recreate_holds_requests_and_loses_none() {
    let world = World::new().await;
    let shop = Shop::new(2, "recreate");
    world.roll_out(&shop, "v1").await;
    let load = world.load(RATE);
    world.wait_until("answers of v1", || load.snapshot().of_version("v1") > 0).await;
    world.roll_out(&shop, "v2").await;
    let before = load.snapshot();
    world.wait_until("requests", || load.snapshot().since(&before).finished >= 100).await;
    let report = load.stop().await;
    assert_none_lost(&report);
    let both: Vec<&str> = report.tally.by_version.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(both, ["v1", "v2"]);
    // Never both versions at once: all stops of v1 come before all starts of v2.
    let lines = world.witnessed();
    let last_stop = lines.iter().rposition(|one| one.version == "v1" && one.event == "stop");
    let first_start = lines.iter().position(|one| one.version == "v2" && one.event == "start");
    assert!(last_stop < first_start, "{lines:#?}");
    world.ends_in_order().await;
}

#[tokio::test]
async fn scale_changes_the_number_and_keeps_the_rest() {
    let world = World::new().await;
    world.roll_out(&Shop::new(2, "rolling"), "v1").await;
    let load = world.load(RATE);
    let two = world.pids(1).await;
    let to = |instances| VerbArgs { instances: Some(instances), ..VerbArgs::default() };
    let number = world.verb("scale", to(5)).await;
    world.completed(number).await;
    let five = world.pids(1).await;
    assert_eq!((five.len(), world.shops().len()), (5, 5));
    assert!(two.iter().all(|pid| five.contains(pid)), "{two:?} {five:?}");
    let number = world.verb("scale", to(1)).await;
    world.completed(number).await;
    let one = world.pids(1).await;
    assert_eq!((one.len(), world.shops().len()), (1, 1));
    assert!(five.contains(&one[0]));
    world.none_lost(load).await;
    world.assert_started_once();
    world.ends_in_order().await;
}

#[tokio::test]
async fn restart_gives_fresh_instances_of_the_same_version() {
    let world = World::new().await;
    world.roll_out(&Shop::new(3, "rolling"), "v1").await;
    let load = world.load(RATE);
    let number = world.verb("restart", VerbArgs::default()).await;
    world.completed(number).await;
    let view = world.view().await;
    assert_eq!(
        (serving(&view), view.serving.map(|release| release.number)),
        ("v1".into(), Some(2))
    );
    world.none_lost(load).await;
    assert_eq!(world.witnessed().iter().filter(|one| one.event == "start").count(), 6);
    world.ends_in_order().await;
}

#[tokio::test]
async fn down_and_up_bring_back_what_was() {
    let world = World::new().await;
    world.roll_out(&Shop::new(2, "rolling"), "v1").await;
    let number = world.verb("down", VerbArgs::default()).await;
    world.completed(number).await;
    let view = world.view().await;
    assert_eq!((view.desired.as_str(), view.instances_ready), ("down", 0));
    assert_eq!(world.shops(), []);
    assert!(crate::world::fetch(world.address(), "/").await.is_err(), "somebody still listens");
    let number = world.verb("up", VerbArgs::default()).await;
    world.completed(number).await;
    let view = world.view().await;
    assert_eq!((view.desired.as_str(), view.instances_ready), ("up", 2));
    let load = world.load(RATE);
    world.wait_until("requests", || load.snapshot().finished > 100).await;
    world.none_lost(load).await;
    world.ends_in_order().await;
}

#[tokio::test]
async fn rollback_brings_back_an_earlier_release_exactly() {
    let world = World::new().await;
    let shop = Shop::new(2, "rolling");
    world.roll_out(&shop, "v1").await;
    world.roll_out(&shop.flags("--latency 1ms"), "v2").await;
    world.roll_out(&shop, "v3").await;
    let load = world.load(RATE);
    let number = world.verb("rollback", VerbArgs { to: Some("r1".into()), ..Default::default() });
    world.completed(number.await).await;
    let view = world.view().await;
    assert_eq!((serving(&view), arms(&view)), ("v1".into(), "v1 100 % x2".into()));
    // Without a name: what served before.
    let number = world.verb("rollback", VerbArgs::default()).await;
    world.completed(number).await;
    assert_eq!(serving(&world.view().await), "v3");
    world.none_lost(load).await;
    world.ends_in_order().await;
}
