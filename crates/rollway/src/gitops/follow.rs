//! The loop of one source: asks and clocks in, looks and rounds out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rollway_core::gitops::guard::{self, Loss};
use rollway_core::gitops::name::SourceName;
use rollway_core::gitops::state::{
    GitopsArgs, Gone, Reason, ServiceStatus, SourceRecord, SourceStatus, SourceView, Sync,
};
use rollway_core::ids::ServiceName;
use rollway_core::view::DeploymentView;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::hosts::{self, Hosts};
use super::look::{self, Before, Looked, New};
use super::round::Diff;
use super::see::Eyes;
use super::write_back::WroteBack;
use super::{Owners, mirror_path, now_ms, record, remote, status_of, trees};
use crate::engine::{Engine, Refusal};
use crate::failure::Failure;
use crate::git::{Mirror, Trouble};

/// A repository is not looked at more often than this, whatever webhooks say.
const LOOKS_APART_MIN: Duration = Duration::from_secs(1);
/// How often windows are looked at: they begin and end with a minute.
const WINDOW_LOOK: Duration = Duration::from_secs(15);
/// Nothing to do: the loop still looks at its clocks this often.
const REST_MAX: Duration = Duration::from_secs(60);
/// A source with more services than this waits a little for more to have ended.
const CROWD: usize = 50;
/// So long.
const CROWD_WAIT: Duration = Duration::from_millis(50);
/// Folders that nothing refers to are cleared away beyond so many for each service.
const TREES_PER_SERVICE_MAX: usize = 12;

/// The source as people see it; nothing before the first round.
pub(super) type Shown = watch::Sender<Option<Arc<SourceView>>>;

/// What a source's loop is asked, or told.
pub(super) enum Ask {
    Verb(String, GitopsArgs, oneshot::Sender<Result<SourceView, Refusal>>),
    Sync(bool, oneshot::Sender<SourceView>),
    Diff(oneshot::Sender<Vec<Diff>>),
    Render(oneshot::Sender<BTreeMap<ServiceName, String>>),
    Remove(oneshot::Sender<Result<(), Failure>>),
    /// A webhook came.
    Wake,
    /// A look is over.
    Looked(Box<Looked>),
    /// What became of a request for a deployment, and which try it was.
    Asked(ServiceName, Box<Result<DeploymentView, Refusal>>, u32),
    /// A deployment is over.
    Ended(ServiceName),
    /// The repository was told of a rollback, or could not be.
    WroteBack(Box<WroteBack>),
}

/// The loop of one source.
pub(super) struct Follower {
    pub engine: Arc<Engine>,
    pub folder: PathBuf,
    pub owners: Owners,
    hosts: Arc<Hosts>,
    pub record: SourceRecord,
    /// What the engine knows it by.
    pub actor: String,
    pub asks: mpsc::Sender<Ask>,
    pub dirty: BTreeSet<ServiceName>,
    pub watched: BTreeMap<ServiceName, u64>,
    pub timers: BTreeMap<ServiceName, Instant>,
    pub statuses: BTreeMap<ServiceName, ServiceStatus>,
    pub eyes: Eyes,
    /// Whose deployments are being asked for.
    pub asking: BTreeSet<ServiceName>,
    /// Whether the record is newer than its file.
    pub is_unsaved: bool,
    /// Whether the repository is being told of something.
    pub is_writing: bool,
    /// The source as people see it, so that they see it whatever the loop waits for.
    shown: Shown,
    is_looking: bool,
    is_opened: bool,
    /// The look that is wanted after the one under way, and whether it is confirmed.
    look_again: Option<bool>,
    /// When a webhook last had it look.
    last_wake: Option<Instant>,
    next_look: Instant,
    next_drift: Instant,
    next_window: Instant,
    pub stopped_before: Option<String>,
    syncs: Vec<oneshot::Sender<SourceView>>,
    /// Those whose look is over; they are answered when all deployments have been asked for.
    syncs_due: Vec<oneshot::Sender<SourceView>>,
    syncs_next: Vec<oneshot::Sender<SourceView>>,
}

