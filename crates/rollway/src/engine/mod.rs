//! The engine: one loop a service, all of them over one store, one set of drivers and one proxy.

mod actor;
mod clock;
mod command;
mod health;
mod hooks;
mod intake;
mod journal;
mod number;
mod perform;
mod prune;
mod recover;
mod sample;
mod views;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rollway_core::forecast::forecast;
use rollway_core::ids::{ReleaseNumber, ServiceName};
use rollway_core::problem::{Problem, nearest_first};
use rollway_core::release::Release;
use rollway_core::view::{
    DeployArgs, DeploymentView, EventView, InstanceView, PlanView, ServiceView, VerbAnswer,
    VerbArgs,
};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use command::Command;
pub use command::Refusal;
pub use rollway_core::engine::Verb;

use crate::driver::Driver;
use crate::driver::null::NullDriver;
use crate::driver::process::ProcessDriver;
use crate::failure::{Failure, FailureKind};
pub use crate::store::HistoryReport;
use crate::store::{Store, lock};
use crate::traffic::embedded::EmbeddedProxy;

/// How long a request waits for a service's loop, which may be waiting for a disk.
const ANSWER_WAIT: Duration = Duration::from_secs(20);
/// The longest that a reader of events may ask to be kept waiting.
pub const EVENTS_WAIT_MAX: Duration = Duration::from_secs(60);

/// What all loops share.
pub(crate) struct Shared {
    pub store: Arc<Store>,
    pub process: Arc<dyn Driver>,
    pub null: Arc<dyn Driver>,
    pub proxy: Arc<EmbeddedProxy>,
    pub state_dir: PathBuf,
    pub epoch: u64,
    /// The addresses that each service listens on, so that services can share one.
    pub listening: std::sync::Mutex<BTreeMap<ServiceName, Vec<String>>>,
    /// Tells that a deployment has ended, whichever it is.
    pub ended: watch::Sender<()>,
}

impl Shared {
    /// Whether the proxy listens there for one of our services.
    pub fn listens(&self, address: &str) -> bool {
        let listening = self.listening.lock().expect("nobody panics with it");
        listening.values().flatten().any(|known| known == address)
    }
}

/// The control plane of one state directory.
pub struct Engine {
    shared: Arc<Shared>,
    services: Mutex<BTreeMap<ServiceName, Handle>>,
    _lock: crate::store::StateLock,
}

#[derive(Clone)]
struct Handle {
    commands: mpsc::Sender<Command>,
    seq: watch::Receiver<u64>,
    ended: watch::Receiver<u64>,
    alarm: watch::Receiver<Option<String>>,
}

impl Engine {
    /// Takes the state directory, and goes on where the last control plane stopped.
    pub async fn open(state_dir: &Path, program: &Path) -> Result<Arc<Self>, Failure> {
        crate::store::prepare_folder(state_dir)?;
        let held = lock(state_dir)?;
        let store = Arc::new(Store::open(state_dir).await?);
        let epoch = store.next_epoch().await?;
        let process = ProcessDriver::new(state_dir.to_owned(), program);
        let shared = Arc::new(Shared {
            store: Arc::clone(&store),
            process: Arc::new(process),
            null: Arc::new(NullDriver::new()),
            proxy: EmbeddedProxy::new(state_dir, program),
            state_dir: state_dir.to_owned(),
            epoch,
            listening: std::sync::Mutex::default(),
            ended: watch::Sender::new(()),
        });
        let rows = store.services().await?;
        if !rows.is_empty()
            && let Err(failure) = shared.proxy.ensure().await
        {
            // What runs goes on running; routes are tried again until a proxy answers.
            tracing::error!("{}", failure.chain());
        }
        tokio::spawn(Arc::clone(&shared.proxy).supervise());
        tokio::spawn(prune::run(Arc::downgrade(&shared), shared.ended.subscribe()));
        let mut services = BTreeMap::new();
        for row in rows {
            let name = row.name.clone();
            let actor = recover::recover(&shared, row).await?;
            services.insert(name, launch(actor));
        }
        Ok(Arc::new(Self { shared, services: Mutex::new(services), _lock: held }))
    }

