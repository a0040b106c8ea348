//! What is going to happen, in order of time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use rollway_core::engine::Input;
use rollway_core::ids::{Generation, InstanceId};
use rollway_core::plan::Route;

/// Who: a control plane and which of its lives.
pub type Who = (usize, u64);

/// One thing that is going to happen.
#[derive(Debug, Clone)]
pub enum Happening {
    /// A loop wakes.
    Wake(Who, u64),
    /// A loop is told something.
    Mail(Who, Input),
    /// The disk does a write.
    Disk(Who),
    /// The answer of the disk arrives.
    Written(Who, bool),
    /// A start reaches the target.
    Start(Call, InstanceId),
    /// A drain begins at the proxy.
    Drain(Call, InstanceId),
    /// A drain has ended; the stop is sent.
    Drained(Call, InstanceId, u64),
    /// A stop reaches the target.
    Stop(Call, InstanceId, u64),
    /// What was asked to end has ended.
    Stopped(Call, InstanceId, u64, u64),
    /// A route reaches the proxy.
    Route(Call, Box<Route>, u64),
    /// A fence reaches the target.
    Fence(Call),
    /// An observation reaches the target.
    Observe(Call, u64, u64),
    /// An answer to an observation arrives.
    Seen(Who, Input, Look),
    /// A probe reaches an instance.
    Probe(Who, InstanceId, u64),
    /// A process starts again.
    Restart(InstanceId, u64),
    /// A process ends by itself.
    Die(InstanceId, u64),
    /// The proxy is back.
    ProxyUp,
    /// A control plane that was deposed ends, and comes up again.
    Deposed(Who),
    /// A control plane opens the store.
    Open(usize),
    /// Time for a fault.
    Trouble,
    /// Time for a person to ask for something, and again later.
    Operate,
    /// A person asks for something.
    Wish,
}

/// A call that a control plane has made.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Who made it.
    pub who: Who,
    /// With which generation.
    pub generation: Generation,
    /// When it was decided.
    pub decided: u64,
    /// When the last observation was made that was heard before that.
    pub saw: u64,
    /// Whether it arrives for the second time.
    pub doubled: bool,
}

/// An observation that was made.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Its number, among those that the control plane asked for.
    pub number: u64,
    /// When it was made.
    pub made: u64,
}

#[derive(Debug)]
struct Scheduled {
    at: u64,
    number: u64,
    what: Happening,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// All that is going to happen.
#[derive(Debug, Default)]
pub struct Agenda {
    heap: BinaryHeap<Reverse<Scheduled>>,
    number: u64,
}

impl Agenda {
    /// Adds something.
    pub fn add(&mut self, at: u64, what: Happening) {
        self.number += 1;
        self.heap.push(Reverse(Scheduled { at, number: self.number, what }));
    }

    /// The next thing, with its time.
    pub fn pop(&mut self) -> Option<(u64, Happening)> {
        self.heap.pop().map(|Reverse(next)| (next.at, next.what))
    }
}
