//! What series of counters were at the last check, so that one that begins anew, or goes away with
//! its process, takes nothing from the sum of all.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// Counters by what tells them apart.
pub type Series = BTreeMap<String, u64>;

/// The series of one service's judgements. After a start of the control plane it is empty: the
/// sums are then those of the series themselves, as they were before unless one has begun anew.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    deployment: u64,
    held: HashMap<(usize, &'static str), BTreeMap<String, Held>>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    last: u64,
    sum: u64,
}

impl Memory {
    /// Takes in what the series of one sum are now, and says what that has risen to.
    pub fn risen(&self, deployment: u64, of: (usize, &'static str), now: &Series) -> u64 {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.deployment != deployment {
            *kept = Kept { deployment, ..Kept::default() };
        }
        let held = kept.held.entry(of).or_default();
        for (name, value) in now {
            let before = held.get(name).copied().unwrap_or(Held { last: 0, sum: 0 });
            // One that fell has begun anew, at 0.
            let risen = value.checked_sub(before.last).unwrap_or(*value);
            let sum = before.sum.saturating_add(risen);
            held.insert(name.clone(), Held { last: *value, sum });
        }
        held.values().fold(0, |sum, one| sum.saturating_add(one.sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_that_begins_anew_or_goes_away_takes_nothing_from_the_sum() {
        let memory = Memory::default();
        let series = |all: &[(&str, u64)]| {
            all.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect::<Series>()
        };
        let risen = |all: &[(&str, u64)]| memory.risen(7, (0, "total"), &series(all));
        assert_eq!(risen(&[("a", 1000), ("b", 500)]), 1500);
        assert_eq!(risen(&[("a", 1010), ("b", 3)]), 1513);
        assert_eq!(risen(&[("a", 1010)]), 1513);
        assert_eq!(risen(&[("a", 1011), ("b", 4), ("c", 2)]), 1517);
        assert_eq!(memory.risen(7, (1, "total"), &series(&[("a", 5)])), 5, "another judgement");
        assert_eq!(memory.risen(8, (0, "total"), &series(&[("a", 5)])), 5, "another deployment");
    }
}
