//! The verbs: what each one asks for, when it is refused, and what its answer waits for.

use std::sync::Arc;

use super::{Audited, Engine, Extra, Ticket, Tries};
use crate::event::{DeploymentKind, What};
use crate::ids::ReleaseNumber;
use crate::plan::{Gate, Split};
use crate::problem::Problem;
use crate::release::Release;
use crate::strategy::{self, Request};
use crate::units::Millis;
use crate::view::{VerbAnswer, VerbArgs};

/// The verbs that act on what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Undo the deployment under way.
    Abort,
    /// Stop everything.
    Down,
    /// Stop where it is.
    Pause,
    /// Open the gate.
    Promote,
    /// Fresh instances of the same release.
    Restart,
    /// Go on.
    Resume,
    /// An earlier release again.
    Rollback,
    /// Another number of instances.
    Scale,
    /// Bring back what was desired.
    Up,
}

impl Verb {
    /// All verbs by name, sorted.
    pub const ALL: &[(&'static str, Self)] = &[
        ("abort", Self::Abort),
        ("down", Self::Down),
        ("pause", Self::Pause),
        ("promote", Self::Promote),
        ("restart", Self::Restart),
        ("resume", Self::Resume),
        ("rollback", Self::Rollback),
        ("scale", Self::Scale),
        ("up", Self::Up),
    ];
}

/// Whether a release can be run again: its artifact must still be what it was.
pub type Check<'a> = &'a dyn Fn(&Release) -> Result<(), Problem>;

impl Engine {
    /// Does a verb; what it says is durable only after the effects that come up. `previous` is the
    /// release that served before, for a rollback that names none.
    pub fn verb(
        &mut self,
        now: Millis,
        verb: Verb,
        args: &VerbArgs,
        previous: Option<ReleaseNumber>,
        check: Check<'_>,
    ) -> Result<VerbAnswer, Problem> {
        self.now = now;
        match verb {
            Verb::Abort => self.abort(args, "abort"),
            Verb::Down => self.down(args),
            Verb::Pause => self.pause(args),
            Verb::Promote => self.promote(args),
            Verb::Restart => self.restart(args),
            Verb::Resume => self.resume_deployment(args),
            Verb::Rollback => self.rollback(args, previous, check),
            Verb::Scale => self.scale(args),
            Verb::Up => self.up(args, check),
        }
    }

    /// What the answer to a verb that was done has to wait for.
    pub fn ticket_for(&mut self, verb: Verb, args: &VerbArgs) -> Option<Ticket> {
        if verb == Verb::Abort {
            // An abort is acknowledged when no start of an older generation is under way.
            let ticket = self.ticket();
            self.fenced.push((ticket, self.progress.generation));
            return Some(ticket);
        }
        let split = args.wait.then(|| self.split_to_come(verb, args)).flatten()?;
        let ticket = self.ticket();
        self.switched.push((split, ticket));
        Some(ticket)
    }

    /// The split that a verb leads to, if it is not in effect already.
    fn split_to_come(&self, verb: Verb, args: &VerbArgs) -> Option<Split> {
        let active = self.progress.active.as_ref()?;
        let stages = &active.plan.stages;
        let stage = match verb {
            Verb::Pause | Verb::Resume => None,
            Verb::Promote if !args.full => stages.get(active.stage + 1),
            Verb::Abort
            | Verb::Down
            | Verb::Promote
            | Verb::Restart
            | Verb::Rollback
            | Verb::Scale
            | Verb::Up => stages.last(),
        };
        let split = stage?.goal.split.clone();
        (!self.observed.splits_as(&split)).then_some(split)
    }

    fn active_number(&self, verb: &str) -> Result<u64, Problem> {
        self.progress.active.as_ref().map(|active| active.number).ok_or_else(|| {
            let what = format!("no deployment of {} is under way", self.service);
            let hint = format!("`rollway status {}` shows what runs", self.service);
            Problem::new(verb, what).hint(hint)
        })
    }

    fn answer(&self, message: String, deployment: Option<u64>) -> VerbAnswer {
        VerbAnswer { message, deployment, unfenced: Vec::new() }
    }

