//! A deterministic simulator over the production engine.
//!
//! ```text
//! seed ──> rates of faults, specs, people's wishes ──> World: time, store, target, proxy
//!                                                        │ effects, outcomes
//!                                          1 to 3 x rollway_core::engine::Engine
//! what target, proxy and disk saw ──> checks ──> violations, by invariant
//! ```
//! The engine, the planner, the convergence and the progress are those of production; what is
//! simulated is the world around them. Seed and commit make a run, on every machine.

mod acts;
mod check;
pub mod faults;
mod happening;
mod model;
mod plane;
pub mod report;
pub mod rng;
mod specs;
mod store;
mod trouble;
pub mod world;
