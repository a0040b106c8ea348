//! What is kept of a source: one file each, replaced as a whole.

use std::fs;
use std::path::{Path, PathBuf};

use rollway_core::gitops::name::SourceName;
use rollway_core::gitops::state::SourceRecord;

use crate::failure::{Failure, FailureKind};
use crate::files;

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// The file of a source in the folder of all.
const ENDING: &str = "source.json";

/// Where the record of a source is.
pub fn path(folder: &Path, name: &SourceName) -> PathBuf {
    folder.join(format!("{name}.{ENDING}"))
}

/// All records. One that cannot be read is said, and left as it is: its services go on.
pub fn load_all(folder: &Path) -> Result<Vec<SourceRecord>, Failure> {
    files::create_folder(folder, FOLDER_MODE)?;
    let failed = |error: std::io::Error| {
        let doing = format!("could not read {}", folder.display());
        Failure::because(FailureKind::NotDone, doing, error)
    };
    let mut records = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || !name.ends_with(ENDING) {
            continue;
        }
        let bytes = fs::read(&path).map_err(failed)?;
        match serde_json::from_slice(&bytes) {
            Ok(record) => records.push(record),
            Err(error) => {
                tracing::error!("{} is damaged, and not followed: {error}", path.display());
            }
        }
    }
    Ok(records)
}

/// Keeps a record; it is durable when this returns.
pub async fn save(folder: &Path, record: &SourceRecord) -> Result<(), Failure> {
    let path = path(folder, &record.config.name);
    let bytes = serde_json::to_vec(record).expect("a record is plain data");
    let written =
        tokio::task::spawn_blocking(move || files::atomic_write(&path, &bytes, FILE_MODE));
    written.await.map_err(|error| {
        Failure::because(FailureKind::Unknown, "could not keep what is followed", error)
    })?
}
