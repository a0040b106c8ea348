//! Durations, amounts, sizes, sets of statuses and shares of room: total, bounded, and printed so
//! that they are read as the same.

use rollway_core::spec::{Room, StatusRange};
use rollway_core::units::{Amount, Bytes, DURATION_MAX, Millis, Rounding};

use super::{equal, survives_json};
use crate::{Marks, Target};

/// The target.
pub static TARGET: Target = Target {
    name: "quantities",
    about: "duration, amount, size, status, room: total, bounded, printed and read the same",
    words: &[
        "ms", "s", "m", "h", "d", "1m30s", "366d", "1.5h", "25%", "%", "KiB", "MiB", "GiB", "TiB",
        "kB", "KB", "MB", "GB", "B", "xx", "2xx", "200-399", "-", "+", ".", "e", "inf", "nan", "٣",
    ],
    bytes_max: 96,
    check,
};

fn check(input: &[u8], marks: &mut Marks) -> Result<(), String> {
    let text = String::from_utf8_lossy(input);
    if let Ok(time) = Millis::parse(&text) {
        marks.mark(("duration", time.0.checked_ilog2()));
        if time > DURATION_MAX {
            return Err(format!("a duration beyond the longest: `{time}`"));
        }
        equal("a duration printed and read", &Ok(time), &Millis::parse(&time.to_string()))?;
        survives_json(&time)?;
    }
    if let Ok(amount) = Amount::parse(&text) {
        marks.mark(("amount", amount));
        equal("an amount printed and read", &Ok(amount), &Amount::parse(&amount.to_string()))?;
        survives_json(&amount)?;
        rounds(amount)?;
    }
    if let Ok(size) = Bytes::parse(&text) {
        marks.mark(("size", size.0.checked_ilog2(), size.0.trailing_zeros()));
        equal("a size printed and read", &Ok(size), &Bytes::parse(&size.to_string()))?;
        survives_json(&size)?;
    }
    if let Ok(range) = StatusRange::parse(&text) {
        marks.mark(("status", range.first));
        if range.first > range.last || !range.holds(range.first) || range.holds(range.last + 1) {
            return Err(format!("not a range: `{range:?}`"));
        }
        survives_json(&range)?;
    }
    if let Ok(room) = Room::parse(&text) {
        equal("room printed and read", &Ok(room), &Room::parse(&String::from(room)))?;
        survives_json(&room)?;
    }
    Ok(())
}

/// Down and up are at most one apart, and more of a whole is never less.
fn rounds(amount: Amount) -> Result<(), String> {
    let mut last = 0;
    for whole in [0, 1, 2, 3, 7, 10, 99, 100, 101, 65_536, u32::MAX] {
        let (down, up) = (amount.of(whole, Rounding::Down), amount.of(whole, Rounding::Up));
        if up < down || up - down > 1 || down < last {
            return Err(format!("the share of `{whole}` is `{down}` or `{up}`, after `{last}`"));
        }
        last = down;
    }
    Ok(())
}
