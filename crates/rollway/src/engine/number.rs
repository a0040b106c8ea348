//! Numbering releases, and the row that one has in the store.

use rollway_core::ids::ReleaseNumber;
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

/// The highest number among keys in any order; 0 = none.
pub(super) trait LastNumber {
    fn next_back_number(self) -> u64;
}

impl<'a, I: Iterator<Item = &'a ReleaseNumber>> LastNumber for I {
    fn next_back_number(self) -> u64 {
        self.map(|number| number.0).max().unwrap_or(0)
    }
}
