//! What must hold after a cell, by the words of witnesses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use rollway::load::{Outcome, Report};
use rollway_core::event::DeploymentState;
use rollway_core::view::{DeploymentView, ServiceView};

use crate::bench::Ran;
use crate::cell::{Cell, INSTANCES, Operation};
use crate::world::World;

/// Two clocks are read one after the other, on a busy machine.
const CLOCKS_APART: Duration = Duration::from_millis(2);

/// What an operation should come to.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The deployment.
    pub number: u64,
    /// What serves in the end.
    pub version: String,
    /// What may serve in the end instead, if the deployment was rolled back.
    pub instead: Option<String>,
    /// Whether anything serves in the end.
    pub up: bool,
}

/// What there was before a cell.
pub struct Before {
    witnessed: usize,
    /// The instances that run, by their own words.
    instances: BTreeSet<String>,
}

impl Before {
    pub fn look(world: &World) -> Self {
        let lines = world.witnessed();
        // One whose shim was killed may have ended without a word.
        let mut instances = folders(world);
        let last = |name: &String| lines.iter().rfind(|line| line.instance == *name);
        instances.retain(|name| last(name).is_some_and(|line| line.event != "stop"));
        Self { witnessed: lines.len(), instances }
    }
}

/// What is not as it should be in the end, if anything: an end is one version, each instance once,
/// each shim with its instance, each folder with its process.
pub async fn unrest(world: &World, expected: &Expected) -> Option<String> {
    let view: ServiceView = match world.get("/v1/services/shop").await {
        Ok(view) => view,
        Err(refused) => return Some(refused.text()),
    };
    let Some(deployment) = &view.deployment else { return Some("no deployment".into()) };
    if deployment.number != expected.number || !deployment.state.is_terminal() {
        let (state, waiting) = (deployment.state, &deployment.waiting);
        return Some(format!("{} is {state:?} and waits for {waiting:?}", deployment.id));
    }
    if view.needs_operator {
        return Some(format!("it needs an operator: {:?}", deployment.reasons));
    }
    let rolled_back = deployment.state == DeploymentState::RolledBack;
    let version = match &expected.instead {
        Some(instead) if rolled_back => instead,
        Some(_) | None => &expected.version,
    };
    let wanted = if expected.up { INSTANCES as usize } else { 0 };
    let serving = view.serving.as_ref().map(|one| one.version.as_str());
    let one_version = view.arms.len() <= 1 && view.standby.is_none();
    if expected.up && (serving != Some(version) || !one_version) {
        return Some(format!("{serving:?} serves, not {version} alone: {:?}", view.arms));
    }
    if expected.up && view.instances_ready != INSTANCES {
        return Some(format!("{} are ready", view.instances_ready));
    }
    let shops = world.shops();
    let right = |words: &str| format!("{words} ").contains(&format!("--version {version} "));
    if shops.len() != wanted || !shops.iter().all(|shop| right(&shop.command)) {
        return Some(format!("these run: {shops:#?}"));
    }
    let folders = folders(world);
    if folders.len() != wanted {
        return Some(format!("these folders are there: {folders:?}"));
    }
    let shims: Vec<String> = shims(world);
    let distinct: BTreeSet<String> = shims.iter().cloned().collect();
    if distinct.len() != shims.len() || !distinct.is_subset(&folders) {
        return Some(format!("these shims run: {shims:?} over {folders:?}"));
    }
    let proxies: Vec<_> = world.processes();
    let proxies: Vec<_> = proxies.iter().filter(|one| one.command.contains(" proxy ")).collect();
    if proxies.len() != 1 || world.proxy_pid().await != Some(proxies[0].pid) {
        return Some(format!("these proxies run, and not one answers: {proxies:?}"));
    }
    let temporary = temporary(world);
    (!temporary.is_empty()).then(|| format!("these files were left: {temporary:?}"))
}

/// The temporary files in the state folder. Beside kept files a copy that was cut short stays for
/// an hour.
fn temporary(world: &World) -> Vec<String> {
    let Ok(entries) = fs::read_dir(world.state()) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.contains(".tmp") || name.ends_with(".new")).collect()
}

