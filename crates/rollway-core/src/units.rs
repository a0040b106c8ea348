//! Quantities as users write them: durations, byte sizes, percentages or counts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest duration a spec may ask for: a year.
pub const DURATION_MAX: Millis = Millis(366 * 24 * 3600 * 1000);

/// A length of time in whole milliseconds; written `250ms`, `30s`, `1m30s`, `2h`, `7d`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Millis(pub u64);

const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("ms", 1), ("m", 60_000), ("s", 1000)];

impl Millis {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// Whole seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds * 1000)
    }

    /// As the standard library's duration.
    #[must_use]
    pub const fn duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }

    /// Reads `1m30s`: numbers with units d, h, m, s, ms, largest first; `0` needs no unit.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            "a duration is written as 250ms, 30s, 1m30s, 2h or 7d (units d, h, m, s, ms)".to_owned()
        };
        if text == "0" {
            return Ok(Self(0));
        }
        let mut rest = text;
        let mut total: u64 = 0;
        let mut last_unit = u64::MAX;
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
            let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
            rest = &rest[digits..];
            let (name, unit) =
                UNITS.iter().find(|(name, _)| rest.starts_with(name)).ok_or_else(wrong)?;
            if *unit >= last_unit {
                return Err(wrong());
            }
            last_unit = *unit;
            rest = &rest[name.len()..];
            let part = number * *unit as f64;
            if part > DURATION_MAX.0 as f64 {
                return Err(format!("a duration is at most {DURATION_MAX}"));
            }
            total += part.round() as u64;
        }
        if total > DURATION_MAX.0 {
            return Err(format!("a duration is at most {DURATION_MAX}"));
        }
        Ok(Self(total))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut left = self.0;
        for (name, unit) in
            [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)]
        {
            if left >= unit {
                write!(f, "{}{name}", left / unit)?;
                left %= unit;
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for Millis {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Millis> for String {
    fn from(value: Millis) -> String {
        value.to_string()
    }
}

/// A count, or a percentage of a whole: `2` or `"25%"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "CountOrText", into = "CountOrText")]
pub enum Amount {
    /// That many.
    Count(u32),
    /// That many of a hundred.
    Percent(u32),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum CountOrText {
    Count(u32),
    Text(String),
}

/// Which way a percentage that is not whole goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// To the next whole number above.
    Up,
    /// To the next whole number below.
    Down,
}

impl Amount {
    /// Reads `25%`, or a whole number.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "expected a whole number, or a percentage such as 25%".to_owned();
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit() || b == b'%') {
            return Err(wrong());
        }
        match text.strip_suffix('%') {
            Some(number) => number.parse().map(Self::Percent).map_err(|_| wrong()),
            None => text.parse().map(Self::Count).map_err(|_| wrong()),
        }
    }

    /// The count that this is of `whole` (Kubernetes' `GetScaledValueFromIntOrPercent`).
    #[must_use]
    pub fn of(self, whole: u32, rounding: Rounding) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => {
                let product = u64::from(percent) * u64::from(whole);
                let scaled = match rounding {
                    Rounding::Up => product.div_ceil(100),
                    Rounding::Down => product / 100,
                };
                u32::try_from(scaled).unwrap_or(u32::MAX)
            }
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl TryFrom<CountOrText> for Amount {
    type Error = String;
    fn try_from(value: CountOrText) -> Result<Self, String> {
        match value {
            CountOrText::Count(count) => Ok(Self::Count(count)),
            CountOrText::Text(text) => Self::parse(&text),
        }
    }
}

impl From<Amount> for CountOrText {
    fn from(value: Amount) -> Self {
        match value {
            Amount::Count(count) => Self::Count(count),
            Amount::Percent(_) => Self::Text(value.to_string()),
        }
    }
}

/// A size in bytes; written `512`, `64KiB`, `256MiB`, `2GiB` (or kB, MB, GB in powers of ten).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Bytes(pub u64);

impl Bytes {
    /// Reads `256MiB`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "a size is written as 512, 64KiB, 256MiB or 2GiB".to_owned();
        let digits = text.bytes().take_while(|b| b.is_ascii_digit()).count();
        let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
        let unit: u64 = match &text[digits..] {
            "" | "B" => 1,
            "kB" | "KB" => 1000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return Err(wrong()),
        };
        number.checked_mul(unit).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, unit) in [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= unit && self.0.is_multiple_of(unit) {
                return write!(f, "{}{name}", self.0 / unit);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl TryFrom<String> for Bytes {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Bytes> for String {
    fn from(value: Bytes) -> String {
        value.to_string()
    }
}

#[cfg(test)]
mod tests;
