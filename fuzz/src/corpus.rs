//! The inputs that are kept: `corpus/TARGET` of those that once showed something, one a file, and
//! `failures/TARGET` of those that fail.

use std::io;
use std::path::{Path, PathBuf};

use crate::Target;

/// The folder of this crate, where the corpus is.
#[must_use]
pub fn home() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The corpus of a target: names and contents, sorted by name.
///
/// # Errors
/// The folder cannot be read; one that is not there is empty.
pub fn read(home: &Path, target: &Target) -> io::Result<Vec<(String, Vec<u8>)>> {
    let folder = home.join("corpus").join(target.name);
    let mut files = Vec::new();
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        other => other?,
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push((name, std::fs::read(path)?));
    }
    files.sort();
    Ok(files)
}

/// Keeps a failing input, and says where.
///
/// # Errors
/// It cannot be written.
pub fn keep_failure(home: &Path, target: &Target, input: &[u8]) -> io::Result<PathBuf> {
    let folder = home.join("failures").join(target.name);
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(name_of(input));
    std::fs::write(&path, input)?;
    Ok(path)
}

/// A name that the content has alone (FNV-1a).
fn name_of(input: &[u8]) -> String {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", input.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}
