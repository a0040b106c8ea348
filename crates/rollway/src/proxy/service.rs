//! A service in use: its table made ready for quick decisions, and its instances.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName};
use tokio::sync::watch;
use tokio::time::Instant;

use super::endpoint::{Endpoint, Kind, Lease};
use super::stats::Stats;
use super::sticky::Signer;
use super::table::{Mode, ServiceTable, Sticky};

/// Counts of releases that serve no more are kept for so many of them.
const STATS_KEPT: usize = 32;
/// After a restart nothing unverified is used for so long; then it is better than nothing.
pub const VERIFY_HOLD: Duration = Duration::from_secs(1);

/// The one place where a service's current table is found.
pub struct Service {
    /// Its name.
    pub name: String,
    /// What holds now.
    pub live: ArcSwap<Live>,
    /// Counts the tables; a request that saw the count change picks again.
    pub epoch: AtomicU64,
    /// Wakes requests that are held; carries the epoch.
    pub changed: watch::Sender<u64>,
    /// Requests that are held at the moment.
    pub held: AtomicU64,
    /// Counts of requests that reached no release.
    pub stats: Stats,
    /// How often the table was changed.
    pub switches: AtomicU64,
    known: Mutex<Known>,
    workers: usize,
}

#[derive(Default)]
struct Known {
    endpoints: HashMap<(u64, String, SocketAddr), Arc<Endpoint>>,
    stats: BTreeMap<u64, (String, Arc<Stats>)>,
}

/// A table that is ready for use.
pub struct Live {
    /// What it was made of.
    pub table: ServiceTable,
    /// Its releases.
    pub arms: Vec<LiveArm>,
    newest: Option<usize>,
    testers: Vec<(HeaderName, String)>,
    /// What makes a client known again.
    pub key: KeySource,
    /// Nothing of it was verified yet, and nothing is used before this unless verified.
    pub hold_until: Option<Instant>,
    /// The service was deleted.
    pub gone: bool,
}

/// One release in use.
pub struct LiveArm {
    /// Its number.
    pub release: u64,
    /// Its share.
    pub weight: u64,
    /// Its instances.
    pub members: Vec<Arc<Endpoint>>,
    /// Its counts.
    pub stats: Arc<Stats>,
}

/// Where a client's key comes from.
pub enum KeySource {
    /// Every request is on its own.
    None,
    /// A signed cookie of this name.
    Cookie(String),
    /// This header's value.
    Header(HeaderName),
}

/// Who asks, as far as the choice of a release goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Somebody at this point of the circle: random, or the same again for the same client.
    Point(u64),
    /// A tester: the newest release, while it has members.
    Tester(u64),
    /// A visitor of the preview: this release or none.
    Preview(u64),
}

impl Service {
    /// A service without a table.
    pub fn new(name: &str, workers: usize) -> Self {
        Self {
            name: name.to_owned(),
            live: ArcSwap::from_pointee(Live::gone(name)),
            epoch: AtomicU64::new(0),
            changed: watch::channel(0).0,
            held: AtomicU64::new(0),
            stats: Stats::new(workers),
            switches: AtomicU64::new(0),
            known: Mutex::default(),
            workers,
        }
    }

    /// Makes `table` the one that holds. When this returns, every request that was sent to an
    /// instance of the old table is in that instance's count, and no further one will be.
    pub fn apply(&self, table: ServiceTable, restored: bool) -> Arc<Live> {
        let live = Arc::new(self.prepare(table, restored));
        self.swap(Arc::clone(&live));
        live
    }

    /// From now on nobody is here.
    pub fn remove(&self) {
        self.swap(Arc::new(Live::gone(&self.name)));
    }

    fn swap(&self, live: Arc<Live>) {
        let kept: Vec<u64> =
            live.arms.iter().flat_map(|arm| arm.members.iter().map(|m| m.id)).collect();
        self.live.store(live);
        let epoch = self.epoch.fetch_add(1, SeqCst) + 1;
        self.switches.fetch_add(1, Relaxed);
        self.changed.send_replace(epoch);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.endpoints.retain(|_, endpoint| {
            let retired = !kept.contains(&endpoint.id);
            if endpoint.retired.swap(retired, SeqCst) && !retired {
                // It comes back because somebody found it well.
                endpoint.ejected.store(false, SeqCst);
                endpoint.verified.store(true, SeqCst);
            }
            let busy =
                endpoint.in_flight(Kind::Request) > 0 || endpoint.in_flight(Kind::Stream) > 0;
            !retired || busy
        });
    }

