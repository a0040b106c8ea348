//! The clock of a service: milliseconds that never go back and go on over a restart.
//!
//! It is the kernel's boot-time clock (which suspends and wall-clock jumps do not disturb) plus an
//! offset. After a reboot it goes on where the last event left it.

use rollway_core::units::Millis;
use serde::{Deserialize, Serialize};

/// What is stored so that the next control plane goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The kernel's name of this boot.
    pub boot: String,
    /// What the service's clock is ahead of the boot-time clock, in milliseconds.
    pub offset_ms: i64,
}

/// The clock of one service.
#[derive(Debug, Clone)]
pub struct Clock {
    boot: String,
    offset_ms: i64,
}

impl Clock {
    /// Goes on from what was stored; `last` is the clock of the last event.
    #[must_use]
    pub fn resume(stored: Option<Stored>, last: Millis) -> Self {
        let boot = boot_id();
        let here = since_boot_ms();
        let offset_ms = match stored {
            Some(stored) if stored.boot == boot => stored.offset_ms,
            _ => last.0.cast_signed() - here,
        };
        // Whatever was stored, the clock does not go back behind the last event.
        let offset_ms = offset_ms.max(last.0.cast_signed() - here);
        Self { boot, offset_ms }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Millis {
        Millis((since_boot_ms() + self.offset_ms).max(0).cast_unsigned())
    }

    /// What is to be stored.
    #[must_use]
    pub fn stored(&self) -> Stored {
        Stored { boot: self.boot.clone(), offset_ms: self.offset_ms }
    }
}

fn since_boot_ms() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

fn boot_id() -> String {
    // Without the file (no procfs) every start counts as a new boot, which is safe.
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// The wall clock in milliseconds since 1970: for people, never for decisions.
#[must_use]
pub fn wall_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_on_within_a_boot_and_never_goes_back() {
        let first = Clock::resume(None, Millis(5_000));
        assert!(first.now() >= Millis(5_000));
        let again = Clock::resume(Some(first.stored()), Millis(0));
        assert!(again.now() >= first.now() || again.now().0 + 1 >= first.now().0);
        let other_boot = Stored { boot: "another".into(), offset_ms: 1 << 40 };
        assert!(Clock::resume(Some(other_boot), Millis(7_000)).now() < Millis(17_000));
        let behind = Stored { boot: first.stored().boot, offset_ms: -(1 << 40) };
        assert!(Clock::resume(Some(behind), Millis(9_000)).now() >= Millis(9_000));
    }
}
