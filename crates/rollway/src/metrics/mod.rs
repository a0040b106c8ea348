//! Sources of numbers for judgements, one file each.
//!
//! A source answers with a [`Sample`](rollway_core::analysis::Sample), always: what cannot be
//! learned, by a time-out or an answer that makes no sense, is told with its reason, and is
//! never taken for a good sign.

pub mod embedded_proxy;
