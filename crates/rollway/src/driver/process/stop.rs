//! Ends instances: by their shims, or where there is none any more, by what is known about them.

use std::sync::Arc;
use std::time::Duration;

use rollway_core::ids::Generation;
use rustix::process::Signal;

use super::folder::{self, Entry};
use super::wire::{End, Outcome, Phase, Record, Request};
use super::{Key, Known, Shared, TRIES_MAX, limits, signals};
use crate::crash;
use crate::driver::{Ensured, Fence, SeenInstance, StopOrder};
use crate::failure::{Failure, FailureKind};
use crate::os::proc::{self, Identity};
use crate::os::tree;

/// Beyond its time limit, a stop may take this long: a kill (`tree::KILL_WAIT_MS_MAX`), and a
/// folder to remove.
const STOP_MARGIN: Duration = Duration::from_secs(6);

impl Shared {
    /// Ends an instance, whoever holds it.
    pub async fn stop(
        self: &Arc<Self>,
        fence: &Fence,
        key: &Key,
        order: &StopOrder,
    ) -> Result<Ensured, Failure> {
        let doing = || format!("could not stop {} {}", key.0, key.1);
        // A shim may end by itself just as it is asked; then it is looked for again.
        for _ in 0..TRIES_MAX {
            let held = self.gated(key, async {
                self.adopt_if_there(key).await?;
                let known = self.known().get(key).cloned();
                match known {
                    Some(Known::Supervised(handle)) => Ok(Err(handle)),
                    Some(Known::Coming(_) | Known::Alone(_)) | None => {
                        self.stop_alone(fence, key, order).await.map(Ok)
                    }
                }
            });
            let handle = match held.await? {
                Ok(ensured) => return Ok(ensured),
                Err(handle) => handle,
            };
            let request = Request::Stop {
                id: self.request_id(),
                generation: fence.generation,
                signal: order.signal.clone(),
                timeout_ms: order.timeout.0,
            };
            let longest = order.timeout.duration() + STOP_MARGIN;
            let Ok(outcome) = tokio::time::timeout(longest, handle.ask(request)).await else {
                // Stuck or stopped. Without it the instance can be ended as any that is alone.
                let shim = handle.record().shim;
                shim.signal(Signal::KILL);
                handle.gone_soon().await;
                continue;
            };
            match outcome {
                Some(Outcome::Done) => {
                    crash::point("driver.stop.answered");
                    self.forget(key, &handle);
                    return Ok(Ensured::Updated);
                }
                Some(Outcome::Stale(seen)) => return Ok(Ensured::Stale { seen }),
                Some(Outcome::NotDone(why)) => {
                    return Err(Failure::because(FailureKind::NotDone, doing(), why));
                }
                Some(Outcome::Unfinished(why)) => {
                    return Err(Failure::because(FailureKind::Unknown, doing(), why));
                }
                Some(Outcome::NotNeeded | Outcome::Stopping) | None => handle.gone_soon().await,
            }
        }
        Err(Failure::because(FailureKind::Unknown, doing(), "its shim comes and goes"))
    }

