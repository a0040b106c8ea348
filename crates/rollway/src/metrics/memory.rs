//! What series of counters were at the last check, so that one that begins anew, or goes away with
//! its process, takes nothing from the sum of all.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// Counters by what tells them apart: the process that counts, and which of its counters it is.
/// Those of one process begin anew together.
pub type Series = BTreeMap<String, BTreeMap<String, u64>>;

/// The series of one service's judgements. After a start of the control plane it is empty: the
/// sums are then those of the series themselves, as they were before unless one has begun anew.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    deployment: u64,
    held: HashMap<(usize, &'static str), Processes>,
}

/// As [`Series`], with what each has risen to.
type Processes = BTreeMap<String, BTreeMap<String, Held>>;

#[derive(Debug, Clone, Copy)]
struct Held {
    last: u64,
    sum: u64,
}

impl Memory {
    /// Takes in what the series are now, and says what each counter has risen to, over all
    /// processes.
    pub fn risen(
        &self,
        deployment: u64,
        of: (usize, &'static str),
        now: &Series,
    ) -> BTreeMap<String, u64> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.deployment != deployment {
            *kept = Kept { deployment, ..Kept::default() };
        }
        let held = kept.held.entry(of).or_default();
        for (process, counters) in now {
            let held = held.entry(process.clone()).or_default();
            let fell = |(name, value): (&String, &u64)| {
                held.get(name).is_some_and(|before| *value < before.last)
            };
            // One that fell has begun anew, at 0, and all that are counted with it.
            let is_new = counters.iter().any(fell);
            for (name, value) in counters {
                let before = held.get(name).copied().unwrap_or(Held { last: 0, sum: 0 });
                let risen = if is_new { *value } else { value - before.last };
                let sum = before.sum.saturating_add(risen);
                held.insert(name.clone(), Held { last: *value, sum });
            }
        }
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for (name, one) in held.values().flatten() {
            let sum = sums.entry(name.clone()).or_default();
            *sum = sum.saturating_add(one.sum);
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(all: &[(&str, &str, u64)]) -> Series {
        let mut series = Series::new();
        for (process, name, value) in all {
            series.entry((*process).to_owned()).or_default().insert((*name).to_owned(), *value);
        }
        series
    }

    #[test]
    fn a_series_that_begins_anew_or_goes_away_takes_nothing_from_the_sum() {
        let memory = Memory::default();
        let risen = |deployment: u64, watch: usize, all: &[(&str, u64)]| {
            let all: Vec<_> = all.iter().map(|(process, value)| (*process, "", *value)).collect();
            memory.risen(deployment, (watch, "total"), &series(&all))[""]
        };
        assert_eq!(risen(7, 0, &[("a", 1000), ("b", 500)]), 1500);
        assert_eq!(risen(7, 0, &[("a", 1010), ("b", 3)]), 1513);
        assert_eq!(risen(7, 0, &[("a", 1010)]), 1513);
        assert_eq!(risen(7, 0, &[("a", 1011), ("b", 4), ("c", 2)]), 1517);
        assert_eq!(risen(7, 1, &[("a", 5)]), 5, "another judgement");
        assert_eq!(risen(8, 0, &[("a", 5)]), 5, "another deployment");
    }

    #[test]
    fn the_counters_of_a_process_begin_anew_together() {
        let memory = Memory::default();
        let risen = |all: &[(&str, &str, u64)]| {
            let sums = memory.risen(7, (0, "latency"), &series(all));
            sums.into_values().collect::<Vec<_>>()
        };
        assert_eq!(risen(&[("a", "0.1", 10), ("a", "0.5", 10), ("b", "0.5", 1)]), [10, 11]);
        // The second rose from 10 to 12, and would be 2 more; but the first says it began at 0.
        assert_eq!(risen(&[("a", "0.1", 9), ("a", "0.5", 12), ("b", "0.5", 1)]), [19, 23]);
    }
}
