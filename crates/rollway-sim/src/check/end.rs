//! What must be the case at the end, when all was mended and time has passed.

use rollway_core::ids::{InstanceId, ReleaseNumber};

use crate::world::World;

impl World {
    /// In time everything has ended.
    pub(crate) fn ended(&mut self) {
        if !self.violations.is_empty() {
            return;
        }
        if let Some(active) = &self.checks.progress.active {
            let number = active.number;
            let at = self.newest().and_then(|at| self.planes[at].engine.as_ref());
            let waits = at.and_then(|engine| engine.waiting.clone());
            let what = format!("deployment {number} does not end; it waits for {waits:?}");
            self.wrong("I19", &what);
        }
    }

    /// The release that is to run, and how many of it.
    fn wanted(&self) -> (Option<ReleaseNumber>, usize) {
        let rules = &self.checks.rules;
        let serving = rules.serving.filter(|_| rules.up);
        (serving, serving.map_or(0, |_| rules.instances) as usize)
    }

    /// Whether all is as `at_the_end` wants it.
    pub(crate) fn is_over(&self) -> bool {
        let progress = &self.checks.progress;
        let (serving, wanted) = self.wanted();
        let all = &self.target.processes;
        let fine = all.iter().all(|(id, one)| {
            let routed = !self.has_traffic || self.proxy.routes(*id);
            routed && Some(id.release) == serving && one.passed && one.answers(self.now)
        });
        progress.active.is_none() && all.len() == wanted && fine && self.is_settled()
    }

    /// At the end the service is in one version, whole, and nothing else is left.
    pub(crate) fn at_the_end(&mut self) {
        if !self.violations.is_empty() {
            return;
        }
        let (serving, wanted) = self.wanted();
        let now = self.now;
        let ids: Vec<InstanceId> = self.target.processes.keys().copied().collect();
        let well = self.target.processes.values().all(|one| one.passed && one.answers(now));
        let mut routed: Vec<InstanceId> =
            ids.iter().filter(|id| self.proxy.routes(**id)).copied().collect();
        routed.sort_unstable();
        let one = ids.iter().all(|id| Some(id.release) == serving);
        if !one || ids.len() != wanted || !well || !self.is_settled() {
            let what = format!("{ids:?} run (well: {well}), {wanted} of {serving:?} are wanted");
            return self.wrong("I19", &what);
        }
        if self.has_traffic && routed != ids {
            self.wrong("I19", &format!("{routed:?} are routed, {ids:?} run"));
        }
        let fold = self.store.fold_all();
        if fold.as_ref() != Ok(&self.checks.progress) {
            self.wrong("I17", "the history does not fold to what it folded to");
        }
    }
}
