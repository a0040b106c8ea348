//! Reads a series from CSV or JSON; what is wrong is told with its line and column.

use std::collections::BTreeMap;

use super::{Of, Row, Series};
use crate::problem::{Place, Problem, unknown};
use crate::spec::json;
use crate::spec::node::{Node, Value};
use crate::spec::text::Text;
use crate::units::Millis;

/// The columns that there are.
const COLUMNS: [&str; 4] = ["bad", "latency", "time", "total"];
/// Most lines of a file.
const ROWS_MAX: usize = 1_000_000;
/// Largest count: whole numbers are exact up to here, in every format.
const COUNT_MAX: f64 = 9_007_199_254_740_992.0;
/// Largest time in seconds: the year 5138.
const TIME_MAX: f64 = 1e11;
const WHICH: &str = "the columns are time,total,bad or time,latency[,bad]";

/// How a series is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A line of names, and a line of numbers for each row.
    Csv,
    /// A list of maps.
    Json,
}

impl Layout {
    /// By the ending of the file's name.
    ///
    /// # Errors
    /// Another ending.
    pub fn of(file_name: &str) -> Result<Self, Problem> {
        match file_name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("csv") => Ok(Self::Csv),
            Some("json") => Ok(Self::Json),
            _ => Err(Problem::new(file_name, "a series is a file that ends in .csv or .json")),
        }
    }
}

type Cells = BTreeMap<&'static str, (f64, Place)>;

/// Reads a series.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn read(text: &str, layout: Layout) -> Result<Series, Problem> {
    let text = Text::new(text);
    let lines = match layout {
        Layout::Csv => csv(&text)?,
        Layout::Json => json_rows(&text)?,
    };
    let Some((place, first)) = lines.first() else {
        let problem = Problem::new("", "there is no line with numbers in it");
        return Err(problem.at(text.place(0, 1)).hint(WHICH));
    };
    let of = kind(*place, first)?;
    let mut rows: Vec<Row> = Vec::with_capacity(lines.len());
    for (place, cells) in &lines {
        let row = row(of, *place, cells)?;
        let (_, time) = cells["time"];
        if let Some(before) = rows.last() {
            let is_after = match of {
                Of::Counts => row.at > before.at,
                Of::Latencies | Of::LatenciesAndErrors => row.at >= before.at,
            };
            if !is_after {
                let what =
                    format!("this time is not after {} ms, that of the row before", before.at.0);
                let problem = Problem::new("time", what).at(time);
                return Err(problem.hint("sort the rows by time"));
            }
        }
        rows.push(row);
    }
    Ok(Series { of, rows })
}

/// What a row tells, by its columns.
fn kind(place: Place, cells: &Cells) -> Result<Of, Problem> {
    let has = |name| cells.contains_key(name);
    let missing =
        |name: &str| Problem::new("", format!("there is no `{name}`")).at(place).hint(WHICH);
    match (has("latency"), has("total"), has("bad")) {
        _ if !has("time") => Err(missing("time")),
        (true, true, _) => {
            let what = "a row is one request with its `latency`, or a `total` of requests";
            Err(Problem::new("", what).at(place).hint(WHICH))
        }
        (true, false, false) => Ok(Of::Latencies),
        (true, false, true) => Ok(Of::LatenciesAndErrors),
        (false, true, true) => Ok(Of::Counts),
        (false, true, false) => Err(missing("bad")),
        (false, false, _) => Err(missing("total")),
    }
}

fn row(of: Of, place: Place, cells: &Cells) -> Result<Row, Problem> {
    if kind(place, cells)? != of {
        let what = "this row has other columns than the first";
        return Err(Problem::new("", what).at(place).hint(WHICH));
    }
    let (time, _) = within("time", cells, (TIME_MAX, "seconds"))?;
    let at = Millis(whole((time * 1000.0).round()));
    let count = |name| {
        let (value, place) = within(name, cells, (COUNT_MAX, "requests"))?;
        if value.fract() != 0.0 {
            let what = format!("expected a whole number, found {value}");
            return Err(Problem::new(name, what).at(place));
        }
        Ok((whole(value), place))
    };
    let (total, latency) = match of {
        Of::Counts => (count("total")?.0, None),
        Of::Latencies => (1, Some(within("latency", cells, (TIME_MAX, "seconds"))?.0)),
        Of::LatenciesAndErrors => (1, Some(within("latency", cells, (TIME_MAX, "seconds"))?.0)),
    };
    let bad = match of {
        Of::Latencies => 0,
        Of::Counts | Of::LatenciesAndErrors => {
            let (bad, place) = count("bad")?;
            if bad > total {
                let what = format!("{bad} of {total} failed; expected at most {total}");
                return Err(Problem::new("bad", what).at(place));
            }
            bad
        }
    };
    Ok(Row { at, total, bad, latency })
}

