//! GitOps as real runs: repositories in a folder, behind `git http-backend`, and hostile ones; a
//! control plane of its own for each test. The names T01 to T25 are those of the corner cases in
//! docs/gitops.md.

#![expect(clippy::print_stdout, reason = "figures and what is skipped are told")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod damage;
mod follow;
mod history;
mod hooks;
mod hostile;
mod server;
mod shell;
mod signed;
mod web;
mod world;
mod write_back;
