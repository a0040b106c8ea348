//! Deployments that Python code carried out, in the history of a state folder.

use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rollway::store::records;

use crate::Failed;

/// Adds one, as JSON; it is on disk when this returns.
#[pyfunction]
pub fn record(py: Python<'_>, state_dir: PathBuf, json: &str) -> PyResult<()> {
    let record: records::Record = serde_json::from_str(json)
        .map_err(|error| PyValueError::new_err(format!("record: {error}")))?;
    let added = py.detach(|| records::append(&state_dir, &record));
    added.map_err(|failure| Failed::new_err(failure.chain()))
}

/// All of them, as a JSON list, oldest first.
#[pyfunction]
pub fn read_records(py: Python<'_>, state_dir: PathBuf) -> PyResult<String> {
    let read = py.detach(|| records::read(&state_dir));
    let all = read.map_err(|failure| Failed::new_err(failure.chain()))?;
    Ok(serde_json::to_string(&all).expect("records are plain data"))
}
