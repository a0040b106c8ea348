//! Files that are replaced as a whole: the previous content or the next, never half of one.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::crash;
use crate::failure::{Failure, FailureKind};
use crate::os::proc::Identity;

/// Replaces the file at `path` by `bytes`: temporary file, fsync, rename, fsync of the folder.
///
/// When this returns a failure of kind `NotDone`, the previous content is still there; `Unknown`
/// means that the new content is in place but a power cut may still bring the previous one back.
pub fn atomic_write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let temporary = temporary_beside(path);
    let written = write_new(&temporary, bytes, mode).and_then(|()| {
        crash::point("files.replace.written");
        fs::rename(&temporary, path)
    });
    if let Err(error) = written {
        // It may never have been made, and nothing depends on its going.
        let _ = fs::remove_file(&temporary);
        return Err(Failure::because(FailureKind::NotDone, writing(path), error));
    }
    crash::point("files.replace.renamed");
    sync_folder(folder_of(path))
        .map_err(|error| Failure::because(FailureKind::Unknown, writing(path), error))
}

/// Makes the names in a folder durable: what was created, renamed or removed there stays so.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a folder, and those above it, with `mode`; one that exists is left as it is.
pub fn create_folder(folder: &Path, mode: u32) -> Result<(), Failure> {
    DirBuilder::new().recursive(true).mode(mode).create(folder).map_err(|error| {
        let doing = format!("could not create the folder {}", folder.display());
        Failure::because(FailureKind::NotDone, doing, error)
    })
}

/// A name in the same folder that nobody else uses: `.rollway.toml.4711-3.tmp`.
#[must_use]
pub fn temporary_beside(path: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".{}-{count}.tmp", std::process::id()));
    path.with_file_name(name)
}

/// Removes what processes that died amid replacing the file at `path` left beside it. What cannot
/// be removed stays: nothing depends on its going.
pub fn remove_leftovers(path: &Path) {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return };
    let Ok(entries) = fs::read_dir(folder_of(path)) else { return };
    for entry in entries.filter_map(Result::ok) {
        let found = entry.file_name();
        if writer_of(&found.to_string_lossy(), name).is_some_and(|pid| Identity::of(pid).is_none())
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whose temporary file of `name` this is: see `temporary_beside`. SQLite has journals beside it.
fn writer_of(found: &str, name: &str) -> Option<i32> {
    let rest = found.strip_prefix('.')?.strip_prefix(name)?.strip_prefix('.')?;
    let (pid, rest) = rest.split_once('-')?;
    let (_, ending) = rest.split_once('.')?;
    ending.starts_with("tmp").then(|| pid.parse().ok())?
}

/// The folder that a file is in; a bare name is in the current one.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    }
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // A leftover can only be from a process that died with our number: nobody is writing it.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    // The mode given at creation is cut by the umask; this one is not.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

fn writing(path: &Path) -> String {
    format!("could not write {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_the_whole_file_with_the_mode_asked_for() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("table.json");
        atomic_write(&path, b"a longer first content", 0o644).expect("first");
        atomic_write(&path, b"second", 0o600).expect("second");
        assert_eq!(fs::read(&path).expect("read"), b"second");
        assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o600);
        let names = fs::read_dir(folder.path()).expect("list").count();
        assert_eq!(names, 1, "no temporary file is left");
    }

    #[test]
    fn what_the_dead_left_is_removed_and_what_the_living_write_is_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("table.json");
        let mut dead = std::process::Command::new("true").spawn().expect("a process");
        dead.wait().expect("its end");
        let ours = folder.path().join(format!(".table.json.{}-7.tmp", std::process::id()));
        let others = folder.path().join(format!(".other.{}-7.tmp", dead.id()));
        let gone = ["", "-journal"]
            .map(|ending| folder.path().join(format!(".table.json.{}-7.tmp{ending}", dead.id())));
        for file in gone.iter().chain([&path, &ours, &others]) {
            fs::write(file, "").expect("a file");
        }
        remove_leftovers(&path);
        assert!(gone.iter().all(|file| !file.exists()), "what the dead left is still there");
        assert!([path, ours, others].iter().all(|file| file.exists()), "too much was removed");
    }

    #[test]
    fn leaves_the_previous_content_and_no_leftover_when_it_cannot_replace() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("taken");
        fs::create_dir_all(path.join("inside")).expect("a folder in the way");
        let failure = atomic_write(&path, b"x", 0o600).expect_err("a folder cannot be replaced");
        assert_eq!(failure.kind, FailureKind::NotDone);
        assert!(path.join("inside").is_dir());
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 1);
    }

    #[test]
    fn a_bare_name_is_in_the_current_folder() {
        assert_eq!(folder_of(Path::new("rollway.yaml")), Path::new("."));
        assert_eq!(folder_of(Path::new("/a/b")), Path::new("/a"));
    }
}