    fn promote(&mut self, args: &VerbArgs) -> Result<VerbAnswer, Problem> {
        let number = self.active_number("promote")?;
        let active = self.progress.active.as_ref().expect("checked just now");
        let gated = active.current().is_some_and(|stage| match &stage.gate {
            Some(Gate::Hold(_) | Gate::Approve(_) | Gate::Analyse(_)) => true,
            None => active.is_held(),
        });
        if active.undo.is_some() {
            return Err(Problem::new("promote", "the deployment is being undone"));
        }
        if !args.full && (!gated || active.reached.is_none()) {
            let waits = self.waiting.as_ref().map_or("its next step", |w| w.what.as_str());
            let what = format!("there is no gate to open now; it waits for {waits}");
            let hint = "`rollway promote --full` opens all gates to come";
            return Err(Problem::new("promote", what).hint(hint));
        }
        let (stage, full, actor) = (active.stage, args.full, args.actor.clone());
        let approved = What::Approved { stage, actor, full };
        if args.wait {
            // The answer comes when the split is in effect: the word is written with what follows.
            self.say_with_next(&args.actor, approved);
        } else {
            self.say(&args.actor, approved);
        }
        let what = if args.full { "all gates are open" } else { "the gate is open" };
        Ok(self.answer(format!("{}-{number}: {what}", self.service), Some(number)))
    }

    fn pause(&mut self, args: &VerbArgs) -> Result<VerbAnswer, Problem> {
        let number = self.active_number("pause")?;
        if self.progress.active.as_ref().is_some_and(|active| active.paused.is_some()) {
            return Err(Problem::new("pause", "it is paused already"));
        }
        self.say(&args.actor, What::Paused { actor: args.actor.clone(), reasons: Vec::new() });
        Ok(self.answer(format!("{}-{number} is paused", self.service), Some(number)))
    }

    fn resume_deployment(&mut self, args: &VerbArgs) -> Result<VerbAnswer, Problem> {
        let number = self.active_number("resume")?;
        if self.progress.active.as_ref().is_some_and(|active| active.paused.is_none()) {
            return Err(Problem::new("resume", "it is not paused"));
        }
        self.say(&args.actor, What::Resumed { actor: args.actor.clone() });
        Ok(self.answer(format!("{}-{number} goes on", self.service), Some(number)))
    }

    fn abort(&mut self, args: &VerbArgs, verb: &str) -> Result<VerbAnswer, Problem> {
        let number = self.active_number(verb)?;
        let undoing = self.progress.active.as_ref().is_some_and(|active| active.undo.is_some());
        if !undoing {
            let why = args.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let who = if args.actor.is_empty() { "the operator" } else { &args.actor };
            self.fail(vec![format!("aborted by {who}{why}")], true);
            let (actor, action) = (args.actor.clone(), verb.to_owned());
            let audit = Some(Audited { actor, action, deployment: number });
            self.append(Tries::UntilWritten, Extra { audit, ..Extra::default() });
            self.fence();
        }
        Ok(self.answer(format!("{}-{number} is being undone", self.service), Some(number)))
    }

    fn rollback(
        &mut self,
        args: &VerbArgs,
        previous: Option<ReleaseNumber>,
        check: Check<'_>,
    ) -> Result<VerbAnswer, Problem> {
        if self.progress.active.is_some() && args.to.is_none() {
            return self.abort(args, "rollback");
        }
        self.refuse_if_active("rollback")?;
        let release = self.rollback_target(args.to.as_deref(), previous)?;
        let progress = &self.progress;
        let plan = strategy::back(Request {
            spec: &release.spec,
            from: progress.serving.filter(|_| progress.up),
            to: release.number,
            instances: progress.instances.max(1),
            before: progress.instances,
        });
        check(&release)?;
        let extra = (None, Extra::default());
        let number = self.begin(DeploymentKind::Rollback, &args.actor, plan, extra);
        let (service, to) = (&self.service, release.number);
        let message = format!("{service}-{number}: back to {to} ({})", release.version);
        Ok(self.answer(message, Some(number)))
    }

    fn restart(&mut self, args: &VerbArgs) -> Result<VerbAnswer, Problem> {
        self.refuse_if_active("restart")?;
        let serving = self.serving_release("restart")?;
        let mut release = (*serving).clone();
        release.number = self.next_release();
        let release = Arc::new(release);
        let progress = &self.progress;
        let request = Request {
            spec: &release.spec,
            from: progress.serving,
            to: release.number,
            instances: progress.instances,
            before: progress.instances,
        };
        let plan = strategy::roll(request, "restart");
        let extra = Extra { release: Some(Arc::clone(&release)), ..Extra::default() };
        let extra = (Some(release), extra);
        let number = self.begin(DeploymentKind::Restart, &args.actor, plan, extra);
        Ok(self.answer(format!("{}-{number}: restarting", self.service), Some(number)))
    }

