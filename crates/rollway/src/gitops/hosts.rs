//! What hosts are spared, whatever the number of sources there: they are asked by a few at a
//! time, and one that wants to be left alone is, by all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rollway_core::gitops::state::Reason;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::git::Trouble;

/// So many sources ask one host at a time.
const TURNS: usize = 8;
/// So long a host that asks for patience without saying how much is left alone.
const PATIENCE: Duration = Duration::from_secs(300);
/// No wait after failed looks is longer, unless the host asks for it.
const LOOK_WAIT_MAX: Duration = Duration::from_secs(600);

/// All hosts of a control plane.
#[derive(Default)]
pub(super) struct Hosts(Mutex<BTreeMap<String, Host>>);

struct Host {
    turns: Arc<Semaphore>,
    /// Nobody asks it before this, unless people want it.
    until: Option<Instant>,
}

impl Hosts {
    /// Waits for its turn at a host; a folder on this machine is nobody's burden.
    pub async fn turn(&self, host: Option<&str>) -> Option<OwnedSemaphorePermit> {
        let turns = self.with(host?, |host| Arc::clone(&host.turns));
        turns.acquire_owned().await.ok()
    }

    /// Until when a host is left alone.
    pub fn rests(&self, host: Option<&str>) -> Option<Instant> {
        self.with(host?, |host| host.until).filter(|until| *until > Instant::now())
    }

    /// What a failed look says of its host: one that asked for patience gets it from all.
    pub fn heard(&self, host: Option<&str>, trouble: &Trouble) {
        let wait = match (trouble.retry_after, trouble.reason) {
            (Some(wait), _) => wait,
            (None, Reason::RateLimited) => PATIENCE,
            (None, _) => return,
        };
        if let Some(host) = host {
            let until = Instant::now() + wait;
            self.with(host, |host| host.until = host.until.max(Some(until)));
        }
    }

    fn with<T>(&self, host: &str, read: impl FnOnce(&mut Host) -> T) -> T {
        let mut hosts = self.0.lock().expect("nobody panics with it");
        let new = || Host { turns: Arc::new(Semaphore::new(TURNS)), until: None };
        // A host is the same in any case of its letters.
        read(hosts.entry(host.to_ascii_lowercase()).or_insert_with(new))
    }
}

/// The wait for the next look: twice as long after each failure. A tenth more or less, so that
/// sources that began together do not stay together.
pub(super) fn wait(interval: Duration, failures: u32) -> Duration {
    let wait = match failures {
        0 => interval,
        failures => interval
            .saturating_mul(1 << failures.saturating_sub(1).min(10))
            .min(LOOK_WAIT_MAX)
            .max(interval),
    };
    wait.mul_f64(0.9 + 0.2 * fastrand::f64())
}
