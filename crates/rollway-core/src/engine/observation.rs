//! What the driver sees, and what is concluded from it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Doubt, Effect, Engine, Failed, Grip, Trust};
use crate::ids::{InstanceId, ReleaseNumber};
use crate::mutant::{self, Mutant};
use crate::observed::{Health, Instance, Life};
use crate::seen::{self, SeenInstance};
use crate::units::Millis;

/// While something is in doubt, the driver is asked this often.
const LOOK_MS: u64 = 1000;
/// Otherwise it is asked this often, beside when it says that something has changed.
const LOOK_IDLE_MS: u64 = 29_000;
/// The same while a deployment is under way: who takes all the traffic should be seen before that.
const LOOK_ACTIVE_MS: u64 = 4000;
/// So many starts and ends are remembered against late observations.
const TOUCHED_MAX: usize = 10_000;

impl Engine {
    /// What is in doubt is looked at until it is seen; so is what changed during a look of which
    /// nothing is heard.
    pub(super) fn look_at_doubts(&mut self) {
        if self.now >= self.next_look() {
            self.look();
        }
    }

    /// When everything is to be looked at again. Notes of changes may be lost, so that is now and
    /// then also when there is no reason.
    pub(super) fn next_look(&self) -> Millis {
        let soon = !self.doubts.is_empty() || self.look_again || self.unseen;
        let every = match &self.progress.active {
            _ if soon => 0,
            Some(_) => LOOK_ACTIVE_MS,
            None => LOOK_IDLE_MS,
        };
        Millis(self.look_after.0 + every)
    }

    /// Something is different: looked at now or, while a look is under way, right after it. Many
    /// changes at once are one look.
    pub(super) fn changed(&mut self) {
        let fresh = |since: Millis| self.now.0 < since.0 + LOOK_MS;
        if self.looking.is_some_and(fresh) {
            self.look_again = true;
        } else {
            self.look();
        }
    }

    /// Asks the driver again; the answer comes as an input.
    pub(super) fn look(&mut self) {
        self.look_after = Millis(self.now.0 + LOOK_MS);
        self.looking = Some(self.now);
        (self.look_again, self.unseen) = (false, false);
        self.turn += 1;
        self.effects.push(Effect::Observe(self.turn));
    }

    /// Remembers that an instance started or ended: what was seen before that is old.
    pub(super) fn touch(&mut self, id: InstanceId) {
        self.turn += 1;
        if self.touched.len() >= TOUCHED_MAX {
            // Observations take milliseconds: what is this old is not needed any more.
            let old = self.turn.saturating_sub(TOUCHED_MAX as u64 / 2);
            self.touched.retain(|_, turn| *turn > old);
        }
        self.touched.insert(id, self.turn);
    }

    /// Takes note of what the driver sees; `asked` is the turn at which it was asked.
    pub(super) fn seen(&mut self, seen: Result<Vec<SeenInstance>, Failed>, asked: u64) {
        self.looking = None;
        if self.look_again {
            self.look();
        }
        // No answer is not an empty answer: nothing is concluded from it.
        let seen = if mutant::is(Mutant::NoAnswerIsEmpty) { seen.or(Ok(Vec::new())) } else { seen };
        let Ok(seen) = seen else {
            self.unseen = true;
            return;
        };
        if asked < self.seen_asked && !mutant::is(Mutant::OlderLookBelieved) {
            // A later one has been heard.
            return;
        }
        self.seen_asked = asked;
        if self.grip == Grip::Looking
            && (asked >= self.taken_over || mutant::is(Mutant::OldLookIsGrip))
        {
            self.grip = Grip::Firm;
        }
        let present: BTreeSet<_> = seen.iter().map(|one| one.instance).collect();
        let newer = |id: &InstanceId, touched: &BTreeMap<InstanceId, u64>| {
            !mutant::is(Mutant::LateLookBelieved)
                && touched.get(id).is_some_and(|turn| *turn > asked)
        };
        let doubts = self.doubts.iter().map(|(id, doubt)| (*id, *doubt));
        let doubts: Vec<_> = doubts.filter(|(id, _)| !newer(id, &self.touched)).collect();
        for (id, doubt) in doubts {
            let one = seen.iter().find(|one| one.instance == id);
            self.settle(id, doubt, one);
        }
        for one in seen {
            if !newer(&one.instance, &self.touched) {
                self.seen_one(&one);
            }
        }
        let process = |release: &ReleaseNumber| {
            !self.releases.contains_key(release) || self.has_driver(*release, "process")
        };
        let gone: Vec<InstanceId> = self
            .observed
            .fleets()
            .iter()
            .filter(|(release, _)| process(release))
            .flat_map(|(release, fleet)| {
                let release = *release;
                fleet.iter().map(move |(slot, seen)| (InstanceId { release, slot }, seen.life))
            })
            .filter(|(id, life)| {
                !present.contains(id)
                    && !newer(id, &self.touched)
                    && !matches!(life, Life::Starting | Life::Leaving | Life::Ended)
            })
            .map(|(id, _)| id)
            .collect();
        for id in gone {
            self.observed.change(id, |instance| {
                instance.life = Life::Ended;
                instance.ends = instance.ends.saturating_add(1);
            });
        }
    }

