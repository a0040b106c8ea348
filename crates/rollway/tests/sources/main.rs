//! Sources of numbers, asked over real sockets: what they learn, and that everything else is told
//! with its reason.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod kinds;
mod real_prometheus;
mod server;
mod tls;
