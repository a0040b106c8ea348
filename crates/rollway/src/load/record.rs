//! What became of a request, and the compact log of all of them.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A whole answer with a status below 400.
    Ok,
    /// A whole answer with a status from 400 to 499.
    Status4xx,
    /// A whole answer with a status of 500 or more.
    Status5xx,
    /// No connection could be made.
    ConnectRefused,
    /// The peer reset the connection, before or in the answer.
    Reset,
    /// The peer closed the connection before the answer's head was whole.
    ClosedBeforeAnswer,
    /// No whole answer in time.
    Timeout,
    /// The peer closed the connection before the answer's body was whole.
    ShortBody,
    /// What came is not HTTP/1.1, or more than was announced.
    BadAnswer,
    /// The generator could not send it: no file handle or port left, or too much in flight.
    Unsent,
}

impl Outcome {
    /// All of them, in order.
    pub const ALL: [Self; 10] = [
        Self::Ok,
        Self::Status4xx,
        Self::Status5xx,
        Self::ConnectRefused,
        Self::Reset,
        Self::ClosedBeforeAnswer,
        Self::Timeout,
        Self::ShortBody,
        Self::BadAnswer,
        Self::Unsent,
    ];

    /// What a whole answer with this status is.
    #[must_use]
    pub fn of_status(status: u16) -> Self {
        match status {
            0..400 => Self::Ok,
            400..500 => Self::Status4xx,
            500.. => Self::Status5xx,
        }
    }

    /// The name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Status4xx => "status_4xx",
            Self::Status5xx => "status_5xx",
            Self::ConnectRefused => "connect_refused",
            Self::Reset => "reset",
            Self::ClosedBeforeAnswer => "closed_before_answer",
            Self::Timeout => "timeout",
            Self::ShortBody => "short_body",
            Self::BadAnswer => "bad_answer",
            Self::Unsent => "unsent",
        }
    }

    /// Whether the time that it took says something about the target's speed.
    #[must_use]
    pub fn has_latency(self) -> bool {
        matches!(self, Self::Ok | Self::Status4xx | Self::Status5xx | Self::Timeout)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One request as the log keeps it: 24 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    /// Nanoseconds after the start.
    pub sent: u64,
    /// Nanoseconds after the start.
    pub finished: u64,
    /// Which request; the plan knows from it when it was due.
    pub number: u32,
    /// 0 = no answer.
    pub status: u16,
    /// Index into the tally's versions, or [`NO_VERSION`].
    pub version: u8,
    /// The outcome's index, and [`KEPT`].
    pub outcome: u8,
}

/// In [`Record::outcome`]: the request went over a connection that had been used before.
pub(super) const KEPT: u8 = 0x80;

/// In [`Record::version`]: the answer did not say.
pub(super) const NO_VERSION: u8 = u8::MAX;

impl Record {
    /// The outcome.
    pub fn outcome(&self) -> Outcome {
        Outcome::ALL[usize::from(self.outcome & !KEPT)]
    }
}

/// One request with all that is known of it; times are after the start of the load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer<'a> {
    /// Which request, from 0.
    pub number: u32,
    /// When it should have been sent.
    pub due: Duration,
    /// When the generator began with it.
    pub sent: Duration,
    /// When its outcome was known.
    pub finished: Duration,
    /// The status, if an answer came.
    pub status: Option<u16>,
    /// The version that answered, if it said so.
    pub version: Option<&'a str>,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether it went over a connection that had been used before.
    pub kept: bool,
}

impl Answer<'_> {
    /// The time from when it was due.
    #[must_use]
    pub fn latency(&self) -> Duration {
        self.finished.saturating_sub(self.due)
    }
}

/// A request that failed, in words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FailureSeen {
    /// Which request, from 0.
    pub number: u64,
    /// When that was known, in microseconds after the start.
    pub at_us: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Why: `connection reset by peer`, `status 503 from v2`.
    pub why: String,
    /// Whether it went over a connection that had been used before.
    pub kept: bool,
}