impl Follower {
    pub fn new(
        engine: Arc<Engine>,
        folder: &Path,
        (owners, hosts): (Owners, Arc<Hosts>),
        record: SourceRecord,
        (asks, shown): (mpsc::Sender<Ask>, Shown),
    ) -> Self {
        let trees = folder.join("trees").join(record.config.name.as_str());
        let eyes = Eyes::new(Arc::clone(&engine), trees);
        let now = Instant::now();
        let actor = format!("gitops {}", record.config.name);
        let dirty = record.services.keys().chain(record.wishes.keys()).cloned().collect();
        Self {
            engine,
            folder: folder.to_owned(),
            owners,
            hosts,
            record,
            actor,
            asks,
            dirty,
            watched: BTreeMap::new(),
            timers: BTreeMap::new(),
            statuses: BTreeMap::new(),
            eyes,
            asking: BTreeSet::new(),
            is_unsaved: false,
            is_writing: false,
            shown,
            is_looking: false,
            is_opened: false,
            look_again: None,
            last_wake: None,
            next_look: now,
            next_drift: now,
            next_window: now,
            stopped_before: None,
            syncs: Vec::new(),
            syncs_due: Vec::new(),
            syncs_next: Vec::new(),
        }
    }

    /// Follows until it is removed, or the control plane ends.
    pub async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        loop {
            self.clocks();
            self.round().await;
            self.write_back();
            self.show();
            let ask = tokio::select! {
                ask = asks.recv() => ask,
                () = tokio::time::sleep_until(self.next()) => continue,
            };
            let mut next = ask;
            // All that waits is heard before the next round: many ends are one round.
            while let Some(ask) = next {
                if self.hear(ask).await {
                    return;
                }
                next = asks.try_recv().ok();
                if next.is_none() && self.dirty.len() > 1 && self.record.services.len() > CROWD {
                    // Many ends come together: one round and one write for all that come soon.
                    tokio::time::sleep(CROWD_WAIT).await;
                    next = asks.try_recv().ok();
                }
            }
        }
    }

    /// What the clocks say is due.
    fn clocks(&mut self) {
        let now = Instant::now();
        if now >= self.next_look && !self.is_looking {
            match self.hosts.rests(self.record.config.url.host()) {
                // All sources that wait for it do not ask in the same moment either.
                Some(until) => self.next_look = until + LOOKS_APART_MIN.mul_f64(fastrand::f64()),
                None => self.begin_look(false),
            }
        }
        if now >= self.next_drift {
            self.next_drift = now + self.record.config.drift_interval.duration();
            self.all_dirty();
        }
        if now >= self.next_window {
            self.next_window = now + WINDOW_LOOK;
            let stopped = self.stopped();
            if stopped != self.stopped_before {
                self.stopped_before = stopped;
                self.all_dirty();
            }
        }
        let due: Vec<ServiceName> = self
            .timers
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            self.timers.remove(&name);
            let after = self.record.wishes.get(&name).map(|wish| wish.after.clone());
            self.dirty.extend(after.unwrap_or_default());
            self.dirty.insert(name);
        }
    }

    fn next(&self) -> Instant {
        let rest = Instant::now() + REST_MAX;
        let look = if self.is_looking { rest } else { self.next_look };
        let windows = !self.record.config.windows.is_empty();
        let window = if windows { self.next_window } else { rest };
        let timer = self.timers.values().min().copied().unwrap_or(rest);
        [look, window, timer, self.next_drift, rest].into_iter().min().unwrap_or(rest)
    }

    pub fn all_dirty(&mut self) {
        self.dirty.extend(self.record.wishes.keys().cloned());
        self.dirty.extend(self.record.services.keys().cloned());
    }

    /// Why nothing may begin now.
    pub fn stopped(&self) -> Option<String> {
        if let Some(by) = &self.record.suspended {
            return Some(format!("suspended by {by}"));
        }
        let offset = |zone: &str, at_ms: i64| {
            let zone = jiff::tz::TimeZone::get(zone).ok();
            let at = jiff::Timestamp::from_millisecond(at_ms).ok();
            zone.zip(at).map_or(0, |(zone, at)| zone.to_offset(at).seconds())
        };
        rollway_core::gitops::window::shut(&self.record.config.windows, now_ms(), &offset)
    }

    /// Hears one ask; answers whether it was the last one.
    async fn hear(&mut self, ask: Ask) -> bool {
        // Whoever asked may have gone, and is then told nothing.
        match ask {
            Ask::Verb(verb, args, answer) => {
                let done = self.verb(&verb, args).await;
                self.round().await;
                let _ = answer.send(done.map(|()| SourceView::clone(&self.show())));
            }
            Ask::Sync(confirm, answer) => match self.is_looking {
                // The look under way may have begun before what is to be seen was there.
                true => {
                    self.look_again = Some(confirm || self.look_again == Some(true));
                    self.syncs_next.push(answer);
                }
                false => {
                    self.syncs.push(answer);
                    self.begin_look(confirm);
                }
            },
            Ask::Diff(answer) => {
                self.all_dirty();
                self.round().await;
                self.diff(answer);
            }
            Ask::Render(answer) => {
                let wishes = self.record.wishes.iter();
                let specs = wishes.map(|(name, wish)| (name.clone(), wish.spec.clone()));
                let _ = answer.send(specs.collect());
            }
            Ask::Remove(answer) => {
                let _ = answer.send(self.remove());
                return true;
            }
            Ask::Wake => self.wake(),
            Ask::Looked(looked) => self.looked(*looked).await,
            Ask::WroteBack(wrote) => self.wrote_back(*wrote),
            Ask::Asked(service, answer, tries) => self.answered(service, *answer, tries),
            Ask::Ended(service) => {
                self.watched.remove(&service);
                self.dirty.insert(service);
            }
        }
        false
    }

    /// Looks soon: at once after a while without webhooks, and once a second in a storm of them.
    fn wake(&mut self) {
        if self.is_looking {
            // The look under way may have begun before what the webhook is about was there.
            self.look_again = Some(self.look_again.unwrap_or(false));
            return;
        }
        let now = Instant::now();
        let at = self.last_wake.map_or(now, |last| (last + LOOKS_APART_MIN).max(now));
        if at < self.next_look {
            self.last_wake = Some(at);
            self.next_look = at;
        }
    }

    fn begin_look(&mut self, confirm: bool) {
        self.is_looking = true;
        if confirm {
            for service in self.record.services.values_mut() {
                if let Some(gone) = &mut service.gone {
                    gone.refused = None;
                }
            }
        }
        let config = self.record.config.clone();
        let before = Before {
            tip: self.record.tip.clone(),
            revision: self.record.revision.clone(),
            tree: self.record.tree.clone(),
            confirm,
            trees: Some(self.trees()),
            config,
        };
        let place = mirror_path(&self.folder, &before.config);
        let is_first = !std::mem::replace(&mut self.is_opened, true);
        let asks = self.asks.clone();
        let hosts = Arc::clone(&self.hosts);
        tokio::spawn(async move {
            let _turn = hosts.turn(before.config.url.host()).await;
            let remote = remote(&before.config);
            let opened = match is_first {
                true => tokio::task::spawn_blocking(move || Mirror::open(&place, remote))
                    .await
                    .unwrap_or_else(|error| Err(std::io::Error::other(error))),
                false => Ok(Mirror::attach(&place, remote)),
            };
            let looked = match opened {
                Ok(mirror) => look::look(&mirror, &before).await,
                Err(error) => Looked::Trouble(Trouble::new(Reason::DiskFull, error.to_string())),
            };
            // A loop that has ended wants to know nothing more.
            let _ = asks.send(Ask::Looked(Box::new(looked))).await;
        });
    }

    /// Where the files of services are written.
    pub fn trees(&self) -> PathBuf {
        self.folder.join("trees").join(self.record.config.name.as_str())
    }

    async fn looked(&mut self, looked: Looked) {
        self.is_looking = false;
        // Usually nothing is new: then there is nothing to write down or to go through.
        let is_news = looked != Looked::Same || self.record.status != SourceStatus::Ready;
        let is_pruned = self.record.config.prune;
        let is_gone =
            self.record.services.values().filter_map(|one| one.gone.as_ref()).any(|gone| {
                gone.looks == 0 || (is_pruned && gone.refused.is_none() && !gone.stopped)
            });
        match looked {
            Looked::Same => self.well(),
            Looked::New(new) => match self.foreign(&new) {
                None => self.take(*new),
                Some(trouble) => self.ill(trouble),
            },
            Looked::Trouble(trouble) => self.ill(trouble),
        }
        let interval = self.record.config.interval.duration();
        self.next_look = Instant::now() + hosts::wait(interval, self.record.failures);
        if is_news || is_gone {
            self.all_dirty();
            self.is_unsaved = true;
            self.stop_gone().await;
            // Writes down what is wanted before it asks for any of it.
            self.round().await;
            if !self.is_unsaved {
                self.clear_trees().await;
            }
        }
        let again = self.look_again.take();
        let next = std::mem::take(&mut self.syncs_next);
        self.syncs_due.extend(std::mem::replace(&mut self.syncs, next));
        match again {
            Some(confirm) if !self.syncs.is_empty() => self.begin_look(confirm),
            Some(_) => self.wake(),
            None => {}
        }
    }

    fn well(&mut self) {
        let record = &mut self.record;
        (record.status, record.reason) = (SourceStatus::Ready, Reason::Succeeded);
        record.message = "follows".to_owned();
        record.problems.clear();
        (record.failures, record.seen_ms) = (0, Some(now_ms()));
        for gone in record.services.values_mut().filter_map(|service| service.gone.as_mut()) {
            gone.looks = gone.looks.saturating_add(1);
        }
    }

    fn ill(&mut self, trouble: Trouble) {
        self.hosts.heard(self.record.config.url.host(), &trouble);
        let record = &mut self.record;
        if record.reason != trouble.reason {
            tracing::warn!(
                "source {}: {:?}: {}",
                record.config.name,
                trouble.reason,
                trouble.message
            );
        }
        (record.status, record.reason) = (status_of(trouble.reason), trouble.reason);
        record.message = trouble.message;
        record.problems = trouble.problems;
        record.failures = record.failures.saturating_add(1);
    }

    /// A service that another source has.
    fn foreign(&self, new: &New) -> Option<Trouble> {
        let own = &self.record.config.name;
        let mut owned = self.owners.lock().expect("nobody panics with it");
        for name in new.wishes.iter().flatten().map(|(name, _)| name) {
            if let Some(other) = owned.get(name).filter(|other| *other != own) {
                let what = format!("the service {name} is followed by the source {other} already");
                return Some(Trouble::new(Reason::ParseFailed, what));
            }
        }
        for name in new.wishes.iter().flatten().map(|(name, _)| name) {
            owned.insert(name.clone(), own.clone());
        }
        None
    }

    fn take(&mut self, new: New) {
        let name = &self.record.config.name;
        tracing::info!("source {name}: {} is wanted", new.revision);
        if new.is_rewritten {
            tracing::warn!("source {name}: the history before {} was rewritten", new.revision);
        }
        self.well();
        let record = &mut self.record;
        (record.tip, record.tree) = (Some(new.tip), Some(new.tree));
        (record.revision, record.signer) = (Some(new.revision.clone()), new.signer);
        if let Some(wishes) = new.wishes {
            record.wishes = wishes;
        }
        let is_managed = |gone: &Option<Gone>| gone.as_ref().is_none_or(|gone| !gone.stopped);
        let managed = record.services.values().filter(|one| is_managed(&one.gone)).count();
        for name in record.wishes.keys() {
            record.services.entry(name.clone()).or_default().gone = None;
        }
        let wanted = record.wishes.len();
        let lost: Vec<ServiceName> = record
            .services
            .iter()
            .filter(|(name, one)| !record.wishes.contains_key(*name) && one.gone.is_none())
            .map(|(name, _)| name.clone())
            .collect();
        // Unrelated history comes as far as this only where an operator has taken it.
        let loss = Loss { managed, gone: lost.len(), wanted, unrelated: false };
        let refused = guard::refused(loss);
        for name in lost {
            let gone = Gone {
                revision: new.revision.clone(),
                since_ms: now_ms(),
                looks: 0,
                refused: refused.clone(),
                stopped: false,
            };
            record.services.entry(name).or_default().gone = Some(gone);
        }
        if wanted == 0 {
            record.message = "there is no rollway.yaml below its path".to_owned();
        }
    }

    pub async fn save(&self) -> Result<(), Failure> {
        record::save(&self.folder, &self.record).await
    }

    fn remove(&self) -> Result<(), Failure> {
        let path = record::path(&self.folder, &self.record.config.name);
        std::fs::remove_file(&path)
            .and_then(|()| crate::files::sync_folder(&self.folder))
            .map_err(|error| {
                let doing = format!("could not remove {}", path.display());
                Failure::because(crate::failure::FailureKind::NotDone, doing, error)
            })?;
        // The copy is only a copy; the files of releases stay.
        let _ = std::fs::remove_dir_all(mirror_path(&self.folder, &self.record.config));
        Ok(())
    }

    /// Lets people see how the source is now; answers those whose look has led to all that it
    /// leads to.
    fn show(&mut self) -> Arc<SourceView> {
        let view = Arc::new(self.view());
        self.shown.send_replace(Some(Arc::clone(&view)));
        if self.asking.is_empty() {
            for sync in std::mem::take(&mut self.syncs_due) {
                // Whoever asked may have gone.
                let _ = sync.send(SourceView::clone(&view));
            }
        }
        view
    }

    /// The source as people see it.
    fn view(&self) -> SourceView {
        let record = &self.record;
        let is_read = record.revision.is_some();
        let services = self.statuses.values().cloned().map(|mut status| {
            if !is_read {
                status.sync = Sync::Unknown;
            }
            status
        });
        SourceView {
            config: record.config.clone(),
            source: record.status,
            reason: record.reason,
            message: record.message.clone(),
            revision: record.revision.clone(),
            signer: record.signer.clone(),
            seen_ms: record.seen_ms,
            suspended: record.suspended.clone(),
            problems: record.problems.clone(),
            services: services.collect(),
        }
    }

    /// Clears away files of contents that neither Git nor a release has any more.
    async fn clear_trees(&self) {
        let base = self.trees();
        let most = (self.record.services.len() + 1) * TREES_PER_SERVICE_MAX;
        if trees::count(&base) <= most {
            return;
        }
        let mut kept: BTreeSet<String> =
            self.record.wishes.values().map(|wish| wish.content.clone()).collect();
        for name in self.record.services.keys() {
            match self.engine.releases(name).await {
                Ok(releases) => kept.extend(releases.iter().filter_map(|release| {
                    let folder = Path::new(&release.folder).strip_prefix(&base).ok()?;
                    Some(folder.display().to_string())
                })),
                // What is not known is not cleared away. One that was never deployed has none.
                Err(Refusal::Failure(_)) => return,
                Err(Refusal::Problems(_)) => {}
            }
        }
        let cleared = tokio::task::spawn_blocking(move || trees::remove_others(&base, &kept)).await;
        if let Ok(Err(error)) = cleared {
            tracing::warn!("could not clear old files away: {error}");
        }
    }

    /// The name, for messages.
    pub fn name(&self) -> &SourceName {
        &self.record.config.name
    }
}
