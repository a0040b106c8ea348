//! Arming a place in processes that run.

use std::fs;
use std::path::{Path, PathBuf};

/// The file that arms places in the processes of one world.
pub struct Arm {
    file: PathBuf,
}

impl Arm {
    pub fn new(root: &Path) -> Self {
        Self { file: root.join("crash") }
    }

    /// What processes get as `ROLLWAY_CRASH_AT`.
    pub fn variable(&self) -> String {
        format!("@{}", self.file.display())
    }

    /// From now on whoever passes the place as the n-th dies.
    pub fn set(&self, point: &str, nth: u64) {
        self.disarm();
        for ending in ["fired", "died", "passed"] {
            // There is none if nothing was armed before.
            let _ = fs::remove_file(self.beside(ending));
        }
        let fresh = self.beside("new");
        fs::write(&fresh, format!("{point}:{nth}")).unwrap();
        fs::rename(fresh, &self.file).unwrap();
    }

    pub fn disarm(&self) {
        // It is not there when it was used up.
        let _ = fs::remove_file(&self.file);
    }

    /// Whether somebody died of it.
    pub fn fired(&self) -> bool {
        self.beside("fired").exists()
    }

    /// When, on the monotonic clock.
    pub fn died_ns(&self) -> Option<u64> {
        fs::read_to_string(self.beside("died")).ok()?.parse().ok()
    }

    /// How often the place was passed since it was armed.
    pub fn passed(&self, point: &str) -> u64 {
        let notes = fs::read_to_string(self.beside("passed")).unwrap_or_default();
        notes.lines().filter(|line| *line == point).count() as u64
    }

    fn beside(&self, ending: &str) -> PathBuf {
        self.file.with_extension(ending)
    }
}
