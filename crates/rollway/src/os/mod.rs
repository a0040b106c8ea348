//! What the operating system says about processes, and how they are run and ended.

pub mod fds;
pub mod proc;
pub mod run;
pub mod tree;
