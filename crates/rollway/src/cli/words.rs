//! Times, lengths of time and the like in words.

use rollway_core::view::{EventView, ReleaseRef};

/// `45ms`, `0.4s`, `12s`, `1m 20s`, `2h 5m`, `3d 4h`.
#[must_use]
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 if ms < 100 => format!("{ms}ms"),
        0..10 => format!("{}.{}s", seconds, ms % 1000 / 100),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        86_400.. => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// `r3 (v2)`.
#[must_use]
pub fn release(release: &ReleaseRef) -> String {
    format!("r{} ({})", release.number, release.version)
}

/// `2026-11-23 23:42:39` in the user's time zone.
#[must_use]
pub fn time(at_ms: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_millisecond(at_ms) else { return "?".to_owned() };
    local(time).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// `23:42:39` in the user's time zone.
#[must_use]
pub fn time_of_day(at_ms: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_millisecond(at_ms) else { return "?".to_owned() };
    local(time).strftime("%H:%M:%S").to_string()
}

fn local(time: jiff::Timestamp) -> jiff::civil::DateTime {
    jiff::tz::TimeZone::system().to_datetime(time)
}

/// Now, in milliseconds since 1970.
#[must_use]
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// `1 instance`, `2 instances`.
#[must_use]
pub fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// `12.3 MiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} B"),
    }
}

/// What a service's own clock shows now, as far as its last event tells.
#[must_use]
pub fn service_clock(last: &EventView, now_ms: i64) -> Option<u64> {
    let clock = last.body.get("clock")?;
    // The clock is stored as a length of time in words.
    let clock = match clock.as_u64() {
        Some(ms) => ms,
        None => rollway_core::units::Millis::parse(clock.as_str()?).ok()?.0,
    };
    Some(clock + u64::try_from(now_ms - last.at_ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_two_parts_at_most() {
        let words = [45, 450, 9_999, 12_345, 80_000, 7_500_000, 273_600_000].map(duration);
        assert_eq!(words, ["45ms", "0.4s", "9.9s", "12s", "1m 20s", "2h 5m", "3d 4h"]);
    }

    #[test]
    fn a_services_clock_goes_on_after_its_last_event() {
        let event = EventView {
            seq: 4,
            deployment: Some(1),
            at_ms: 1_000,
            kind: "routed".into(),
            text: "traffic".into(),
            body: serde_json::json!({"clock": "2m1s"}),
            hash: String::new(),
        };
        assert_eq!(service_clock(&event, 3_500), Some(123_500));
    }
}
