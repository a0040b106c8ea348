//! An open-loop load generator: it asks at a fixed rate, whatever the answers do, and knows
//! exactly what became of every request.
//!
//! ```no_run
//! # async fn example() -> Result<(), rollway::failure::Failure> {
//! use std::time::{Duration, Instant};
//! use rollway::load::{Load, LoadPlan};
//!
//! let target = "127.0.0.1:8080".parse().expect("an address");
//! let load = Load::start(LoadPlan { rate: 2000, ..LoadPlan::to(target) })?;
//! // ... deploy v2 ...
//! let switched = Instant::now();
//! // ...
//! let report = load.stop().await;
//! assert_eq!(report.tally.failed(), 0);
//! assert_eq!(report.answers_of("v1", switched), 0);
//! # Ok(())
//! # }
//! ```
//!
//! # What is measured
//!
//! - **Open loop.** Request k is due at `start + k / rate`. When the target stalls, requests go on
//!   falling due, on further connections. Latency runs from the moment that a request was *due*,
//!   so that a stall of a second shows as a second for one request, 999 ms for the next and so on
//!   (a closed loop would show one slow request: "coordinated omission").
//! - **Lateness** is how long after its due time the generator itself began with a request. It is
//!   part of the latency. When it is not small the machine was too busy for the numbers to be
//!   about the target.
//! - **Latency** is of all requests that got an answer of whatever status, and of those that timed
//!   out (with the time that they waited); not of those that were refused or cut, which would
//!   make a broken target look quick.
//! - **Outcomes**: [`Outcome`] says how each request ended. Everything except `ok` is a failure.
//!   `unsent` is the generator's own: no file handle or port was left, or too much in flight.
//! - **Connections**: a share of the requests ([`Mix::fresh_share`]) each opens a connection and
//!   closes it; the others share kept ones, in turn. A kept connection that the peer closed while
//!   it was idle is noticed before a request goes out on it and replaced, which is counted
//!   (`kept_closed_idle`) and is no failure. One that is closed under a request is a failure, with
//!   `kept` set; nothing is ever sent twice.
//! - **Versions** are read from a header of the answer, `x-version` by default.
//!
//! # How it runs
//!
//! On one thread of its own with its own runtime, so that it neither disturbs the caller's nor is
//! disturbed by it; [`LoadPlan::cpu`] pins it to a processor. On Linux it wakes by a kernel timer
//! to some ten microseconds, as the runtime's own millisecond would show in the latencies.
//!
//! # What it keeps
//!
//! 24 bytes a request, for exact questions afterwards ([`Report::answers`]), up to
//! [`LoadPlan::log_max`] requests; counts and the histogram go on beyond that. At most
//! [`IN_FLIGHT_MAX`] requests are in flight, each with a buffer of 16 KiB.

mod client;
mod histogram;
mod pace;
mod plan;
mod record;
mod report;
mod run;
mod tally;
#[cfg(test)]
mod tests;
mod wire;

pub use histogram::{Histogram, Latency};
pub use plan::{LoadPlan, Mix, RATE_MAX};
pub use record::{Answer, FailureSeen, Outcome};
pub use report::{Report, Summary, Window};
pub use run::{IN_FLIGHT_MAX, Load};
pub use tally::Tally;
