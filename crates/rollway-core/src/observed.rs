//! What the targets and the proxy were last seen to be, indexed so that a stage over many
//! thousands of instances costs the same per instance as a small one.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{InstanceId, ReleaseNumber};
use crate::plan::{Route, Split};
use crate::units::Millis;

/// How an instance lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Its start was asked for; it does not run yet.
    Starting,
    /// It runs.
    Running,
    /// It ended, and its shim will start it again.
    Restarting,
    /// It ended and will not come back by itself.
    Ended,
    /// It is being drained and stopped.
    Leaving,
}

/// What the probes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Not healthy yet.
    Starting,
    /// Healthy since then, on the service's clock.
    Healthy(Millis),
    /// Not healthy, and why.
    Unhealthy(String),
}

/// One instance as it was last seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// How it lives.
    pub life: Life,
    /// What the probes say.
    pub health: Health,
    /// When it was started, on the service's clock.
    pub started: Millis,
    /// How often it has ended by itself.
    pub ends: u32,
    /// How it ended last, and its last lines of output.
    pub evidence: Vec<String>,
}

impl Instance {
    /// An instance whose start was asked for just now.
    #[must_use]
    pub fn starting(now: Millis) -> Self {
        let (life, health) = (Life::Starting, Health::Starting);
        Self { life, health, started: now, ends: 0, evidence: Vec::new() }
    }

    /// Whether it may get requests.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready_since().is_some()
    }

    fn ready_since(&self) -> Option<Millis> {
        match (self.life, &self.health) {
            (Life::Running, Health::Healthy(since)) => Some(*since),
            _ => None,
        }
    }
}

/// The instances of one release.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    slots: BTreeMap<u32, Instance>,
    ready: BTreeSet<(Millis, u32)>,
    ready_slots: BTreeSet<u32>,
    waiting: BTreeSet<u32>,
    ended: BTreeSet<u32>,
    leaving: BTreeSet<u32>,
}

impl Fleet {
    fn put(&mut self, slot: u32, instance: Instance) {
        self.remove(slot);
        match (instance.life, instance.ready_since()) {
            (Life::Ended, _) => {
                self.ended.insert(slot);
            }
            (Life::Leaving, _) => {
                self.leaving.insert(slot);
            }
            (_, Some(since)) => {
                self.ready.insert((since, slot));
                self.ready_slots.insert(slot);
            }
            (Life::Starting | Life::Running | Life::Restarting, None) => {
                self.waiting.insert(slot);
            }
        }
        self.slots.insert(slot, instance);
    }

    fn remove(&mut self, slot: u32) -> Option<Instance> {
        let old = self.slots.remove(&slot)?;
        if let Some(since) = old.ready_since() {
            self.ready.remove(&(since, slot));
        }
        self.ready_slots.remove(&slot);
        self.waiting.remove(&slot);
        self.ended.remove(&slot);
        self.leaving.remove(&slot);
        Some(old)
    }

    /// Every instance by slot.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Instance)> {
        self.slots.iter().map(|(slot, instance)| (*slot, instance))
    }

    /// All that exist, whatever their life.
    #[must_use]
    pub fn total(&self) -> u32 {
        count(self.slots.len())
    }

    /// Those that count towards a goal: neither ended nor leaving.
    #[must_use]
    pub fn live(&self) -> u32 {
        count(self.slots.len() - self.ended.len() - self.leaving.len())
    }

    /// Those that may get requests.
    #[must_use]
    pub fn ready(&self) -> u32 {
        count(self.ready.len())
    }

    /// Those that have been ready since `before` or earlier.
    #[must_use]
    pub fn ready_since(&self, before: Millis) -> u32 {
        // Only the youngest are looked at: on a steady fleet that is none.
        let young = self.ready.iter().rev().take_while(|(since, _)| *since > before).count();
        count(self.ready.len() - young)
    }

    /// The ready times that are less than `time` ago.
    pub fn youngest(&self, now: Millis, time: Millis) -> impl Iterator<Item = Millis> {
        let before = Millis(now.0.saturating_sub(time.0));
        self.ready.iter().rev().map(|(since, _)| *since).take_while(move |since| *since > before)
    }

    /// The ready slots, lowest first.
    pub fn ready_slots(&self) -> impl Iterator<Item = u32> {
        self.ready_slots.iter().copied()
    }

    /// The slots whose instance is on its way or unwell, lowest first.
    pub fn waiting_slots(&self) -> impl Iterator<Item = u32> {
        self.waiting.iter().copied()
    }

    /// The slots whose instance has ended for good.
    pub fn ended_slots(&self) -> impl Iterator<Item = u32> {
        self.ended.iter().copied()
    }

    /// The slots whose instance is being retired.
    pub fn leaving_slots(&self) -> impl Iterator<Item = u32> {
        self.leaving.iter().copied()
    }

    /// The lowest `want` slots without an instance.
    #[must_use]
    pub fn free_slots(&self, want: u32) -> Vec<u32> {
        let length = self.total();
        // Without gaps the free slots are those after the last.
        if self.slots.last_key_value().is_none_or(|(last, _)| last.checked_add(1) == Some(length)) {
            return (length..length + want).collect();
        }
        (0..).filter(|slot| !self.slots.contains_key(slot)).take(want as usize).collect()
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).expect("instances are counted in u32")
}

