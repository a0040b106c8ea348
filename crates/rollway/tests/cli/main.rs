//! The command line as users meet it: the real binary, its output as golden texts.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod bad_input;
mod deploying;
mod pages;
mod refused;
mod support;
