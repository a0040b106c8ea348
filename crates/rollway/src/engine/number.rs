//! The row that a release has in the store.

use rollway_core::release::Release;

use crate::store::NewRelease;

/// The row of a release.
pub(super) fn release_row(release: &Release) -> NewRelease {
    NewRelease {
        number: release.number,
        digest: release.digest.clone(),
        version: release.version.to_string(),
        body: serde_json::to_value(release).expect("a release is plain data"),
    }
}