/// Everything that was last seen of one service.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    fleets: BTreeMap<ReleaseNumber, Fleet>,
    route: Option<Route>,
    routed: BTreeSet<InstanceId>,
    /// Members of it that have gone since: whoever has their name now is another one.
    gone: BTreeSet<InstanceId>,
    /// Members of routes that the proxy may use already, although it has not said so.
    sent: BTreeSet<InstanceId>,
    /// Members of all the routes that the proxy may use now; absent = of the confirmed one.
    certain: Option<BTreeSet<InstanceId>>,
    /// The least share of each release in all those routes; absent = that in the confirmed one.
    least: Option<BTreeMap<ReleaseNumber, u32>>,
    in_doubt: bool,
    is_lost: bool,
    /// Whether a route is on its way to the proxy.
    pub routing: bool,
    /// The hook that runs now.
    pub hooking: Option<crate::plan::HookPoint>,
}

impl Observed {
    /// The instances by release.
    #[must_use]
    pub fn fleets(&self) -> &BTreeMap<ReleaseNumber, Fleet> {
        &self.fleets
    }

    /// The instances of one release.
    #[must_use]
    pub fn fleet(&self, release: ReleaseNumber) -> Option<&Fleet> {
        self.fleets.get(&release)
    }

    /// One instance.
    #[must_use]
    pub fn get(&self, id: InstanceId) -> Option<&Instance> {
        self.fleets.get(&id.release)?.slots.get(&id.slot)
    }

    /// Takes note of an instance.
    pub fn put(&mut self, id: InstanceId, instance: Instance) {
        self.fleets.entry(id.release).or_default().put(id.slot, instance);
    }

    /// Changes an instance that is there.
    pub fn change(&mut self, id: InstanceId, change: impl FnOnce(&mut Instance)) {
        let Some(fleet) = self.fleets.get_mut(&id.release) else { return };
        let Some(mut instance) = fleet.remove(id.slot) else { return };
        change(&mut instance);
        fleet.put(id.slot, instance);
    }

    /// Takes note that an instance is gone.
    pub fn remove(&mut self, id: InstanceId) {
        if self.routed.contains(&id) || self.sent.contains(&id) {
            self.gone.insert(id);
        }
        if let Some(fleet) = self.fleets.get_mut(&id.release) {
            fleet.remove(id.slot);
            if fleet.slots.is_empty() {
                self.fleets.remove(&id.release);
            }
        }
    }

    /// Takes note that who has the name of a member now is another one than the proxy meant.
    pub fn note_another(&mut self, id: InstanceId) {
        self.gone.insert(id);
    }

