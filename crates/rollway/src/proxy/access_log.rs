//! Writes one JSON line per request; a thread of its own does the writing, and what it cannot
//! keep up with is dropped and counted, because no request ever waits for a disk.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use serde::Serialize;

use crate::failure::{Failure, FailureKind};

/// Lines that may wait for the disk: a tenth of a second at 100,000 requests a second.
const LINES_MAX: usize = 10_000;
/// A line is on its way to the file after this, even when no further one comes.
const FLUSH: Duration = Duration::from_millis(200);

/// Takes lines for the log.
pub struct AccessLog {
    lines: SyncSender<Line>,
    /// Lines that were dropped.
    pub dropped: AtomicU64,
}

/// What is written about a request.
#[derive(Debug, Serialize)]
pub struct Line {
    /// When it ended, as RFC 3339 has it.
    pub time: jiff::Timestamp,
    /// For which service.
    pub service: String,
    /// Which release answered.
    pub release: u64,
    /// Which instance answered.
    pub instance: String,
    /// The method.
    pub method: String,
    /// The path, without the query: that may hold secrets.
    pub path: String,
    /// The status.
    pub status: u16,
    /// Bytes of the body that were sent on.
    pub bytes: u64,
    /// From the head of the request to the end of the answer.
    pub ms: f64,
    /// The client's address.
    pub client: String,
    /// Further attempts.
    pub retried: u32,
}

impl AccessLog {
    /// Appends to the file at `path`.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let mut options = File::options();
        options.append(true).create(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(|error| {
            let doing = format!("could not open the access log {}", path.display());
            Failure::because(FailureKind::NotDone, doing, error)
        })?;
        let (lines, waiting) = sync_channel(LINES_MAX);
        let thread = std::thread::Builder::new().name("access-log".into());
        thread.spawn(move || write(&waiting, file)).map_err(|error| {
            Failure::because(FailureKind::NotDone, "could not start the log's thread", error)
        })?;
        Ok(Self { lines, dropped: AtomicU64::new(0) })
    }

    /// Takes a line, or counts it as dropped.
    pub fn add(&self, line: Line) {
        if self.lines.try_send(line).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

fn write(lines: &Receiver<Line>, file: File) {
    let mut file = BufWriter::new(file);
    loop {
        match lines.recv_timeout(FLUSH) {
            Ok(line) => {
                let mut text = serde_json::to_vec(&line).expect("plain data becomes JSON");
                text.push(b'\n');
                // A full disk must not end the proxy; the lines are lost, as when dropped.
                let _ = file.write_all(&text);
            }
            Err(RecvTimeoutError::Timeout) => drop(file.flush()),
            Err(RecvTimeoutError::Disconnected) => return drop(file.flush()),
        }
    }
}
