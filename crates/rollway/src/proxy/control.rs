//! Puts tables into effect: checks them, binds addresses, writes them down, then switches.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use rollway_core::problem::Problem;
use serde::Serialize;
use tokio::task::JoinHandle;

use super::listener::{Listener, Routes, Target, normal_host};
use super::service::Service;
use super::shared::Shared;
use super::sockets;
use super::state::{State, Unsynced};
use super::table::{ServiceTable, listen_address};
use super::tls::{Certificates, Entry};
use super::worker::{Command, Worker};
use crate::crash;
use crate::failure::{Failure, FailureKind};

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The service is new.
    Added,
    /// It holds now.
    Updated,
    /// It held already.
    NotNeeded,
    /// The service is gone.
    Removed,
}

/// Why there was no change.
#[derive(Debug)]
pub enum Refused {
    /// The table is wrong.
    Problems(Vec<Problem>),
    /// A newer one was seen: generation and revision.
    Stale(u64, u64),
    /// An address or a certificate cannot be had.
    Unusable(Failure),
    /// It could not be written down.
    NotSaved(Failure),
    /// There is no such service.
    Missing,
    /// Another process takes over.
    Leaving,
}

/// The proxy as its administration sees it.
pub struct Control {
    /// What the workers share.
    pub shared: Arc<Shared>,
    /// The workers.
    pub workers: Vec<Worker>,
    /// Where the state is kept.
    pub folder: PathBuf,
    /// Another process takes over: nothing is changed any more.
    pub leaving: AtomicBool,
    /// One change at a time.
    changes: tokio::sync::Mutex<Changes>,
    services: Mutex<BTreeMap<String, Arc<Service>>>,
    listeners: Mutex<BTreeMap<SocketAddr, Arc<Listener>>>,
}

/// What holds, and what the disk has of it.
#[derive(Default)]
struct Changes {
    state: State,
    /// The last one, before it is on its way to the disk.
    unsynced: Option<Unsynced>,
    /// The last one on its way to the disk.
    syncing: Option<JoinHandle<std::io::Result<()>>>,
}

impl Changes {
    /// Makes `next` what holds after any end of this process. The disk follows when it is told to:
    /// a switch does not wait for it, but the next change does.
    async fn save(&mut self, next: State, folder: &Path) -> Result<(), Failure> {
        let doing = "could not make the last table durable";
        // There is one where whoever asked for the last change went away amid it.
        self.sync();
        if let Some(syncing) = self.syncing.take() {
            let synced = syncing.await.map_err(std::io::Error::other).flatten();
            synced.map_err(|error| Failure::because(FailureKind::NotDone, doing, error))?;
        }
        self.unsynced = Some(next.save(folder)?);
        self.state = next;
        Ok(())
    }

    /// Lets the disk follow.
    fn sync(&mut self) {
        if let Some(unsynced) = self.unsynced.take() {
            self.syncing = Some(tokio::task::spawn_blocking(move || unsynced.sync()));
        }
    }
}

/// What one address has to offer.
#[derive(Default)]
struct Offer {
    certificates: Vec<(Vec<String>, super::table::TlsFiles)>,
    is_tls: bool,
}

impl Control {
    /// A proxy without services.
    pub fn new(shared: Arc<Shared>, workers: Vec<Worker>, folder: PathBuf) -> Self {
        Self {
            shared,
            workers,
            folder,
            leaving: AtomicBool::new(false),
            changes: tokio::sync::Mutex::default(),
            services: Mutex::default(),
            listeners: Mutex::default(),
        }
    }

