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
    let text = match std::fs::read_to_string("/proc/meminfo") {
        Ok(text) => text,
        Err(error) => return Found::bad(format!("could not read /proc/meminfo: {error}")),
    };
    match (figure(&text, "MemAvailable:"), figure(&text, "MemTotal:")) {
        (Some(available), Some(total)) => room(check.available, available, total, "available"),
        _ => Found::bad("/proc/meminfo does not tell what is available"),
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