    /// An instance in doubt is looked at: it is there, or not.
    fn settle(&mut self, id: InstanceId, doubt: Doubt, one: Option<&SeenInstance>) {
        match (doubt, one) {
            // It is on its way out: one more look.
            (_, Some(one)) if one.life == seen::Life::Stopping => return,
            // What came of its retirement is told when that ends.
            (Doubt::Start, _) if self.is_leaving(id) => {}
            (Doubt::Start | Doubt::Stop, Some(_)) => {
                self.observed.change(id, |instance| instance.life = Life::Running);
            }
            (Doubt::Start, None) => self.observed.remove(id),
            (Doubt::Stop, None) => self.is_gone(id, 0),
        }
        self.doubts.remove(&id);
    }

    /// Takes note of one instance that the driver sees.
    pub(super) fn seen_one(&mut self, one: &SeenInstance) {
        let known = self.observed.get(one.instance).cloned();
        if known.as_ref().is_some_and(|known| known.life == Life::Leaving) {
            return;
        }
        let (life, ends, evidence) = life_of(one);
        let detail = self.details.entry(one.instance).or_default();
        let other = detail.incarnation != one.incarnation;
        detail.address = one.address;
        detail.restarts = one.restarts;
        detail.incarnation.clone_from(&one.incarnation);
        let now = self.now;
        let mut instance = known.unwrap_or_else(|| {
            Instance::starting(Millis(now.0.saturating_sub(one.started_ms_ago)))
        });
        instance.life = life;
        instance.ends = instance.ends.max(ends);
        if !evidence.is_empty() {
            instance.evidence = evidence;
        }
        if life == Life::Leaving {
            // Somebody else has asked it to end: its end is noticed by looking.
            self.doubts.insert(one.instance, Doubt::Stop);
        }
        let runs = life == Life::Running;
        if (other && !mutant::is(Mutant::TrustAfterRestart)) || !runs {
            // Another process must prove itself anew.
            instance.health = Health::Starting;
            self.forget_probing(one.instance);
        }
        self.observed.put(one.instance, instance);
        let detail = self.details.get(&one.instance);
        let unprobed = detail.is_none_or(|detail| detail.probing.is_none());
        if runs && unprobed {
            self.probe(one.instance, Trust::Unproven);
        }
    }

    /// What was found of an instance is not heard any more.
    pub(super) fn forget_probing(&mut self, id: InstanceId) {
        let detail = self.details.get_mut(&id);
        if detail.and_then(|detail| detail.probing.take()).is_some() {
            self.effects.push(Effect::StopProbing(id));
        }
    }

    /// Begins to probe an instance; one without probes is healthy as soon as it runs.
    pub(super) fn probe(&mut self, id: InstanceId, trust: Trust) {
        let Some(release) = self.releases.get(&id.release).cloned() else { return };
        if !self.details.contains_key(&id) {
            return;
        }
        self.forget_probing(id);
        let now = self.now;
        if release.spec.health.is_empty() {
            self.observed.change(id, |instance| {
                if !matches!(instance.health, Health::Healthy(_)) {
                    instance.health = Health::Healthy(now);
                }
            });
            return;
        }
        self.probings += 1;
        let probing = Some(self.probings);
        self.details.entry(id).or_default().probing = probing;
        let trust = if mutant::is(Mutant::UnprovenIsProven) { Trust::Proven } else { trust };
        self.effects.push(Effect::Probe(id, self.probings, trust));
    }
}

fn life_of(one: &SeenInstance) -> (Life, u32, Vec<String>) {
    let describe = |ended: &seen::Ended| {
        let how = match (ended.code, ended.signal) {
            (Some(code), _) => format!("exited with code {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended unseen".to_owned(),
        };
        let mut lines = vec![how];
        lines.extend(ended.last_lines.iter().cloned());
        lines
    };
    match &one.life {
        seen::Life::Starting => (Life::Starting, one.restarts, Vec::new()),
        seen::Life::Running => (Life::Running, one.restarts, Vec::new()),
        seen::Life::Restarting { ended, .. } => {
            (Life::Restarting, one.restarts.saturating_add(1), describe(ended))
        }
        seen::Life::Ended(ended) => (Life::Ended, one.restarts.saturating_add(1), describe(ended)),
        seen::Life::Stopping => (Life::Leaving, one.restarts, Vec::new()),
    }
}
