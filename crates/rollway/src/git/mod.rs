//! The `git` program: as a reader of other people's repositories, bare and one ref at a time, and
//! for work trees that somebody asked for.
//!
//! Nothing of a repository is run here: no hooks, no submodules, no file-system monitor, no LFS. A
//! tree with a symbolic link that leads out of it is not checked out.

mod branch;
mod checkout;
mod command;
mod complaint;
mod headers;
mod mirror;
mod publish;
mod run;
mod signature;
mod url;

use std::time::Duration;

pub use branch::branch;
pub use checkout::{Checkout, MARKER};
pub use command::{Git, UserConfig};
pub use complaint::Trouble;
pub use mirror::{Entry, Mirror, Relation, Remote};
pub use publish::Letter;

/// Whatever reaches a server may take this long.
pub const NETWORK_WAIT_MAX: Duration = Duration::from_secs(600);
/// Whatever only reads or writes this machine's disk may take this long.
pub const LOCAL_WAIT_MAX: Duration = Duration::from_secs(120);
