//! Sync windows: when a new revision may be deployed, and when not.

use serde::{Deserialize, Serialize};

use super::cron::{Civil, Cron};
use crate::units::Millis;

/// Longest window: a week.
pub const WINDOW_MAX: Millis = Millis(7 * 24 * 3600 * 1000);
/// Most windows of a source.
pub const WINDOWS_MAX: usize = 16;

const MINUTE_MS: i64 = 60_000;

/// Whether a window lets or stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowKind {
    /// Deployments happen only in windows of this kind, once there is one.
    Allow,
    /// No deployment happens in it, whatever else allows it.
    Deny,
}

/// A recurring span of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Whether it lets or stops.
    pub kind: WindowKind,
    /// When it begins: five fields of crontab(5).
    pub cron: String,
    /// How long it is.
    pub duration: Millis,
    /// Whose wall clock: a name such as `Europe/Berlin`.
    #[serde(default = "utc")]
    pub time_zone: String,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// What the clock says of a time zone: how many seconds it is ahead of UTC at a time in
/// milliseconds since 1970.
pub type Offset<'a> = &'a dyn Fn(&str, i64) -> i32;

impl Window {
    /// Reads `allow 0 22 * * 1-5 for 2h in Europe/Berlin`; without `in`, UTC.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || {
            "a window is `allow CRON for DURATION`, perhaps `in TIME/ZONE`, as in \
             \"deny 0 0 * * sat,sun for 24h in Europe/Berlin\""
                .to_owned()
        };
        let (kind, rest) = text.trim().split_once(' ').ok_or_else(expected)?;
        let kind = match kind {
            "allow" => WindowKind::Allow,
            "deny" => WindowKind::Deny,
            _ => return Err(expected()),
        };
        let (cron, rest) = rest.split_once(" for ").ok_or_else(expected)?;
        let (duration, zone) = rest.split_once(" in ").unwrap_or((rest, "UTC"));
        let window = Self {
            kind,
            cron: cron.trim().to_owned(),
            duration: Millis::parse(duration.trim())?,
            time_zone: zone.trim().to_owned(),
        };
        window.check().map(|()| window)
    }

    /// Checks what was read from elsewhere.
    pub fn check(&self) -> Result<(), String> {
        Cron::parse(&self.cron)?;
        let minute = Millis::seconds(60);
        if self.duration < minute || self.duration > WINDOW_MAX {
            return Err(format!("a window lasts {minute} to {WINDOW_MAX}, not {}", self.duration));
        }
        Ok(())
    }

    /// Whether it is open: it began at one of the minutes before, and is not over. A minute that
    /// the wall clock skips never begins one, and one that it shows twice begins two.
    #[must_use]
    pub fn is_open(&self, now_ms: i64, offset: Offset<'_>) -> bool {
        let Ok(cron) = Cron::parse(&self.cron) else { return false };
        let minute = now_ms.div_euclid(MINUTE_MS);
        let length = i64::try_from(self.duration.0).unwrap_or(i64::MAX);
        (0..=length / MINUTE_MS).any(|back| {
            let begin = (minute - back) * MINUTE_MS;
            let is_over = now_ms - begin >= length;
            !is_over && cron.matches(Civil::at(begin, offset(&self.time_zone, begin)))
        })
    }

    /// The window in words.
    #[must_use]
    pub fn words(&self) -> String {
        let kind = match self.kind {
            WindowKind::Allow => "allow",
            WindowKind::Deny => "deny",
        };
        format!("{kind} {} for {} in {}", self.cron, self.duration, self.time_zone)
    }
}

/// Why nothing may be deployed now; nothing = it may.
#[must_use]
pub fn shut(windows: &[Window], now_ms: i64, offset: Offset<'_>) -> Option<String> {
    let open = |window: &&Window| window.is_open(now_ms, offset);
    let of = |kind| windows.iter().filter(move |window: &&Window| window.kind == kind);
    if let Some(window) = of(WindowKind::Deny).find(open) {
        return Some(format!("in the window {:?}", window.words()));
    }
    if of(WindowKind::Allow).next().is_some() && !of(WindowKind::Allow).any(|one| open(&one)) {
        let all: Vec<String> = of(WindowKind::Allow).map(Window::words).collect();
        return Some(format!("outside the window {:?}", all.join("; ")));
    }
    None
}
