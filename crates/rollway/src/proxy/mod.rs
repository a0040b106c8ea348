//! The embedded proxy: takes requests to instances, in the split that its tables say.
//!
//! It is a process of its own that keeps serving, and keeps its last tables, whatever happens to
//! whoever gave them. It knows services, releases and instances, and nothing of deployments.
//!
//! ```text
//! client -> worker -> guard -> forward -> service.pick -> upstream -> instance
//! admin  -> control -> state (durable) -> service.apply -> listeners
//! ```

mod access_log;
mod admin;
mod answer;
mod attempt;
mod client;
mod control;
mod drain;
mod endpoint;
mod forward;
mod guard;
mod handover;
mod listener;
mod probe;
mod report;
mod request;
mod service;
mod shared;
mod sockets;
mod state;
mod stats;
mod sticky;
pub mod table;
mod tls;
mod tunnel;
mod upstream;
mod worker;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::failure::{Failure, FailureKind};
use access_log::AccessLog;
use control::Control;
#[doc(hidden)]
pub use guard::Watch;
use handover::{Once, Predecessor};
use shared::Shared;
use sticky::Signer;
use worker::{Command, Worker};

/// Requests in flight get this long when the process ends.
const END_GRACE: Duration = Duration::from_secs(30);
/// How often the end looks whether connections are left.
const END_STEP: Duration = Duration::from_millis(20);
/// How often certificates are looked at.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(1);
/// Client connections at once, unless told otherwise.
pub const CONNECTIONS_MAX: usize = 65_536;

/// How a proxy is started.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// Where its tables, its key and its socket are.
    pub state_dir: PathBuf,
    /// How many threads serve; 0 = as many as there are cores.
    pub workers: usize,
    /// Client connections at once.
    pub connections_max: usize,
    /// Where requests are written down as JSON lines.
    pub access_log: Option<PathBuf>,
    /// Take the listening sockets of another proxy from standard input.
    pub inherit: bool,
}

impl ProxyConfig {
    /// With everything at its default.
    #[must_use]
    pub fn new(state_dir: PathBuf) -> Self {
        let (workers, connections_max) = (0, CONNECTIONS_MAX);
        Self { state_dir, workers, connections_max, access_log: None, inherit: false }
    }
}

/// A proxy that runs.
struct Proxy {
    control: Control,
    predecessor: Predecessor,
    /// Ends the process, gracefully.
    end: CancellationToken,
    lock: File,
    handing_over: Once,
}

/// Runs a proxy until it is told to end: by SIGTERM, SIGINT, its administration, or a successor.
pub fn run(config: &ProxyConfig) -> Result<(), Failure> {
    // Whoever was first has chosen; it is ring everywhere.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::because(FailureKind::NotDone, "no runtime", error))?;
    runtime.block_on(serve(config))
}

async fn serve(config: &ProxyConfig) -> Result<(), Failure> {
    let folder = config.state_dir.join("proxy");
    make_folder(&config.state_dir)?;
    make_folder(&folder)?;
    let (lock, inherited, old) = if config.inherit {
        let inherited = handover::inherit()?;
        (inherited.lock, inherited.sockets, Some(inherited.stream))
    } else {
        (lock(&folder)?, Vec::new(), None)
    };
    let access_log = config.access_log.as_deref().map(AccessLog::open).transpose()?;
    #[expect(clippy::disallowed_methods, reason = "an instance is asked for once an ejection")]
    let (probes, asked) = mpsc::unbounded_channel();
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let workers = if config.workers == 0 { cores() } else { config.workers };
    let signer = Signer::open(&folder)?;
    let shared = Arc::new(Shared::new(workers, config.connections_max, signer, access_log, probes));
    let threads: Result<Vec<_>, _> =
        (0..workers).map(|number| Worker::start(number, Arc::clone(&shared))).collect();
    let control = Control::new(Arc::clone(&shared), threads?, folder.clone());
    let (state, alarms) = state::State::load(&folder);
    for alarm in alarms {
        shared.alarm(alarm);
    }
    control.restore(state, inherited).await;
    tokio::spawn(probe::run(asked, Arc::clone(&shared)));
    let admin = sockets::bind_admin(&config.state_dir)?;
    let predecessor = match old {
        Some(stream) => Predecessor::relieve(stream)?,
        None => Predecessor::none(),
    };
    let (end, handing_over) = (CancellationToken::new(), Once::default());
    let proxy = Arc::new(Proxy { control, predecessor, end, lock, handing_over });
    tokio::spawn(reread_certificates(Arc::clone(&proxy)));
    let admin = tokio::net::UnixListener::from_std(admin)
        .map_err(|error| Failure::because(FailureKind::NotDone, "no administration", error))?;
    let serving = axum::serve(admin, admin::router(Arc::clone(&proxy)));
    tokio::select! {
        _ = serving.into_future() => {}
        ended = told_to_end(&proxy) => ended?,
    }
    finish(&proxy).await;
    Ok(())
}

