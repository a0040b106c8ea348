//! `kill -9` of the control plane at random moments of deployments under load.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rollway_core::event::DeploymentState;

use crate::shop::Shop;
use crate::world::{World, assert_none_lost};

const RATE: u32 = 200;
/// With so many instances the control plane is back this soon in 99 of 100 kills.
const RECOVERY_MAX: Duration = Duration::from_secs(1);

const CANARY: &str =
    "{canary: {steps: [{weight: 10}, {hold: 100ms}, {weight: 50}, {hold: 100ms}]}}";
const BLUE_GREEN: &str = "{blue_green: {scale_down_delay: 200ms}}";

fn slow() -> bool {
    std::env::var_os("RUN_SLOW_TESTS").is_some()
}

/// What came of kills.
#[derive(Debug, Default, Clone)]
struct Kills {
    /// How long the control plane was away, kill by kill.
    away: Vec<Duration>,
    requests: u64,
    kept: usize,
}

impl Kills {
    fn add(&mut self, more: Self) {
        self.away.extend(more.away);
        self.requests += more.requests;
        self.kept += more.kept;
    }

    fn at(&self, share: usize) -> Duration {
        let mut sorted = self.away.clone();
        sorted.sort_unstable();
        sorted[(sorted.len() - 1) * share / 100]
    }

    #[expect(clippy::print_stderr, reason = "the figures are to be seen")]
    fn print(&self, what: &str) {
        let Self { away, requests, kept } = self;
        let [p50, p99, most] = [50, 99, 100].map(|share| self.at(share).as_millis());
        eprintln!(
            "kills: {what}: {} kills, back after p50 {p50} ms, p99 {p99} ms, most {most} ms; \
             {requests} requests, 0 lost; {kept} processes seen on both sides, 0 replaced",
            away.len()
        );
    }
}

/// The processes of instances by what they were started as: each has a port of its own.
fn by_command(world: &World) -> BTreeMap<String, i32> {
    world.shops().into_iter().map(|shop| (shop.command, shop.pid)).collect()
}

/// Deploys version after version, each with a kill at a random moment. All must end well.
async fn killed_at_random_moments(strategy: &str, times: u32, instances: u32) -> Kills {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::new().await;
    let shop = Shop::new(instances, strategy).update("max_surge: 2, healthy_deadline: 60s");
    world.roll_out(&shop, "v0").await;
    let load = world.load(RATE);
    let began = Instant::now();
    world.roll_out(&shop, "v1").await;
    // A moment anywhere in a deployment, or just after it.
    let moment_max = began.elapsed().as_millis() as u64 * 11 / 10;
    let mut kills = Kills::default();
    for kill in 0..times {
        let version = format!("v{}", kill + 2);
        let number = world.deploy(&shop, &version).await;
        let moment = random.u64(0..moment_max);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        world.kill_control_plane();
        let before = by_command(&world);
        kills.away.push(world.start_control_plane().await);
        let after = by_command(&world);
        let context = format!("seed {seed}, kill {kill} after {moment} ms");
        for (command, pid) in before {
            let Some(now) = after.get(&command) else { continue };
            assert_eq!(*now, pid, "{context}: {command} has another process");
            kills.kept += 1;
        }
        let ended = world.ended(number).await;
        let story = match ended.state {
            DeploymentState::Completed => String::new(),
            DeploymentState::Pending
            | DeploymentState::InProgress
            | DeploymentState::Paused
            | DeploymentState::Failed
            | DeploymentState::RolledBack => world.story().await,
        };
        assert_eq!(ended.state, DeploymentState::Completed, "{context}: {ended:#?}\n{story}");
        one_version_runs(&world, &version, instances, &context).await;
    }
    let report = load.stop().await;
    world.assert_started_once();
    assert_none_lost(&report);
    world.verify_history().await;
    kills.requests = report.tally.finished;
    world.ends_in_order().await;
    kills
}

/// The same, with the figures, and their sum over all strategies so far.
async fn killed(name: &str, strategy: &str, (times, instances): (u32, u32)) {
    static ALL: Mutex<Option<Kills>> = Mutex::new(None);
    let kills = killed_at_random_moments(strategy, times, instances).await;
    kills.print(&format!("{instances} instances, {name}"));
    let sum = {
        let mut all = ALL.lock().unwrap();
        let sum = all.get_or_insert_default();
        sum.add(kills.clone());
        sum.clone()
    };
    sum.print("all so far");
    if slow() {
        assert!(kills.at(99) <= RECOVERY_MAX, "p99 is {:?}", kills.at(99));
    }
}

