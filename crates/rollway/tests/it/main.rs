//! The whole of Rollway with real processes, real sockets and real load.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod analysis;
mod crash;
mod deploying;
mod guards;
mod machines;
mod rollback;
mod shop;
mod sources;
mod world;
