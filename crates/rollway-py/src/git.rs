//! A folder that follows a Git branch.

use std::path::PathBuf;

use pyo3::prelude::*;
use rollway::git::Checkout;

use crate::Failed;
use crate::runtime::wait_well;

fn checkout(url: &str, folder: &std::path::Path) -> PyResult<Checkout> {
    Checkout::new(url, folder).map_err(|failure| Failed::new_err(failure.chain()))
}

/// Makes the folder what the branch is now; answers the commit.
#[pyfunction]
pub fn git_sync(py: Python<'_>, url: &str, folder: PathBuf, branch: String) -> PyResult<String> {
    let checkout = checkout(url, &folder)?;
    wait_well(py, async move { checkout.sync(&branch).await })
}

/// The commit that the folder is at.
#[pyfunction]
pub fn git_version(py: Python<'_>, url: &str, folder: PathBuf) -> PyResult<Option<String>> {
    let checkout = checkout(url, &folder)?;
    wait_well(py, async move { checkout.version().await })
}

/// Whether the folder differs from its commit.
#[pyfunction]
pub fn git_is_dirty(py: Python<'_>, url: &str, folder: PathBuf) -> PyResult<bool> {
    let checkout = checkout(url, &folder)?;
    wait_well(py, async move { checkout.is_dirty().await })
}

/// Whether the folder is the branch's tip as last fetched, without changes.
#[pyfunction]
pub fn git_is_at(py: Python<'_>, url: &str, folder: PathBuf, branch: String) -> PyResult<bool> {
    let checkout = checkout(url, &folder)?;
    wait_well(py, async move { checkout.is_at(&branch).await })
}

/// Goes to a commit, tag or branch; answers the commit.
#[pyfunction]
pub fn git_checkout(
    py: Python<'_>,
    url: &str,
    folder: PathBuf,
    revision: String,
) -> PyResult<String> {
    let checkout = checkout(url, &folder)?;
    wait_well(py, async move { checkout.checkout(&revision).await })
}