/// A number from 0 to a limit.
fn within(
    name: &'static str,
    cells: &Cells,
    (most, unit): (f64, &str),
) -> Result<(f64, Place), Problem> {
    let (value, place) = cells[name];
    if (0.0..=most).contains(&value) {
        return Ok((value, place));
    }
    let what = format!("expected a number of {unit} from 0 to {most}, found {value}");
    Err(Problem::new(name, what).at(place))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole, not negative and far below 2^63: that was checked"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

fn column(name: &str, place: Place) -> Result<&'static str, Problem> {
    let known = COLUMNS.iter().copied().find(|known| *known == name);
    known.ok_or_else(|| Problem::new("", unknown("column", name, &COLUMNS)).at(place).hint(WHICH))
}

fn csv(text: &Text<'_>) -> Result<Vec<(Place, Cells)>, Problem> {
    let mut columns: Option<Vec<&'static str>> = None;
    let mut rows = Vec::new();
    let mut start = 0;
    for line in text.body.split_inclusive('\n') {
        let begin = start;
        start += line.len();
        let line = line.trim_end_matches(['\n', '\r']);
        if line.trim().is_empty() {
            continue;
        }
        let fields = fields(text, begin, line);
        let Some(columns) = &columns else {
            columns = Some(heading(&fields)?);
            continue;
        };
        let place = text.place(begin, begin + line.len());
        if fields.len() != columns.len() {
            let what = format!("expected {} fields, found {}", columns.len(), fields.len());
            let problem = Problem::new("", what).at(place);
            return Err(problem.hint(format!("the first line names {}", columns.join(","))));
        }
        if rows.len() == ROWS_MAX {
            return Err(Problem::new("", format!("there are more than {ROWS_MAX} rows")).at(place));
        }
        let cells = columns.iter().zip(&fields).map(|(name, (written, place))| {
            let value = written.parse::<f64>().map_err(|_| {
                let what = format!("expected a number, found {written:?}");
                let problem = Problem::new(*name, what).at(*place);
                problem.hint("what is not known is no number: leave the row out")
            })?;
            Ok((*name, (value, *place)))
        });
        rows.push((place, cells.collect::<Result<Cells, Problem>>()?));
    }
    Ok(rows)
}

fn heading(fields: &[(&str, Place)]) -> Result<Vec<&'static str>, Problem> {
    let mut names = Vec::new();
    for (name, place) in fields {
        if name.parse::<f64>().is_ok() {
            let what = format!("expected the names of the columns, found {name:?}");
            return Err(Problem::new("", what).at(*place).hint(WHICH));
        }
        let name = column(name, *place)?;
        if names.contains(&name) {
            return Err(Problem::new(name, "there are two columns of this name").at(*place));
        }
        names.push(name);
    }
    Ok(names)
}

/// The fields of a line, without blanks and quotes around them, each with its place.
fn fields<'a>(text: &Text<'_>, begin: usize, line: &'a str) -> Vec<(&'a str, Place)> {
    let mut at = begin;
    let mut fields = Vec::new();
    for field in line.split(',') {
        let blank = field.len() - field.trim_start().len();
        let written = field.trim();
        let start = at + blank;
        fields.push((written.trim_matches('"'), text.place(start, start + written.len().max(1))));
        at += field.len() + 1;
    }
    fields
}

fn json_rows(text: &Text<'_>) -> Result<Vec<(Place, Cells)>, Problem> {
    let root = json::read(text).map_err(|problems| {
        let first = problems.into_iter().next();
        first.unwrap_or_else(|| Problem::new("", "this is not JSON"))
    })?;
    let Value::List(items) = &root.value else {
        let what = "expected a list of rows";
        let hint = r#"as in [{"time": 10, "total": 480, "bad": 1}]"#;
        return Err(Problem::new("", what).at(root.place).hint(hint));
    };
    items.iter().map(|item| Ok((item.place, json_cells(item)?))).collect()
}

