//! Which stretch of time each judgement of a standalone run looks at.

use serde::{Deserialize, Serialize};

/// When judgements are made, and how far back they look; minutes, from the request on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Windows {
    /// How long the run is.
    pub lifetime_minutes: u32,
    /// From one judgement to the next; 0 is one judgement at the end.
    pub interval_minutes: u32,
    /// How far back each one looks; none: to the beginning.
    pub lookback_minutes: Option<u32>,
    /// How long the canary warms up; not heeded where an end is given.
    pub begin_after_minutes: u32,
    /// Where the first begins, from the request on; may lie before it.
    pub start_minutes: Option<i64>,
    /// Where the last may end, from the request on.
    pub end_minutes: Option<i64>,
}

/// No more judgements than this are made in one run: one a minute for a month.
pub const JUDGEMENTS_MAX: u32 = 44_640;

impl Windows {
    /// The stretch of each judgement, from and to.
    #[must_use]
    pub fn all(&self) -> Vec<(i64, i64)> {
        let interval = match self.interval_minutes {
            0 => self.lifetime_minutes.max(1),
            minutes => minutes,
        };
        let warm_up = if self.end_minutes.is_some() { 0 } else { self.begin_after_minutes };
        let begin = self.start_minutes.unwrap_or(0).saturating_add(i64::from(warm_up));
        let count = (self.lifetime_minutes / interval).min(JUDGEMENTS_MAX);
        let window = |number: u32| {
            let end = begin.saturating_add(i64::from(number) * i64::from(interval));
            let back = |minutes: u32| end.saturating_sub(i64::from(minutes));
            let lookback = self.lookback_minutes.filter(|minutes| *minutes > 0);
            (lookback.map_or(begin, back), end)
        };
        (1..=count).map(window).collect()
    }
}
