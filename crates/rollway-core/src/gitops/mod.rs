//! GitOps: a branch of a repository is what is wanted, and what is to be done about it.
//!
//! Everything here is a function of what was read, what is recorded and what time it is. Names of
//! repositories, refs and paths are checked once, where they enter; a whole revision is read as
//! one [`set`] before anything acts; [`decide`] says the next step of one service.

pub mod address;
pub mod config;
pub mod cron;
pub mod decide;
pub mod guard;
pub mod merge;
pub mod name;
pub mod set;
pub mod state;
pub mod window;
pub mod write_back;

#[cfg(test)]
mod tests;
