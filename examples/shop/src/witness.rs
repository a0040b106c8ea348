//! The witness log: what this process says happened to it, for tests that trust nobody else.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::Arc;

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::flags::Flags;

/// Appends JSON lines to the file that `SHOP_WITNESS` names; without one it does nothing.
///
/// Every line is one `write` to a file opened for appending, so that many processes may share it.
#[derive(Clone)]
pub struct Witness {
    file: Option<Arc<File>>,
    requests: bool,
    version: String,
    instance: String,
}

impl Witness {
    /// Opens the file that the environment names.
    pub fn open(flags: &Flags) -> Result<Self, String> {
        let file = match std::env::var_os("SHOP_WITNESS") {
            Some(path) => {
                let file = OpenOptions::new().create(true).append(true).open(&path);
                let file = file.map_err(|e| format!("could not open the witness log: {e}"))?;
                Some(Arc::new(file))
            }
            None => None,
        };
        let requests = std::env::var_os("SHOP_WITNESS_REQUESTS").is_some();
        let (version, instance) = (flags.version.clone(), flags.instance.clone());
        Ok(Self { file, requests, version, instance })
    }

    /// Writes one event; `what` are further members of the line.
    pub fn write(&self, event: &str, what: &[(&str, Value)]) {
        let Some(file) = &self.file else { return };
        let mut line = json!({
            "event": event,
            "version": self.version,
            "instance": self.instance,
            "pid": std::process::id(),
            "mono_ns": mono_ns(),
        });
        for (name, value) in what {
            line[*name] = value.clone();
        }
        // A full disk must not stop the service; the reader will miss the line and say so.
        drop((&**file).write_all(format!("{line}\n").as_bytes()));
    }

    /// Writes one request, if asked for.
    pub fn request(&self, path: &str) {
        if self.requests {
            self.write("request", &[("path", Value::from(path))]);
        }
    }
}

/// The machine's monotonic clock: one for all its processes.
fn mono_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}