    /// The state directory.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.shared.state_dir
    }

    /// Which control plane of this state directory this is.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    /// What the proxy says of itself.
    pub async fn proxy_health(&self) -> Option<serde_json::Value> {
        self.shared.proxy.health().await
    }

    /// The store, for reading.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    async fn handle(&self, service: &ServiceName) -> Result<Handle, Refusal> {
        let services = self.services.lock().await;
        if let Some(handle) = services.get(service) {
            return Ok(handle.clone());
        }
        let known: Vec<&str> = services.keys().map(ServiceName::as_str).collect();
        let what = match known.is_empty() {
            true => format!("no service {:?}; there is none yet", service.as_str()),
            false => {
                let known = nearest_first(service.as_str(), &known).join(", ");
                format!("no service {:?}; known: {known}", service.as_str())
            }
        };
        Err(Problem::new("service", what).hint("`rollway deploy` makes one").into())
    }

    async fn ask<T>(
        &self,
        handle: &Handle,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
        wait: Duration,
    ) -> Result<T, Refusal> {
        let (answer, answered) = oneshot::channel();
        let slow = || {
            let alarm = handle.alarm.borrow().clone();
            let cause = alarm.unwrap_or_else(|| "it is busy".to_owned());
            let doing = "the service's loop did not answer";
            Refusal::Failure(Failure::because(FailureKind::Unknown, doing, cause))
        };
        let asked = async {
            handle.commands.send(command(answer)).await.ok()?;
            answered.await.ok()
        };
        match tokio::time::timeout(wait, asked).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) | Err(_) => Err(slow()),
        }
    }

    async fn intake(&self, args: DeployArgs) -> Result<intake::Intake, Refusal> {
        let state_dir = self.shared.state_dir.clone();
        let taken = tokio::task::spawn_blocking(move || intake::take(&state_dir, &args)).await;
        taken.map_err(|error| {
            let doing = "could not take the spec in";
            Refusal::Failure(Failure::because(FailureKind::NotDone, doing, error))
        })?
    }

    /// Begins a deployment; it is durable when this answers.
    pub async fn deploy(&self, args: DeployArgs) -> Result<DeploymentView, Refusal> {
        let intake = Box::new(self.intake(args).await?);
        let service = intake.release.service.clone();
        let handle = self.handle_or_new(&service).await?;
        let result =
            self.ask(&handle, |answer| Command::Deploy(intake, answer), ANSWER_WAIT).await?;
        if result.is_err() && *handle.seq.borrow() == 0 {
            // A service that was refused its first deployment is no service.
            self.services.lock().await.remove(&service);
        }
        result
    }

    /// What a deployment would do, and how long its judgements would take.
    pub async fn plan(&self, args: DeployArgs) -> Result<PlanView, Refusal> {
        let view = self.plan_alone(args).await?;
        let seen = self.traffic_of(&view.plan).await;
        Ok(PlanView { forecast: forecast(&view.plan, seen), ..view })
    }

    async fn plan_alone(&self, args: DeployArgs) -> Result<PlanView, Refusal> {
        let intake = Box::new(self.intake(args).await?);
        let service = intake.release.service.clone();
        let known = self.services.lock().await.get(&service).cloned();
        let Some(handle) = known else {
            // A service that is not there yet: planned by a loop that is thrown away.
            let (mut actor, _) = recover::fresh(&self.shared, &service);
            let (answer, answered) = oneshot::channel();
            actor.command(Command::Plan(intake, answer)).await;
            let doing = "could not make the plan";
            return answered.await.map_err(|error| {
                Refusal::Failure(Failure::because(FailureKind::NotDone, doing, error))
            })?;
        };
        self.ask(&handle, |answer| Command::Plan(intake, answer), ANSWER_WAIT).await?
    }

    async fn handle_or_new(&self, service: &ServiceName) -> Result<Handle, Refusal> {
        let mut services = self.services.lock().await;
        if let Some(handle) = services.get(service) {
            return Ok(handle.clone());
        }
        let handle = launch(recover::fresh(&self.shared, service));
        services.insert(service.clone(), handle.clone());
        Ok(handle)
    }

    /// Does a verb.
    pub async fn verb(
        &self,
        service: &ServiceName,
        verb: Verb,
        args: VerbArgs,
    ) -> Result<VerbAnswer, Refusal> {
        let handle = self.handle(service).await?;
        self.ask(&handle, |answer| Command::Verb(verb, args, answer), ANSWER_WAIT).await?
    }

    /// Records a request that is not about one service's deployment.
    pub async fn note(
        &self,
        actor: &str,
        action: &str,
        object: &str,
        reason: &str,
    ) -> Result<(), Failure> {
        let record = crate::store::AuditRecord {
            at_ms: clock::wall_ms(),
            actor: actor.to_owned(),
            request: String::new(),
            action: action.to_owned(),
            object: object.to_owned(),
            verdict: crate::store::Verdict::Allowed,
            reason: reason.to_owned(),
            detail: serde_json::Value::Null,
        };
        self.shared.store.audit(record).await.map(|_| ())
    }

    /// One service as it is now; nothing where there is none.
    pub async fn view_if_any(&self, service: &ServiceName) -> Result<Option<ServiceView>, Refusal> {
        let known = self.services.lock().await.get(service).cloned();
        match known {
            Some(handle) => self.ask(&handle, Command::View, ANSWER_WAIT).await.map(Some),
            None => Ok(None),
        }
    }

    /// One service as it is now.
    pub async fn view(&self, service: &ServiceName) -> Result<ServiceView, Refusal> {
        let handle = self.handle(service).await?;
        self.ask(&handle, Command::View, ANSWER_WAIT).await
    }

    /// All services, by name. One that never had a deployment is not there.
    pub async fn views(&self) -> Result<Vec<ServiceView>, Refusal> {
        let names: Vec<ServiceName> = self.services.lock().await.keys().cloned().collect();
        let mut views = Vec::with_capacity(names.len());
        for name in names {
            let view = self.view(&name).await?;
            if view.deployment.is_some() {
                views.push(view);
            }
        }
        Ok(views)
    }

    /// The instances of a service, with their log files.
    pub async fn instances(&self, service: &ServiceName) -> Result<Vec<InstanceView>, Refusal> {
        let handle = self.handle(service).await?;
        let mut views = self.ask(&handle, Command::Instances, ANSWER_WAIT).await?;
        for view in &mut views {
            let Ok(id) = rollway_core::ids::InstanceId::parse(&view.instance) else { continue };
            let log = self.shared.process.log(service, id).await;
            view.log = log.ok().map(|path| path.display().to_string());
        }
        Ok(views)
    }

    /// The events after a place; waits for the next one if there is none yet.
    pub async fn events(
        &self,
        service: &ServiceName,
        after: u64,
        limit: u32,
        wait: Duration,
    ) -> Result<(Vec<EventView>, u64), Refusal> {
        let mut seq = self.handle(service).await?.seq;
        let newer = seq.wait_for(|seq| *seq > after);
        // No newer event in time is an empty answer.
        let _ = tokio::time::timeout(wait.min(EVENTS_WAIT_MAX), newer).await;
        let events = self.shared.store.events(service, after, limit).await?;
        let last = events.last().map_or(after, |event| event.seq);
        Ok((events.iter().map(views::event_view).collect(), last))
    }

    /// The deployments of a service, newest first.
    pub async fn deployments(
        &self,
        service: &ServiceName,
        limit: u32,
    ) -> Result<Vec<DeploymentView>, Refusal> {
        let now = self.view(service).await?.deployment;
        let rows = self.shared.store.deployments(service, limit).await?;
        let stored = rows.into_iter().filter_map(|row| serde_json::from_value(row.body).ok());
        let number = now.as_ref().map(|view| view.number);
        let stored = stored.filter(|view: &DeploymentView| Some(view.number) != number);
        Ok(now.into_iter().chain(stored).take(limit as usize).collect())
    }

    /// One deployment; waits so long for its end.
    pub async fn deployment(
        &self,
        service: &ServiceName,
        number: u64,
        wait: Duration,
    ) -> Result<DeploymentView, Refusal> {
        let mut ended = self.handle(service).await?.ended;
        // One that has not ended in time is shown as it is.
        let end = ended.wait_for(|last| *last >= number);
        let _ = tokio::time::timeout(wait.min(EVENTS_WAIT_MAX), end).await;
        let now = self.view(service).await?.deployment;
        if let Some(now) = now.filter(|view| view.number == number) {
            return Ok(now);
        }
        let row = self.shared.store.deployment(service, number).await?;
        let view = row.and_then(|row| serde_json::from_value(row.body).ok());
        view.ok_or_else(|| {
            Problem::new("deployment", format!("{service} has no deployment {number}")).into()
        })
    }

    /// The releases of a service, newest first.
    pub async fn releases(&self, service: &ServiceName) -> Result<Vec<Release>, Refusal> {
        self.handle(service).await?;
        let rows = self.shared.store.releases(service).await?;
        let mut releases: Vec<Release> =
            rows.into_iter().filter_map(|row| serde_json::from_value(row.body).ok()).collect();
        releases.sort_by_key(|release| std::cmp::Reverse(release.number));
        Ok(releases)
    }

    /// One release.
    pub async fn release(
        &self,
        service: &ServiceName,
        number: ReleaseNumber,
    ) -> Result<Release, Refusal> {
        self.handle(service).await?;
        let row = self.shared.store.release(service, number).await?;
        if let Some(release) = row.and_then(|row| serde_json::from_value(row.body).ok()) {
            return Ok(release);
        }
        let releases = self.releases(service).await?;
        let known: Vec<String> =
            releases.iter().take(10).map(|release| release.number.to_string()).collect();
        let what = format!("{service} has no release {number}; known: {}", known.join(", "));
        Err(Problem::new("release", what).into())
    }
}

fn launch(
    (actor, outcomes): (actor::Actor, mpsc::Receiver<rollway_core::engine::Input>),
) -> Handle {
    let (commands, receiver) = mpsc::channel(actor::COMMANDS_MAX);
    let journal = &actor.journal;
    let (seq, ended) = (journal.seq.subscribe(), journal.ended.subscribe());
    let alarm = journal.alarm.subscribe();
    tokio::spawn(actor.run(actor::Mailboxes { commands: receiver, outcomes }));
    Handle { commands, seq, ended, alarm }
}
