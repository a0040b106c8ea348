//! The driver `null`: nothing is run; instances are only recorded, in memory, as running at once.
//!
//! For targets that something else manages, and for plans of any size. Its memory ends with the
//! control plane; after a restart the engine finds nothing running and records it again.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use futures_util::future::BoxFuture;
use rollway_core::ids::{Generation, InstanceId, ServiceName, Version};
use tokio::sync::broadcast;

use super::{
    CHANGES_MAX, Change, Driver, Ensured, Fence, Launch, Life, SeenInstance, Setup, StopOrder,
};
use crate::failure::{Failure, FailureKind};

/// Records instances, and runs nothing.
#[derive(Debug)]
pub struct NullDriver {
    services: Mutex<HashMap<ServiceName, Recorded>>,
    changes: broadcast::Sender<Change>,
}

#[derive(Debug, Default)]
struct Recorded {
    newest: Generation,
    instances: BTreeMap<InstanceId, One>,
    started: u64,
}

#[derive(Debug)]
struct One {
    version: Version,
    generation: Generation,
    number: u64,
    since: Instant,
}

/// Makes the driver.
pub fn make(_: &Setup) -> Arc<dyn Driver> {
    Arc::new(NullDriver::new())
}

impl NullDriver {
    /// A driver that has recorded nothing.
    #[must_use]
    pub fn new() -> Self {
        let (changes, _) = broadcast::channel(CHANGES_MAX);
        Self { services: Mutex::default(), changes }
    }

    fn services(&self) -> MutexGuard<'_, HashMap<ServiceName, Recorded>> {
        self.services.lock().expect("no thread panics while it holds the records")
    }

    fn ensure_started(&self, fence: &Fence, launch: &Launch) -> (Ensured, SeenInstance) {
        let mut services = self.services();
        let recorded = services.entry(fence.service.clone()).or_default();
        if fence.generation < recorded.newest {
            let ensured = Ensured::Stale { seen: recorded.newest };
            let seen =
                recorded.instances.get(&launch.instance).map(|one| one.seen(launch.instance));
            return (ensured, seen.unwrap_or_else(|| launch.absent()));
        }
        recorded.newest = fence.generation;
        if let Some(one) = recorded.instances.get(&launch.instance) {
            return (Ensured::NotNeeded, one.seen(launch.instance));
        }
        recorded.started += 1;
        let one = One {
            version: launch.version.clone(),
            generation: fence.generation,
            number: recorded.started,
            since: Instant::now(),
        };
        let seen = one.seen(launch.instance);
        recorded.instances.insert(launch.instance, one);
        drop(services);
        self.tell(&fence.service, launch.instance);
        (Ensured::Added, seen)
    }

    fn ensure_stopped(&self, fence: &Fence, instance: InstanceId) -> Ensured {
        let mut services = self.services();
        let recorded = services.entry(fence.service.clone()).or_default();
        if fence.generation < recorded.newest {
            return Ensured::Stale { seen: recorded.newest };
        }
        recorded.newest = fence.generation;
        if recorded.instances.remove(&instance).is_none() {
            return Ensured::NotNeeded;
        }
        drop(services);
        self.tell(&fence.service, instance);
        Ensured::Updated
    }

    fn tell(&self, service: &ServiceName, instance: InstanceId) {
        // Without a listener there is nobody to tell.
        let _ = self.changes.send(Change { service: service.clone(), instance });
    }
}

impl Default for NullDriver {
    fn default() -> Self {
        Self::new()
    }
}

impl One {
    fn seen(&self, instance: InstanceId) -> SeenInstance {
        SeenInstance {
            instance,
            version: self.version.clone(),
            address: None,
            life: Life::Running,
            incarnation: format!("0:{}", self.number),
            restarts: 0,
            started_ms_ago: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            generation: self.generation,
        }
    }
}

impl Driver for NullDriver {
    fn start<'a>(
        &'a self,
        fence: &'a Fence,
        launch: &'a Launch,
    ) -> BoxFuture<'a, Result<(Ensured, SeenInstance), Failure>> {
        Box::pin(async move { Ok(self.ensure_started(fence, launch)) })
    }

    fn stop<'a>(
        &'a self,
        fence: &'a Fence,
        instance: InstanceId,
        _: &'a StopOrder,
    ) -> BoxFuture<'a, Result<Ensured, Failure>> {
        Box::pin(async move { Ok(self.ensure_stopped(fence, instance)) })
    }

    fn observe<'a>(
        &'a self,
        service: &'a ServiceName,
    ) -> BoxFuture<'a, Result<Vec<SeenInstance>, Failure>> {
        Box::pin(async move {
            let services = self.services();
            let Some(recorded) = services.get(service) else { return Ok(Vec::new()) };
            Ok(recorded.instances.iter().map(|(instance, one)| one.seen(*instance)).collect())
        })
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    fn log<'a>(
        &'a self,
        service: &'a ServiceName,
        instance: InstanceId,
    ) -> BoxFuture<'a, Result<PathBuf, Failure>> {
        Box::pin(async move {
            let doing =
                format!("there is no log of {service} {instance}: driver null runs nothing");
            Err(Failure::new(FailureKind::Missing, doing))
        })
    }
}