    fn prepare(&self, table: ServiceTable, restored: bool) -> Live {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut arms = Vec::with_capacity(table.arms.len());
        for arm in &table.arms {
            let (version, stats) = known
                .stats
                .entry(arm.release)
                .or_insert_with(|| (arm.version.clone(), Arc::new(Stats::new(self.workers))));
            version.clone_from(&arm.version);
            let stats = Arc::clone(stats);
            let mut members = Vec::with_capacity(arm.members.len());
            for member in &arm.members {
                let key = (arm.release, member.instance.clone(), member.address);
                let endpoint = known.endpoints.entry(key).or_insert_with(|| {
                    let endpoint =
                        Endpoint::new(next_id(), &member.instance, arm.release, member.address);
                    endpoint.verified.store(!restored, SeqCst);
                    Arc::new(endpoint)
                });
                members.push(Arc::clone(endpoint));
            }
            let (release, weight) = (arm.release, arm.weight.into());
            arms.push(LiveArm { release, weight, members, stats });
        }
        while known.stats.len() > STATS_KEPT {
            let spare = known.stats.keys().copied();
            let spare = spare.filter(|release| !arms.iter().any(|arm| arm.release == *release));
            let Some(oldest) = spare.min() else { break };
            known.stats.remove(&oldest);
        }
        Live::new(table, arms, restored)
    }

    /// Every instance that serves or still has something in flight.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut endpoints: Vec<_> = known.endpoints.values().cloned().collect();
        endpoints.sort_by_key(|endpoint| endpoint.id);
        endpoints
    }

    /// The counts of all releases that are remembered: number, version, counts.
    pub fn releases(&self) -> Vec<(u64, String, Arc<Stats>)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let all = known.stats.iter();
        all.map(|(release, (version, stats))| (*release, version.clone(), Arc::clone(stats)))
            .collect()
    }

    /// Chooses an instance and counts the request on it. `tried` were tried already.
    pub fn pick(&self, who: Who, tried: &[u64]) -> Picked {
        loop {
            let epoch = self.epoch.load(SeqCst);
            let live = self.live.load_full();
            let Some((arm, endpoint)) = live.choose(who, tried) else {
                return Picked::Nobody(live);
            };
            let lease = Lease::take(endpoint);
            // The table changed between reading it and being counted: whoever changed it may
            // have looked at the count already, so this request must not go there.
            if self.epoch.load(SeqCst) != epoch {
                continue;
            }
            return Picked::One { arm, lease, live };
        }
    }
}

/// What `pick` found.
pub enum Picked {
    /// An instance.
    One {
        /// Index of its arm.
        arm: usize,
        /// The instance, with this request counted.
        lease: Lease,
        /// The table it was chosen from.
        live: Arc<Live>,
    },
    /// None that may be used now, by this table.
    Nobody(Arc<Live>),
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}

impl Live {
    fn gone(name: &str) -> Self {
        let table = ServiceTable::new(name, 0, Vec::new(), Vec::new());
        let mut live = Self::new(table, Vec::new(), false);
        live.gone = true;
        live
    }

    fn new(table: ServiceTable, arms: Vec<LiveArm>, restored: bool) -> Self {
        let newest =
            table.newest.and_then(|newest| arms.iter().position(|arm| arm.release == newest));
        let header = |name: &str| HeaderName::try_from(name).expect("the table was checked");
        let testers = table.testers.iter().map(|t| (header(&t.header), t.value.clone())).collect();
        let key = match &table.sticky {
            None => KeySource::None,
            Some(Sticky::Cookie(name)) => KeySource::Cookie(name.clone()),
            Some(Sticky::Header(name)) => KeySource::Header(header(name)),
        };
        let hold_until = restored.then(|| Instant::now() + VERIFY_HOLD);
        Self { table, arms, newest, testers, key, hold_until, gone: false }
    }

    /// Whether requests are forwarded.
    pub fn serves(&self) -> bool {
        self.table.mode == Mode::Serve && !self.gone
    }

    /// Whether these are the headers of a tester.
    pub fn is_tester(&self, headers: &HeaderMap) -> bool {
        let matches = |(name, value): &(HeaderName, String)| {
            headers.get(name).is_some_and(|given| given.as_bytes() == value.as_bytes())
        };
        self.testers.iter().any(matches)
    }