/// The names of the instances that have a folder.
fn folders(world: &World) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(world.state().join("instances/shop")) else {
        return BTreeSet::new();
    };
    let entries = entries.filter_map(Result::ok).filter(|entry| entry.path().is_dir());
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The instances over which shims run.
fn shims(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for process in world.processes() {
        let words: Vec<&str> = process.command.split_whitespace().collect();
        let program = words.first().copied().unwrap_or_default();
        let is_shim = program.ends_with("/rollway-shim") || words.get(1) == Some(&"shim");
        if let Some((_, name)) = words.last().and_then(|last| last.rsplit_once('/'))
            && is_shim
        {
            found.push(name.to_owned());
        }
    }
    found
}

/// No request failed, except those that a proxy that died had in hand, and those for which there
/// was none until the next one answered.
pub fn requests(report: &Report, proxy_died_ns: Option<u64>, went_down: bool, ran: &mut Ran) {
    if went_down {
        // The service was taken down under the load: from then on nobody has to answer.
        return;
    }
    assert!(report.is_complete(), "the log of the load is cut short");
    let died =
        proxy_died_ns.map(|at| Duration::from_nanos(at.saturating_sub(report.started_mono_ns)));
    let back = died.and_then(|died| {
        let after = report.answers().filter(|one| one.outcome == Outcome::Ok && one.sent > died);
        after.map(|one| one.finished).min()
    });
    let mut ours = Vec::new();
    for answer in report.answers().filter(|answer| answer.outcome != Outcome::Ok) {
        let (Some(died), Some(back)) = (died, back) else {
            ours.push(format!("{answer:?}"));
            continue;
        };
        if answer.sent <= died && answer.finished + CLOCKS_APART >= died {
            ran.in_hand += 1;
        } else if answer.sent > died && answer.sent <= back {
            ran.away += 1;
        } else {
            ours.push(format!("{answer:?}"));
        }
    }
    if let (Some(died), Some(back)) = (died, back) {
        ran.away_ms = u64::try_from((back - died).as_millis()).unwrap_or(u64::MAX);
    }
    assert!(
        ours.is_empty(),
        "{} requests failed because of us (proxy died at {died:?}, back at {back:?}): {:#?}\n{:#?}",
        ours.len(),
        &ours[..ours.len().min(5)],
        report.failures
    );
}

/// No instance was started while it ran, and what a deployment started it started once.
pub fn starts(world: &World, before: &Before, cell: &Cell, expected: &Expected) {
    if cell.kills_shims() {
        // One that was started by a shim that died is ended and started again.
        return;
    }
    let witnessed = &world.witnessed()[before.witnessed..];
    let mut runs: BTreeMap<&str, bool> =
        before.instances.iter().map(|name| (name.as_str(), true)).collect();
    for line in witnessed {
        let was = runs.insert(&line.instance, line.event != "stop").unwrap_or(false);
        let twice = line.event == "start" && was;
        assert!(!twice, "{} was started while it ran: {witnessed:#?}", line.instance);
    }
    let mut started: BTreeMap<&str, u32> = BTreeMap::new();
    let new = witnessed.iter().filter(|line| line.event == "start");
    for line in new.filter(|line| line.version == expected.version) {
        *started.entry(&line.instance).or_default() += 1;
    }
    let once = started.values().all(|count| *count == 1);
    assert!(once || cell.operation == Operation::Abort, "not started once: {started:?}");
}

/// The history is whole, and has every deployment that was acknowledged.
pub async fn history(world: &World, acknowledged: &[(u64, String)]) {
    world.verify_history().await;
    for (number, version) in acknowledged {
        let path = format!("/v1/services/shop/deployments/{number}");
        let kept = world.get::<DeploymentView>(&path).await;
        let kept = kept.unwrap_or_else(|refused| panic!("shop-{number}: {}", refused.text()));
        assert_eq!(kept.to.version, *version, "shop-{number} is about another version");
    }
}