    async fn stop_alone(
        self: &Arc<Self>,
        fence: &Fence,
        key: &Key,
        order: &StopOrder,
    ) -> Result<Ensured, Failure> {
        let doing = format!("could not stop {} {}", key.0, key.1);
        let failed = |why| Failure::because(FailureKind::NotDone, doing.clone(), why);
        let signal = signals::parse(&order.signal).map_err(failed)?;
        let (shared, key) = (self.clone(), key.clone());
        let (generation, timeout_ms) = (fence.generation, order.timeout.0);
        let work = move || shared.end_alone(&key, generation, signal, timeout_ms);
        let ended = tokio::task::spawn_blocking(work).await;
        match ended.map_err(|error| Failure::because(FailureKind::Unknown, doing.clone(), error))? {
            Ok(ensured) => Ok(ensured),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Err(Failure::because(FailureKind::Damaged, doing, error))
            }
            Err(error) => Err(Failure::because(FailureKind::Unknown, doing, error)),
        }
    }

    /// Ends what is left of an instance without a shim, and takes its folder away. Blocks.
    pub fn end_alone(
        &self,
        key: &Key,
        generation: Generation,
        signal: Signal,
        timeout_ms: u64,
    ) -> std::io::Result<Ensured> {
        let folder = self.folder(key);
        let service_folder = folder::of_service(&self.state, &key.0);
        folder::make(&service_folder)?;
        let (record, there) = match folder::enter(&service_folder, generation)? {
            Entry::Stale(seen) => return Ok(Ensured::Stale { seen }),
            Entry::Open(_lock) => {
                let record = folder::read_record(&folder)?;
                if let Some(record) = &record {
                    // A shim that does not answer must not start it again meanwhile.
                    record.shim_if_here().inspect(|shim| shim.signal(Signal::KILL));
                    leftovers(record).iter().for_each(|one| one.signal(signal));
                }
                (record, folder.exists())
            }
        };
        if let Some(record) = &record {
            let gone = tree::end_all(&record.groups, timeout_ms, || {
                let shim = record.shim_if_here().filter(|shim| shim.lives());
                leftovers(record).into_iter().chain(shim).collect()
            });
            if !gone {
                return Err(std::io::Error::other("something is left of it after the kill"));
            }
            limits::remove(&record.groups);
        }
        crash::point("driver.alone.ended");
        let _lock = folder::lock(&service_folder)?;
        folder::remove(&folder)?;
        self.known().remove(key);
        Ok(if there { Ensured::Updated } else { Ensured::NotNeeded })
    }
}

/// The process of an instance without a shim, if it runs.
pub fn runs(record: &Record) -> Option<Identity> {
    let here = is_of_this_boot(record) && record.phase != Phase::Ended;
    record.child.filter(|child| here && child.lives())
}

/// What is seen of an instance without a shim.
pub fn seen(record: &Record) -> SeenInstance {
    let mut now = record.clone();
    if runs(record).is_some() {
        now.phase = Phase::Running;
    } else if record.phase != Phase::Ended {
        // Nobody was there to see how.
        now.end = Some(End { at: proc::since_boot_ms(), ..End::default() });
        now.phase = Phase::Ended;
    }
    now.seen()
}

/// What is left of an instance whose shim is gone. Of another boot, every number means something
/// else. The process and what descends from it is known
/// by identity; what has lost its parent is known by the session that the shim made or by the
/// port, and only if it was started with this instance's environment.
fn leftovers(record: &Record) -> Vec<Identity> {
    if !is_of_this_boot(record) {
        return Vec::new();
    }
    let mut found = Vec::new();
    if let Some(child) = record.child.filter(|child| child.lives()) {
        found.push(child);
        found.extend(proc::descendants(child.pid));
    }
    let mut marks = vec![
        format!("ROLLWAY_SERVICE={}", record.service),
        format!("ROLLWAY_INSTANCE={}", record.instance),
    ];
    marks.extend(record.port.map(|port| format!("PORT={port}")));
    // A process older than the shim was not started by it.
    let strays = proc::all().into_iter().filter(|stat| stat.identity.start >= record.shim.start);
    let strays = strays.filter(|stat| stat.session == record.shim.pid || record.port.is_some());
    let strays = strays.filter(|stat| proc::environment_holds(stat.identity.pid, &marks));
    for stray in strays {
        if !found.contains(&stray.identity) && stray.identity != record.shim {
            found.push(stray.identity);
        }
    }
    found
}

fn is_of_this_boot(record: &Record) -> bool {
    proc::boot_id().is_ok_and(|boot| boot == record.boot)
}

impl Record {
    fn shim_if_here(&self) -> Option<Identity> {
        is_of_this_boot(self).then_some(self.shim)
    }
}
