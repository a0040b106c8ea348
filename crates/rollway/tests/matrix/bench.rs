//! A world on which cell after cell is run, each from where the last one ended.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rollway_core::event::DeploymentState;
use rollway_core::view::{DeployArgs, DeploymentView, ServiceView, VerbArgs};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

use crate::arm::Arm;
use crate::cell::{Cell, INSTANCES, Operation, Prelude, Strategy};
use crate::check::{self, Expected};
use crate::shop::Shop;
use crate::world::{LOOK, World};

/// Requests a second under every cell.
const RATE: u32 = 200;
/// A cell that has not come to rest after this long never will.
const PATIENCE: Duration = Duration::from_secs(60);
/// Somebody holds the database this long: a write waits 5 s for it.
const HELD: Duration = Duration::from_millis(5300);
/// The control plane is killed this long after the operation began, in cells that want that.
const KILLED_AFTER: Duration = Duration::from_millis(30);

/// A world, and what has been done to it.
pub struct Bench {
    pub world: World,
    pub arm: Arm,
    /// Every deployment that was acknowledged, with the version that it is about.
    pub acknowledged: Vec<(u64, String)>,
    versions: u32,
    serving: String,
    before: String,
}

/// What came of a cell.
#[derive(Debug, Default, Clone)]
pub struct Ran {
    /// Whether somebody died at the place.
    pub reached: bool,
    /// How often it was passed.
    pub passed: u64,
    /// Requests that were made.
    pub requests: u64,
    /// Requests that the proxy that died had in hand.
    pub in_hand: u64,
    /// Requests for which there was no proxy until the next one was there.
    pub away: u64,
    /// How long there was none, in milliseconds.
    pub away_ms: u64,
}

impl Bench {
    /// A world in which there is nothing.
    fn empty() -> Self {
        let world = World::without_control_plane();
        let arm = Arm::new(world.root());
        let (serving, before) = (String::new(), String::new());
        Self { world, arm, acknowledged: Vec::new(), versions: 0, serving, before }
    }

    /// Runs a cell of a world in which there is nothing yet; panics with what did not hold.
    pub async fn run_first(cell: &Cell) -> Ran {
        let mut bench = Self::empty();
        let before = check::Before::look(&bench.world);
        bench.arm.set(cell.point, 1);
        bench.start_control_plane().await;
        bench.settle_on_a_new_version(&cell.strategy.shop()).await;
        bench.arm.disarm();
        let passed = bench.arm.passed(cell.point);
        let ran = Ran { reached: bench.arm.fired(), passed, ..Ran::default() };
        let (number, version) = bench.acknowledged[0].clone();
        let expected = Expected { number, version, instead: None, up: true };
        check::starts(&bench.world, &before, cell, &expected);
        check::history(&bench.world, &bench.acknowledged).await;
        let load = bench.world.load(RATE);
        bench.world.none_lost(load).await;
        bench.world.ends_in_order().await;
        ran
    }

    /// A world in which a first version serves.
    pub async fn new() -> Self {
        let mut bench = Self::empty();
        bench.start_control_plane().await;
        bench.settle_on_a_new_version(&Strategy::Rolling.shop()).await;
        bench
    }

    fn serve_command(&self) -> Command {
        let mut command = self.world.serve_command();
        command.env(rollway::crash::VARIABLE, self.arm.variable());
        command
    }

    /// Starts control planes until one stays: an armed one may die on its way.
    pub async fn start_control_plane(&mut self) {
        for _ in 0..3 {
            let command = self.serve_command();
            let Some(status) = self.world.try_start_control_plane(command).await else { return };
            assert!(self.arm.fired(), "it ended with {status}: {}", self.world.log());
        }
        panic!("the control plane does not stay: {}", self.world.log());
    }

    /// Starts another control plane if the one there has died of the place.
    async fn mend(&mut self) {
        if let Some(status) = self.world.control_plane_ended() {
            assert!(self.arm.fired(), "it ended with {status}: {}", self.world.log());
            self.start_control_plane().await;
        }
    }

    fn next_version(&mut self) -> String {
        self.versions += 1;
        format!("v{}", self.versions)
    }

