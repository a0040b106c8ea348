//! The native part of the Python packages `rollway` and `codomyrmex.deployment`: what decides and
//! what touches the world is Rust; what users subclass and look at is Python.
//!
//! Python sees this as `rollway._native`; it is typed in `python/rollway/_native.pyi`.

mod arithmetic;
mod git;
mod plane;
mod probes;
mod records;
mod runtime;

use pyo3::prelude::*;

pyo3::create_exception!(
    rollway._native,
    Failed,
    pyo3::exceptions::PyException,
    "The world failed us; the text says what was being done, and the causes."
);

/// What Python sees.
#[pymodule]
#[pyo3(name = "_native")]
mod native {
    use super::PyResult;

    #[pymodule_export]
    use super::Failed;
    #[pymodule_export]
    use super::arithmetic::{
        batches, compare, decide, holds, percent, stage_targets, success_rate,
    };
    #[pymodule_export]
    use super::git::{git_checkout, git_is_at, git_is_dirty, git_sync, git_version};
    #[pymodule_export]
    use super::plane::{Plane, request_http};
    #[pymodule_export]
    use super::probes::{command_check, disk_figures, http_check, memory_figures, tcp_check};
    #[pymodule_export]
    use super::records::{read_records, record};
    #[pymodule_export]
    use super::runtime::provoke_panic;

    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> PyResult<()> {
        use pyo3::types::PyModuleMethods as _;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