/// Soon nothing but this version runs, each of its instances once.
async fn one_version_runs(world: &World, version: &str, instances: u32, context: &str) {
    let what = format!("only {version} to run ({context})");
    world.wait(&what, |view| view.arms.len() == 1 && view.standby.is_none()).await;
    let view = world.view().await;
    assert_eq!(view.serving.unwrap().version, version, "{context}");
    assert_eq!(view.instances_ready, instances, "{context}");
    let mut by_version: BTreeMap<bool, usize> = BTreeMap::new();
    for process in world.shops() {
        let right = process.command.contains(&format!("--version {version} "));
        *by_version.entry(right).or_default() += 1;
    }
    let expected = BTreeMap::from([(true, instances as usize)]);
    assert_eq!(by_version, expected, "{context}: {:#?}", world.shops());
}

/// A dozen in an ordinary run, three hundred over three strategies in a slow one.
fn kills() -> (u32, u32) {
    if slow() { (100, 20) } else { (4, 6) }
}

#[tokio::test]
async fn a_rolling_update_survives_kills_of_the_control_plane() {
    killed("rolling", "rolling", kills()).await;
}

#[tokio::test]
async fn a_canary_survives_kills_of_the_control_plane() {
    killed("canary", CANARY, kills()).await;
}

#[tokio::test]
async fn a_blue_green_switch_survives_kills_of_the_control_plane() {
    killed("blue-green", BLUE_GREEN, kills()).await;
}

#[tokio::test]
async fn a_recreate_survives_kills_of_the_control_plane() {
    killed("recreate", "recreate", if slow() { (10, 6) } else { (2, 3) }).await;
}

#[tokio::test]
async fn what_serves_keeps_its_processes_when_the_control_plane_is_killed() {
    let mut world = World::new().await;
    world.roll_out(&Shop::new(6, "rolling"), "v1").await;
    let (pids, proxy) = (world.pids(1).await, world.proxy_pid().await);
    let load = world.load(RATE);
    for _ in 0..3 {
        world.kill_control_plane();
        let before = load.snapshot();
        world.wait_until("requests", || load.snapshot().since(&before).finished >= 50).await;
        world.start_control_plane().await;
    }
    let view = world.wait("six ready", |view| view.instances_ready == 6).await;
    assert_eq!(view.deployment.unwrap().state, DeploymentState::Completed);
    assert_eq!((world.pids(1).await, world.proxy_pid().await), (pids, proxy));
    world.none_lost(load).await;
    world.assert_started_once();
    world.verify_history().await;
    world.ends_in_order().await;
}

#[tokio::test]
async fn a_rollback_survives_a_kill_of_the_control_plane() {
    let mut world = World::new().await;
    let shop = Shop::new(3, CANARY);
    world.roll_out(&shop, "v1").await;
    let pids = world.pids(1).await;
    let load = world.load(RATE);
    for (round, moment) in [0, 5, 15, 30, 60].into_iter().enumerate() {
        let version = format!("v{}", round + 2);
        let number = world.deploy(&shop.flags("--never-healthy"), &version).await;
        let undoing = |view: &rollway_core::view::ServiceView| {
            view.deployment.as_ref().is_some_and(|one| one.undoing || one.state.is_terminal())
        };
        world.wait("the undo", undoing).await;
        tokio::time::sleep(Duration::from_millis(moment)).await;
        world.kill_control_plane();
        world.start_control_plane().await;
        world.ended_as(number, DeploymentState::RolledBack).await;
        assert_eq!((world.pids(1).await, world.shops().len()), (pids.clone(), 3));
    }
    world.none_lost(load).await;
    world.verify_history().await;
    world.ends_in_order().await;
}

#[tokio::test]
async fn a_hold_goes_on_where_it_was_when_the_control_plane_comes_back() {
    let mut world = World::new().await;
    let shop = Shop::new(2, "{canary: {steps: [{weight: 50}, {hold: 1500ms}]}}");
    world.roll_out(&shop, "v1").await;
    let number = world.deploy(&shop, "v2").await;
    world.waits_for("the hold").await;
    let reached = Instant::now();
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.kill_control_plane();
    world.start_control_plane().await;
    world.completed(number).await;
    let held = reached.elapsed();
    let expected = Duration::from_millis(1300)..Duration::from_millis(2900);
    assert!(expected.contains(&held), "a hold of 1.5 s took {held:?}");
    world.ends_in_order().await;
}
