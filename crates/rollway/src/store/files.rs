//! Artifacts and blobs: files kept under the digest of what is in them.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use super::digest::Digest;
use super::place::{FILE_MODE, FOLDER_MODE};
use crate::crash;
use crate::failure::{Failure, FailureKind};
use crate::files::{atomic_write, create_folder, folder_of, sync_folder, temporary_beside};

/// What nobody refers to is kept this long: a deployment may be about to refer to it.
pub const UNREFERENCED_AGE_MIN: Duration = Duration::from_secs(3600);

const ARTIFACTS: &str = "artifacts";
const BLOBS: &str = "blobs";
/// Kept artifacts are run and read, never written.
const ARTIFACT_MODE: u32 = 0o444;
const EXECUTABLE_BITS: u32 = 0o111;
/// Read at once while hashing: large enough that the calls do not show.
const CHUNK_BYTES: usize = 64 << 10;
/// Largest blob: configuration and small files; anything larger is an artifact.
const BLOB_BYTES_MAX: u64 = 64 << 20;

/// An artifact that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The digest of its content.
    pub digest: Digest,
    /// Where the copy is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many artifacts and blobs.
    pub count: u64,
    /// How many bytes they had.
    pub bytes: u64,
}

/// Copies a file to `artifacts/<digest>/<its name>`, so that changing or removing the original
/// changes no release. A copy that is there already is checked, and replaced if it is damaged.
pub fn keep_artifact(state_dir: &Path, source: &Path) -> Result<Kept, Failure> {
    let doing = || format!("could not keep the artifact {}", source.display());
    let kept = copy_artifact(state_dir, source);
    kept.map_err(|error| Failure::because(FailureKind::NotDone, doing(), error))
}

/// Keeps these bytes as `blobs/<digest>`.
pub fn keep_blob(state_dir: &Path, bytes: &[u8]) -> Result<Digest, Failure> {
    let digest = Digest::of(bytes);
    if bytes.len() as u64 > BLOB_BYTES_MAX {
        let doing = format!("could not keep {} bytes, at most {BLOB_BYTES_MAX}", bytes.len());
        return Err(Failure::new(FailureKind::NotDone, doing));
    }
    create_folder(&state_dir.join(BLOBS), FOLDER_MODE)?;
    let path = blob_path(state_dir, digest);
    let is_there = fs::read(&path).is_ok_and(|found| found == bytes);
    if !(is_there && touch(&path).is_ok()) {
        atomic_write(&path, bytes, FILE_MODE)?;
    }
    Ok(digest)
}

/// Reads a blob, and checks that it is what it was.
pub fn read_blob(state_dir: &Path, digest: Digest) -> Result<Vec<u8>, Failure> {
    let path = blob_path(state_dir, digest);
    let doing = || format!("could not read {}", path.display());
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|f| f.take(BLOB_BYTES_MAX).read_to_end(&mut bytes));
    match read {
        Ok(_) if Digest::of(&bytes) == digest => Ok(bytes),
        Ok(_) => {
            let what = "it does not hold what its name says";
            Err(Failure::because(FailureKind::Damaged, doing(), what))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failure::because(FailureKind::Missing, doing(), error))
        }
        Err(error) => Err(Failure::because(FailureKind::NotDone, doing(), error)),
    }
}

/// Removes the artifacts and blobs that are not in `referenced` and were not kept within
/// `age_min` (normally `UNREFERENCED_AGE_MIN`). If nothing at all is referenced nothing is
/// removed: an empty list is more often a mistake than a wish.
pub fn remove_unreferenced(
    state_dir: &Path,
    referenced: &BTreeSet<Digest>,
    age_min: Duration,
) -> Result<Removed, Failure> {
    let mut removed = Removed::default();
    if referenced.is_empty() {
        return Ok(removed);
    }
    for folder in [state_dir.join(ARTIFACTS), state_dir.join(BLOBS)] {
        remove_from(&folder, referenced, age_min, &mut removed).map_err(|error| {
            let doing = format!("could not tidy up {}", folder.display());
            Failure::because(FailureKind::NotDone, doing, error)
        })?;
    }
    Ok(removed)
}

