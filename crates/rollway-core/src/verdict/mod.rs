//! The canary judge: is the new version worse, is it good enough, or is it too early to say?
//!
//! Sequential and two-armed: each interval brings the counts of both arms, and the answer holds
//! however often it is looked at. The tests are betting e-processes on paired exceedances: only
//! the *difference* between the arms matters, so that an incident which hits both is no
//! regression, and the split of the traffic may change at will.
//!
//! ```text
//! Rules ─> Judge::new ─> begin(histories) ─> State     one canary, a plain value below 2 KB
//!                        apply(&mut state, interval)   exactly once, whatever its length
//!                        verdict(&state, look)         what is to be done, and why
//! ```

pub mod deadline;
pub mod decision;
pub mod dispersion;
pub mod eprocess;
pub mod errors;
mod exact;
pub mod finding;
pub mod gauge;
pub mod guard;
pub mod histogram;
pub mod interval;
pub mod judge;
pub mod latency;
pub mod others;
pub mod planner;
pub mod rank;
mod recent;
pub mod rules;
pub mod stats;
