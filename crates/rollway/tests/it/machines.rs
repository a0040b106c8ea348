//! What dies under the control plane: the proxy, instances, shims, the whole machine.

use std::time::{Duration, Instant};

use rollway::load::{Load, LoadPlan};
use rollway_core::event::DeploymentState;
use rustix::process::{Pid, Signal, kill_process};

use crate::shop::Shop;
use crate::world::{LOOK, PATIENCE, World, assert_none_lost, fetch};

const RATE: u32 = 200;

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// How long until the shop answers with 200.
async fn answers_again(world: &World) -> Duration {
    let began = Instant::now();
    while !matches!(fetch(world.address(), "/").await, Ok((200, _))) {
        assert!(began.elapsed() < PATIENCE, "it never answered again");
        tokio::time::sleep(LOOK).await;
    }
    began.elapsed()
}

#[tokio::test]
async fn the_proxy_is_back_within_a_second_with_its_table() {
    let world = World::new().await;
    world.roll_out(&Shop::new(3, "rolling"), "v1").await;
    let pids = world.pids(1).await;
    let load = world.load(RATE);
    for _ in 0..3 {
        let before = load.snapshot();
        world.wait_until("requests", || load.snapshot().since(&before).finished >= 50).await;
        let proxy = world.proxy_pid().await.unwrap();
        signal(proxy, Signal::KILL);
        let away = answers_again(&world).await;
        assert!(away < Duration::from_secs(1), "it was away for {away:?}");
        assert_ne!(world.proxy_pid().await, Some(proxy));
    }
    let back = Instant::now();
    let before = load.snapshot();
    world.wait_until("requests", || load.snapshot().since(&before).finished >= 100).await;
    let report = load.stop().await;
    // What was in flight at a kill is lost; after that nothing is.
    let lost = report.failures_between(back, Instant::now());
    assert_eq!(lost, 0, "{}\n{:#?}", report.summary(), report.failures);
    assert_eq!(world.pids(1).await, pids);
    world.ends_in_order().await;
}

#[tokio::test]
async fn a_new_proxy_does_not_trust_an_instance_that_does_not_answer() {
    let world = World::new().await;
    let mut shop = Shop::new(3, "rolling");
    // So rarely probed that only the proxy itself can know.
    shop.health = "interval: 30s, timeout: 500ms, success_threshold: 1".into();
    world.roll_out(&shop, "v1").await;
    let frozen = world.shops()[0].pid;
    signal(frozen, Signal::STOP);
    signal(world.proxy_pid().await.unwrap(), Signal::KILL);
    // It may hold requests until it knows whom to trust, but nobody waits for the frozen one.
    answers_again(&world).await;
    let plan =
        LoadPlan { rate: 100, timeout: Duration::from_secs(3), ..LoadPlan::to(world.address()) };
    let load = Load::start(LoadPlan { duration: Some(Duration::from_secs(1)), ..plan }).unwrap();
    let report = load.finish().await;
    signal(frozen, Signal::CONT);
    assert_none_lost(&report);
    world.ends_in_order().await;
}

#[tokio::test]
async fn the_proxy_serves_on_while_both_it_and_the_control_plane_come_back() {
    let mut world = World::new().await;
    world.roll_out(&Shop::new(2, "rolling"), "v1").await;
    let pids = world.pids(1).await;
    world.kill_control_plane();
    signal(world.proxy_pid().await.unwrap(), Signal::KILL);
    world.start_control_plane().await;
    answers_again(&world).await;
    let load = world.load(RATE);
    world.wait_until("requests", || load.snapshot().finished >= 100).await;
    world.none_lost(load).await;
    assert_eq!(world.pids(1).await, pids);
    world.ends_in_order().await;
}