    /// The services by name.
    pub fn services(&self) -> Vec<Arc<Service>> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.values().cloned().collect()
    }

    /// One service.
    pub fn service(&self, name: &str) -> Option<Arc<Service>> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.get(name).cloned()
    }

    /// The addresses that are listened on.
    pub fn listeners(&self) -> Vec<Arc<Listener>> {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.values().cloned().collect()
    }

    fn service_or_new(&self, name: &str) -> Arc<Service> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Arc::new(Service::new(name, self.shared.workers));
        Arc::clone(services.entry(name.to_owned()).or_insert_with(fresh))
    }

    /// Takes up what was written down. Sockets that were handed over are used again.
    pub async fn restore(&self, state: State, inherited: Vec<TcpListener>) {
        let mut inherited: BTreeMap<SocketAddr, TcpListener> = inherited
            .into_iter()
            .filter_map(|socket| Some((socket.local_addr().ok()?, socket)))
            .collect();
        let mut changes = self.changes.lock().await;
        changes.state = state;
        let current = &changes.state;
        for table in current.services.values() {
            self.service_or_new(&table.service).apply(table.clone(), true);
        }
        for (address, offer) in offers(current) {
            let socket = match inherited.remove(&address) {
                Some(socket) => Ok(socket),
                None => sockets::bind(address),
            };
            match socket.and_then(|socket| self.open(address, &offer, socket)) {
                Ok(listener) => {
                    listener.routes.store(Arc::new(routes(address, current, self)));
                    self.start_listening(&listener).await;
                }
                Err(failure) => self.shared.alarm(failure.chain()),
            }
        }
        for service in self.services() {
            for endpoint in service.endpoints() {
                let _ = self.shared.probes.send((Arc::clone(&service), endpoint));
            }
        }
    }

    /// Makes a table the one that holds; when this returns, every worker uses it, and it would be
    /// there again after the end of this process.
    pub async fn apply(&self, table: ServiceTable) -> Result<Outcome, Refused> {
        let problems = table.problems();
        if !problems.is_empty() {
            return Err(Refused::Problems(problems));
        }
        let mut changes = self.changes.lock().await;
        self.check_leaving()?;
        let current = &changes.state;
        let known = current.services.get(&table.service);
        if let Some(known) = known {
            let (seen, given) =
                ((known.generation, known.revision), (table.generation, table.revision));
            if *known == table {
                return Ok(Outcome::NotNeeded);
            }
            // Two different tables cannot have the same number: one of them is not the last word.
            if given <= seen {
                return Err(Refused::Stale(seen.0, seen.1));
            }
        } else if let Some(generation) = current.deleted.get(&table.service)
            && table.generation < *generation
        {
            return Err(Refused::Stale(*generation, 0));
        }
        let outcome = if known.is_some() { Outcome::Updated } else { Outcome::Added };
        let mut next = current.clone();
        next.deleted.remove(&table.service);
        next.services.insert(table.service.clone(), table.clone());
        let problems = conflicts(&next, &table);
        if !problems.is_empty() {
            return Err(Refused::Problems(problems));
        }
        let fresh = self.open_missing(&next).map_err(Refused::Unusable)?;
        crash::point("proxy.apply.before");
        changes.save(next, &self.folder).await.map_err(Refused::NotSaved)?;
        crash::point("proxy.apply.saved");
        let service = self.service_or_new(&table.service);
        service.apply(table, false);
        crash::point("proxy.apply.switched");
        self.relisten(&changes.state, fresh).await;
        crash::point("proxy.apply.used");
        changes.sync();
        Ok(outcome)
    }

    /// Ends a service.
    pub async fn remove(&self, name: &str, generation: u64) -> Result<Outcome, Refused> {
        let mut changes = self.changes.lock().await;
        self.check_leaving()?;
        let current = &changes.state;
        let Some(known) = current.services.get(name) else {
            return match current.deleted.get(name) {
                Some(_) => Ok(Outcome::NotNeeded),
                None => Err(Refused::Missing),
            };
        };
        if generation < known.generation {
            return Err(Refused::Stale(known.generation, known.revision));
        }
        let mut next = current.clone();
        next.delete(name, generation);
        changes.save(next, &self.folder).await.map_err(Refused::NotSaved)?;
        crash::point("proxy.remove.saved");
        if let Some(service) = self.service(name) {
            service.remove();
        }
        self.relisten(&changes.state, Vec::new()).await;
        crash::point("proxy.remove.used");
        changes.sync();
        Ok(Outcome::Removed)
    }

    fn check_leaving(&self) -> Result<(), Refused> {
        let leaving = self.leaving.load(std::sync::atomic::Ordering::SeqCst);
        if leaving { Err(Refused::Leaving) } else { Ok(()) }
    }

    /// Binds what is not bound yet, and reads every certificate, before anything is changed.
    fn open_missing(&self, next: &State) -> Result<Vec<Arc<Listener>>, Failure> {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut fresh = Vec::new();
        for (address, offer) in offers(next) {
            match listeners.get(&address) {
                Some(known) if known.is_tls() == offer.is_tls => {
                    if let Some(certificates) = &known.certificates {
                        certificates.set(read_all(&offer)?);
                    }
                }
                Some(known) => {
                    let doing = || format!("could not share the socket of {address}");
                    let socket = known
                        .copy()
                        .map_err(|error| Failure::because(FailureKind::NotDone, doing(), error))?;
                    fresh.push(self.open(address, &offer, socket)?);
                }
                None => fresh.push(self.open(address, &offer, sockets::bind(address)?)?),
            }
        }
        Ok(fresh)
    }

    fn open(
        &self,
        address: SocketAddr,
        offer: &Offer,
        socket: TcpListener,
    ) -> Result<Arc<Listener>, Failure> {
        let certificates = match offer.is_tls {
            true => Some(Arc::new(Certificates::new(read_all(offer)?))),
            false => None,
        };
        let shared = Arc::clone(&self.shared);
        Ok(Arc::new(Listener::new(socket, address, certificates, shared)))
    }

    /// Makes the addresses those of `state`; `fresh` are bound already.
    async fn relisten(&self, state: &State, fresh: Vec<Arc<Listener>>) {
        let wanted: BTreeSet<SocketAddr> = offers(state).into_keys().collect();
        let known = self.listeners();
        for listener in fresh.iter().chain(&known).filter(|one| wanted.contains(&one.address)) {
            listener.routes.store(Arc::new(routes(listener.address, state, self)));
        }
        let replaced = |one: &Arc<Listener>| fresh.iter().any(|new| new.address == one.address);
        for listener in known.iter().filter(|one| !wanted.contains(&one.address) || replaced(one)) {
            self.listeners.lock().unwrap_or_else(PoisonError::into_inner).remove(&listener.address);
            self.tell_all(|| Command::Unlisten(Arc::clone(listener))).await;
            listener.close();
        }
        for listener in &fresh {
            self.start_listening(listener).await;
        }
        self.tell_all(|| Command::Sweep).await;
    }

    async fn start_listening(&self, listener: &Arc<Listener>) {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(listener.address, Arc::clone(listener));
        self.tell_all(|| Command::Listen(Arc::clone(listener))).await;
    }

    /// Tells every worker, and waits for all of them.
    pub async fn tell_all(&self, command: impl Fn() -> Command) {
        futures_util::future::join_all(self.workers.iter().map(|one| one.tell(command()))).await;
    }
}