async fn told_to_end(proxy: &Proxy) -> Result<(), Failure> {
    let listen = |kind| {
        signal(kind).map_err(|error| Failure::because(FailureKind::NotDone, "no signals", error))
    };
    let (mut terminate, mut interrupt) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = proxy.end.cancelled() => {}
    }
    Ok(())
}

/// Accepts nothing more, waits for what is in flight, and ends the workers.
async fn finish(proxy: &Proxy) {
    let control = &proxy.control;
    // Whoever still has a connection to the administration is to ask who comes next.
    control.leaving.store(true, SeqCst);
    control.shared.ending.store(true, SeqCst);
    control.tell_all(|| Command::Finish).await;
    for listener in control.listeners() {
        listener.close();
    }
    let until = tokio::time::Instant::now() + END_GRACE;
    while control.shared.connections.load(Relaxed) > 0 && tokio::time::Instant::now() < until {
        tokio::time::sleep(END_STEP).await;
    }
    control.tell_all(|| Command::End).await;
}

async fn reread_certificates(proxy: Arc<Proxy>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    loop {
        tokio::select! {
            _ = hangup.recv() => {}
            () = tokio::time::sleep(CERTIFICATES_EVERY) => {}
        }
        for listener in proxy.control.listeners() {
            let Some(certificates) = &listener.certificates else { continue };
            let beginning = format!("certificates of {}", listener.address);
            let failures = certificates.reread();
            if failures.is_empty() {
                proxy.control.shared.calm(&beginning);
            }
            for failure in failures {
                let text = format!("{beginning}: {}; the old ones stay", failure.chain());
                proxy.control.shared.alarm(text);
            }
        }
    }
}

impl Proxy {
    /// Starts `program` as the successor, and ends when it is ready.
    async fn hand_over(self: &Arc<Self>, program: &Path) -> Result<u32, Failure> {
        if !self.handing_over.take() {
            return Err(Failure::new(FailureKind::NotDone, "another hand-over is on its way"));
        }
        self.control.leaving.store(true, SeqCst);
        let sockets: Result<Vec<_>, _> =
            self.control.listeners().iter().map(|one| one.copy()).collect();
        let lock = self.lock.try_clone();
        let program = program.to_owned();
        let started = match (sockets, lock) {
            (Ok(sockets), Ok(lock)) => {
                let start = move || handover::hand_over(&program, &sockets, &lock);
                tokio::task::spawn_blocking(start).await.map_err(|error| {
                    Failure::because(FailureKind::NotDone, "the hand-over ended early", error)
                })?
            }
            (Err(error), _) | (_, Err(error)) => {
                let doing = "could not share the sockets";
                Err(Failure::because(FailureKind::NotDone, doing, error))
            }
        };
        match started {
            Ok((pid, stream)) => {
                let proxy = Arc::clone(self);
                tokio::spawn(async move {
                    // Until this process ends: its end closes the stream, and tells the other.
                    let _stream = stream;
                    // The answer to whoever asked for this goes out first.
                    tokio::time::sleep(END_STEP).await;
                    proxy.end.cancel();
                    std::future::pending::<()>().await;
                });
                Ok(pid)
            }
            Err(failure) => {
                self.control.leaving.store(false, SeqCst);
                self.handing_over.release();
                Err(failure)
            }
        }
    }
}

fn make_folder(path: &Path) -> Result<(), Failure> {
    let mut builder = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
    builder.create(path).map_err(|error| {
        Failure::because(FailureKind::NotDone, format!("could not make {}", path.display()), error)
    })
}

/// One proxy per state directory: two would each believe that theirs is the last word.
fn lock(folder: &Path) -> Result<File, Failure> {
    let path = folder.join("lock");
    let doing = || format!("could not lock {}", path.display());
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(false);
    let file = options
        .open(&path)
        .map_err(|error| Failure::because(FailureKind::NotDone, doing(), error))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(
        |error| {
            let what = format!("{}, another proxy uses it", doing());
            Failure::because(FailureKind::NotDone, what, error)
        },
    )?;
    Ok(file)
}
