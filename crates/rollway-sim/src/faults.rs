//! What can go wrong, how often in one seed, and how often it did.

use std::fmt;

use crate::rng::Rng;

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A control plane was killed.
    Crash,
    /// A control plane was stopped for a while, and went on as if nothing had been.
    Pause,
    /// Another control plane took over while the first one lived.
    TakeOver,
    /// A control plane ended right after it had sent something, and another one took over before
    /// that arrived.
    Overtaken,
    /// A control plane came up on another boot: its clock goes on from the last event.
    Reboot,
    /// Nothing got through between a control plane and the targets or the proxy.
    Partition,
    /// Requests got through, answers did not.
    OneWay,
    /// The answer to a call was lost after its effect.
    UnknownAfter,
    /// A call was lost before its effect.
    UnknownBefore,
    /// A call was refused without an effect.
    NotDone,
    /// A call took a hundred times as long.
    Slow,
    /// An observation or a note of a change came twice.
    Duplicated,
    /// A call arrived twice.
    Doubled,
    /// An observation came after a later one.
    Reordered,
    /// An observation failed, or a note of a change was lost.
    Dropped,
    /// An instance ended by itself.
    Death,
    /// An instance was unwell for a while.
    Flap,
    /// A release that never becomes healthy, or crashes.
    BadRelease,
    /// A write failed once.
    StoreOnce,
    /// A write was done, and its answer lost.
    StoreUnknown,
    /// All writes failed until the store was mended.
    StoreOutage,
    /// The proxy was killed and came back with its last table.
    ProxyCrash,
    /// The wall clock jumped.
    ClockJump,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Self; 23] = [
        Self::Crash,
        Self::Pause,
        Self::TakeOver,
        Self::Overtaken,
        Self::Reboot,
        Self::Partition,
        Self::OneWay,
        Self::UnknownAfter,
        Self::UnknownBefore,
        Self::NotDone,
        Self::Slow,
        Self::Duplicated,
        Self::Doubled,
        Self::Reordered,
        Self::Dropped,
        Self::Death,
        Self::Flap,
        Self::BadRelease,
        Self::StoreOnce,
        Self::StoreUnknown,
        Self::StoreOutage,
        Self::ProxyCrash,
        Self::ClockJump,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{self:?}"))
    }
}

/// How often each kind of fault comes in one seed: swarm testing, so about half of them never do.
#[derive(Debug, Clone)]
pub struct Rates {
    /// How many control planes there may be at once.
    pub planes: u64,
    per_mille: [u64; Fault::ALL.len()],
}

impl Rates {
    /// The rates of a seed. One seed in sixteen has no faults at all: a control run.
    pub fn of(rng: &mut Rng) -> Self {
        let calm = rng.chance(62);
        let mut per_mille = [0; Fault::ALL.len()];
        for (rate, fault) in per_mille.iter_mut().zip(Fault::ALL) {
            let drawn = rng.chance(500);
            let most = match fault {
                Fault::Crash | Fault::Pause | Fault::TakeOver | Fault::Reboot => 400,
                Fault::Partition | Fault::OneWay | Fault::StoreOutage | Fault::ProxyCrash => 300,
                Fault::UnknownAfter | Fault::UnknownBefore | Fault::NotDone | Fault::Slow => 150,
                Fault::Duplicated | Fault::Reordered | Fault::Dropped => 400,
                Fault::Death | Fault::Flap | Fault::ClockJump => 400,
                Fault::BadRelease => 300,
                Fault::Doubled => 200,
                Fault::Overtaken | Fault::StoreOnce | Fault::StoreUnknown => 100,
            };
            let often = rng.between(1, most);
            *rate = if drawn && !calm { often } else { 0 };
        }
        let planes = if calm { 1 } else { rng.between(1, 3) };
        Self { planes, per_mille }
    }

    /// How many times of a thousand opportunities it comes.
    #[must_use]
    pub fn of_fault(&self, fault: Fault) -> u64 {
        self.per_mille[fault as usize]
    }
}

/// How often each kind came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts([u64; Fault::ALL.len()]);

impl Counts {
    /// One more.
    pub fn add(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    /// All of another's more.
    pub fn merge(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }

    /// How often it came.
    #[must_use]
    pub fn of_fault(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }
}