    fn scale(&mut self, args: &VerbArgs) -> Result<VerbAnswer, Problem> {
        self.refuse_if_active("scale")?;
        let release = self.serving_release("scale")?;
        let Some(instances) = args.instances else {
            return Err(Problem::new("scale", "how many instances?"));
        };
        let before = self.progress.instances;
        if instances == 0 {
            let hint = format!("`rollway down {}` stops it", self.service);
            return Err(Problem::new("instances", "at least 1 is needed").hint(hint));
        }
        if instances == before {
            let what = format!("{} has {before} instances already", self.service);
            return Err(Problem::new("instances", what));
        }
        let (from, to) = (Some(release.number), release.number);
        let plan =
            strategy::roll(Request { spec: &release.spec, from, to, instances, before }, "scale");
        let extra = (None, Extra::default());
        let number = self.begin(DeploymentKind::Scale, &args.actor, plan, extra);
        let message = format!("{}-{number}: {before} to {instances} instances", self.service);
        Ok(self.answer(message, Some(number)))
    }

    fn up(&mut self, args: &VerbArgs, check: Check<'_>) -> Result<VerbAnswer, Problem> {
        self.refuse_if_active("up")?;
        if self.progress.up {
            // It is desired already; the loop brings back whatever is missing.
            return Ok(self.answer(format!("{} is up", self.service), None));
        }
        let serving = self.progress.serving.and_then(|n| self.releases.get(&n)).cloned();
        let Some(release) = serving else {
            let hint = "`rollway deploy` makes the first release";
            let what = format!("{} has never served a release", self.service);
            return Err(Problem::new("up", what).hint(hint));
        };
        check(&release)?;
        let instances = self.progress.instances.max(1);
        let (from, to) = (None, release.number);
        let request = Request { spec: &release.spec, from, to, instances, before: instances };
        let plan = strategy::roll(request, "up");
        let extra = (None, Extra::default());
        let number = self.begin(DeploymentKind::Up, &args.actor, plan, extra);
        Ok(self.answer(format!("{}-{number}: starting", self.service), Some(number)))
    }

    fn down(&mut self, args: &VerbArgs) -> Result<VerbAnswer, Problem> {
        self.refuse_if_active("down")?;
        let release = self.serving_release("down")?;
        let before = self.progress.instances;
        let plan = strategy::down(Request {
            spec: &release.spec,
            from: Some(release.number),
            to: release.number,
            instances: 0,
            before,
        });
        let extra = (None, Extra::default());
        let number = self.begin(DeploymentKind::Down, &args.actor, plan, extra);
        Ok(self.answer(format!("{}-{number}: stopping", self.service), Some(number)))
    }

    fn serving_release(&self, verb: &str) -> Result<Arc<Release>, Problem> {
        let progress = &self.progress;
        let serving = progress.serving.filter(|_| progress.up);
        serving.and_then(|number| self.releases.get(&number)).cloned().ok_or_else(|| {
            let what = format!("{} is down", self.service);
            let hint = format!("`rollway up {}` or `rollway deploy`", self.service);
            Problem::new(verb, what).hint(hint)
        })
    }

    fn rollback_target(
        &self,
        to: Option<&str>,
        previous: Option<ReleaseNumber>,
    ) -> Result<Arc<Release>, Problem> {
        let progress = &self.progress;
        let Some(to) = to else {
            let previous = progress.standby.map(|(old, _)| old).or(previous);
            return previous.and_then(|number| self.releases.get(&number)).cloned().ok_or_else(
                || {
                    let what = format!("{} has no earlier release", self.service);
                    let hint = format!("`rollway release list {}` shows them", self.service);
                    Problem::new("rollback", what).hint(hint)
                },
            );
        };
        let number = to.strip_prefix('r').unwrap_or(to).parse().ok().map(ReleaseNumber);
        let by_number = number.and_then(|number| self.releases.get(&number));
        // Of several releases of one version the newest, and rather one that does not serve.
        let by_version = || {
            let newest_first = self.releases.values().rev();
            let of_version: Vec<_> = newest_first.filter(|r| r.version.as_str() == to).collect();
            let other = of_version.iter().find(|r| Some(r.number) != progress.serving);
            other.or(of_version.first()).copied()
        };
        let Some(release) = by_number.or_else(by_version).cloned() else {
            let newest_first = self.releases.values().rev().take(10);
            let known: Vec<String> =
                newest_first.map(|r| format!("{} ({})", r.number, r.version)).collect();
            let what = format!("no release {to:?}; known: {}", known.join(", "));
            return Err(Problem::new("--to", what).hint("give a number such as r3"));
        };
        if progress.serving == Some(release.number) && progress.up {
            let what = format!("{} ({}) serves already", release.number, release.version);
            return Err(Problem::new("--to", what));
        }
        Ok(release)
    }
}
