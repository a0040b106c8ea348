//! The verdict held against reference cases of its statistics, and its own properties.
//!
//! The cases are no part of this repository. `ROLLWAY_CASES` names their folder; without it they
//! are looked for in `../shared/cases`, and where there are none this says so and passes.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod canary;
mod cases;
mod classic;
mod confidence;
mod judge;
mod properties;
mod traffic;
