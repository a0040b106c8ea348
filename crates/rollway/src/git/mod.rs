//! The `git` program as a reader of other people's repositories: bare, one ref at a time, and
//! with nothing of a repository ever run.

mod complaint;
mod mirror;
mod run;
mod signature;

pub use complaint::Trouble;
pub use mirror::{Entry, Mirror, Relation, Remote};
