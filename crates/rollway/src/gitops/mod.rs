//! GitOps: follows branches of repositories, and asks the engine for what they want.
//!
//! One loop a source: it looks at the repository (one look whatever the number of services), lets
//! the core decide the next step of each service, writes down what it is about to ask, and asks
//! the engine as any other caller does. A webhook only makes it look sooner.

mod checkout;
mod follow;
mod hosts;
mod look;
mod record;
mod round;
mod see;
mod trees;
mod verbs;
mod webhook;
mod write_back;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rollway_core::gitops::config::{Auth, SourceConfig};
use rollway_core::gitops::name::SourceName;
use rollway_core::gitops::state::{GitopsArgs, SourceRecord, SourceStatus, SourceView};
use rollway_core::ids::ServiceName;
use rollway_core::problem::{Problem, nearest_first, unknown};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use crate::engine::{Engine, Refusal};
use crate::failure::{Failure, FailureKind};

use follow::{Ask, Follower};
use hosts::Hosts;
pub use round::Diff;
use webhook::Deliveries;
pub use webhook::Hooked;

/// Most sources of one control plane.
pub const SOURCES_MAX: usize = 200;
/// Asks that may wait for a source's loop.
const ASKS_MAX: usize = 8192;
/// A look at a repository, and so an answer to `sync`, may take this long.
const SYNC_WAIT_MAX: Duration = Duration::from_secs(290);
/// Any other answer.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(14);

/// Which source has which service: two would undo each other's work for ever.
type Owners = Arc<std::sync::Mutex<BTreeMap<ServiceName, SourceName>>>;

/// All sources of a control plane.
pub struct Gitops {
    engine: Arc<Engine>,
    folder: PathBuf,
    owners: Owners,
    hosts: Arc<Hosts>,
    sources: Mutex<BTreeMap<SourceName, Handle>>,
    deliveries: Deliveries,
}

#[derive(Clone)]
struct Handle {
    asks: mpsc::Sender<Ask>,
    shown: watch::Receiver<Option<Arc<SourceView>>>,
    secret_file: Option<String>,
}

/// What a test of a source found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tested {
    /// Whether it can be followed.
    pub ok: bool,
    /// The first thing that is wrong, or `Succeeded`.
    pub reason: rollway_core::gitops::state::Reason,
    /// The particulars, in words.
    pub message: String,
    /// What is wrong in its files.
    pub problems: Vec<Problem>,
    /// The commit.
    pub revision: Option<String>,
    /// Who signed it.
    pub signer: Option<String>,
    /// Its services.
    pub services: Vec<String>,
}

/// The verbs on a source that change something, sorted.
pub const VERBS: [&str; 5] = ["hold", "resume", "suspend", "sync", "unhold"];

impl Gitops {
    /// Goes on with all sources that are recorded. One whose record is damaged is left alone.
    pub async fn open(engine: Arc<Engine>) -> Result<Arc<Self>, Failure> {
        let folder = engine.state_dir().join("gitops");
        let records = record::load_all(&folder)?;
        let owners = Owners::default();
        for record in &records {
            let mut owned = owners.lock().expect("nobody panics with it");
            for service in record.services.keys() {
                owned.insert(service.clone(), record.config.name.clone());
            }
        }
        let (sources, deliveries) = (Mutex::default(), Deliveries::default());
        let gitops =
            Arc::new(Self { engine, folder, owners, hosts: Arc::default(), sources, deliveries });
        for record in records {
            gitops.launch(record).await;
        }
        Ok(gitops)
    }

    async fn launch(&self, record: SourceRecord) {
        let (sender, receiver) = mpsc::channel(ASKS_MAX);
        let name = record.config.name.clone();
        let secret_file = record.config.webhook_secret_file.clone();
        let (shown, showing) = watch::channel(None);
        let handle = Handle { asks: sender.clone(), shown: showing, secret_file };
        let engine = Arc::clone(&self.engine);
        let shared = (Arc::clone(&self.owners), Arc::clone(&self.hosts));
        let follower = Follower::new(engine, &self.folder, shared, record, (sender, shown));
        self.sources.lock().await.insert(name, handle);
        tokio::spawn(follower.run(receiver));
    }