    /// All that exist, of every release.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.fleets.values().map(Fleet::total).sum()
    }

    /// What the proxy confirmed last.
    #[must_use]
    pub fn route(&self) -> Option<&Route> {
        self.route.as_ref()
    }

    /// Takes note of what the proxy confirmed.
    pub fn set_route(&mut self, route: Option<Route>) {
        self.routed = route.iter().flat_map(|route| route.members.iter().copied()).collect();
        self.route = route;
        self.sent.clear();
        self.gone.clear();
        (self.certain, self.least) = (None, None);
        (self.in_doubt, self.is_lost) = (false, false);
    }

    /// Takes note that a route is on its way: from now on the proxy may use it.
    pub fn send_route(&mut self, route: &Route) {
        self.routing = true;
        self.sent.extend(route.members.iter().copied());
        let before = self.certain.take().unwrap_or_else(|| self.routed.clone());
        let members = route.members.iter().copied();
        self.certain = Some(members.filter(|id| before.contains(id)).collect());
        let (mut least, next) = (self.least_shares(), route.shares());
        least.iter_mut().for_each(|(release, share)| {
            *share = next.get(release).copied().unwrap_or(0).min(*share);
        });
        self.least = Some(least);
    }

    /// Takes note that the proxy may use a route that nobody here knows: every instance may get
    /// requests until another route is confirmed.
    pub fn lose_route(&mut self) {
        (self.is_lost, self.in_doubt) = (true, true);
    }

    /// Takes note that the route on its way certainly did not arrive.
    pub fn route_not_done(&mut self) {
        if !self.in_doubt {
            self.sent.clear();
            (self.certain, self.least) = (None, None);
        }
    }

    /// Takes note that nobody knows whether it did: until another one is confirmed the proxy may
    /// use either.
    pub fn doubt_route(&mut self) {
        self.in_doubt = true;
    }

    /// Whether the proxy certainly uses this.
    #[must_use]
    pub fn uses(&self, route: &Route) -> bool {
        !self.in_doubt && self.route.as_ref() == Some(route)
    }

    /// Whether the proxy spreads new requests as wanted; a release without a share may be named.
    #[must_use]
    pub fn splits_as(&self, wanted: &Split) -> bool {
        let shares = |split: &Split| match split {
            Split::Capacity | Split::Nothing => split.clone(),
            Split::Weights(weights) => {
                let some = weights.iter().filter(|(_, weight)| **weight > 0);
                Split::Weights(some.map(|(release, weight)| (*release, *weight)).collect())
            }
        };
        self.route.as_ref().is_some_and(|route| shares(&route.split()) == shares(wanted))
    }

    /// Whether the proxy may send new requests to an instance.
    #[must_use]
    pub fn is_routed(&self, id: InstanceId) -> bool {
        self.is_lost || self.routed.contains(&id) || self.sent.contains(&id)
    }

    /// Whether whatever route the proxy uses now sends new requests to an instance.
    #[must_use]
    pub fn is_surely_routed(&self, id: InstanceId) -> bool {
        self.certain.as_ref().unwrap_or(&self.routed).contains(&id)
    }

    /// The share in percent that each release has at least, whatever route the proxy uses now.
    #[must_use]
    pub fn least_shares(&self) -> BTreeMap<ReleaseNumber, u32> {
        let confirmed = || self.route.as_ref().map(Route::shares).unwrap_or_default();
        self.least.clone().unwrap_or_else(confirmed)
    }

    /// Whether it is not known which route the proxy uses.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// Whether an instance is among those that are known to have served last, or may be.
    #[must_use]
    pub fn served_last(&self, id: InstanceId) -> bool {
        (self.routed.contains(&id) || self.sent.contains(&id)) && !self.gone.contains(&id)
    }

    /// Whether an instance is a member of a route that the proxy has not confirmed.
    #[must_use]
    pub fn is_sent(&self, id: InstanceId) -> bool {
        self.sent.contains(&id)
    }

    /// Whether the proxy has said that it sends new requests to an instance.
    #[must_use]
    pub fn is_confirmed(&self, id: InstanceId) -> bool {
        self.routed.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_name_of_a_member_that_has_gone_did_not_serve_last() {
        let id = InstanceId { release: ReleaseNumber(2), slot: 4 };
        let mut observed = Observed::default();
        observed.put(id, Instance::starting(Millis(1)));
        let route = Route {
            weights: BTreeMap::from([(id.release, 0)]),
            members: vec![id],
            settings: None,
            newest: None,
            preview: None,
            hold_requests: false,
        };
        observed.set_route(Some(route.clone()));
        assert!(observed.served_last(id));
        observed.remove(id);
        observed.put(id, Instance::starting(Millis(2)));
        assert!(!observed.served_last(id));
        // The proxy may use its table all the same.
        assert!(observed.is_routed(id));
        observed.set_route(Some(route));
        assert!(observed.served_last(id));
    }
}
