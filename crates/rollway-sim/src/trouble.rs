//! What goes wrong, and what people ask for.

use rollway_core::engine::{Input, Verb};
use rollway_core::view::VerbArgs;

use crate::faults::Fault;
use crate::happening::Happening;
use crate::model::{Mail, Phase, Temper, Wish};
use crate::world::World;

impl World {
    /// Something may go wrong now.
    pub(crate) fn trouble(&mut self) {
        if self.healed {
            return;
        }
        let next = self.now + self.rng.between(500, 4000);
        self.agenda.add(next, Happening::Trouble);
        self.trouble_planes();
        self.trouble_world();
    }

    fn trouble_planes(&mut self) {
        let at = self.rng.below(self.planes.len() as u64) as usize;
        let runs = self.planes[at].engine.is_some();
        if self.planes.iter().all(|plane| plane.engine.is_none()) {
            self.agenda.add(self.now + 1, Happening::Open(at));
            return;
        }
        if !runs && self.happens(Fault::TakeOver) {
            return self.open_now(at);
        }
        if !runs {
            return;
        }
        if self.happens(Fault::Crash) {
            self.kill(at);
            let down = self.rng.between(1, 5000);
            self.agenda.add(self.now + down, Happening::Open(at));
            return;
        }
        let long = self.now + self.rng.between(50, 20_000);
        if self.happens(Fault::Pause) {
            self.note(|| format!("cp{at}: is stopped until {long}"));
            self.planes[at].paused_until = long;
            self.planes[at].disturbed = long;
        }
        if self.happens(Fault::Partition) {
            self.note(|| format!("cp{at}: is cut off until {long}"));
            self.planes[at].cut_until = long;
            self.planes[at].disturbed = long;
        }
        if self.happens(Fault::OneWay) {
            self.note(|| format!("cp{at}: hears nothing until {long}"));
            self.planes[at].deaf_until = long;
            self.planes[at].disturbed = long;
        }
    }

    fn trouble_world(&mut self) {
        let ids: Vec<_> = self.target.processes.keys().copied().collect();
        if !ids.is_empty() && self.happens(Fault::Death) {
            let id = *self.rng.pick(&ids);
            let run = self.target.processes[&id].run;
            self.die(id, run);
        }
        if !ids.is_empty() && self.happens(Fault::Flap) {
            let id = *self.rng.pick(&ids);
            let long = self.rng.between(500, 8000);
            let now = self.now;
            if let Some(process) = self.target.processes.get_mut(&id) {
                if process.answers(now) {
                    process.answered_until = now;
                }
                process.unwell_until = now + long;
                self.note(|| format!("target: {id} is unwell for {long} ms"));
            }
        }
        if self.happens(Fault::StoreOutage) {
            let until = self.now + self.rng.between(100, 15_000);
            self.store.broken_until = until;
            self.note(|| format!("store: fails until {until}"));
        }
        if self.has_traffic && !self.proxy.is_down && self.happens(Fault::ProxyCrash) {
            self.proxy.is_down = true;
            self.proxy.busy.clear();
            let down = self.rng.between(5, 1500);
            self.agenda.add(self.now + down, Happening::ProxyUp);
            self.note(|| "proxy: is killed".to_owned());
        }
        // Nothing that decides has a wall clock to look at; the jump is for the record.
        let _ = self.happens(Fault::ClockJump);
    }

    /// The proxy is back with its last table; its control planes notice.
    pub(crate) fn proxy_up(&mut self) {
        self.proxy.is_down = false;
        self.note(|| "proxy: is back".to_owned());
        for at in 0..self.planes.len() {
            if self.planes[at].engine.is_some() {
                let who = (at, self.planes[at].life);
                self.agenda.add(self.now + 3, Happening::Mail(who, Input::ProxyStarted));
            }
        }
    }

    /// A control plane comes back.
    pub(crate) fn open_again(&mut self, at: usize) {
        // Once all is mended there is one, and another does not depose it.
        let one = self.healed && self.planes.iter().any(|plane| plane.engine.is_some());
        if self.planes[at].engine.is_none() && !one {
            self.open_now(at);
        }
    }

    fn open_now(&mut self, at: usize) {
        if self.now < self.store.broken_until {
            // Without its store it does not come up.
            self.agenda.add(self.store.broken_until, Happening::Open(at));
            return;
        }
        self.checks.epochs.push(at);
        self.open(at);
    }

