//! Going on where the last control plane stopped: load, fold, observe, take over.

use std::collections::BTreeMap;
use std::sync::Arc;

use rollway_core::engine::{Engine as Loop, Failed, Input, Snapshot};
use rollway_core::event::Event;
use rollway_core::ids::{InstanceId, ReleaseNumber, ServiceName};
use rollway_core::plan::Route;
use rollway_core::progress::Progress;
use rollway_core::release::Release;
use rollway_core::units::Millis;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::Shared;
use super::actor::Actor;
use super::clock::{Clock, Stored};
use super::journal::Journal;
use crate::crash;
use crate::driver::Fence;
use crate::failure::{Failure, FailureKind};
use crate::store::ServiceRow;
use crate::traffic::table::{self, Mode, ServiceTable};

/// So many events are read at once.
const PAGE: u32 = 1000;

/// The engine's own small state of a service.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    clock: Option<Stored>,
    snapshot: Option<Snapshot>,
}

/// A service that has no history yet.
pub(super) fn fresh(shared: &Arc<Shared>, service: &ServiceName) -> (Actor, mpsc::Receiver<Input>) {
    let clock = Clock::resume(None, Millis::ZERO);
    let store = Arc::clone(&shared.store);
    let journal = Journal::new(store, service.clone(), clock, 0);
    Actor::new(Arc::clone(shared), journal, Loop::new(service.clone()))
}

/// A service as the last control plane left it.
pub(super) async fn recover(
    shared: &Arc<Shared>,
    row: ServiceRow,
) -> Result<(Actor, mpsc::Receiver<Input>), Failure> {
    let service = row.name.clone();
    let state: State = match row.state.clone() {
        Some(state) => serde_json::from_value(state).map_err(|error| damaged(&service, error))?,
        None => State::default(),
    };
    let (progress, last_seq) = fold(shared, &service, state.snapshot.clone()).await?;
    let clock = Clock::resume(state.clock, progress.clock);
    let store = Arc::clone(&shared.store);
    let journal = Journal::new(store, service.clone(), clock, last_seq);
    let engine = Loop::resume(service.clone(), progress, last_seq, state.snapshot);
    let (mut actor, outcomes) = Actor::new(Arc::clone(shared), journal, engine);
    for row in shared.store.releases(&service).await? {
        let release: Release =
            serde_json::from_value(row.body).map_err(|error| damaged(&service, error))?;
        actor.engine.releases.insert(release.number, Arc::new(release));
    }
    let last = shared.store.deployments(&service, 1).await?.into_iter().next();
    actor.last_view = last.and_then(|row| serde_json::from_value(row.body).ok());
    actor.adopt().await;
    actor.tell_ended();
    Ok((actor, outcomes))
}

pub(super) fn damaged(service: &ServiceName, error: serde_json::Error) -> Failure {
    let doing = format!("could not read the history of {service}");
    Failure::because(FailureKind::Damaged, doing, error)
}

async fn fold(
    shared: &Shared,
    service: &ServiceName,
    snapshot: Option<Snapshot>,
) -> Result<(Progress, u64), Failure> {
    let mut seq = 0;
    let mut progress = Progress::default();
    if let Some(snapshot) = snapshot {
        seq = snapshot.seq;
        progress = snapshot.progress();
    }
    loop {
        let page = shared.store.events(service, seq, PAGE).await?;
        for stored in &page {
            let event: Event = serde_json::from_value(stored.body.clone())
                .map_err(|error| damaged(service, error))?;
            progress.apply(&event).map_err(|illegal| {
                let doing = format!("could not follow the history of {service} at {}", stored.seq);
                Failure::because(FailureKind::Damaged, doing, illegal)
            })?;
            seq = stored.seq;
        }
        if page.len() < PAGE as usize {
            return Ok((progress, seq));
        }
    }
}

