//! The probe `memory`: the machine has memory to give.
//!
//! ```yaml
//! health:
//!   - memory: {available: 512MiB}
//! ```

use rollway_core::spec::MemoryCheck;

use super::{Found, room};

/// Reads the machine's figures; they are made by the kernel, not read from a disk.
pub(super) fn check(check: &MemoryCheck) -> Found {
    match figures() {
        Ok(Figures { available, total }) => room(check.available, available, total, "available"),
        Err(why) => Found::bad(why),
    }
}

/// The memory of the machine, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// What can be had without swapping.
    pub available: u64,
    /// All of it.
    pub total: u64,
}

/// Reads them; the error says why it could not.
pub fn figures() -> Result<Figures, String> {
    let text = std::fs::read_to_string("/proc/meminfo")
        .map_err(|error| format!("could not read /proc/meminfo: {error}"))?;
    match (figure(&text, "MemAvailable:"), figure(&text, "MemTotal:")) {
        (Some(available), Some(total)) => Ok(Figures { available, total }),
        _ => Err("/proc/meminfo does not tell what is available".to_owned()),
    }
}

fn figure(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_in_bytes() {
        let text = "MemTotal:       2048 kB\nMemFree: 1 kB\nMemAvailable:    512 kB\n";
        assert_eq!(figure(text, "MemTotal:"), Some(2 << 20));
        assert_eq!(figure(text, "MemAvailable:"), Some(512 << 10));
        assert_eq!(figure(text, "SwapTotal:"), None);
    }
}
