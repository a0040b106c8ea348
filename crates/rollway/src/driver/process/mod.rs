//! The driver `process`: instances are processes on this machine, each under a small shim.
//!
//! ```text
//! <state>/instances/<service>/fence            the newest generation that acted
//! <state>/instances/<service>/r3-0/shim.json   what is known about the instance
//!                                  shim.sock   where its shim answers
//!                                  log, log.1  its output
//! <state>/logs/<service>/r2-0.log              the output of instances that are gone
//! ```
//! The control plane may be killed at any time: the shim holds the instance, and the next control
//! plane finds it by its folder. Should a shim be killed, the instance goes on unsupervised, is
//! recognised by number, start time and boot, and can still be stopped with all its children.

mod child;
mod connection;
mod folder;
mod known;
mod limits;
mod link;
mod output;
mod port;
pub mod shim;
mod signals;
mod start;
mod stop;
mod supervise;
#[doc(hidden)]
pub mod wire;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use rollway_core::ids::{InstanceId, ServiceName};
use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::os::fds;
pub use crate::os::proc::listener_belongs_to;

use super::{CHANGES_MAX, Change, Driver, Ensured, Fence, Launch, SeenInstance, Setup, StopOrder};
use crate::failure::{Failure, FailureKind};
use connection::Handle;
use wire::Record;

/// A shim may end just as it is asked; so often it is looked for again.
const TRIES_MAX: u32 = 3;

/// One instance of one service.
type Key = (ServiceName, InstanceId);

/// Runs instances as processes on this machine.
pub struct ProcessDriver {
    shared: Arc<Shared>,
    /// Ends the tasks, but not what they watch.
    _end: DropGuard,
}

struct Shared {
    state: PathBuf,
    /// The command that runs a shim; the instance's folder is its last argument.
    shim: Vec<OsString>,
    /// Open files that whoever started us left us, and that no instance shall have.
    inherited: Vec<u32>,
    known: Mutex<BTreeMap<Key, Known>>,
    gates: Mutex<BTreeMap<Key, Arc<tokio::sync::Mutex<()>>>>,
    adopting: tokio::sync::Mutex<()>,
    changes: broadcast::Sender<Change>,
    requests: AtomicU64,
    end: CancellationToken,
}

/// What is known about an instance that has a folder.
#[derive(Clone)]
enum Known {
    /// It is being started by us.
    Coming(Box<SeenInstance>),
    /// Its shim answers.
    Supervised(Arc<Handle>),
    /// It has no shim: it ended, or its shim was killed.
    Alone(Box<Record>),
}

/// Makes the driver.
pub fn make(setup: &Setup) -> Arc<dyn Driver> {
    Arc::new(ProcessDriver::new(setup.state.clone(), &setup.program))
}

impl ProcessDriver {
    /// A driver over a state folder; `program` is run as `program shim FOLDER`, unless the smaller
    /// `rollway-shim` is beside it.
    #[must_use]
    pub fn new(state: PathBuf, program: &Path) -> Self {
        let (changes, _) = broadcast::channel(CHANGES_MAX);
        let end = CancellationToken::new();
        // A shim reads its paths from another folder.
        let state = std::path::absolute(&state).unwrap_or(state);
        let shared = Shared {
            state,
            shim: shim::command_line(program),
            inherited: fds::inherited(),
            known: Mutex::default(),
            gates: Mutex::default(),
            adopting: tokio::sync::Mutex::default(),
            changes,
            requests: AtomicU64::new(shim::LAUNCH_ID + 1),
            end: end.clone(),
        };
        Self { shared: Arc::new(shared), _end: end.drop_guard() }
    }
}

impl Known {
    fn seen(&self) -> SeenInstance {
        match self {
            Self::Coming(seen) => (**seen).clone(),
            Self::Supervised(handle) => handle.record().seen(),
            Self::Alone(record) => stop::seen(record),
        }
    }
}

impl Driver for ProcessDriver {
    fn start<'a>(
        &'a self,
        fence: &'a Fence,
        launch: &'a Launch,
    ) -> BoxFuture<'a, Result<(Ensured, SeenInstance), Failure>> {
        // A task of its own: a caller that gives up leaves nothing half known.
        let (shared, fence, launch) = (self.shared.clone(), fence.clone(), launch.clone());
        let work = async move {
            let key = (fence.service.clone(), launch.instance);
            shared.gated(&key, shared.start(&fence, &key, &launch)).await
        };
        Box::pin(async { finished(tokio::spawn(work).await) })
    }

    fn stop<'a>(
        &'a self,
        fence: &'a Fence,
        instance: InstanceId,
        order: &'a StopOrder,
    ) -> BoxFuture<'a, Result<Ensured, Failure>> {
        let (shared, fence, order) = (self.shared.clone(), fence.clone(), order.clone());
        let work = async move {
            let key = (fence.service.clone(), instance);
            shared.stop(&fence, &key, &order).await
        };
        Box::pin(async { finished(tokio::spawn(work).await) })
    }

    fn observe<'a>(
        &'a self,
        service: &'a ServiceName,
    ) -> BoxFuture<'a, Result<Vec<SeenInstance>, Failure>> {
        Box::pin(async move {
            self.shared.look(service).await?;
            let known = self.shared.known();
            let ours = known.iter().filter(|((of, _), _)| of == service);
            Ok(ours.map(|(_, known)| known.seen()).collect())
        })
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.shared.changes.subscribe()
    }

    fn log<'a>(
        &'a self,
        service: &'a ServiceName,
        instance: InstanceId,
    ) -> BoxFuture<'a, Result<PathBuf, Failure>> {
        Box::pin(async move {
            let state = &self.shared.state;
            let now = folder::of_instance(state, service, instance).join(folder::LOG);
            let old = folder::old_log(state, service, instance);
            [now, old].into_iter().find(|path| path.exists()).ok_or_else(|| {
                let doing = format!("there is no log of {service} {instance}");
                Failure::new(FailureKind::Missing, doing)
            })
        })
    }
}

fn finished<T>(task: Result<Result<T, Failure>, tokio::task::JoinError>) -> Result<T, Failure> {
    task.unwrap_or_else(|error| {
        Err(Failure::because(FailureKind::Unknown, "the driver was interrupted", error))
    })
}
