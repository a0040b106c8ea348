//! The crash matrix: every place of `rollway::crash` under every strategy and operation, with real
//! processes, a real database, and the real proxy under load. What held is read from witnesses:
//! the load generator's log, the words of the instances themselves, the folders and processes that
//! are there, and the verified history.
//!
//! An ordinary run tries a sample; `RUN_SLOW_TESTS=1` (`make crash-matrix`) tries all, and prints
//! which places were reached and what did not hold.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![cfg(debug_assertions)]

mod arm;
mod bench;
mod cell;
mod check;
#[expect(dead_code, reason = "it is shared with the tests that use the rest of it")]
#[path = "../store/disk.rs"]
mod disk;
mod matrix;
mod pause;
mod planted;
mod power;
#[path = "../it/shop.rs"]
mod shop;
#[expect(dead_code, reason = "it is shared with the tests that use the rest of it")]
#[path = "../it/world.rs"]
mod world;
