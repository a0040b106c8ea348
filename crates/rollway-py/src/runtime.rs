//! The threads that work while Python waits: without the GIL, and open to Ctrl-C.

use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rollway::failure::Failure;
use tokio::runtime::{Builder, Runtime};

use crate::Failed;

/// So often a wait looks whether the user pressed Ctrl-C.
const SIGNAL_LOOK: Duration = Duration::from_millis(50);
/// Probes, git and requests wait far more than they compute.
const WORKERS: usize = 2;

/// The runtime of this process. A process that was forked off has none of its parent's threads, so
/// it gets a runtime of its own; the parent's is left alone, as its threads are not here.
pub fn runtime() -> PyResult<&'static Runtime> {
    static CURRENT: Mutex<Option<(u32, &'static Runtime)>> = Mutex::new(None);
    let mut current = CURRENT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let pid = std::process::id();
    if let Some((of, runtime)) = *current
        && of == pid
    {
        return Ok(runtime);
    }
    let built = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("rollway")
        .enable_all()
        .build()
        .map_err(|error| Failed::new_err(format!("could not start threads: {error}")))?;
    let built: &'static Runtime = Box::leak(Box::new(built));
    *current = Some((pid, built));
    Ok(built)
}

/// Waits for a piece of work without the GIL. Ctrl-C drops the work, and is raised.
pub fn wait<T: Send + 'static>(
    py: Python<'_>,
    work: impl Future<Output = T> + Send + 'static,
) -> PyResult<T> {
    let runtime = runtime()?;
    let (sender, mut receiver) = sync_channel(1);
    let task = runtime.spawn(async move {
        // Nobody waits any more after a Ctrl-C.
        let _ = sender.send(work.await);
    });
    loop {
        let (back, got) = py.detach(move || {
            let got = receiver.recv_timeout(SIGNAL_LOOK);
            (receiver, got)
        });
        receiver = back;
        match got {
            Ok(value) => return Ok(value),
            Err(RecvTimeoutError::Timeout) => {
                if let Err(interrupted) = py.check_signals() {
                    task.abort();
                    return Err(interrupted);
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                let ended = py.detach(|| runtime.block_on(task));
                let why = ended.err().map_or_else(String::new, |error| error.to_string());
                return Err(bug(&why));
            }
        }
    }
}

/// The same for work that may fail.
pub fn wait_well<T: Send + 'static>(
    py: Python<'_>,
    work: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> PyResult<T> {
    wait(py, work)?.map_err(|failure| Failed::new_err(failure.chain()))
}

/// What a panic of ours becomes in Python.
fn bug(why: &str) -> PyErr {
    PyRuntimeError::new_err(format!(
        "a bug in rollway {}: {why}; please report it with what you did",
        env!("CARGO_PKG_VERSION")
    ))
}

/// Panics on purpose: a panic must arrive in Python as a `RuntimeError`, and a test looks at that.
#[pyfunction]
pub fn provoke_panic(py: Python<'_>) -> PyResult<()> {
    wait(py, async { panic!("provoked") })
}