fn copy_artifact(
    state_dir: &Path,
    source: &Path,
) -> Result<Kept, Box<dyn std::error::Error + Send + Sync>> {
    let name = source.file_name().ok_or("it has no file name")?;
    let metadata = fs::metadata(source)?;
    if !metadata.is_file() {
        return Err("it is not a regular file".into());
    }
    let executable = metadata.permissions().mode() & EXECUTABLE_BITS != 0;
    let mode = ARTIFACT_MODE | if executable { EXECUTABLE_BITS } else { 0 };
    let artifacts = state_dir.join(ARTIFACTS);
    create_folder(&artifacts, FOLDER_MODE)?;
    if let Some(kept) = already_kept(&artifacts, name, (source, mode))? {
        return Ok(kept);
    }
    let temporary = temporary_beside(&artifacts.join(name));
    let placed = fs::copy(source, &temporary)
        .map_err(Into::into)
        .and_then(|_| place(&artifacts, name, (&temporary, mode)));
    if placed.is_err() {
        // It may never have been made, and nothing depends on its going.
        let _ = fs::remove_file(&temporary);
    }
    placed
}

/// The copy of this content under this name, if there is one and it is whole.
fn already_kept(
    artifacts: &Path,
    name: &std::ffi::OsStr,
    (source, mode): (&Path, u32),
) -> io::Result<Option<Kept>> {
    let (digest, size) = digest_of(source)?;
    let path = artifacts.join(digest.to_string()).join(name);
    let Ok(metadata) = fs::symlink_metadata(&path) else { return Ok(None) };
    let alike = metadata.is_file() && metadata.permissions().mode() & 0o7777 == mode;
    if !alike || metadata.len() != size || digest_of(&path)?.0 != digest {
        return Ok(None);
    }
    touch(folder_of(&path))?;
    Ok(Some(Kept { digest, path, size }))
}

/// Moves a copy to the place that its own content says, whatever the source has become meanwhile.
fn place(
    artifacts: &Path,
    name: &std::ffi::OsStr,
    (copy, mode): (&Path, u32),
) -> Result<Kept, Box<dyn std::error::Error + Send + Sync>> {
    let (digest, size) = digest_of(copy)?;
    fs::set_permissions(copy, Permissions::from_mode(mode))?;
    File::open(copy)?.sync_all()?;
    let folder = artifacts.join(digest.to_string());
    create_folder(&folder, FOLDER_MODE)?;
    let path = folder.join(name);
    crash::point("store.keep.copied");
    fs::rename(copy, &path)?;
    sync_folder(&folder)?;
    sync_folder(artifacts)?;
    crash::point("store.keep.placed");
    Ok(Kept { digest, path, size })
}

fn digest_of(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut size = 0;
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok((Digest(hasher.finalize().into()), size));
        }
        hasher.update(&chunk[..read]);
        size += read as u64;
    }
}

fn remove_from(
    folder: &Path,
    referenced: &BTreeSet<Digest>,
    age_min: Duration,
    removed: &mut Removed,
) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let now = SystemTime::now();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let digest = name.to_str().and_then(|name| Digest::parse(name).ok());
        // Leftovers of an interrupted copy are nobody's; other names are not ours.
        let leftover = name.to_str().is_some_and(|n| n.starts_with('.') && n.ends_with(".tmp"));
        let unwanted = digest.map_or(leftover, |digest| !referenced.contains(&digest));
        let metadata = entry.metadata()?;
        // A time in the future (the clock was set back) counts as young.
        let age = now.duration_since(metadata.modified()?).unwrap_or_default();
        if !unwanted || age < age_min {
            continue;
        }
        removed.bytes += size_below(&entry.path(), &metadata)?;
        removed.count += 1;
        if metadata.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    sync_folder(folder)
}

/// The size of a file, or of the files right below a folder.
fn size_below(path: &Path, metadata: &fs::Metadata) -> io::Result<u64> {
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    fs::read_dir(path)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}

/// Makes it young again.
fn touch(path: &Path) -> io::Result<()> {
    File::open(path)?.set_modified(SystemTime::now())
}

fn blob_path(state_dir: &Path, digest: Digest) -> PathBuf {
    state_dir.join(BLOBS).join(digest.to_string())
}

#[cfg(test)]
mod tests;
