//! Quantities that only a spec has: sets of HTTP statuses, shares or sizes of room.

use serde::{Deserialize, Serialize};

use crate::units::Bytes;

/// A set of HTTP statuses; written `200`, `2xx` or `200-399`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StatusText", into = "StatusText")]
pub struct StatusRange {
    /// The lowest.
    pub first: u16,
    /// The highest, inclusive.
    pub last: u16,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StatusText {
    Number(u16),
    Text(String),
}

impl StatusRange {
    /// Reads `200`, `2xx` or `200-399`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "a status is written as 200, 2xx or 200-399".to_owned();
        // `parse` alone would take `+200`.
        let one = |t: &str| {
            let number = t.parse().ok().filter(|s| (100..=599).contains(s));
            number.filter(|_| t.bytes().all(|b| b.is_ascii_digit()))
        };
        if let Some(class) = text.strip_suffix("xx") {
            let Some(class @ 1..=5) = class.parse::<u16>().ok().filter(|_| class.len() == 1) else {
                return Err(wrong());
            };
            return Ok(Self { first: class * 100, last: class * 100 + 99 });
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (one(first), one(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(wrong()),
        }
    }

    /// Whether a status is in the set.
    #[must_use]
    pub fn holds(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl TryFrom<StatusText> for StatusRange {
    type Error = String;
    fn try_from(value: StatusText) -> Result<Self, String> {
        match value {
            StatusText::Number(number) => Self::parse(&number.to_string()),
            StatusText::Text(text) => Self::parse(&text),
        }
    }
}

impl From<StatusRange> for StatusText {
    fn from(value: StatusRange) -> Self {
        if value.first == value.last {
            return Self::Number(value.first);
        }
        Self::Text(format!("{}-{}", value.first, value.last))
    }
}

/// A share of a whole, or a size: `10%` or `2GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Room {
    /// That many of a hundred.
    Percent(u32),
    /// That many bytes.
    Bytes(Bytes),
}

impl Room {
    /// Reads `10%` or `2GiB`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "expected a percentage such as 10%, or a size such as 2GiB".to_owned();
        match text.strip_suffix('%') {
            Some(number) => match number.parse() {
                // `parse` alone would take `+10`.
                Ok(percent) if percent <= 100 && !number.starts_with('+') => {
                    Ok(Self::Percent(percent))
                }
                Ok(_) | Err(_) => Err(wrong()),
            },
            None => Bytes::parse(text).map(Self::Bytes).map_err(|_| wrong()),
        }
    }
}

impl TryFrom<String> for Room {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Room> for String {
    fn from(value: Room) -> String {
        match value {
            Room::Percent(percent) => format!("{percent}%"),
            Room::Bytes(bytes) => bytes.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_and_printed() {
        for (text, first, last) in [("200", 200, 200), ("2xx", 200, 299), ("200-399", 200, 399)] {
            let range = StatusRange::parse(text).expect("it is right");
            assert_eq!((range.first, range.last), (first, last));
            let json = serde_json::to_string(&range).expect("it is JSON");
            assert_eq!(serde_json::from_str::<StatusRange>(&json).ok(), Some(range));
        }
        for text in ["", "ok", "99", "600", "+200", "6xx", "+2xx", "02xx", "xx", "299-200", "200-"]
        {
            assert!(StatusRange::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn room_is_read_and_printed() {
        for text in ["0%", "10%", "100%", "2GiB", "512"] {
            let room = Room::parse(text).expect("it is right");
            assert_eq!(String::from(room), text);
        }
        for text in ["", "%", "101%", "+10%", "-1%", "1.5%", "10 %", "2G"] {
            assert!(Room::parse(text).is_err(), "{text}");
        }
    }
}
