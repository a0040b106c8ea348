//! What all workers of a proxy share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc;

use super::access_log::AccessLog;
use super::endpoint::Endpoint;
use super::service::Service;
use super::stats::Stats;
use super::sticky::Signer;

/// So many alarms are kept, the newest.
const ALARMS_MAX: usize = 100;

/// What all workers share.
pub struct Shared {
    /// When the process began.
    pub started: Instant,
    /// How many workers there are.
    pub workers: usize,
    /// Knows clients again.
    pub signer: Signer,
    /// Where requests are written down.
    pub access_log: Option<AccessLog>,
    /// Client connections at the moment.
    pub connections: AtomicUsize,
    /// The most of them.
    pub connections_max: usize,
    /// Connections that were refused because there were too many.
    pub refused: AtomicU64,
    /// Requests that belonged to no service.
    pub stats: Stats,
    /// The process is ending.
    pub ending: AtomicBool,
    /// Takes instances that need a probe before they are used.
    pub probes: mpsc::UnboundedSender<(Arc<Service>, Arc<Endpoint>)>,
    alarms: Mutex<VecDeque<String>>,
}

impl Shared {
    /// Of a proxy that begins.
    pub fn new(
        workers: usize,
        connections_max: usize,
        signer: Signer,
        access_log: Option<AccessLog>,
        probes: mpsc::UnboundedSender<(Arc<Service>, Arc<Endpoint>)>,
    ) -> Self {
        Self {
            started: Instant::now(),
            workers,
            signer,
            access_log,
            connections: AtomicUsize::new(0),
            connections_max,
            refused: AtomicU64::new(0),
            stats: Stats::new(workers),
            ending: AtomicBool::new(false),
            probes,
            alarms: Mutex::default(),
        }
    }

    /// Tells the operator of something that must not be missed.
    pub fn alarm(&self, text: impl Into<String>) {
        let text = text.into();
        tracing::warn!("{text}");
        let mut alarms = self.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        if alarms.contains(&text) {
            return;
        }
        if alarms.len() == ALARMS_MAX {
            alarms.pop_front();
        }
        alarms.push_back(text);
    }

    /// Takes back alarms that begin so.
    pub fn calm(&self, beginning: &str) {
        let mut alarms = self.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        alarms.retain(|alarm| !alarm.starts_with(beginning));
    }

    /// The alarms that hold, the oldest first.
    pub fn alarms(&self) -> Vec<String> {
        let alarms = self.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        alarms.iter().cloned().collect()
    }
}
