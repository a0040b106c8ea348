//! What the driver knows of its instances, and how it gets to know them: by their folders.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use rollway_core::ids::{InstanceId, ServiceName};

use super::connection::{Connection, Handle, Line};
use super::wire::Record;
use super::{Key, Known, Shared, folder, stop};
use crate::driver::Change;
use crate::failure::{Failure, FailureKind};
use crate::os::proc::{self, Identity};

impl Shared {
    /// The instances, for a moment.
    pub fn known(&self) -> MutexGuard<'_, BTreeMap<Key, Known>> {
        self.known.lock().expect("no thread panics while it holds the instances")
    }

    /// One start or decision about an instance at a time.
    pub async fn gated<T>(&self, key: &Key, act: impl Future<Output = T>) -> T {
        let gates = || self.gates.lock().expect("no thread panics while it holds the gates");
        let gate = gates().entry(key.clone()).or_default().clone();
        let result = {
            let _turn = gate.lock().await;
            act.await
        };
        let mut gates = gates();
        if Arc::strong_count(&gate) == 2 {
            // The map's and ours: nobody waits.
            gates.remove(key);
        }
        result
    }

    /// Says that an instance is worth another look.
    pub fn tell(&self, (service, instance): &Key) {
        // Without a listener there is nobody to tell.
        let _ = self.changes.send(Change { service: service.clone(), instance: *instance });
    }

    /// A number for a request.
    pub fn request_id(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// An instance's folder.
    pub fn folder(&self, (service, instance): &Key) -> PathBuf {
        folder::of_instance(&self.state, service, *instance)
    }

    /// Makes the known instances of a service those that have a folder.
    pub async fn look(self: &Arc<Self>, service: &ServiceName) -> Result<(), Failure> {
        let _one_at_a_time = self.adopting.lock().await;
        let there = self.folders(service).map_err(|error| {
            let doing = format!("could not look for instances of {service}");
            Failure::because(FailureKind::Unknown, doing, error)
        })?;
        // What has no folder any more, somebody else has stopped. What we have started just now
        // may have got its folder since we looked.
        self.known().retain(|key, known| {
            let stays = key.0 != *service || there.contains(&key.1);
            stays || matches!(known, Known::Coming(_)) || self.folder(key).exists()
        });
        for instance in there {
            self.adopt(&(service.clone(), instance)).await?;
        }
        Ok(())
    }

    fn folders(&self, service: &ServiceName) -> io::Result<BTreeSet<InstanceId>> {
        let folder = folder::of_service(&self.state, service);
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(error) => return Err(error),
        };
        let mut found = BTreeSet::new();
        for entry in entries {
            // What is not named like an instance is not ours.
            found.extend(entry?.file_name().to_str().and_then(|n| InstanceId::parse(n).ok()));
        }
        Ok(found)
    }

    /// Gets to know an instance by its folder, unless it is known.
    pub async fn adopt(self: &Arc<Self>, key: &Key) -> Result<(), Failure> {
        let known = self.known().get(key).cloned();
        match known {
            Some(Known::Coming(_) | Known::Supervised(_)) => return Ok(()),
            Some(Known::Alone(record)) if !record.shim.lives() => return Ok(()),
            Some(Known::Alone(_)) | None => {}
        }
        let folder = self.folder(key);
        if let Some((line, record)) = Line::open(&folder).await
            && (&record.service, record.instance) == (&key.0, key.1)
        {
            self.supervise(key, line, record, None);
            return Ok(());
        }
        let record = folder::read_record(&folder).map_err(|error| {
            let doing = format!("could not read the record of {} {}", key.0, key.1);
            Failure::because(FailureKind::Damaged, doing, error)
        })?;
        match record {
            Some(record) => self.watch_alone(key, record),
            // Just made or just being removed, or an accident that the next start or stop mends.
            None => drop(self.known().remove(key)),
        }
        Ok(())
    }

    /// Runs the task that talks with a shim.
    pub fn supervise(
        self: &Arc<Self>,
        key: &Key,
        line: Line,
        record: Record,
        child: Option<Child>,
    ) -> Arc<Handle> {
        let (connection, handle) = Connection::new(line, record, child);
        self.known().insert(key.clone(), Known::Supervised(handle.clone()));
        let (shared, key, ours) = (self.clone(), key.clone(), handle.clone());
        tokio::spawn(async move {
            let folder = shared.folder(&key);
            let end = shared.end.clone();
            let gone = connection.run(&folder, || shared.tell(&key));
            if end.run_until_cancelled(gone).await.is_some() {
                shared.shim_is_gone(&key, &ours, &folder);
            }
            ours.has_gone();
        });
        handle
    }

    fn shim_is_gone(self: &Arc<Self>, key: &Key, ours: &Arc<Handle>, folder: &Path) {
        let is_ours = match self.known().get(key) {
            Some(Known::Supervised(handle)) => Arc::ptr_eq(handle, ours),
            Some(Known::Coming(_) | Known::Alone(_)) | None => false,
        };
        if is_ours {
            if folder.exists() {
                // What it told us last is at least as new as what it has written.
                let record = ours.record().clone();
                self.watch_alone(key, record);
            } else {
                self.known().remove(key);
            }
        }
        self.tell(key);
    }

    /// Notes an instance without a shim and, if it still runs, waits for its end.
    fn watch_alone(self: &Arc<Self>, key: &Key, record: Record) {
        let child = stop::runs(&record).and_then(Identity::open);
        self.known().insert(key.clone(), Known::Alone(Box::new(record)));
        let Some(child) = child else { return };
        let (service, instance) = (&key.0, key.1);
        tracing::warn!(%service, %instance, "the shim is gone, the instance runs on");
        let (shared, key, end) = (self.clone(), key.clone(), self.end.clone());
        tokio::spawn(async move {
            if end.run_until_cancelled(proc::ended(child)).await.is_some() {
                shared.tell(&key);
            }
        });
    }

    /// The same for one instance.
    pub async fn adopt_if_there(self: &Arc<Self>, key: &Key) -> Result<(), Failure> {
        let _one_at_a_time = self.adopting.lock().await;
        if self.known().contains_key(key) || self.folder(key).exists() {
            return self.adopt(key).await;
        }
        Ok(())
    }

    /// Forgets an instance that is gone, unless another has come in its place.
    pub fn forget(&self, key: &Key, handle: &Arc<Handle>) {
        let mut known = self.known();
        if let Some(Known::Supervised(held)) = known.get(key)
            && Arc::ptr_eq(held, handle)
        {
            known.remove(key);
        }
    }
}
