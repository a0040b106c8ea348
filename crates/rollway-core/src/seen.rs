//! What a driver answers: what an ensuring call found to do, and an instance as it is seen.

use std::net::SocketAddr;

use crate::ids::{Generation, InstanceId, Version};

/// What an ensuring call found to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// It was not so, and is now.
    Added,
    /// It was there, but not as wanted, and is now.
    Updated,
    /// It was so already.
    NotNeeded,
    /// Nothing was done: the target has seen a newer generation.
    Stale {
        /// The newest generation that the target has seen.
        seen: Generation,
    },
}

/// One instance, as a driver sees it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenInstance {
    /// Which instance.
    pub instance: InstanceId,
    /// The label of its build.
    pub version: Version,
    /// Where it listens, if it was given a port.
    pub address: Option<SocketAddr>,
    /// Whether it runs.
    pub life: Life,
    /// Which run of it this is, as `pid:starttime`: another one after each restart.
    pub incarnation: String,
    /// How often it was started again after it ended by itself.
    pub restarts: u32,
    /// How long ago this run began.
    pub started_ms_ago: u64,
    /// The generation that started it.
    pub generation: Generation,
}

impl SeenInstance {
    /// What is seen of an instance that is not there: a stale start has to answer something.
    #[must_use]
    pub fn absent(instance: InstanceId, version: &Version) -> Self {
        Self {
            instance,
            version: version.clone(),
            address: None,
            life: Life::Ended(Ended::default()),
            incarnation: String::new(),
            restarts: 0,
            started_ms_ago: 0,
            generation: Generation::default(),
        }
    }
}

/// Whether an instance runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// It is being started.
    Starting,
    /// Its process runs.
    Running,
    /// It ended by itself and will be started again.
    Restarting {
        /// How it ended.
        ended: Ended,
        /// How long until it is started again.
        wait_ms: u64,
    },
    /// It ended, and will not come back by itself.
    Ended(Ended),
    /// It was asked to end, and has not yet.
    Stopping,
}

/// How a process ended; neither code nor signal = nobody was there to see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// How long ago.
    pub at_ms_ago: u64,
    /// The last lines of its output, at most 20.
    pub last_lines: Vec<String>,
}
