//! Routers put a split into effect.

pub mod embedded;
pub mod table;
