//! The state folder: whose it is, who uses it, and which database belongs in it.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Failure, FailureKind};
use crate::files::{atomic_write, create_folder, remove_leftovers};
use crate::os::proc;

/// The state folder is for its owner alone: it holds sockets, secrets' versions and history.
pub const FOLDER_MODE: u32 = 0o700;
/// So is every file in it.
pub const FILE_MODE: u32 = 0o600;

const DATABASE: &str = "rollway.db";
const IDENTITY: &str = "instance-id";
const LOCK: &str = "lock";
/// An identity is two short lines; a longer file is not one.
const IDENTITY_BYTES_MAX: u64 = 1024;
/// A process number has at most this many digits.
const PID_DIGITS_MAX: u64 = 20;
/// A process that is killed as it starts another one leaves its lock to it until that one runs its
/// own program: milliseconds, or longer on a busy machine. Whoever comes next waits so long.
const LEFT_WAIT_MAX: Duration = Duration::from_secs(2);
/// The wait between two tries.
const LEFT_LOOK: Duration = Duration::from_millis(2);

/// Makes the state folder, or checks that the one there is ours alone.
pub fn prepare_folder(state_dir: &Path) -> Result<(), Failure> {
    let doing = || format!("could not use the state folder {}", state_dir.display());
    let refuse = |what: String| Err(Failure::because(FailureKind::NotDone, doing(), what));
    create_folder(state_dir, FOLDER_MODE)?;
    let failed = |error: io::Error| Failure::because(FailureKind::NotDone, doing(), error);
    let metadata = fs::metadata(state_dir).map_err(failed)?;
    let ours = rustix::process::geteuid().as_raw();
    if metadata.uid() != ours {
        let owner = metadata.uid();
        return refuse(format!("it belongs to user {owner}, not to user {ours} who runs this"));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    // A folder with other people's files in it may be open to others for a reason.
    if fs::read_dir(state_dir).map_err(failed)?.next().is_some() {
        let hint = format!("chmod 700 {}, or choose another folder", state_dir.display());
        return refuse(format!("others may enter it (mode {mode:04o}); hint: {hint}"));
    }
    fs::set_permissions(state_dir, Permissions::from_mode(FOLDER_MODE)).map_err(failed)
}

/// The right to be the one control plane of a state folder, until it is dropped or its process
/// ends, however it ends.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

/// Takes the state folder for this process, or says which process has it. Blocks for a moment
/// where the one who had it is dead and a child of it still holds on.
pub fn lock(state_dir: &Path) -> Result<StateLock, Failure> {
    prepare_folder(state_dir)?;
    let path = state_dir.join(LOCK);
    let failed = |error: io::Error| {
        let doing = format!("could not lock the state folder {}", state_dir.display());
        Failure::because(FailureKind::NotDone, doing, error)
    };
    // The file stays when the lock goes: removing it would let two processes lock two files.
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(&path)
        .map_err(failed)?;
    let asked = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) => {}
        }
        let holder = holder(&mut file).map_err(failed)?;
        let lives = holder.is_some_and(|pid| proc::Identity::of(pid).is_some());
        if lives || asked.elapsed() > LEFT_WAIT_MAX {
            return Err(Failure::new(FailureKind::NotDone, in_use(state_dir, holder)));
        }
        thread::sleep(LEFT_LOOK);
    }
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(failed)?;
    Ok(StateLock { _file: file })
}

/// Who wrote its number last; between taking the lock and writing it there is none for a moment.
fn holder(file: &mut File) -> io::Result<Option<i32>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(PID_DIGITS_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().parse().ok())
}

fn in_use(state_dir: &Path, holder: Option<i32>) -> String {
    let by = match holder {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    };
    format!("the state folder {} is in use by {by}", state_dir.display())
}

/// Where the database of a state folder is.
pub(super) fn database_path(state_dir: &Path) -> PathBuf {
    state_dir.join(DATABASE)
}

/// Where the write-ahead log of a database is.
pub(super) fn log_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

/// Which database belongs in a state folder; kept in the database and in a file beside it, so that
/// a database that is missing, swapped or older than the folder is noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// 32 hexadecimal digits, made once.
    pub(super) instance: String,
    /// How many control planes were started on it.
    pub(super) epoch: u64,
}

