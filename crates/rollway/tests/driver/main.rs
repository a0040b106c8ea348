//! Drivers with real processes: what every driver must do, and what `process` does besides.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod conformance;
mod pace;
mod probe;
mod process;
mod support;