#[tokio::test]
async fn after_a_reboot_serving_again_brings_the_service_back_by_itself() {
    let mut world = World::new().await;
    world.roll_out(&Shop::new(3, "rolling"), "v1").await;
    let generation_before = world.events().await.len();
    world.kill_everything();
    assert!(fetch(world.address(), "/").await.is_err());
    world.start_control_plane().await;
    let view = world.wait("three ready", |view| view.instances_ready == 3).await;
    assert_eq!(view.serving.unwrap().version, "v1");
    answers_again(&world).await;
    let load = world.load(RATE);
    world.wait_until("requests", || load.snapshot().finished >= 100).await;
    world.none_lost(load).await;
    assert_eq!(world.shops().len(), 3);
    assert!(world.events().await.len() > generation_before);
    world.verify_history().await;
    world.ends_in_order().await;
}

#[tokio::test]
async fn after_a_reboot_in_a_deployment_one_version_serves() {
    for moment in [50, 200, 500] {
        let mut world = World::new().await;
        let canary = "{canary: {steps: [{weight: 50}, {hold: 300ms}]}}";
        let shop = Shop::new(2, canary);
        world.roll_out(&shop, "v1").await;
        let number = world.deploy(&shop, "v2").await;
        tokio::time::sleep(Duration::from_millis(moment)).await;
        world.kill_everything();
        world.start_control_plane().await;
        let ended = world.ended(number).await;
        let version = match ended.state {
            DeploymentState::Completed => "v2",
            DeploymentState::Pending
            | DeploymentState::InProgress
            | DeploymentState::Paused
            | DeploymentState::Failed
            | DeploymentState::RolledBack => "v1",
        };
        let one = |view: &rollway_core::view::ServiceView| {
            view.arms.len() == 1 && view.instances_ready == 2
        };
        let view = world.wait("one version", one).await;
        assert_eq!(view.serving.unwrap().version, version, "{moment} ms: {ended:#?}");
        answers_again(&world).await;
        let (_, body) = fetch(world.address(), "/").await.unwrap();
        assert!(body.contains(&format!("{version:?}")), "{body}");
        world.ends_in_order().await;
    }
}

#[tokio::test]
async fn an_instance_that_is_killed_comes_back_and_costs_no_request() {
    let world = World::new().await;
    world.roll_out(&Shop::new(3, "rolling"), "v1").await;
    let load = world.load(RATE);
    world.wait_until("requests", || load.snapshot().finished >= 50).await;
    let victim = world.shops()[0].pid;
    signal(victim, Signal::KILL);
    world.wait_until("the end", || world.shops().iter().all(|one| one.pid != victim)).await;
    world.wait_until("three", || world.shops().len() == 3).await;
    world.wait("three ready", |view| view.instances_ready == 3).await;
    let settled = Instant::now();
    let before = load.snapshot();
    world.wait_until("requests", || load.snapshot().since(&before).finished >= 100).await;
    let report = load.stop().await;
    // What the killed one had in hand cannot be saved; at this rate that is next to nothing.
    assert!(report.tally.failed() <= 3, "{}\n{:#?}", report.summary(), report.failures);
    assert_eq!(report.failures_between(settled, Instant::now()), 0);
    world.ends_in_order().await;
}

#[tokio::test]
async fn a_killed_shim_costs_nothing_and_its_instance_can_still_be_stopped() {
    let world = World::new().await;
    world.roll_out(&Shop::new(2, "rolling"), "v1").await;
    let load = world.load(RATE);
    // Either program that can be one: `rollway shim FOLDER` or `rollway-shim FOLDER`.
    let is_shim = |command: &str| command.contains("shim ") && command.contains("/instances/");
    let shim = world.processes().into_iter().find(|one| is_shim(&one.command)).unwrap();
    signal(shim.pid, Signal::KILL);
    let before = load.snapshot();
    world.wait_until("requests", || load.snapshot().since(&before).finished >= 100).await;
    world.roll_out(&Shop::new(2, "rolling"), "v2").await;
    assert_eq!(world.shops().len(), 2);
    world.none_lost(load).await;
    world.ends_in_order().await;
}
