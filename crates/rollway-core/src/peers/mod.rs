//! The judgements of other systems, by their own names: a user who comes from one of them finds
//! the answers that he knows, and where those are wrong, what is mended and why.
//!
//! | module | whose | what |
//! |---|---|---|
//! | [`expression`] | Argo Rollouts | `success_condition` and `failure_condition` |
//! | [`threshold`] | Argo Rollouts | measurements, counters, limits, the phase of a run |
//! | [`mann_whitney`] | R | `wilcox.test` of two samples |
//! | [`kayenta`] | Kayenta | `NetflixACAJudge`: classes, scores, verdict, windows |
//! | [`flagger`] | Flagger | weights, phases and readiness, tick by tick |

pub mod expression;
pub mod flagger;
pub mod kayenta;
pub mod mann_whitney;
mod normal;
pub mod threshold;