fn read_all(offer: &Offer) -> Result<Vec<Entry>, Failure> {
    offer.certificates.iter().map(|(hosts, files)| Entry::read(hosts.clone(), files)).collect()
}

fn addresses(table: &ServiceTable) -> impl Iterator<Item = SocketAddr> {
    table.listen.iter().filter_map(|text| listen_address(text).ok())
}

fn preview_address(table: &ServiceTable) -> Option<(SocketAddr, u64)> {
    let preview = table.preview.as_ref()?;
    Some((listen_address(&preview.listen).ok()?, preview.release))
}

fn offers(state: &State) -> BTreeMap<SocketAddr, Offer> {
    let mut offers: BTreeMap<SocketAddr, Offer> = BTreeMap::new();
    for table in state.services.values() {
        let preview = preview_address(table).map(|(address, _)| address);
        for address in addresses(table).chain(preview) {
            let offer = offers.entry(address).or_default();
            if let Some(files) = &table.tls {
                offer.is_tls = true;
                let hosts = table.rules.iter().filter_map(|rule| rule.host.clone()).collect();
                offer.certificates.push((hosts, files.clone()));
            }
        }
    }
    offers
}

fn routes(address: SocketAddr, state: &State, control: &Control) -> Routes {
    let mut routes = Routes::default();
    for table in state.services.values() {
        let service = control.service_or_new(&table.service);
        if let Some((_, release)) = preview_address(table).filter(|(at, _)| *at == address) {
            routes.add(
                None,
                None,
                Target { service: Arc::clone(&service), release: Some(release) },
            );
        }
        if !addresses(table).any(|at| at == address) {
            continue;
        }
        let target = || Target { service: Arc::clone(&service), release: None };
        if table.rules.is_empty() {
            routes.add(None, None, target());
        }
        for rule in &table.rules {
            routes.add(rule.host.as_deref(), rule.path.as_deref(), target());
        }
    }
    routes
}

/// What `table` claims that another service has already.
fn conflicts(state: &State, table: &ServiceTable) -> Vec<Problem> {
    let mut found = Vec::new();
    let preview = |table: &ServiceTable| preview_address(table).map(|(address, _)| address);
    let claims = |table: &ServiceTable| -> BTreeSet<(String, String)> {
        let path =
            |path: &Option<String>| path.as_deref().unwrap_or("").trim_end_matches('/').to_owned();
        let host = |host: &Option<String>| host.as_deref().map(normal_host).unwrap_or_default();
        let rules = table.rules.iter().map(|rule| (host(&rule.host), path(&rule.path)));
        if table.rules.is_empty() { [<_>::default()].into() } else { rules.collect() }
    };
    let ours: BTreeSet<SocketAddr> = addresses(table).chain(preview(table)).collect();
    for other in state.services.values().filter(|other| other.service != table.service) {
        let theirs: BTreeSet<SocketAddr> = addresses(other).chain(preview(other)).collect();
        for address in ours.intersection(&theirs) {
            let name = &other.service;
            if preview(table) == Some(*address) || preview(other) == Some(*address) {
                let what = format!("{address} is used by service {name}, and one is a preview");
                found.push(Problem::new("preview.listen", what));
            } else if table.tls.is_some() != other.tls.is_some() {
                let what = format!("service {name} shares {address}, and only one has TLS");
                found.push(Problem::new("tls", what));
            } else if let Some((host, path)) = claims(table).intersection(&claims(other)).next() {
                let host = if host.is_empty() { "every host" } else { host };
                let what = format!("{address}, {host}{path} belongs to service {name} already");
                let hint = "give the services different hosts or paths";
                found.push(Problem::new("rules", what).hint(hint));
            }
        }
    }
    found
}
