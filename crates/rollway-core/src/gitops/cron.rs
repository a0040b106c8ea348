//! Cron expressions: five fields, in the words of crontab(5).

use std::fmt;

/// A moment as the fields of a cron expression see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 1 to 31.
    pub day: u8,
    /// 1 to 12.
    pub month: u8,
    /// 0 to 6, from Sunday on.
    pub weekday: u8,
}

impl Civil {
    /// The wall clock at a time in milliseconds since 1970, where it is so many seconds ahead of
    /// UTC. The calendar is H. Hinnant's `civil_from_days`.
    #[must_use]
    pub fn at(at_ms: i64, offset_seconds: i32) -> Self {
        let minutes = (at_ms.div_euclid(1000) + i64::from(offset_seconds)).div_euclid(60);
        let days = minutes.div_euclid(1440);
        let in_day = minutes.rem_euclid(1440);
        let shifted = days + 719_468;
        let era_day = shifted.rem_euclid(146_097);
        let year = (era_day - era_day / 1460 + era_day / 36_524 - era_day / 146_096) / 365;
        let year_day = era_day - (365 * year + year / 4 - year / 100);
        let shifted_month = (5 * year_day + 2) / 153;
        let small = |number: i64| u8::try_from(number).expect("a part of a date is small");
        Self {
            minute: small(in_day % 60),
            hour: small(in_day / 60),
            day: small(year_day - (153 * shifted_month + 2) / 5 + 1),
            month: small(if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 }),
            weekday: small((days + 4).rem_euclid(7)),
        }
    }
}

/// A cron expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    sets: [u64; 5],
    /// Whether both day fields are restricted: then either is enough, as crontab(5) has it.
    either_day: bool,
}

struct Field {
    name: &'static str,
    least: u8,
    most: u8,
    words: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 5] = [
    Field { name: "minute", least: 0, most: 59, words: &[] },
    Field { name: "hour", least: 0, most: 23, words: &[] },
    Field { name: "day of the month", least: 1, most: 31, words: &[] },
    Field { name: "month", least: 1, most: 12, words: &MONTHS },
    Field { name: "day of the week", least: 0, most: 7, words: &DAYS },
];

impl Cron {
    /// Reads `minute hour day month weekday`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split_ascii_whitespace().collect();
        if parts.len() != 5 {
            return Err(format!(
                "a cron expression has five fields (minute hour day month weekday), and {text:?} \
                 has {}",
                parts.len()
            ));
        }
        let mut sets = [0; 5];
        for ((set, part), field) in sets.iter_mut().zip(&parts).zip(&FIELDS) {
            *set = field.parse(part)?;
        }
        // Sunday is 0 and 7.
        if sets[4] & (1 << 7) != 0 {
            sets[4] = sets[4] & !(1 << 7) | 1;
        }
        let either_day = !parts[2].starts_with('*') && !parts[4].starts_with('*');
        Ok(Self { text: parts.join(" "), sets, either_day })
    }

    /// Whether it names this minute.
    #[must_use]
    pub fn matches(&self, at: Civil) -> bool {
        let has = |field: usize, value: u8| self.sets[field] & (1 << value) != 0;
        let (day, weekday) = (has(2, at.day), has(4, at.weekday));
        let on_day = if self.either_day { day || weekday } else { day && weekday };
        has(0, at.minute) && has(1, at.hour) && has(3, at.month) && on_day
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Field {
    fn parse(&self, text: &str) -> Result<u64, String> {
        text.split(',').try_fold(0, |set, part| Ok(set | self.range(part)?))
    }

    /// `*`, `5`, `1-5`, each perhaps with `/step`.
    fn range(&self, text: &str) -> Result<u64, String> {
        let wrong = || {
            let Self { name, least, most, .. } = self;
            format!("{text:?} is no {name}: expected {least} to {most}, *, a-b or */n")
        };
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => {
                let step: u8 = step.parse().map_err(|_| wrong())?;
                (range, Some(step).filter(|step| *step > 0).ok_or_else(wrong)?)
            }
            None => (text, 1),
        };
        let (from, to) = match (range, range.split_once('-')) {
            ("*", _) => (self.least, self.most.min(if self.most == 7 { 6 } else { self.most })),
            (_, Some((from, to))) => {
                (self.value(from).ok_or_else(wrong)?, self.value(to).ok_or_else(wrong)?)
            }
            (_, None) => {
                let value = self.value(range).ok_or_else(wrong)?;
                (value, if text.contains('/') { self.most } else { value })
            }
        };
        if from > to {
            return Err(wrong());
        }
        Ok((from..=to).step_by(step.into()).fold(0, |set, value| set | 1 << value))
    }

    fn value(&self, text: &str) -> Option<u8> {
        let lower = text.to_ascii_lowercase();
        if let Some(at) = self.words.iter().position(|word| *word == lower) {
            return u8::try_from(at).ok().map(|at| at + self.least);
        }
        let digits =
            !text.is_empty() && text.len() <= 2 && text.bytes().all(|b| b.is_ascii_digit());
        let value = text.parse().ok().filter(|_| digits)?;
        (self.least..=self.most).contains(&value).then_some(value)
    }
}