impl Identity {
    /// That of a database that is about to be made.
    pub(super) fn fresh() -> Result<Self, Failure> {
        let mut bytes = [0; 16];
        let random = ring::rand::SystemRandom::new();
        ring::rand::SecureRandom::fill(&random, &mut bytes).map_err(|_| {
            Failure::new(FailureKind::NotDone, "could not get random bytes for the instance's id")
        })?;
        Ok(Self { instance: format!("{:032x}", u128::from_be_bytes(bytes)), epoch: 0 })
    }

    /// Reads the file beside the database, if there is one.
    pub(super) fn read(state_dir: &Path) -> Result<Option<Self>, Failure> {
        let path = state_dir.join(IDENTITY);
        let mut text = String::new();
        let read = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => Err(error),
            Ok(file) => file.take(IDENTITY_BYTES_MAX).read_to_string(&mut text),
        };
        let doing = format!("could not read {}", path.display());
        match read {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(Failure::because(FailureKind::Damaged, doing, error))
            }
            Err(error) => Err(Failure::because(FailureKind::NotDone, doing, error)),
            Ok(_) => match Self::parse(&text) {
                Some(identity) => Ok(Some(identity)),
                None => {
                    let what = "it does not hold an instance's id; hint: restore it together with \
                                the database from a backup";
                    Err(Failure::because(FailureKind::Damaged, doing, what))
                }
            },
        }
    }

    /// Replaces the file beside the database.
    pub(super) fn write(&self, state_dir: &Path) -> Result<(), Failure> {
        let text = format!("instance {}\nepoch {}\n", self.instance, self.epoch);
        let path = state_dir.join(IDENTITY);
        remove_leftovers(&path);
        atomic_write(&path, text.as_bytes(), FILE_MODE)
    }

    fn parse(text: &str) -> Option<Self> {
        let (first, second) = text.strip_suffix('\n')?.split_once('\n')?;
        let instance = first.strip_prefix("instance ")?;
        let epoch = second.strip_prefix("epoch ")?.parse().ok()?;
        let plain = instance.len() == 32 && instance.bytes().all(|b| b.is_ascii_hexdigit());
        plain.then(|| Self { instance: instance.to_owned(), epoch })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn an_identity_reads_back_and_half_of_one_does_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(Identity::read(folder.path()).expect("nothing there"), None);
        let identity = Identity { epoch: 7, ..Identity::fresh().expect("random bytes") };
        identity.write(folder.path()).expect("write");
        assert_eq!(Identity::read(folder.path()).expect("read"), Some(identity));
        let path = folder.path().join(IDENTITY);
        let text = fs::read_to_string(&path).expect("text");
        for length in 0..text.len() {
            fs::write(&path, &text[..length]).expect("cut short");
            let failure = Identity::read(folder.path()).expect_err("cut short");
            assert_eq!(failure.kind, FailureKind::Damaged, "{length}");
        }
    }

    #[test]
    fn one_lock_at_a_time_and_the_holder_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let state = folder.path().join("state");
        let held = lock(&state).expect("the first");
        let failure = lock(&state).expect_err("the second");
        let process = format!("in use by process {}", std::process::id());
        assert!(failure.chain().contains(&process), "{}", failure.chain());
        drop(held);
        lock(&state).expect("after the first has gone");
    }

    #[test]
    fn what_a_dead_holder_left_to_a_child_is_waited_for() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let state = folder.path().join("state");
        let path = state.join(LOCK);
        let held = lock(&state).expect("the first")._file;
        let mut dead = Command::new("true").spawn().expect("a process");
        dead.wait().expect("its end");
        fs::write(&path, format!("{}\n", dead.id())).expect("the holder's number");
        // Has the descriptor, as a child has that does not run its own program yet.
        let mut child = Command::new("sleep").arg("0.2").stdin(held).spawn().expect("a child");
        lock(&state).expect("when the child has let go");
        child.wait().expect("its end");
    }

    #[test]
    fn a_folder_with_files_that_others_may_enter_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let open = Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), open.clone()).expect("chmod");
        prepare_folder(folder.path()).expect("an empty one is closed");
        let mode = fs::metadata(folder.path()).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, FOLDER_MODE);
        fs::write(folder.path().join("file"), "").expect("a file");
        fs::set_permissions(folder.path(), open).expect("chmod");
        let failure = prepare_folder(folder.path()).expect_err("now it has a file");
        assert!(failure.chain().contains("hint: chmod 700"), "{}", failure.chain());
    }
}