    /// Begins to follow.
    pub async fn add(&self, config: SourceConfig, actor: &str) -> Result<SourceView, Refusal> {
        let problems = problems(&config);
        if !problems.is_empty() {
            return Err(Refusal::Problems(problems));
        }
        let name = config.name.clone();
        {
            let sources = self.sources.lock().await;
            let is_known =
                sources.contains_key(&name) || record::path(&self.folder, &name).exists();
            if is_known {
                let hint = format!("`rollway gitops remove {name}` first; services go on running");
                let what = format!("there is a source {name} already");
                return Err(Problem::new("name", what).hint(hint).into());
            }
            if sources.len() >= SOURCES_MAX {
                let what = format!("there are {SOURCES_MAX} sources, and no more are followed");
                return Err(Problem::new("name", what).into());
            }
        }
        let record = SourceRecord::new(config);
        record::save(&self.folder, &record).await?;
        self.engine.note(actor, "gitops_add", &format!("source:{name}"), "").await?;
        self.launch(record).await;
        self.show(&name).await
    }

    async fn handle(&self, name: &SourceName) -> Result<Handle, Refusal> {
        let sources = self.sources.lock().await;
        if let Some(handle) = sources.get(name) {
            return Ok(handle.clone());
        }
        let known: Vec<&str> = sources.keys().map(SourceName::as_str).collect();
        let what = match known.is_empty() {
            true => format!("no source {:?}; there is none yet", name.as_str()),
            false => {
                let known = nearest_first(name.as_str(), &known).join(", ");
                format!("no source {:?}; known: {known}", name.as_str())
            }
        };
        Err(Problem::new("source", what).hint("`rollway gitops add` makes one").into())
    }

    async fn ask<T>(
        &self,
        name: &SourceName,
        ask: impl FnOnce(oneshot::Sender<T>) -> Ask,
        wait: Duration,
    ) -> Result<T, Refusal> {
        let handle = self.handle(name).await?;
        let (answer, answered) = oneshot::channel();
        let asked = async {
            handle.asks.send(ask(answer)).await.ok()?;
            answered.await.ok()
        };
        match tokio::time::timeout(wait, asked).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) | Err(_) => Err(silent(name)),
        }
    }

    /// One source, as it was when its loop last had nothing to do.
    pub async fn show(&self, name: &SourceName) -> Result<SourceView, Refusal> {
        let mut shown = self.handle(name).await?.shown;
        let first = tokio::time::timeout(ANSWER_WAIT_MAX, shown.wait_for(Option::is_some)).await;
        let view = first.ok().and_then(|seen| seen.ok()?.clone());
        view.map(|view| SourceView::clone(&view)).ok_or_else(|| silent(name))
    }

    /// All sources, by name.
    pub async fn list(&self) -> Result<Vec<SourceView>, Refusal> {
        let names: Vec<SourceName> = self.sources.lock().await.keys().cloned().collect();
        let mut views = Vec::with_capacity(names.len());
        for name in names {
            views.push(self.show(&name).await?);
        }
        Ok(views)
    }

    /// Does one of [`VERBS`].
    pub async fn verb(
        &self,
        name: &SourceName,
        verb: &str,
        args: GitopsArgs,
    ) -> Result<SourceView, Refusal> {
        if !VERBS.contains(&verb) {
            return Err(Problem::new("verb", unknown("verb", verb, &VERBS)).into());
        }
        self.handle(name).await?;
        let object = format!("source:{name}");
        let reason = args.reason.clone().or_else(|| args.service.clone()).unwrap_or_default();
        self.engine.note(&args.actor, &format!("gitops_{verb}"), &object, &reason).await?;
        if verb == "sync" {
            return self.ask(name, |answer| Ask::Sync(args.confirm, answer), SYNC_WAIT_MAX).await;
        }
        let verb = verb.to_owned();
        self.ask(name, |answer| Ask::Verb(verb, args, answer), ANSWER_WAIT_MAX).await?
    }

    /// What would be done to each service, and why it is not.
    pub async fn diff(&self, name: &SourceName) -> Result<Vec<Diff>, Refusal> {
        self.ask(name, Ask::Diff, SYNC_WAIT_MAX).await
    }

    /// The specs as they are deployed, overlays and all.
    pub async fn render(
        &self,
        name: &SourceName,
    ) -> Result<BTreeMap<String, serde_json::Value>, Refusal> {
        let specs = self.ask(name, Ask::Render, ANSWER_WAIT_MAX).await?;
        let parsed = specs.into_iter().map(|(service, spec)| {
            (service.to_string(), serde_json::from_str(&spec).unwrap_or_default())
        });
        Ok(parsed.collect())
    }

    /// Follows no longer; the services go on running.
    pub async fn remove(&self, name: &SourceName, actor: &str) -> Result<(), Refusal> {
        self.handle(name).await?;
        self.engine.note(actor, "gitops_remove", &format!("source:{name}"), "").await?;
        self.ask(name, Ask::Remove, ANSWER_WAIT_MAX).await??;
        self.sources.lock().await.remove(name);
        let mut owned = self.owners.lock().expect("nobody panics with it");
        owned.retain(|_, owner| owner != name);
        Ok(())
    }

    /// The configuration of a source.
    pub async fn config(&self, name: &SourceName) -> Result<SourceConfig, Refusal> {
        Ok(self.show(name).await?.config)
    }

    /// Reads a source as it would be followed, and changes nothing.
    pub async fn test(&self, config: &SourceConfig) -> Result<Tested, Refusal> {
        let problems = problems(config);
        if !problems.is_empty() {
            return Err(Refusal::Problems(problems));
        }
        Ok(look::test(&self.folder, config).await)
    }

    /// Writes the files of the revision that is wanted into a folder of its own.
    pub async fn checkout(&self, name: &SourceName, folder: &Path) -> Result<String, Refusal> {
        let view = self.show(name).await?;
        checkout::checkout(&self.folder, &view, folder).await
    }

    /// Hears a webhook: whoever knows the secret makes the source look sooner, and nothing else.
    pub async fn hook(&self, name: &str, headers: &http::HeaderMap, body: &[u8]) -> Hooked {
        let Ok(name) = SourceName::parse(name) else { return Hooked::Refused };
        let Ok(handle) = self.handle(&name).await else { return Hooked::Refused };
        let Some(secret) = handle.secret_file else { return Hooked::Refused };
        let hooked = self.deliveries.judge(&name, Path::new(&secret), headers, body);
        if hooked == Hooked::Taken {
            // A full inbox has looks enough to come.
            let _ = handle.asks.try_send(Ask::Wake);
        }
        hooked
    }
}

