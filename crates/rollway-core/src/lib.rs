//! The pure core of Rollway: what a spec says, what to do next, what has happened.
//!
//! Nothing here knows a clock, a disk, a network or chance: times and numbers are arguments.

pub mod analysis;
pub mod arithmetic;
pub mod converge;
pub mod engine;
pub mod event;
pub mod explain;
pub mod forecast;
pub mod gitops;
pub mod health;
pub mod ids;
pub mod mutant;
pub mod observed;
pub mod peers;
pub mod plan;
pub mod problem;
pub mod progress;
pub mod release;
pub mod seen;
pub mod series;
pub mod spec;
pub mod strategy;
pub mod template;
pub mod units;
pub mod verdict;
pub mod view;