fn json_cells(item: &Node) -> Result<Cells, Problem> {
    let Value::Map(entries) = &item.value else {
        return Err(Problem::new("", "expected a row as a map").at(item.place).hint(WHICH));
    };
    let mut cells = Cells::new();
    for (key, node) in entries {
        let name = column(&key.text, key.place)?;
        let value = match &node.value {
            #[expect(clippy::cast_precision_loss, reason = "larger ones are refused anyway")]
            Value::Integer(whole) => *whole as f64,
            Value::Float(value) => *value,
            Value::Bool(is_so) if name == "bad" => f64::from(u8::from(*is_so)),
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                return Err(Problem::new(name, "expected a number").at(node.place));
            }
        };
        cells.insert(name, (value, node.place));
    }
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The problem of a text, as `line:column: what`.
    fn wrong(text: &str, layout: Layout) -> String {
        let problem = read(text, layout).expect_err(text);
        let place = problem.place.expect("everything has a place");
        format!("{}:{}: {problem}", place.line, place.column)
    }

    #[test]
    fn both_layouts_say_the_same() {
        let csv = read("time, total,bad\r\n10,480,1\r\n\r\n20.5,512,0\r\n", Layout::Csv);
        let json =
            r#"[{"time": 10, "total": 480, "bad": 1}, {"bad": 0, "time": 20.5, "total": 512}]"#;
        assert_eq!(csv, read(json, Layout::Json));
        let series = csv.expect("a good series");
        assert_eq!(series.of, Of::Counts);
        let last = Row { at: Millis(20_500), total: 512, bad: 0, latency: None };
        assert_eq!(series.rows[1], last);
        let samples = read("time,latency,bad\n1,0.25,1\n1,0.5,0\n", Layout::Csv).expect("good");
        assert_eq!(samples.of, Of::LatenciesAndErrors);
        assert_eq!((samples.rows[0].bad, samples.rows[1].latency), (1, Some(0.5)));
    }

    #[test]
    fn what_is_wrong_has_its_place() {
        for (text, said) in [
            ("", "1:1: there is no line with numbers in it"),
            ("10,480,1\n", "1:1: expected the names of the columns, found \"10\""),
            ("time,totl,bad\n", "1:6: unknown column \"totl\"; known: total, bad, latency, time"),
            ("time,bad,bad\n", "1:10: bad: there are two columns of this name"),
            ("time,total\n1,2\n", "2:1: there is no `bad`"),
            ("total,bad\n1,2\n", "2:1: there is no `time`"),
            ("time,total,bad\n1,2\n", "2:1: expected 3 fields, found 2"),
            ("time,total,bad\n1,2,x\n", "2:5: bad: expected a number, found \"x\""),
            ("time,total,bad\n1,2,3\n", "2:5: bad: 3 of 2 failed; expected at most 2"),
            ("time,total,bad\n1,2.5,0\n", "2:3: total: expected a whole number, found 2.5"),
            ("time,latency\n1,NaN\n", "2:3: latency: expected a number of seconds from 0 to"),
            ("time,latency\n-1,2\n", "2:1: time: expected a number of seconds from 0 to"),
            ("time,total,bad\n2,1,0\n2,1,0\n", "3:1: time: this time is not after 2000 ms"),
        ] {
            let found = wrong(text, Layout::Csv);
            assert!(found.starts_with(said), "{text:?}: {found}");
        }
        for (text, said) in [
            ("<html>", "1:1: this is not JSON"),
            ("{}", "1:1: expected a list of rows"),
            ("[]", "1:1: there is no line with numbers in it"),
            ("[1]", "1:2: expected a row as a map"),
            ("[{\"time\": 1,\n \"latency\": \"x\"}]", "2:13: latency: expected a number"),
            ("[{\"when\": 1}]", "1:3: unknown column \"when\"; known: "),
        ] {
            let found = wrong(text, Layout::Json);
            assert!(found.starts_with(said), "{text:?}: {found}");
        }
    }
}
