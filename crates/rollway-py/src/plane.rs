//! The control plane of a state folder: the one that answers, or one inside this process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rollway::failure::{Failure, FailureKind};
use rollway::{api, store, unix_http};
use tokio::sync::watch;

use crate::Failed;
use crate::runtime::{wait, wait_well};

/// A control plane answers within this after its start, a long history included.
const START_WAIT: Duration = Duration::from_secs(10);
/// The first look whether it does; each next one is twice as late, to a tenth of a second.
const LOOK: Duration = Duration::from_millis(2);
const LOOK_MAX: Duration = Duration::from_millis(100);
/// Its tasks may take this long to end; what they have acknowledged is on disk before that.
const END_WAIT: Duration = Duration::from_secs(2);

/// A control plane that runs in this process.
struct Hosted {
    stop: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<Result<(), Failure>>>>,
    pid: u32,
}

impl Hosted {
    fn start(state_dir: &Path, program: PathBuf) -> std::io::Result<Self> {
        let (stop, _) = watch::channel(false);
        let (told, folder) = (stop.clone(), state_dir.to_owned());
        let thread =
            std::thread::Builder::new().name("rollway-engine".into()).spawn(move || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .enable_all()
                    .thread_name("rollway-engine")
                    .build()
                    .map_err(|error| {
                        Failure::because(FailureKind::NotDone, "could not start threads", error)
                    })?;
                let ended = runtime.block_on(api::host(&folder, program, None, told));
                runtime.shutdown_timeout(END_WAIT);
                ended
            })?;
        Ok(Self { stop, thread: Mutex::new(Some(thread)), pid: std::process::id() })
    }

    /// Ends it and waits for its end. In a forked process there is nothing to end.
    fn end(&self) -> Result<(), Failure> {
        if self.pid != std::process::id() {
            return Ok(());
        }
        self.stop.send_replace(true);
        let mut thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(ended)) => ended,
            Some(Err(_)) => {
                Err(Failure::new(FailureKind::Unknown, "the control plane ended by a bug of ours"))
            }
        }
    }

    fn has_ended(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        // Whoever wanted to hear of a failure has called `close`.
        let _ = self.end();
    }
}

/// One a state folder: two of them in one process would stand in each other's way.
static HOSTED: Mutex<BTreeMap<(u32, PathBuf), Weak<Hosted>>> = Mutex::new(BTreeMap::new());

/// A way to the control plane of a state folder.
#[pyclass(module = "rollway._native")]
pub struct Plane {
    state_dir: PathBuf,
    program: PathBuf,
    hosted: Mutex<Option<Arc<Hosted>>>,
    pid: u32,
}

#[pymethods]
impl Plane {
    /// For a state folder; `program` is the `rollway` that runs instances and proxy. Nothing is
    /// started yet.
    #[new]
    fn new(state_dir: PathBuf, program: PathBuf) -> PyResult<Self> {
        let state_dir = std::path::absolute(&state_dir)
            .map_err(|error| PyValueError::new_err(format!("state_dir: {error}")))?;
        Ok(Self { state_dir, program, hosted: Mutex::default(), pid: std::process::id() })
    }

    /// The state folder.
    #[getter]
    fn state_dir(&self) -> PathBuf {
        self.state_dir.clone()
    }

    /// Whether the control plane is in this process.
    #[getter]
    fn is_hosted(&self) -> bool {
        self.hosted().is_some()
    }

    /// Whether anything was ever deployed there.
    #[getter]
    fn is_used(&self) -> bool {
        self.state_dir.join("rollway.db").exists()
    }

    /// Sees to it that a control plane answers: the one that runs, or one in this process.
    fn ensure(&self, py: Python<'_>) -> PyResult<()> {
        self.check_process()?;
        let folder = self.state_dir.clone();
        if wait(py, async move { answers(&folder).await })? {
            return Ok(());
        }
        let hosted = py.detach(|| self.host())?;
        let folder = self.state_dir.clone();
        wait_well(py, async move { started(&folder, &hosted).await })
    }