/// The releases that act for a service: the one that serves, and the one that stands by.
pub(super) fn acting(state: Option<&serde_json::Value>) -> Vec<ReleaseNumber> {
    let state = state.and_then(|state| serde_json::from_value::<State>(state.clone()).ok());
    let snapshot = state.and_then(|state| state.snapshot);
    let standby = snapshot.as_ref().and_then(|snapshot| snapshot.standby);
    let serving = snapshot.and_then(|snapshot| snapshot.serving);
    serving.into_iter().chain(standby.map(|(release, _)| release)).collect()
}

impl Actor {
    /// The engine's own state, as it is stored with the next commit.
    pub fn state_to_store(&self) -> serde_json::Value {
        let clock = Some(self.journal.clock.stored());
        let state = State { clock, snapshot: self.engine.snapshot.clone() };
        serde_json::to_value(state).expect("the state is plain data")
    }

    /// Sees what runs, and takes over: whoever acted before is fenced off from now on.
    async fn adopt(&mut self) {
        let service = self.engine.service.clone();
        let table = self.shared.proxy.table(&service).await;
        let seen = self.shared.process.observe(&service).await.map_err(Failed::from);
        if let Err(failed) = &seen {
            tracing::warn!(%service, "{}", failed.why);
        }
        let (now, epoch) = (self.journal.clock.now(), self.shared.epoch);
        self.engine.adopt(now, epoch, seen, table.as_ref().map(route_of));
        let effects = self.engine.effects();
        crash::point("engine.adopt.before");
        self.perform_all(effects).await;
        crash::point("engine.adopt.after");
    }

    /// The table for a route; none = the service has no traffic any more.
    pub fn table(&self, route: &Route, fence: &Fence, revision: u64) -> Option<ServiceTable> {
        let settings = self.engine.releases.get(&route.settings?)?;
        let versions =
            self.engine.releases.iter().map(|(n, r)| (*n, r.version.to_string())).collect();
        let address =
            |id: InstanceId| self.engine.details.get(&id).and_then(|detail| detail.address);
        let mut table = table::build(route, settings, &versions, &address)?;
        table.generation = fence.generation.0;
        table.revision = revision;
        Some(table)
    }

    /// New addresses must be free before anything begins.
    pub fn check_listen(&self, release: &Release) -> Result<(), rollway_core::problem::Problem> {
        let Some(traffic) = &release.spec.traffic else { return Ok(()) };
        let known: std::collections::BTreeSet<&String> = self
            .engine
            .releases
            .values()
            .filter(|_| self.engine.progress.up)
            .filter_map(|release| release.spec.traffic.as_ref())
            .flat_map(|traffic| &traffic.listen)
            .collect();
        for (index, listen) in traffic.listen.iter().enumerate() {
            if known.contains(listen) || self.shared.listens(listen) {
                continue;
            }
            let address = match listen.contains(':') {
                true => listen.clone(),
                false => format!("0.0.0.0:{listen}"),
            };
            if let Err(error) = std::net::TcpListener::bind(&address) {
                let path = format!("traffic.listen[{index}]");
                let what = format!("cannot listen on {listen}: {error}");
                let hint = "stop what listens there, or take another port";
                return Err(rollway_core::problem::Problem::new(path, what).hint(hint));
            }
        }
        Ok(())
    }
}

/// The route that a table puts into effect.
fn route_of(table: &ServiceTable) -> Route {
    let mut members = Vec::new();
    let mut weights = BTreeMap::new();
    for arm in &table.arms {
        weights.insert(ReleaseNumber(arm.release), arm.weight);
        let ids = arm.members.iter().filter_map(|one| InstanceId::parse(&one.instance).ok());
        members.extend(ids);
    }
    Route {
        weights,
        members,
        settings: None,
        newest: table.newest.map(ReleaseNumber),
        preview: table.preview.as_ref().map(|preview| ReleaseNumber(preview.release)),
        hold_requests: table.mode == Mode::Pause,
    }
}
