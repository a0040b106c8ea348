//! Counts of the last five minutes, in one-minute parts.

use serde::{Deserialize, Serialize};

/// How many minutes are kept.
pub const MINUTES: usize = 5;

/// Counts of the last [`MINUTES`] minutes, the one that runs among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Recent<const N: usize> {
    /// The latest minute that has something.
    minute: u32,
    /// The counts of minute `m` are at `m % MINUTES`. 32 bits hold seventy million a second.
    counts: [[u32; N]; MINUTES],
}

/// How it is written: serde knows no arrays of every length.
#[derive(Serialize, Deserialize)]
struct Written {
    minute: u32,
    counts: Vec<Vec<u32>>,
}

impl<const N: usize> From<Recent<N>> for Written {
    fn from(recent: Recent<N>) -> Self {
        Self { minute: recent.minute, counts: recent.counts.map(Vec::from).into() }
    }
}

impl<const N: usize> From<Written> for Recent<N> {
    fn from(written: Written) -> Self {
        let mut recent = Self { minute: written.minute, counts: [[0; N]; MINUTES] };
        for (own, given) in recent.counts.iter_mut().flatten().zip(written.counts.concat()) {
            *own = given;
        }
        recent
    }
}

impl<const N: usize> Default for Recent<N> {
    fn default() -> Self {
        Self { minute: 0, counts: [[0; N]; MINUTES] }
    }
}

impl<const N: usize> Recent<N> {
    /// Adds counts of a minute; what is older than the latest by too much is left out.
    pub fn add(&mut self, minute: u64, counts: [u64; N]) {
        let minute = u32::try_from(minute).unwrap_or(u32::MAX);
        let kept = u32::try_from(MINUTES).expect("five");
        // Minutes that passed since are empty; beyond five of them everything is.
        for passed in 1..=minute.saturating_sub(self.minute).min(kept) {
            self.counts[place(self.minute.wrapping_add(passed))] = [0; N];
        }
        if minute >= self.minute.saturating_add(kept) {
            self.counts = [[0; N]; MINUTES];
        }
        self.minute = self.minute.max(minute);
        if self.minute - minute >= kept {
            return;
        }
        for (own, new) in self.counts[place(minute)].iter_mut().zip(counts) {
            *own = own.saturating_add(u32::try_from(new).unwrap_or(u32::MAX));
        }
    }

    /// The sums over the minutes.
    #[must_use]
    pub fn sums(&self) -> [u64; N] {
        let mut sums = [0; N];
        for minute in &self.counts {
            for (sum, own) in sums.iter_mut().zip(minute) {
                *sum += u64::from(*own);
            }
        }
        sums
    }
}

fn place(minute: u32) -> usize {
    usize::try_from(minute).expect("32 bits fit") % MINUTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_five_minutes_is_forgotten() {
        let mut recent = Recent::<1>::default();
        for minute in 0..7 {
            recent.add(minute, [1 << minute]);
        }
        assert_eq!(recent.sums(), [0b111_1100]);
        recent.add(6, [1 << 10]);
        recent.add(1, [1 << 20]);
        assert_eq!(recent.sums(), [0b100_0111_1100]);
        recent.add(9, [1]);
        assert_eq!(recent.sums(), [0b100_0110_0001]);
        recent.add(100, [2]);
        assert_eq!(recent.sums(), [2]);
    }
}
