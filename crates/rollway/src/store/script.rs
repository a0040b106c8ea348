//! Several SQL statements that cross to the database's thread and back as one.
//!
//! Every crossing costs about as much CPU as the statement itself, so a commit makes two: one that
//! begins and reads, one that writes and commits.

use futures_util::TryStreamExt as _;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments as _, AssertSqlSafe, Either, Executor as _};

/// Scripts with more statements are not kept prepared: they are rare and each its own.
const STATEMENTS_KEPT_MAX: usize = 10;

/// A value for a parameter.
#[derive(Debug, Clone)]
pub(super) enum Cell {
    Null,
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// Statements with their parameters, in the order in which they run.
#[derive(Default)]
pub(super) struct Script {
    sql: String,
    arguments: SqliteArguments,
    cells: usize,
    statements: usize,
}

/// What a statement answered.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) rows: Vec<SqliteRow>,
    pub(super) changed: u64,
}

/// A script that did not run to its end.
#[derive(Debug)]
pub(super) struct Stopped {
    /// How many statements had certainly ended.
    pub(super) ended: usize,
    pub(super) error: sqlx::Error,
}

impl Script {
    /// Adds a statement whose parameters are written `$1`, `$2`, ... as everywhere.
    pub(super) fn add(&mut self, sql: &'static str, cells: impl IntoIterator<Item = Cell>) {
        self.push_renumbered(sql);
        for cell in cells {
            let added = match cell {
                Cell::Null => self.arguments.add(None::<i64>),
                Cell::Number(number) => self.arguments.add(number),
                Cell::Text(text) => self.arguments.add(text),
                Cell::Bytes(bytes) => self.arguments.add(bytes),
            };
            added.expect("numbers, texts and bytes always have an encoding");
            self.cells += 1;
        }
        self.statements += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.statements
    }

    /// Runs the statements; the answers are in their order.
    pub(super) async fn run(
        self,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<Answer>, Stopped> {
        let kept = self.statements <= STATEMENTS_KEPT_MAX;
        // Safe: the text is made of literals of this crate and of numbers counted here.
        let query = sqlx::query_with(AssertSqlSafe(self.sql), self.arguments).persistent(kept);
        let mut stream = connection.fetch_many(query);
        let mut answers = Vec::with_capacity(self.statements);
        let mut current = Answer::default();
        loop {
            match stream.try_next().await {
                Ok(Some(Either::Right(row))) => current.rows.push(row),
                Ok(Some(Either::Left(done))) => {
                    current.changed = done.rows_affected();
                    answers.push(std::mem::take(&mut current));
                }
                Ok(None) => return Ok(answers),
                Err(error) => return Err(Stopped { ended: answers.len(), error }),
            }
        }
    }

    /// The engine numbers the parameters of all statements of a script in one row.
    fn push_renumbered(&mut self, sql: &'static str) {
        let mut parts = sql.split('$');
        self.sql.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let number: usize =
                part[..digits].parse().expect("a parameter is a dollar sign and its number");
            self.sql.push('$');
            self.sql.push_str(&(number + self.cells).to_string());
            self.sql.push_str(&part[digits..]);
        }
        self.sql.push_str(";\n");
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<u64> for Cell {
    /// Numbers counted one by one never reach the top bit; one that claims to is the largest.
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<Option<u64>> for Cell {
    fn from(number: Option<u64>) -> Self {
        number.map_or(Self::Null, Self::from)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<super::digest::Digest> for Cell {
    fn from(digest: super::digest::Digest) -> Self {
        Self::Bytes(digest.0.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_the_parameters_of_all_statements_in_one_row() {
        let mut script = Script::default();
        script.add("SELECT $1, $2", [Cell::from(1i64), Cell::from("a")]);
        script.add("SELECT $2 WHERE $1 = '' OR $12 = 1", [Cell::from("b"), Cell::Null]);
        assert_eq!(script.sql, "SELECT $1, $2;\nSELECT $4 WHERE $3 = '' OR $14 = 1;\n");
        assert_eq!((script.statements, script.cells), (2, 4));
    }
}
