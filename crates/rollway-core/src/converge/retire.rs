//! Who goes: surplus, leftovers and those given up, within the pace.

use std::collections::BTreeSet;

use super::{Moves, Situation};
use crate::ids::{InstanceId, ReleaseNumber};
use crate::mutant::{self, Mutant};
use crate::observed::Fleet;
use crate::units::Millis;

impl Situation<'_> {
    /// Finds who is to go, and who may go now.
    pub(super) fn find_retires(&self, moves: &mut Moves) {
        let pace = &self.stage.pace;
        let fleets = self.observed.fleets();
        let available: u32 =
            fleets.iter().map(|(release, fleet)| self.serving(*release, fleet)).sum();
        let wanted = self.plan.instances.min(self.wanted());
        let unavailable =
            pace.unavailable.saturating_add(u32::from(mutant::is(Mutant::UnavailableIgnored)));
        let mut least = wanted.saturating_sub(unavailable);
        if pace.surge > 0 && wanted > 0 {
            // With room for another one there is no need to let go of the last that serves.
            least = least.max(1);
        }
        let mut spare = available.saturating_sub(least);
        if pace.max_parallel > 0 && self.plan.instances > 0 {
            let leaving: usize = fleets.values().map(|fleet| fleet.leaving_slots().count()).sum();
            spare = spare.min(pace.max_parallel.saturating_sub(leaving as u32));
        }
        // What is left over of a deployment that failed goes before what was good.
        let left_over = fleets.iter().filter(|(release, _)| !self.is_meant(**release));
        let meant = fleets.iter().filter(|(release, _)| self.is_meant(**release));
        for (release, fleet) in left_over.chain(meant) {
            self.find_retires_of(*release, fleet, &mut spare, moves);
        }
    }

    fn find_retires_of(
        &self,
        release: ReleaseNumber,
        fleet: &Fleet,
        spare: &mut u32,
        moves: &mut Moves,
    ) {
        let id = |slot| InstanceId { release, slot };
        moves.retires.extend(fleet.ended_slots().map(id));
        if self.has_traffic && self.observed.route().is_none() {
            // What the proxy does is not known: whoever leaves now may still get requests.
            return;
        }
        let condemned = self.active.map(|active| &active.condemned);
        let given_up = |slot: &u32| condemned.is_some_and(|set| set.contains(&id(*slot)));
        let mut surplus = fleet.live().saturating_sub(self.bounds(release).1);
        // Those that do not serve go first: nobody misses them.
        for slot in fleet.waiting_slots() {
            let replace = given_up(&slot) && self.bounds(release).0 > 0;
            if surplus == 0 && !replace {
                if condemned.is_none_or(BTreeSet::is_empty) {
                    break;
                }
                continue;
            }
            surplus = surplus.saturating_sub(1);
            self.let_go(id(slot), moves);
        }
        if surplus == 0 {
            return;
        }
        // First those that the proxy has let go of already, or never sent anything: they are not
        // among those that serve. Then those that are not in what it was told last.
        let is_apart = |slot: u32| self.has_traffic && !self.observed.is_routed(id(slot));
        let mut ready: Vec<u32> = fleet.ready_slots().collect();
        ready.sort_by_key(|slot| (!is_apart(*slot), self.observed.is_sent(id(*slot))));
        for slot in ready.into_iter().take(surplus as usize) {
            if is_apart(slot) {
                moves.retires.push(id(slot));
            } else if *spare > 0 || mutant::is(Mutant::RetireUncounted) {
                *spare = spare.saturating_sub(1);
                self.let_go(id(slot), moves);
            }
        }
    }

    /// Whether the plan, or the one that is undone, is about a release.
    pub(super) fn is_meant(&self, release: ReleaseNumber) -> bool {
        let first = self.active.map(|active| &active.first_plan);
        let mut plans = first.into_iter().chain([self.plan]);
        plans.any(|plan| [plan.from, plan.to].contains(&Some(release)))
    }

    /// Those of a release that count as available: ready for long enough, and not on their way out.
    fn serving(&self, release: ReleaseNumber, fleet: &Fleet) -> u32 {
        let surplus = fleet.live() > self.bounds(release).1;
        if surplus && self.has_traffic {
            // A surplus instance that the proxy has let go of serves nobody any more.
            let routed =
                |slot: &u32| self.observed.is_confirmed(InstanceId { release, slot: *slot });
            return fleet.ready_slots().filter(routed).count() as u32;
        }
        match self.stage.pace.min_healthy_time {
            Millis::ZERO => fleet.ready(),
            time => fleet.ready_since(Millis(self.now.0.saturating_sub(time.0))),
        }
    }

    fn let_go(&self, id: InstanceId, moves: &mut Moves) {
        if !mutant::is(Mutant::RetiredWhileRouted)
            && self.has_traffic
            && self.observed.is_routed(id)
        {
            moves.leaving_route.insert(id);
        } else {
            moves.retires.push(id);
        }
    }
}
