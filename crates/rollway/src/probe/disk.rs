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
    let looked = tokio::task::spawn_blocking(move || match figures(&path) {
        Ok(Figures { free, total, .. }) => {
            room(wanted, free, total, &format!("free on {}", path.display()))
        }
        Err(why) => Found::bad(why),
    });
    looked.await.unwrap_or_else(|error| Found::bad(error.to_string()))
}

/// The room of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// What an ordinary user may still fill.
    pub free: u64,
    /// What is taken.
    pub used: u64,
    /// All of it.
    pub total: u64,
}

/// Looks at the file system that holds the path; may never return where that does not answer.
pub fn figures(path: &Path) -> Result<Figures, String> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|error| format!("could not look at {}: {error}", path.display()))?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    let used = bytes(stat.f_blocks.saturating_sub(stat.f_bfree));
    Ok(Figures { free: bytes(stat.f_bavail), used, total: bytes(stat.f_blocks) })
}
