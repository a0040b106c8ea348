//! Deployments that somebody else carried out: a strategy written in Python, on targets that are
//! not ours. They are one JSON line each in `recorded.jsonl`, beside the database.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rollway_core::event::{DeploymentKind, DeploymentState};
use rollway_core::view::{DeploymentView, ReleaseRef};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::place::{FILE_MODE, prepare_folder};
use crate::failure::{Failure, FailureKind};
use crate::files;

/// The file's name in the state folder.
pub const FILE: &str = "recorded.jsonl";

/// One deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The service, by whatever name its owner gave it.
    pub service: String,
    /// The version that was deployed, or gone back to.
    pub version: String,
    /// The strategy's name.
    pub strategy: String,
    /// What was asked for.
    pub kind: DeploymentKind,
    /// Where it ended.
    pub state: DeploymentState,
    /// Whether it did all that was asked for.
    pub success: bool,
    /// How many targets are on the version.
    pub targets_updated: u64,
    /// How many are not.
    pub targets_failed: u64,
    /// What went wrong.
    #[serde(default)]
    pub errors: Vec<String>,
    /// Whatever else its owner wants to remember.
    #[serde(default)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// Who asked.
    #[serde(default)]
    pub actor: String,
    /// When it began, in milliseconds since 1970.
    pub started_at_ms: i64,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
}

impl Record {
    /// As a deployment of ours would be shown; the number counts the service's records.
    #[must_use]
    pub fn view(&self, number: u64) -> DeploymentView {
        let elapsed_ms = self.duration_ms.max(0.0) as u64;
        DeploymentView {
            id: format!("{}-recorded-{number}", self.service),
            number,
            service: self.service.clone(),
            kind: self.kind,
            strategy: self.strategy.clone(),
            from: None,
            to: ReleaseRef { number: 0, version: self.version.clone() },
            state: self.state,
            undoing: false,
            stages: Vec::new(),
            waiting: None,
            instances_started: u32::try_from(self.targets_updated).unwrap_or(u32::MAX),
            instances_failed: u32::try_from(self.targets_failed).unwrap_or(u32::MAX),
            reasons: self.errors.clone(),
            failures: Vec::new(),
            actor: self.actor.clone(),
            started_at_ms: self.started_at_ms,
            ended_at_ms: Some(self.started_at_ms + elapsed_ms.cast_signed()),
            elapsed_ms,
            eta_ms: None,
        }
    }
}

/// Adds a record; it is on disk when this returns.
pub fn append(state_dir: &Path, record: &Record) -> Result<(), Failure> {
    prepare_folder(state_dir)?;
    let path = state_dir.join(FILE);
    let failed = |error: io::Error| {
        let doing = format!("could not write to {}", path.display());
        Failure::because(FailureKind::NotDone, doing, error)
    };
    let mut line = serde_json::to_vec(record).map_err(|error| failed(error.into()))?;
    line.push(b'\n');
    let is_new = !path.exists();
    let mut file = OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .mode(FILE_MODE)
        .open(&path)
        .map_err(failed)?;
    // Lines of several processes must not get into each other.
    flock(&file, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
    drop_half_line(&mut file).map_err(failed)?;
    file.write_all(&line).and_then(|()| file.sync_all()).map_err(failed)?;
    if is_new {
        files::sync_folder(state_dir).map_err(failed)?;
    }
    Ok(())
}

/// A line that was being written when the power went would spoil the next one.
fn drop_half_line(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.seek(SeekFrom::Start(length - 1))?;
        file.read_exact(&mut last)?;
    }
    if last == *b"\n" {
        return Ok(());
    }
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    file.set_len(whole as u64)
}

/// All records, in the order in which they were added.
pub fn read(state_dir: &Path) -> Result<Vec<Record>, Failure> {
    let path = state_dir.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            let doing = format!("could not read {}", path.display());
            return Err(Failure::because(FailureKind::Damaged, doing, error));
        }
    };
    // What does not end with a line's end was being written when the power went: nobody was told
    // that it is kept.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|error| {
                let doing = format!("could not read {}:{}", path.display(), index + 1);
                Failure::because(FailureKind::Damaged, doing, error)
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(version: &str) -> Record {
        Record {
            service: "shop".to_owned(),
            version: version.to_owned(),
            strategy: "rolling".to_owned(),
            kind: DeploymentKind::Deploy,
            state: DeploymentState::Completed,
            success: true,
            targets_updated: 3,
            targets_failed: 0,
            errors: Vec::new(),
            metadata: serde_json::Map::new(),
            actor: "ann".to_owned(),
            started_at_ms: 1_700_000_000_000,
            duration_ms: 12.5,
        }
    }

    #[test]
    fn records_come_back_in_order_and_half_a_line_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let state_dir = folder.path().join("state");
        assert_eq!(read(&state_dir).expect("nothing yet"), Vec::new());
        for version in ["v1", "v2"] {
            append(&state_dir, &example(version)).expect("written");
        }
        assert_eq!(read(&state_dir).expect("read"), [example("v1"), example("v2")]);
        let path = state_dir.join(FILE);
        let mut text = std::fs::read_to_string(&path).expect("text");
        text.push_str("{\"service\":\"sh");
        std::fs::write(&path, &text).expect("written");
        assert_eq!(read(&state_dir).expect("read").len(), 2);
        append(&state_dir, &example("v3")).expect("written");
        assert_eq!(read(&state_dir).expect("read")[2], example("v3"));
        std::fs::write(&path, "no JSON\n").expect("written");
        assert!(read(&state_dir).is_err());
    }
}
