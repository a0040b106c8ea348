//! The files of a service's folder, written out once for each content and never changed: what a
//! release was deployed from stays, whatever becomes of the branch.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::files;

const FOLDER_MODE: u32 = 0o700;
/// Up to so many files are made durable one by one.
const SYNCED_ONE_BY_ONE_MAX: usize = 16;

/// A file to be written.
#[derive(Debug, Clone)]
pub struct Written {
    /// Where, from the folder; checked to stay inside.
    pub path: String,
    /// Whether it may be run.
    pub is_program: bool,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// Writes these folders below `base`, each under its name, whole or not at all. Blocking.
pub fn write(base: &Path, trees: &[(String, Vec<Written>)]) -> io::Result<()> {
    if trees.is_empty() {
        return Ok(());
    }
    files::create_folder(base, FOLDER_MODE).map_err(|failure| io::Error::other(failure.chain()))?;
    let place = |(name, _): &(String, _)| {
        let place = base.join(name);
        (files::temporary_beside(&place), place)
    };
    let fresh: Vec<(PathBuf, PathBuf)> = trees.iter().map(place).collect();
    let written = write_fresh(base, trees, &fresh);
    if written.is_err() {
        // A disk that is full should not be filled with halves; most of these may never have been.
        for (temporary, _) in &fresh {
            let _ = fs::remove_dir_all(temporary);
        }
    }
    written
}

fn write_fresh(
    base: &Path,
    trees: &[(String, Vec<Written>)],
    fresh: &[(PathBuf, PathBuf)],
) -> io::Result<()> {
    for ((_, written), (temporary, _)) in trees.iter().zip(fresh) {
        fill(temporary, written)?;
    }
    let files: usize = trees.iter().map(|(_, written)| written.len()).sum();
    if files > SYNCED_ONE_BY_ONE_MAX {
        // One call for all files, and for whatever else waits for this disk.
        rustix::fs::syncfs(File::open(base)?)?;
    } else {
        fresh.iter().try_for_each(|(temporary, _)| sync_all(temporary))?;
    }
    // Then the names, which say that they are whole.
    for (temporary, place) in fresh {
        if place.exists() {
            fs::remove_dir_all(temporary)?;
        } else {
            fs::rename(temporary, place)?;
        }
    }
    files::sync_folder(base)
}

fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => sync_all(&entry.path())?,
            false => File::open(entry.path())?.sync_all()?,
        }
    }
    files::sync_folder(folder)
}

/// Writes files into a folder that is not there yet. Blocking.
pub fn fill(folder: &Path, written: &[Written]) -> io::Result<()> {
    fs::create_dir(folder)?;
    for one in written {
        let path = folder.join(&one.path);
        fs::create_dir_all(files::folder_of(&path))?;
        let mut file = File::create_new(&path)?;
        file.write_all(&one.bytes)?;
        let mode = if one.is_program { 0o755 } else { 0o644 };
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Removes what a writer that was killed has left, and all that nothing refers to. Blocking.
pub fn remove_others(base: &Path, kept: &BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(base)? {
        let entry = entry?;
        if !kept.contains(&entry.file_name().to_string_lossy().into_owned()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// How many there are. Blocking.
pub fn count(base: &Path) -> usize {
    fs::read_dir(base).map_or(0, Iterator::count)
}