    async fn settle_on_a_new_version(&mut self, shop: &Shop) {
        let version = self.next_version();
        let number = self.deploy(shop, &version).await;
        self.rest(&Expected { number, version: version.clone(), instead: None, up: true }).await;
        self.before = std::mem::replace(&mut self.serving, version);
    }

    /// Asks until it is acknowledged; the key makes the same request the same deployment.
    async fn deploy(&mut self, shop: &Shop, version: &str) -> u64 {
        // Each version has a file of its own, which is kept.
        fs::write(self.world.root().join("build"), version).unwrap();
        let run = format!("{}, artifact: {{path: build}}", shop.run);
        let shop = &Shop { run, ..shop.clone() };
        let args = DeployArgs {
            idempotency_key: Some(format!("the one of {version}")),
            ..self.world.deploy_args(shop, version)
        };
        let began = Instant::now();
        loop {
            let asked = self
                .world
                .ask::<DeploymentView>(http::Method::POST, "/v1/deployments", &args)
                .await;
            match asked {
                Ok(view) => {
                    self.acknowledged.push((view.number, version.to_owned()));
                    return view.number;
                }
                Err(refused) if began.elapsed() > PATIENCE => {
                    panic!("deploy {version}: {}", refused.text())
                }
                // Refused while the store is held, or cut by a death: asked again.
                Err(_) => self.mend().await,
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Does a verb until it is acknowledged, or `done` says that it was all the same.
    async fn verb(&mut self, verb: &str, done: impl Fn(&ServiceView) -> bool) -> u64 {
        let began = Instant::now();
        loop {
            match self.world.try_verb(verb, VerbArgs::default()).await {
                Ok(answer) => return answer.deployment.unwrap_or_default(),
                Err(refused) if began.elapsed() > PATIENCE => panic!("{verb}: {}", refused.text()),
                Err(_) => self.mend().await,
            }
            if let Ok(view) = self.world.get::<ServiceView>("/v1/services/shop").await
                && done(&view)
            {
                return view.deployment.map(|one| one.number).unwrap_or_default();
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the deployment has ended, nothing goes on, and what is there is as it should be.
    async fn rest(&mut self, expected: &Expected) {
        let began = Instant::now();
        loop {
            self.mend().await;
            let unrest = check::unrest(&self.world, expected).await;
            let Some(unrest) = unrest else { return };
            if began.elapsed() > PATIENCE {
                let story = self.world.story().await;
                panic!("it does not come to rest: {unrest}\n{story}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Runs a cell; panics with what did not hold.
    pub async fn run(&mut self, cell: &Cell) -> Ran {
        self.prepare(cell).await;
        let before = check::Before::look(&self.world);
        let load = self.world.load(RATE);
        self.world.wait_until("requests", || load.snapshot().finished >= 20).await;
        if cell.prelude() != Prelude::Killed {
            self.arm.set(cell.point, cell.nth);
        }
        let (serving, before_that) = (self.serving.clone(), self.before.clone());
        let mut expected = self.operate(cell).await;
        // An instance whose shim died in its start has failed, and so may the deployment.
        expected.instead = cell.kills_shims().then(|| serving.clone());
        self.rest(&expected).await;
        // The place may be passed once more by what goes on in the background, and whoever passes
        // it may have died only now.
        self.arm.disarm();
        let dead = || !self.arm.fired() || self.arm.died_ns().is_some();
        self.world.wait_until("the end of who dies", dead).await;
        self.rest(&expected).await;
        let now = self.world.view().await.serving.map(|one| one.version);
        if now.as_ref() == Some(&serving) {
            (self.serving, self.before) = (serving, before_that);
        }
        let (finished, requests) = (load.snapshot().finished, load.snapshot().finished + 20);
        self.world.wait_until("requests", || load.snapshot().finished >= requests).await;
        let report = load.stop().await;
        let died_ns = self.arm.died_ns().filter(|_| self.arm.fired());
        let mut ran = Ran {
            reached: self.arm.fired(),
            passed: self.arm.passed(cell.point),
            requests: report.tally.finished.max(finished),
            ..Ran::default()
        };
        let proxy_died = died_ns.filter(|_| cell.is_of_proxy());
        check::requests(&report, proxy_died, cell.operation == Operation::Down, &mut ran);
        check::starts(&self.world, &before, cell, &expected);
        check::history(&self.world, &self.acknowledged).await;
        ran
    }

    /// What has to be there before the cell's operation.
    async fn prepare(&mut self, cell: &Cell) {
        match cell.operation {
            Operation::Deploy => {}
            Operation::Rollback | Operation::Down => {
                self.settle_on_a_new_version(&cell.strategy.shop()).await;
            }
            Operation::Abort => {
                let (shop, version) = (cell.strategy.stopping(), self.next_version());
                self.deploy(&shop, &version).await;
                if cell.strategy.has_gate() {
                    self.world.at_gate().await;
                } else {
                    let started = || self.world.witnessed().iter().any(|w| w.version == version);
                    self.world.wait_until("a start", started).await;
                }
            }
        }
        if cell.prelude() == Prelude::LostShim {
            self.lose_a_shim(cell).await;
        }
    }

    /// `kill -9` of the shim of an instance that the operation will retire.
    async fn lose_a_shim(&self, cell: &Cell) {
        let last = self.acknowledged.last().map(|(_, version)| version.clone());
        let version = match cell.operation {
            Operation::Abort => last.unwrap_or_default(),
            Operation::Deploy | Operation::Down | Operation::Rollback => self.serving.clone(),
        };
        let instances = self.world.instances().await;
        let instance = instances.iter().find(|one| one.release.version == version).unwrap();
        let folder = self.world.state().join("instances/shop").join(&instance.instance);
        let record = fs::read(folder.join("shim.json")).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        let pid = record["shim"]["pid"].as_i64().and_then(|pid| Pid::from_raw(pid as i32));
        kill_process(pid.unwrap(), Signal::KILL).unwrap();
    }

    /// The operation of the cell to its acknowledgement; what it should come to.
    async fn operate(&mut self, cell: &Cell) -> Expected {
        let number = self.acknowledged.iter().map(|(number, _)| *number).max().unwrap_or(0);
        let is_next =
            |view: &ServiceView| view.deployment.as_ref().is_some_and(|one| one.number > number);
        let expected = match cell.operation {
            Operation::Deploy => {
                let version = self.next_version();
                let number = self.deploy(&cell.strategy.shop(), &version).await;
                self.before = std::mem::replace(&mut self.serving, version.clone());
                Expected { number, version, instead: None, up: true }
            }
            Operation::Rollback => {
                let number = self.verb("rollback", is_next).await;
                std::mem::swap(&mut self.before, &mut self.serving);
                self.acknowledged.push((number, self.serving.clone()));
                Expected { number, version: self.serving.clone(), instead: None, up: true }
            }
            Operation::Abort => {
                let undone = |view: &ServiceView| {
                    view.deployment
                        .as_ref()
                        .is_some_and(|one| one.undoing || one.state == DeploymentState::RolledBack)
                };
                self.verb("abort", undone).await;
                Expected { number, version: self.serving.clone(), instead: None, up: true }
            }
            Operation::Down => {
                let number = self.verb("down", is_next).await;
                self.acknowledged.push((number, self.serving.clone()));
                Expected { number, version: self.serving.clone(), instead: None, up: false }
            }
        };
        if cell.prelude() == Prelude::HeldStore {
            self.hold_the_store().await;
        }
        if cell.prelude() == Prelude::Killed {
            tokio::time::sleep(KILLED_AFTER).await;
            self.world.kill_control_plane();
            self.arm.set(cell.point, cell.nth);
            self.start_control_plane().await;
        }
        expected
    }

    /// Holds the database as somebody's shell does.
    async fn hold_the_store(&self) {
        let file = self.world.state().join("rollway.db");
        let mut connection = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
        connection.execute("BEGIN IMMEDIATE").await.unwrap();
        tokio::time::sleep(HELD).await;
        connection.execute("ROLLBACK").await.unwrap();
        connection.close().await.unwrap();
    }

    /// Brings the service up again where a cell took it down.
    pub async fn go_on(&mut self) {
        self.arm.disarm();
        if self.world.view().await.desired != "up" {
            self.settle_on_a_new_version(&Strategy::Rolling.shop()).await;
        }
        assert_eq!(self.world.shops().len(), INSTANCES as usize);
    }
}
