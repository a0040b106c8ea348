//! Named places at which a test lets this process die: before and after every durable write and
//! every effect.
//!
//! In a release build there are none of them. In a debug build `ROLLWAY_CRASH_AT` arms one:
//!
//! ```text
//! ROLLWAY_CRASH_AT=engine.start.before      the process aborts when it first passes the place
//! ROLLWAY_CRASH_AT=engine.start.before:3    when it passes it for the third time
//! ROLLWAY_CRASH_AT=@FILE                    what FILE says while processes run, in the same form;
//!                                           passings of all processes are counted together
//! ```
//! A file is used up by the one process that dies of it: it is renamed to `FILE.fired`, and
//! `FILE.died` has the monotonic time in nanoseconds. Every place that is passed adds a line to
//! `FILE.passed`.

/// The variable that arms a place.
pub const VARIABLE: &str = "ROLLWAY_CRASH_AT";

/// All places, sorted. A name begins with what dies there: the control plane (`driver`, `engine`,
/// `files`, `store`, `traffic`), the proxy or a shim.
pub const ALL: &[&str] = &[
    "driver.alone.ended",
    "driver.start.before_spawn",
    "driver.start.spawned",
    "driver.stop.answered",
    "engine.adopt.after",
    "engine.adopt.before",
    "engine.answer.before",
    "engine.append.after",
    "engine.append.before",
    "engine.hook.after",
    "engine.hook.before",
    "engine.intake.kept",
    "engine.journal.retry",
    "engine.retire.after",
    "engine.retire.before",
    "engine.retire.drained",
    "engine.route.after",
    "engine.route.before",
    "engine.start.after",
    "engine.start.before",
    "files.replace.renamed",
    "files.replace.written",
    "proxy.apply.before",
    "proxy.apply.saved",
    "proxy.apply.switched",
    "proxy.apply.used",
    "proxy.remove.saved",
    "proxy.remove.used",
    "proxy.state.kept",
    "proxy.state.renamed",
    "proxy.state.synced",
    "proxy.state.written",
    "shim.start.fenced",
    "shim.start.recorded",
    "shim.start.spawned",
    "shim.start.told",
    "shim.stop.removed",
    "shim.stop.signalled",
    "shim.stop.stopped",
    "store.commit.after",
    "store.commit.before_begin",
    "store.commit.before_commit",
    "store.create.filled",
    "store.create.renamed",
    "store.epoch.after",
    "store.epoch.before",
    "store.epoch.committed",
    "store.keep.copied",
    "store.keep.placed",
    "traffic.proxy.before",
    "traffic.proxy.spawned",
];

/// A place that is passed.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn point(_name: &'static str) {}

/// Whether a place may be armed; never in a release build.
#[cfg(not(debug_assertions))]
#[must_use]
#[inline(always)]
pub fn is_armed() -> bool {
    false
}

#[cfg(debug_assertions)]
pub use armed::{is_armed, point};

#[cfg(debug_assertions)]
mod armed {
    use std::fs::{self, OpenOptions};
    use std::io::Write as _;
    use std::path::{Path, PathBuf};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::time::{ClockId, clock_gettime};

    /// What arms a place.
    enum Arms {
        Nothing,
        Text(String),
        File(PathBuf),
    }

    fn arms() -> &'static Arms {
        static ARMS: OnceLock<Arms> = OnceLock::new();
        ARMS.get_or_init(|| match std::env::var(super::VARIABLE) {
            Err(_) => Arms::Nothing,
            Ok(text) => match text.strip_prefix('@') {
                Some(file) => Arms::File(file.into()),
                None => Arms::Text(text),
            },
        })
    }

    /// Whether a place may be armed.
    #[must_use]
    pub fn is_armed() -> bool {
        !matches!(arms(), Arms::Nothing)
    }

    /// A place that is passed: the process ends here if it is the one that is armed.
    pub fn point(name: &'static str) {
        match arms() {
            Arms::Nothing => {}
            Arms::Text(text) => {
                static PASSED: AtomicU64 = AtomicU64::new(0);
                let (wanted, nth) = place(text);
                if wanted == name && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == nth {
                    std::process::abort();
                }
            }
            Arms::File(file) => {
                note(name, file);
                let armed = fs::read_to_string(file).unwrap_or_default();
                let (wanted, nth) = place(armed.trim());
                // Of several processes that pass it at once, the one that renames it dies.
                if wanted == name
                    && noted(name, file) >= nth
                    && fs::rename(file, beside(file, "fired")).is_ok()
                {
                    let now = clock_gettime(ClockId::Monotonic);
                    let text = format!("{}{:09}", now.tv_sec, now.tv_nsec);
                    // The death is what counts; its time is a help.
                    let _ = fs::write(beside(file, "died"), text);
                    std::process::abort();
                }
            }
        }
    }

    /// What `NAME` or `NAME:N` means.
    fn place(armed: &str) -> (&str, u64) {
        let (name, nth) = armed.split_once(':').unwrap_or((armed, "1"));
        (name, nth.parse().unwrap_or(1))
    }

    /// How often all processes together have passed a place, by the notes.
    fn noted(name: &str, file: &Path) -> u64 {
        let notes = fs::read_to_string(beside(file, "passed")).unwrap_or_default();
        notes.lines().filter(|line| *line == name).count() as u64
    }

    fn note(name: &str, file: &Path) {
        let passed = OpenOptions::new().create(true).append(true).open(beside(file, "passed"));
        // A line of this length is written in one go, whoever else writes.
        let _ = passed.and_then(|mut passed| passed.write_all(format!("{name}\n").as_bytes()));
    }

    fn beside(file: &Path, ending: &str) -> PathBuf {
        let mut name = file.as_os_str().to_owned();
        name.push(".");
        name.push(ending);
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::ALL;

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn every_place_is_listed_and_every_listed_one_is_there_once() {
        let mut files = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
        let call = concat!("crash::", "point(\"");
        let mut seen = Vec::new();
        for file in files {
            let text = fs::read_to_string(&file).expect("readable");
            let places = text.split(call).skip(1).filter_map(|rest| rest.split('"').next());
            seen.extend(places.map(str::to_owned));
        }
        seen.sort();
        assert_eq!(seen, ALL, "list it in `ALL`, in order, or take the place out");
        let names: BTreeSet<&str> = ALL.iter().copied().collect();
        assert_eq!(names.len(), ALL.len(), "a name is one place");
    }
}
