//! What the driver and a shim say to each other: one JSON object a line, and the record on disk.

use std::path::PathBuf;

use rollway_core::ids::{Generation, InstanceId, ServiceName, Version};
use serde::{Deserialize, Serialize};

use crate::driver::{Ended, Launch, Life, SeenInstance};
use crate::os::proc::{self, Identity, Stat};

/// The longest line that is read: 20 last lines of 4 KiB, six characters a byte when escaped,
/// and the rest of a record; a launch may hold an environment of 128 KiB values.
pub const LINE_BYTES_MAX: usize = 4 << 20;

/// The format of the record that this program writes.
pub const FORMAT: u32 = 1;

/// What a shim is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Start this; the first line on a new shim's standard input, and only there.
    Launch(Box<Order>),
    /// Is it so that the instance runs, and may this generation act?
    Touch {
        /// The number that the answer carries.
        id: u64,
        /// Who acts.
        generation: Generation,
    },
    /// End the instance.
    Stop {
        /// The number that the answer carries.
        id: u64,
        /// Who acts.
        generation: Generation,
        /// The signal that asks it to end.
        signal: String,
        /// How long it may take before it is killed.
        timeout_ms: u64,
    },
}

impl Request {
    /// The number that the answer will carry; a launch's answer is read by its sender.
    pub fn id(&self) -> Option<u64> {
        match self {
            Self::Touch { id, .. } | Self::Stop { id, .. } => Some(*id),
            Self::Launch(_) => None,
        }
    }
}

/// A launch, and for whom.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// The service.
    pub service: ServiceName,
    /// Who acts.
    pub generation: Generation,
    /// What to run.
    pub launch: Launch,
}

/// What a shim says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// How things are now: first on each connection, and after each change.
    State(Box<Record>),
    /// The answer to a request; 0 is the launch.
    Reply {
        /// The number that the request carried.
        id: u64,
        /// What became of it.
        outcome: Outcome,
    },
}

/// What became of a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is done: started, or gone.
    Done,
    /// It was so already.
    NotNeeded,
    /// A newer generation was here.
    Stale(Generation),
    /// It is being stopped: ask again when it is gone.
    Stopping,
    /// It certainly was not done.
    NotDone(String),
    /// It was begun and could not be finished.
    Unfinished(String),
}

/// What is known about one instance, as kept in `shim.json`. It never holds a value of the
/// environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub instance: InstanceId,
    /// The label of the build.
    pub version: Version,
    /// The generation that started it.
    pub generation: Generation,
    /// Which boot of the machine this was.
    pub boot: String,
    /// The shim.
    pub shim: Identity,
    /// The instance's process, or the last one.
    pub child: Option<Identity>,
    /// Its port.
    pub port: Option<u16>,
    /// Where it stands.
    pub phase: Phase,
    /// How often it was started again.
    pub restarts: u32,
    /// When the process was started, in milliseconds since the machine was.
    pub started_at: u64,
    /// How the last process ended.
    pub end: Option<End>,
    /// By what its limits are kept: `cgroup v2`, `cgroup v1: memory, pids`, `rlimit: open_files`.
    pub limited_by: String,
    /// The control groups that were made for it.
    pub groups: Vec<PathBuf>,
}

/// Where an instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing runs yet.
    Starting,
    /// It runs.
    Running,
    /// It ended and will be started again at this time, in milliseconds since the machine was.
    Restarting {
        /// When.
        at: u64,
    },
    /// It was asked to end.
    Stopping,
    /// It ended, and that was it.
    Ended,
}

/// How a process ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Its exit code.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When, in milliseconds since the machine was started.
    pub at: u64,
    /// Its last words.
    pub last_lines: Vec<String>,
}

impl Record {
    /// Notes that the process was started. It may have ended already: then it has no start time.
    pub fn ran(&mut self, pid: i32) {
        self.child = Some(Stat::of(pid).map_or(Identity { pid, start: 0 }, |stat| stat.identity));
        self.phase = Phase::Running;
        self.started_at = proc::since_boot_ms();
    }

    /// What the engine sees of it.
    pub fn seen(&self) -> SeenInstance {
        let now = proc::since_boot_ms();
        SeenInstance {
            instance: self.instance,
            version: self.version.clone(),
            address: self.port.map(|port| ([127, 0, 0, 1], port).into()),
            life: self.life(now),
            incarnation: self.child.map(|child| child.to_string()).unwrap_or_default(),
            restarts: self.restarts,
            started_ms_ago: now.saturating_sub(self.started_at),
            generation: self.generation,
        }
    }

    fn life(&self, now: u64) -> Life {
        match self.phase {
            Phase::Starting => Life::Starting,
            Phase::Running => Life::Running,
            Phase::Restarting { at } => {
                Life::Restarting { ended: self.ended(now), wait_ms: at.saturating_sub(now) }
            }
            Phase::Stopping => Life::Stopping,
            Phase::Ended => Life::Ended(self.ended(now)),
        }
    }

    fn ended(&self, now: u64) -> Ended {
        let end = self.end.clone().unwrap_or_default();
        Ended {
            code: end.code,
            signal: end.signal,
            at_ms_ago: now.saturating_sub(end.at),
            last_lines: end.last_lines,
        }
    }
}

/// One line of the conversation.
pub fn line(message: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(message).expect("messages have string keys only");
    bytes.push(b'\n');
    bytes
}
