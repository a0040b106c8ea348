//! The probe `disk`: a file system has room.
//!
//! ```yaml
//! health:
//!   - disk: {path: /var/lib/shop, free: 10%}
//! ```

use std::path::Path;

use rollway_core::spec::DiskCheck;

use super::{Found, room};

/// Looks at the file system that holds the path; a relative one begins in the working folder.
pub(super) async fn check(check: &DiskCheck, working_folder: &Path) -> Found {
    let path = working_folder.join(&check.path);
    let wanted = check.free;
    // A file system that does not answer must not hold up others: this may never return.
    let looked = tokio::task::spawn_blocking(move || match rustix::fs::statvfs(&path) {
        Ok(stat) => {
            let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
            let of = format!("free on {}", path.display());
            room(wanted, bytes(stat.f_bavail), bytes(stat.f_blocks), &of)
        }
        Err(error) => Found::bad(format!("could not look at {}: {error}", path.display())),
    });
    looked.await.unwrap_or_else(|error| Found::bad(error.to_string()))
}