    /// Where a client with this header value stands, the same again after a restart.
    pub fn header_point(&self, signer: &Signer, headers: &HeaderMap) -> Option<u64> {
        let KeySource::Header(name) = &self.key else { return None };
        headers.get(name).map(|value| signer.point(&self.table.service, value.as_bytes()))
    }

    fn choose(&self, who: Who, tried: &[u64]) -> Option<(usize, &Arc<Endpoint>)> {
        let first = match who {
            Who::Preview(release) => {
                let arm = self.arms.iter().position(|arm| arm.release == release)?;
                return self.member(arm, tried).map(|endpoint| (arm, endpoint));
            }
            Who::Tester(point) => {
                match self.newest.filter(|newest| !self.arms[*newest].members.is_empty()) {
                    Some(newest) => {
                        return self.member(newest, tried).map(|endpoint| (newest, endpoint));
                    }
                    None => self.arm_at(point)?,
                }
            }
            Who::Point(point) => self.arm_at(point)?,
        };
        if let Some(endpoint) = self.member(first, tried) {
            return Some((first, endpoint));
        }
        // Nobody is left in the arm that was meant: another release is better than an error.
        // Releases without weight come last: nobody asked for traffic to go there.
        let others = |weighted: bool| {
            let arms = (0..self.arms.len()).filter(move |arm| *arm != first);
            arms.filter(move |arm| (self.share(*arm) > 0) == weighted)
        };
        let mut others = others(true).chain(others(false));
        others.find_map(|arm| self.member(arm, tried).map(|endpoint| (arm, endpoint)))
    }

    /// By weight, or by the number of members when no weight is given.
    fn share(&self, arm: usize) -> u64 {
        if self.arms.iter().all(|arm| arm.weight == 0) {
            return self.arms[arm].members.len() as u64;
        }
        self.arms[arm].weight
    }

    /// The arm at a point of the circle. The newest release has its beginning, so that whoever
    /// is on it stays there while its share grows.
    pub fn arm_at(&self, point: u64) -> Option<usize> {
        if self.arms.len() == 1 {
            return Some(0);
        }
        let total: u64 = (0..self.arms.len()).map(|arm| self.share(arm)).sum();
        // The upper half of the product: uniform over 0..total without a division.
        let mut at = u64::try_from((u128::from(point) * u128::from(total)) >> 64).ok()?;
        let newest = self.newest.into_iter();
        let others = (0..self.arms.len()).filter(|arm| Some(*arm) != self.newest);
        for arm in newest.chain(others) {
            let share = self.share(arm);
            if at < share {
                return Some(arm);
            }
            at -= share;
        }
        None
    }

    /// The less busy of two members chosen at random, of those that are usable.
    fn member(&self, arm: usize, tried: &[u64]) -> Option<&Arc<Endpoint>> {
        let members = &self.arms[arm].members;
        let fit = |endpoint: &&Arc<Endpoint>| endpoint.usable() && !tried.contains(&endpoint.id);
        if let [only] = members.as_slice() {
            return Some(only).filter(fit).or_else(|| self.last_resort(only, tried));
        }
        if members.is_empty() {
            return None;
        }
        let first = &members[fastrand::usize(..members.len())];
        let second = &members[fastrand::usize(..members.len())];
        let less = if second.load() < first.load() { second } else { first };
        if fit(&less) {
            return Some(less);
        }
        let start = fastrand::usize(..members.len());
        let mut all = (0..members.len()).map(|step| &members[(start + step) % members.len()]);
        all.clone().find(fit).or_else(|| all.find_map(|one| self.last_resort(one, tried)))
    }

    /// A member that is not known to be well is used only when the time to verify is over: an
    /// ejected one may be back, an unverified one is the last that was known to be good.
    fn last_resort<'a>(
        &self,
        endpoint: &'a Arc<Endpoint>,
        tried: &[u64],
    ) -> Option<&'a Arc<Endpoint>> {
        let held = !endpoint.verified.load(Relaxed)
            && self.hold_until.is_some_and(|until| Instant::now() < until);
        let elsewhere = || {
            let all = self.arms.iter().flat_map(|arm| &arm.members);
            all.into_iter().any(|other| other.usable() && !tried.contains(&other.id))
        };
        (!held && !tried.contains(&endpoint.id) && !elsewhere()).then_some(endpoint)
    }
}

#[cfg(test)]
mod tests;
