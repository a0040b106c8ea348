//! The folder of one instance, `<state>/instances/<service>/<instance>`: names, record, fence, end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rollway_core::ids::{Generation, InstanceId, ServiceName};
use rustix::fs::FlockOperation;

use super::wire::{FORMAT, Record};

/// The record's name in the folder.
pub const RECORD: &str = "shim.json";
/// The socket's name in the folder.
pub const SOCKET: &str = "shim.sock";
/// The log's name in the folder; rotated ones are `log.1` and so on.
pub const LOG: &str = "log";
/// So many logs of instances that are gone are kept for each service.
pub const OLD_LOGS_MAX: usize = 20;
/// A record is smaller than this; see `wire::LINE_BYTES_MAX`.
const RECORD_BYTES_MAX: u64 = 4 << 20;

/// The folder with all instances of a service.
pub fn of_service(state: &Path, service: &ServiceName) -> PathBuf {
    state.join("instances").join(service.as_str())
}

/// The folder of an instance.
pub fn of_instance(state: &Path, service: &ServiceName, instance: InstanceId) -> PathBuf {
    of_service(state, service).join(instance.to_string())
}

/// Where the log of an instance is kept when the instance is gone.
pub fn old_log(state: &Path, service: &ServiceName, instance: InstanceId) -> PathBuf {
    state.join("logs").join(service.as_str()).join(format!("{instance}.log"))
}

/// Makes a folder that only we may enter, and its parents.
pub fn make(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// What came of asking whether a generation may act.
pub enum Entry {
    /// It may, and older ones may not any more; as long as this lives, nobody else acts.
    Open(Lock),
    /// It may not: this one was here.
    Stale(Generation),
}

/// The lock on a service's fence.
pub struct Lock {
    _file: File,
}

/// Compares the generation with the newest that acted here and, if it is not older, makes it the
/// newest. What is done while the lock is held is done in the same critical section.
pub fn enter(service_folder: &Path, generation: Generation) -> io::Result<Entry> {
    let mut file = open_fence(service_folder)?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let seen = if text.is_empty() { Generation::default() } else { parse_fence(&text)? };
    if generation < seen {
        return Ok(Entry::Stale(seen));
    }
    // One write of constant length: no reader sees half of it. It need not outlive a power cut,
    // as whoever might act with an older number is on this machine and ends with it.
    if generation > seen || text.is_empty() {
        file.rewind()?;
        file.write_all(format!("{:020}\n", generation.0).as_bytes())?;
    }
    Ok(Entry::Open(Lock { _file: file }))
}

/// The lock without a claim: for what no generation has to allow, such as tidying up.
pub fn lock(service_folder: &Path) -> io::Result<Lock> {
    let file = open_fence(service_folder)?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
    Ok(Lock { _file: file })
}

fn open_fence(service_folder: &Path) -> io::Result<File> {
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(i32::try_from(nofollow).expect("the flag is one of the low bits"));
    options.open(service_folder.join("fence"))
}

fn parse_fence(text: &str) -> io::Result<Generation> {
    let digits = text.strip_suffix('\n').filter(|digits| digits.len() == 20);
    digits.and_then(|digits| digits.parse().ok()).map(Generation).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the fence file is damaged; it was left as it is",
        )
    })
}

/// Writes the record, all or nothing for every reader. Not synced to disk: after a power cut the
/// boot is another and all that it tells about is dead anyway.
pub fn write_record(folder: &Path, record: &Record) -> io::Result<()> {
    let bytes = serde_json::to_vec(record).expect("a record has string keys only");
    let fresh = folder.join("shim.json.new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&fresh)?.write_all(&bytes)?;
    fs::rename(fresh, folder.join(RECORD))
}

/// Reads the record, if there is one.
pub fn read_record(folder: &Path) -> io::Result<Option<Record>> {
    let file = match File::open(folder.join(RECORD)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(RECORD_BYTES_MAX).read_to_end(&mut bytes)?;
    let record: Record = serde_json::from_slice(&bytes)?;
    if record.format > FORMAT {
        let what = format!("{RECORD} has format {}, newer than {FORMAT}", record.format);
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(Some(record))
}

/// Takes the folder of an instance away and keeps its newest log.
pub fn remove(folder: &Path) -> io::Result<()> {
    if let Some(kept) = kept_log(folder) {
        // The log is worth keeping, but never worth failing a stop for.
        let _ = kept.parent().map(make);
        let _ = fs::rename(folder.join(LOG), kept);
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn kept_log(folder: &Path) -> Option<PathBuf> {
    let service = folder.parent()?;
    let state = service.parent()?.parent()?;
    let name = format!("{}.log", folder.file_name()?.to_str()?);
    Some(state.join("logs").join(service.file_name()?).join(name))
}

/// Removes the oldest logs beyond [`OLD_LOGS_MAX`], but not this folder's own.
pub fn prune_logs(folder: &Path) {
    let Some(own) = kept_log(folder) else { return };
    let Some(Ok(entries)) = own.parent().map(fs::read_dir) else { return };
    let mut aged: Vec<_> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .filter(|(_, path)| *path != own)
        .collect();
    aged.sort_unstable();
    let surplus = (aged.len() + 1).saturating_sub(OLD_LOGS_MAX);
    for (_, path) in &aged[..surplus.min(aged.len())] {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn seen(folder: &Path, generation: u64) -> String {
        match enter(folder, Generation(generation)) {
            Ok(Entry::Open(_)) => "open".into(),
            Ok(Entry::Stale(seen)) => format!("stale, seen {seen}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_fence_only_rises() {
        let folder = tempfile::tempdir().unwrap();
        let tried: Vec<String> = [3, 3, 2, 9, 8].map(|g| seen(folder.path(), g)).into();
        assert_eq!(tried, ["open", "open", "stale, seen g3", "open", "stale, seen g9"]);
    }

    #[test]
    fn a_damaged_fence_is_an_error_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("fence"), "soup").unwrap();
        assert!(seen(folder.path(), 1).contains("damaged"));
        assert_eq!(fs::read_to_string(folder.path().join("fence")).unwrap(), "soup");
    }

    #[test]
    fn only_the_newest_logs_are_kept() {
        let state = tempfile::tempdir().unwrap();
        let service = ServiceName::parse("shop").unwrap();
        for slot in 0..30 {
            let instance = InstanceId { release: rollway_core::ids::ReleaseNumber(1), slot };
            let folder = of_instance(state.path(), &service, instance);
            make(&folder).unwrap();
            fs::write(folder.join(LOG), "words").unwrap();
            remove(&folder).unwrap();
            prune_logs(&folder);
            assert!(!folder.exists());
            assert!(old_log(state.path(), &service, instance).exists());
        }
        let left = fs::read_dir(state.path().join("logs/shop")).unwrap().count();
        assert_eq!(left, OLD_LOGS_MAX);
    }
}
