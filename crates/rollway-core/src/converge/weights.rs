//! Weights: the share of the traffic that each release gets now.

use std::collections::BTreeMap;

use crate::arithmetic::routed::carried_weight;
use crate::ids::ReleaseNumber;
use crate::mutant::{self, Mutant};
use crate::observed::Observed;
use crate::plan::{Goal, Plan, Split};

/// What the weights follow from.
pub(super) struct Shares<'a> {
    pub(super) plan: &'a Plan,
    pub(super) goal: &'a Goal,
    /// How many members each release has.
    pub(super) ready: &'a BTreeMap<ReleaseNumber, u32>,
    /// The release that is about to take over.
    pub(super) newest: Option<ReleaseNumber>,
    /// What the proxy is known to use.
    pub(super) observed: &'a Observed,
}

type Weights = BTreeMap<ReleaseNumber, u32>;

impl Shares<'_> {
    /// The weights that are safe now: the newest release never gets more than its ready share of
    /// all the instances that the service needs, a release without ready instances gets nothing,
    /// who takes over gets what it carries as long as another one has the rest, and somebody
    /// serves.
    pub(super) fn weights(&self) -> Weights {
        let mut safe: Weights = self.ready.keys().map(|release| (*release, 0)).collect();
        let Split::Weights(wanted) = &self.goal.split else { return safe };
        let mut left = 100;
        for (release, weight) in wanted {
            let mut weight = if self.ready(*release) == 0 { 0 } else { *weight };
            let bounded = Some(*release) == self.newest && self.plan.instances > 0;
            if bounded && !mutant::is(Mutant::WeightUnbounded) {
                weight = weight.min(self.carried(*release));
            }
            if weight > 0 {
                safe.insert(*release, weight);
                left -= weight;
            }
        }
        // What cannot go where it should goes to the others, the old release first.
        let releases = || self.ready.keys().copied();
        let heir = releases().find(|release| Some(*release) != self.newest);
        let heir = heir.or_else(|| releases().next());
        if let Some(heir) = heir.filter(|_| left > 0 && !mutant::is(Mutant::WeightLost)) {
            *safe.entry(heir).or_default() += left;
        }
        if !mutant::is(Mutant::RecoveredGetsAll) {
            self.keep_back(&mut safe);
        }
        safe
    }

    /// Where a release had nobody, others have its traffic. When it comes back it takes no more
    /// than it carries; the rest stays where it is until there are more of it. Else the first of
    /// many to recover would get everything, alone.
    fn keep_back(&self, safe: &mut Weights) {
        let now = self.observed.least_shares();
        let had = |release: ReleaseNumber| now.get(&release).copied().unwrap_or(0);
        for taker in self.ready.keys().copied() {
            if safe[&taker] <= had(taker) {
                continue;
            }
            let mut excess = safe[&taker].saturating_sub(self.carried(taker));
            for keeper in self.ready.keys().copied() {
                let most = had(keeper).min(self.carried(keeper).max(1));
                let kept = most.saturating_sub(safe[&keeper]).min(excess);
                excess -= kept;
                *safe.entry(keeper).or_default() += kept;
                *safe.entry(taker).or_default() -= kept;
            }
        }
    }

    fn ready(&self, release: ReleaseNumber) -> u32 {
        self.ready.get(&release).copied().unwrap_or(0)
    }

    /// The weight that a release carries: the old one needs as many as it had, every other one as
    /// many as there are to be.
    fn carried(&self, release: ReleaseNumber) -> u32 {
        let is_old = Some(release) == self.plan.from && Some(release) != self.plan.to;
        let needed = if is_old { self.plan.instances_before } else { self.plan.instances };
        carried_weight(self.ready(release), needed)
    }
}
