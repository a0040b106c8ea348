//! Rollway: progressive delivery for services on any target.

pub mod api;
pub mod cli;
pub mod driver;
pub mod engine;
pub mod failure;
pub mod files;
pub mod git;
pub mod load;
pub mod os;
pub mod probe;
pub mod proxy;
pub mod store;
pub mod traffic;
pub mod trial;
pub mod unix_http;
