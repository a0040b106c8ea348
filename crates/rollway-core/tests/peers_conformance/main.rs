//! The judgements of the peers held against what the peers, R and scipy answered themselves.
//!
//! The cases are no part of this repository. `ROLLWAY_CASES` names their folder; without it they
//! are looked for in `../shared/cases`, and where there are none this says so and passes.

mod argo;
mod flagger;
mod kayenta;
mod ranks;
mod told;