    /// Somebody asks for something, and will again.
    pub(crate) fn operate(&mut self) {
        if self.healed {
            return self.finish_up();
        }
        let next = self.now + self.rng.between(300, 9000);
        self.agenda.add(next, Happening::Operate);
        self.wish();
    }

    /// Somebody asks for something.
    pub(crate) fn wish(&mut self) {
        if self.healed {
            return;
        }
        let up: Vec<usize> =
            (0..self.planes.len()).filter(|at| self.planes[*at].engine.is_some()).collect();
        if up.is_empty() {
            return;
        }
        let at = *self.rng.pick(&up);
        let Some(engine) = &self.planes[at].engine else { return };
        let active = engine.progress.active.is_some();
        let serves = engine.progress.serving.is_some() && engine.progress.up;
        let wish = match (active, serves, self.rng.below(20)) {
            (true, _, 0..=3) => return,
            // Who does not know that there is one under way asks for another.
            (true, _, 4) => self.deploy(),
            (true, _, 5) => self.scale(),
            (true, _, 6..=9) => verb(Verb::Abort),
            (true, _, 10 | 11) => verb(Verb::Pause),
            (true, _, 12..=14) => verb(Verb::Resume),
            (true, _, 15..=17) => self.promote(),
            (true, _, _) => verb(Verb::Rollback),
            (false, true, 0 | 1) => verb(Verb::Restart),
            (false, true, 2 | 3) => verb(Verb::Rollback),
            (false, true, 4 | 5) => self.scale(),
            (false, true, 6) => verb(Verb::Down),
            (false, false, 0..=6) => verb(Verb::Up),
            (false, _, _) => self.deploy(),
        };
        self.planes[at].mail.push_back(Mail::Asked(wish));
        self.pump(at);
    }

    /// In the second phase people only open what waits for them.
    fn finish_up(&mut self) {
        self.agenda.add(self.now + 5000, Happening::Operate);
        let Some(at) = self.newest() else { return };
        let Some(engine) = &self.planes[at].engine else { return };
        let Some(active) = &engine.progress.active else { return };
        let wish = match active.paused {
            Some(_) if active.pause_reasons.is_empty() => verb(Verb::Resume),
            Some(_) => verb(Verb::Abort),
            None => self.promote(),
        };
        self.planes[at].mail.push_back(Mail::Asked(wish));
        self.pump(at);
    }

    fn promote(&mut self) -> Wish {
        let full = self.healed || self.rng.chance(300);
        Wish::Verb(Verb::Promote, VerbArgs { full, actor: "ann".into(), ..VerbArgs::default() })
    }

    fn scale(&mut self) -> Wish {
        let instances = Some(self.rng.between(1, 6) as u32);
        Wish::Verb(Verb::Scale, VerbArgs { instances, actor: "ann".into(), ..VerbArgs::default() })
    }

    fn deploy(&mut self) -> Wish {
        let (release, temper, is_bad) = self.specs.release(&mut self.rng, &self.rates);
        if is_bad {
            self.faults.add(Fault::BadRelease);
        }
        self.tempers.insert(release.version.clone(), temper);
        Wish::Deploy(Box::new(release))
    }

    /// Everything is mended: one control plane, no faults any more.
    pub(crate) fn heal(&mut self) {
        self.note(|| "everything is mended".to_owned());
        self.healed = true;
        self.store.broken_until = 0;
        if self.proxy.is_down {
            self.proxy_up();
        }
        for temper in self.tempers.values_mut() {
            *temper = Temper::Good(50);
        }
        for process in self.target.processes.values_mut() {
            process.unwell_until = 0;
            process.well_from = process.well_from.min(self.now);
        }
        for plane in &mut self.planes {
            (plane.cut_until, plane.deaf_until) = (0, 0);
        }
        let newest = self.newest();
        for at in 0..self.planes.len() {
            let deposed =
                Some(at) != newest || self.planes[at].seq > self.store.events.len() as u64;
            if deposed && self.planes[at].engine.is_some() {
                self.kill(at);
            }
            self.planes[at].paused_until = 0;
        }
        if newest.is_none() {
            self.open_now(0);
        } else if let Some(at) = newest {
            self.pump(at);
        }
        self.agenda.add(self.now + 100, Happening::Operate);
    }

    /// Whether anything is on its way at the target.
    pub(crate) fn is_settled(&self) -> bool {
        self.target.processes.values().all(|process| process.phase == Phase::Running)
    }
}

fn verb(verb: Verb) -> Wish {
    Wish::Verb(verb, VerbArgs { actor: "ann".into(), ..VerbArgs::default() })
}
