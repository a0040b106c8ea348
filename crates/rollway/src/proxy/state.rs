//! The files of the proxy: the tables that hold, kept so that a restart serves at once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::table::ServiceTable;
use crate::crash;
use crate::failure::{Failure, FailureKind};

/// Version of the file's format.
const FORMAT: u32 = 1;
/// The table that holds.
const CURRENT: &str = "table.json";
/// One that is being written, and then the one before, until the disk has both.
const EXCHANGED: &str = "table.new";
/// The one before.
const PREVIOUS: &str = "table.prev.json";
/// So many deleted services are remembered, to refuse what is late for them.
const DELETED_MAX: usize = 1_000;

/// Everything that outlives the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The tables by service.
    pub services: BTreeMap<String, ServiceTable>,
    /// The generation with which services were deleted.
    #[serde(default)]
    pub deleted: BTreeMap<String, u64>,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    format: u32,
    sha256: String,
    state: State,
}

impl State {
    /// Remembers that a service was deleted.
    pub fn delete(&mut self, service: &str, generation: u64) {
        self.services.remove(service);
        self.deleted.insert(service.to_owned(), generation);
        while self.deleted.len() > DELETED_MAX {
            self.deleted.pop_first();
        }
    }

    /// Writes it in the place of what was there before. It is there after any end of this process;
    /// what is returned makes it outlive a power cut, too, and must be done before the next one is
    /// saved, so that one of the two is whole whatever happens.
    pub fn save(&self, folder: &Path) -> Result<Unsynced, Failure> {
        let envelope = Envelope { format: FORMAT, sha256: self.digest(), state: self.clone() };
        let text = serde_json::to_vec_pretty(&envelope).expect("plain data becomes JSON");
        let file = replace(folder, &text).map_err(|error| {
            let doing = format!("could not write {}", folder.join(CURRENT).display());
            Failure::because(FailureKind::NotDone, doing, error)
        })?;
        Ok(Unsynced { file, folder: folder.to_owned() })
    }

    /// Reads it. Damaged files are put aside, never written over, and told of as alarms.
    pub fn load(folder: &Path) -> (Self, Vec<String>) {
        let mut alarms = Vec::new();
        for name in [CURRENT, EXCHANGED, PREVIOUS] {
            let path = folder.join(name);
            match Self::read(&path) {
                Ok(Some(state)) => {
                    if name != CURRENT && !alarms.is_empty() {
                        alarms.push(format!("{name} is used instead, it is older"));
                    }
                    return (state, alarms);
                }
                Ok(None) => {}
                // Most likely one that was being written: it never held.
                Err(_) if name == EXCHANGED => {}
                Err(failure) => {
                    let aside = put_aside(&path);
                    alarms.push(format!("{}; it was kept as {aside}", failure.chain()));
                }
            }
        }
        if !alarms.is_empty() {
            alarms.push("no readable table: no service is served until tables are applied".into());
        }
        (Self::default(), alarms)
    }

    fn read(path: &Path) -> Result<Option<Self>, Failure> {
        let doing = || format!("could not read {}", path.display());
        let damaged = |what: String| Failure::because(FailureKind::Damaged, doing(), what);
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(damaged(error.to_string())),
        };
        let envelope: Envelope =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if envelope.format != FORMAT {
            return Err(damaged(format!("format {}, not {FORMAT}", envelope.format)));
        }
        if envelope.sha256 != envelope.state.digest() {
            return Err(damaged("its checksum is wrong".to_owned()));
        }
        let tables = envelope.state.services.values();
        if let Some(problem) = tables.flat_map(ServiceTable::problems).next() {
            return Err(damaged(problem.to_string()));
        }
        Ok(Some(envelope.state))
    }

    fn digest(&self) -> String {
        let text = serde_json::to_vec(self).expect("plain data becomes JSON");
        Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn put_aside(path: &Path) -> String {
    let mut aside: PathBuf = path.to_owned();
    let now = jiff::Timestamp::now().as_millisecond();
    aside.set_extension(format!("damaged.{now}.json"));
    match std::fs::rename(path, &aside) {
        Ok(()) => aside.display().to_string(),
        Err(error) => format!("{} ({error})", path.display()),
    }
}

/// A table that holds, and may still be lost by a power cut.
#[must_use]
pub struct Unsynced {
    file: File,
    folder: PathBuf,
}

impl Unsynced {
    /// Waits until the disk has it, and gives the one before its lasting name.
    pub fn sync(&self) -> std::io::Result<()> {
        self.file.sync_all()?;
        crash::point("proxy.state.synced");
        match std::fs::rename(self.folder.join(EXCHANGED), self.folder.join(PREVIOUS)) {
            // The first table has none before it.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        crash::point("proxy.state.kept");
        File::open(&self.folder)?.sync_all()
    }
}

/// Writes a table and exchanges it with the one that held: at no moment is there none, nobody
/// sees half of one, and nothing has to be removed first, which would take longer than the rest.
fn replace(folder: &Path, content: &[u8]) -> std::io::Result<File> {
    let (new, current) = (folder.join(EXCHANGED), folder.join(CURRENT));
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    file.write_all(content)?;
    crash::point("proxy.state.written");
    match rustix::fs::renameat_with(CWD, &new, CWD, &current, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        Err(rustix::io::Errno::NOENT) => std::fs::rename(&new, &current)?,
        // Not every file system can: then the one before gets a second name.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            let previous = folder.join(PREVIOUS);
            let _ = std::fs::remove_file(&previous);
            std::fs::hard_link(&current, &previous)?;
            std::fs::rename(&new, &current)?;
        }
        Err(error) => return Err(error.into()),
    }
    crash::point("proxy.state.renamed");
    Ok(file)
}

/// Replaces a file so that after a power cut the old or the new content is there, whole.
pub fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let attempt = || -> std::io::Result<()> {
        let temporary = path.with_extension("new");
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    };
    attempt().map_err(|error| {
        let doing = format!("could not write {}", path.display());
        Failure::because(FailureKind::NotDone, doing, error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(generation: u64) -> State {
        let table = ServiceTable::new("shop", generation, vec!["8080".into()], Vec::new());
        State { services: [("shop".to_owned(), table)].into(), ..State::default() }
    }

    #[test]
    fn a_damaged_file_gives_way_to_the_previous_one_and_is_kept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for number in [1, 2] {
            state(number).save(folder.path()).expect("saved").sync().expect("synced");
        }
        assert_eq!(State::load(folder.path()), (state(2), vec![]));
        let path = folder.path().join("table.json");
        let text = std::fs::read_to_string(&path).expect("it is there");
        std::fs::write(&path, text.replace("\"generation\": 2", "\"generation\": 3")).expect("ok");
        let (loaded, alarms) = State::load(folder.path());
        assert_eq!(loaded, state(1));
        assert!(alarms[0].contains("its checksum is wrong; it was kept as"), "{alarms:?}");
        assert!(!path.exists());
        std::fs::write(&path, "{").expect("ok");
        std::fs::write(folder.path().join("table.prev.json"), "").expect("ok");
        let (loaded, alarms) = State::load(folder.path());
        assert_eq!(loaded, State::default());
        assert!(alarms[2].starts_with("no readable table"), "{alarms:?}");
    }
}