    /// Asks the control plane; answers status and body.
    fn request<'py>(
        &self,
        py: Python<'py>,
        method: &str,
        path: String,
        body: Vec<u8>,
        timeout: f64,
    ) -> PyResult<(u16, Bound<'py, PyBytes>)> {
        self.check_process()?;
        let method = method_of(method)?;
        let folder = self.state_dir.clone();
        let longest = Duration::try_from_secs_f64(timeout)
            .map_err(|_| PyValueError::new_err("timeout: expected seconds above 0"))?;
        let (status, body) = wait_well(py, async move {
            let asking = unix_http::request((&folder, api::SOCKET), method, &path, body);
            in_time(asking, longest).await
        })?;
        Ok((status.as_u16(), PyBytes::new(py, &body)))
    }

    /// Ends the control plane if it is in this process, and nobody else here uses it. Instances
    /// and the proxy go on.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let hosted = self.take();
        py.detach(|| match hosted.and_then(Arc::into_inner) {
            Some(hosted) => hosted.end(),
            None => Ok(()),
        })
        .map_err(|failure| Failed::new_err(failure.chain()))
    }
}

impl Plane {
    fn hosted(&self) -> Option<Arc<Hosted>> {
        self.hosted.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn take(&self) -> Option<Arc<Hosted>> {
        self.hosted.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    /// The threads of a process are not in one that is forked off from it.
    fn check_process(&self) -> PyResult<()> {
        if self.pid == std::process::id() {
            return Ok(());
        }
        Err(PyRuntimeError::new_err(
            "this was made before the process forked, and cannot be used in the child: make a new \
             one there",
        ))
    }

    fn host(&self) -> PyResult<Arc<Hosted>> {
        let mut all = HOSTED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = (std::process::id(), self.state_dir.clone());
        let running = all.get(&key).and_then(Weak::upgrade).filter(|one| !one.has_ended());
        let hosted = match running {
            Some(hosted) => hosted,
            None => {
                let failed = |why: String| Failed::new_err(why);
                store::prepare_folder(&self.state_dir)
                    .map_err(|failure| failed(failure.chain()))?;
                let hosted = Hosted::start(&self.state_dir, self.program.clone())
                    .map_err(|error| failed(format!("could not start a thread: {error}")))?;
                let hosted = Arc::new(hosted);
                all.insert(key, Arc::downgrade(&hosted));
                hosted
            }
        };
        let mut own = self.hosted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *own = Some(Arc::clone(&hosted));
        Ok(hosted)
    }
}

fn method_of(name: &str) -> PyResult<Method> {
    Method::from_bytes(name.as_bytes())
        .map_err(|_| PyValueError::new_err(format!("method: {name:?} is none")))
}

async fn in_time<T>(
    asking: impl Future<Output = Result<T, Failure>>,
    longest: Duration,
) -> Result<T, Failure> {
    tokio::time::timeout(longest, asking).await.unwrap_or_else(|_| {
        let doing = format!("no answer from the control plane within {longest:?}");
        Err(Failure::new(FailureKind::Unknown, doing))
    })
}

async fn answers(state_dir: &Path) -> bool {
    let health = (state_dir, api::SOCKET);
    let asking = unix_http::request(health, Method::GET, "/v1/health", Vec::new());
    matches!(in_time(asking, START_WAIT).await, Ok((StatusCode::OK, _)))
}

async fn started(state_dir: &Path, hosted: &Hosted) -> Result<(), Failure> {
    let (until, mut look) = (Instant::now() + START_WAIT, LOOK);
    loop {
        let ended = hosted.has_ended();
        // Another process may have been the first; then that one answers.
        if answers(state_dir).await {
            return Ok(());
        }
        if ended {
            let why = hosted.end().err().map_or_else(|| "it ended".to_owned(), |it| it.chain());
            let doing = "the control plane did not start";
            return Err(Failure::because(FailureKind::NotDone, doing, why));
        }
        if Instant::now() > until {
            let doing = format!("the control plane did not answer within {START_WAIT:?}");
            return Err(Failure::new(FailureKind::Unknown, doing));
        }
        tokio::time::sleep(look).await;
        look = (look * 2).min(LOOK_MAX);
    }
}

/// Asks a control plane whose socket is somewhere else: folder and name of the socket,
/// and method and path.
#[pyfunction]
pub fn request_http<'py>(
    py: Python<'py>,
    place: (PathBuf, String),
    what: (String, String),
    body: Vec<u8>,
    timeout: f64,
) -> PyResult<(u16, Bound<'py, PyBytes>)> {
    let (method, path) = what;
    let method = method_of(&method)?;
    let longest = Duration::try_from_secs_f64(timeout)
        .map_err(|_| PyValueError::new_err("timeout: expected seconds above 0"))?;
    let (folder, name) = place;
    let (status, body) = wait_well(py, async move {
        in_time(unix_http::request((&folder, &name), method, &path, body), longest).await
    })?;
    Ok((status.as_u16(), PyBytes::new(py, &body)))
}