fn silent(name: &SourceName) -> Refusal {
    let doing = format!("the source {name} did not answer in time");
    Failure::new(FailureKind::Unknown, doing).into()
}

/// What is wrong with a configuration on this machine.
fn problems(config: &SourceConfig) -> Vec<Problem> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut problems = config.problems(&|zone| jiff::tz::TimeZone::get(zone).is_ok());
    if !problems.is_empty() {
        return problems;
    }
    for (path, file) in config.files() {
        match std::fs::metadata(file) {
            Err(error) => problems.push(Problem::new(path, format!("{file}: {error}"))),
            Ok(found) if found.permissions().mode() & 0o077 != 0 && is_secret(path) => {
                let what = format!("others may read {file}");
                problems.push(Problem::new(path, what).hint(format!("chmod 600 {file}")));
            }
            Ok(_) => {}
        }
    }
    problems
}

fn is_secret(path: &str) -> bool {
    matches!(path, "auth.token.file" | "auth.ssh.key" | "webhook_secret_file")
}

/// Where the copy of a source's repository is: another address or ref is another copy.
fn mirror_path(folder: &Path, config: &SourceConfig) -> PathBuf {
    let what = format!("{}\0{}", config.url, config.reference);
    let digest = rollway_core::release::sha256(what.as_bytes());
    let digest = digest.trim_start_matches("sha256:");
    folder.join("mirrors").join(format!("{}-{}.git", config.name, &digest[..16]))
}

fn remote(config: &SourceConfig) -> crate::git::Remote {
    let auth: Auth = config.auth.clone();
    crate::git::Remote { url: config.url.clone(), reference: config.reference.clone(), auth }
}

/// The wall clock in milliseconds since 1970.
fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// How a trouble leaves its source.
fn status_of(reason: rollway_core::gitops::state::Reason) -> SourceStatus {
    use rollway_core::gitops::state::Reason;
    match reason {
        Reason::Succeeded | Reason::NewRevision => SourceStatus::Ready,
        Reason::AuthenticationFailed
        | Reason::HostKeyUnknown
        | Reason::HostKeyChanged
        | Reason::TlsFailed
        | Reason::DnsFailed
        | Reason::Timeout
        | Reason::RateLimited
        | Reason::ServerError
        | Reason::RepoNotFound
        | Reason::RefNotFound
        | Reason::EmptyAdvertisement
        | Reason::EmptyRepository
        | Reason::LocalStoreCorrupt
        | Reason::DiskFull => SourceStatus::FetchFailed,
        Reason::HistoryRewritten
        | Reason::RefRejected
        | Reason::TagMoved
        | Reason::SignatureMissing
        | Reason::SignatureInvalid
        | Reason::SignerNotAllowed
        | Reason::PathMissing
        | Reason::PathInvalid
        | Reason::TreeUnsafe
        | Reason::ParseFailed
        | Reason::Suspended => SourceStatus::Stalled,
    }
}
