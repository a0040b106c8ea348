//! What people ask of a service, and what is answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use rollway_core::event::{DeploymentKind, FORMAT, What};
use rollway_core::ids::{Generation, ReleaseNumber};
use rollway_core::plan::{Gate, Plan, Split};
use rollway_core::problem::Problem;
use rollway_core::release::Release;
use rollway_core::strategy::{self, Request};
use rollway_core::view::{
    DeploymentView, InstanceView, PlanView, ServiceView, VerbAnswer, VerbArgs,
};
use tokio::sync::oneshot;

use super::actor::Actor;
use super::intake::Intake;
use super::journal::Extra;
use super::number::{LastNumber as _, release_row};
use crate::failure::Failure;
use crate::store::{AuditRecord, IdempotencyKey, Verdict};

/// Why a request was not done.
#[derive(Debug)]
pub enum Refusal {
    /// It is the asker's to mend; nothing was changed.
    Problems(Vec<Problem>),
    /// The world failed us.
    Failure(Failure),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problems(vec![problem])
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// The end that an answer goes to.
pub(super) type Answer<T> = oneshot::Sender<Result<T, Refusal>>;

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

/// What the loop of a service is asked.
pub(super) enum Command {
    Deploy(Box<Intake>, Answer<DeploymentView>),
    Plan(Box<Intake>, Answer<PlanView>),
    Verb(Verb, VerbArgs, Answer<VerbAnswer>),
    View(oneshot::Sender<ServiceView>),
    Instances(oneshot::Sender<Vec<InstanceView>>),
}

impl Actor {
    pub async fn command(&mut self, command: Command) {
        // Whoever asked may have gone: then nobody is told, and what was done stays done.
        match command {
            Command::Deploy(intake, answer) => {
                let result = self.deploy(*intake).await;
                let _ = answer.send(result);
            }
            Command::Plan(intake, answer) => {
                let _ = answer.send(self.plan_view(&intake));
            }
            Command::Verb(verb, args, answer) => self.verb(verb, args, answer).await,
            Command::View(answer) => {
                let _ = answer.send(self.view());
            }
            Command::Instances(answer) => {
                let _ = answer.send(self.instance_views());
            }
        }
    }

    async fn verb(&mut self, verb: Verb, args: VerbArgs, answer: Answer<VerbAnswer>) {
        let result = match verb {
            Verb::Abort => self.abort(&args, "abort").await,
            Verb::Down => self.down(&args).await,
            Verb::Pause => self.pause(&args).await,
            Verb::Promote => self.promote(&args).await,
            Verb::Restart => self.restart(&args).await,
            Verb::Resume => self.resume(&args).await,
            Verb::Rollback => self.rollback(&args).await,
            Verb::Scale => self.scale(&args).await,
            Verb::Up => self.up(&args).await,
        };
        let (done, waits) = oneshot::channel();
        match (&result, verb) {
            // An abort is acknowledged when no start of an older generation is under way.
            (Ok(_), Verb::Abort) => self.fenced.push(done),
            (Ok(_), _) if args.wait => match self.split_to_come(verb, &args) {
                Some(split) => self.switched.push((split, done)),
                None => drop(done),
            },
            _ => drop(done),
        }
        tokio::spawn(async move {
            // An end that was dropped: there is nothing to wait for, or the loop has ended and
            // the answer is as true as it will get.
            let _ = waits.await;
            let _ = answer.send(result);
        });
    }

    /// The split that a verb leads to, if it is not in effect already.
    fn split_to_come(&self, verb: Verb, args: &VerbArgs) -> Option<Split> {
        let active = self.journal.progress.active.as_ref()?;
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

    fn refuse_if_active(&self, verb: &str) -> Result<(), Refusal> {
        let Some(active) = &self.journal.progress.active else { return Ok(()) };
        let (service, number) = (&self.service, active.number);
        Err(Problem::new(verb, format!("{service}-{number} is under way"))
            .hint(format!("wait for it, or `rollway abort {service}`"))
            .into())
    }

    fn active_number(&self, verb: &str) -> Result<u64, Refusal> {
        match &self.journal.progress.active {
            Some(active) => Ok(active.number),
            None => {
                let what = format!("no deployment of {} is under way", self.service);
                let hint = format!("`rollway status {}` shows what runs", self.service);
                Err(Problem::new(verb, what).hint(hint).into())
            }
        }
    }

    async fn deploy(&mut self, intake: Intake) -> Result<DeploymentView, Refusal> {
        if let Some(known) = self.known_key(&intake).await? {
            return Ok(known);
        }
        self.refuse_if_active("deploy")?;
        let (release, is_new) = self.numbered(&intake)?;
        let plan = self.plan_for(&release);
        self.check_listen(&release)?;
        let extra = Extra {
            spec: Some(serde_json::to_value(&release.spec).expect("a spec is plain data")),
            release: is_new.then(|| release_row(&release)),
            idempotency: intake.idempotency_key.as_ref().map(|key| IdempotencyKey {
                key: key.clone(),
                request: intake.request_digest.clone(),
            }),
            ..Extra::default()
        };
        let number = release.number;
        self.releases.insert(number, Arc::new(release));
        self.begin(DeploymentKind::Deploy, &intake.actor, plan, extra).await?;
        Ok(self.deployment_view().expect("it was begun just now"))
    }

    async fn known_key(&mut self, intake: &Intake) -> Result<Option<DeploymentView>, Refusal> {
        let Some(key) = &intake.idempotency_key else { return Ok(None) };
        let used = self.journal.store.key_use(&self.service, key).await?;
        let Some(used) = used else { return Ok(None) };
        if used.request != intake.request_digest {
            let what = "this key was used for another request";
            return Err(Problem::new("idempotency_key", what).hint("use a new key").into());
        }
        Ok(self.deployment_by_number(used.deployment).await?)
    }

    /// The release that the intake is: an equal one that serves, or a new one.
    fn numbered(&self, intake: &Intake) -> Result<(Release, bool), Refusal> {
        let progress = &self.journal.progress;
        let serving = progress.serving.and_then(|number| self.releases.get(&number));
        let mut release = intake.release.clone();
        if let Some(serving) = serving.filter(|serving| serving.digest == release.digest) {
            if progress.up && progress.instances == release.spec.instances {
                let (service, version) = (&self.service, &release.version);
                let what =
                    format!("{service} already serves {version} ({}), unchanged", serving.number);
                let hint = format!(
                    "give another --version, change the spec, or `rollway restart {service}`"
                );
                return Err(Problem::new("version", what).hint(hint).into());
            }
            release.number = serving.number;
            return Ok((release, false));
        }
        let last = self.releases.keys().next_back_number();
        release.number = ReleaseNumber(last + 1);
        Ok((release, true))
    }

    fn plan_for(&self, release: &Release) -> Plan {
        let progress = &self.journal.progress;
        let request = Request {
            spec: &release.spec,
            from: progress.serving.filter(|_| progress.up),
            to: release.number,
            instances: release.spec.instances,
            before: progress.instances,
        };
        match progress.serving {
            Some(serving) if serving == release.number => strategy::roll(request, "scale"),
            _ => strategy::deploy(request),
        }
    }

    fn plan_view(&self, intake: &Intake) -> Result<PlanView, Refusal> {
        self.refuse_if_active("plan")?;
        let (release, _) = self.numbered(intake)?;
        let plan = self.plan_for(&release);
        let serving = plan.from.and_then(|number| self.releases.get(&number));
        let stages = plan.stages.iter().map(super::views::stage_pending).collect();
        Ok(PlanView {
            stages,
            to: super::views::release_ref(&release),
            from: serving.map(|release| super::views::release_ref(release)),
            changes: serving.map(|serving| serving.diff(&release)).unwrap_or_default(),
            warnings: intake.warnings.clone(),
            plan,
        })
    }

    /// Begins a deployment: durable before anything is done.
    async fn begin(
        &mut self,
        request: DeploymentKind,
        actor: &str,
        plan: Plan,
        mut extra: Extra,
    ) -> Result<u64, Refusal> {
        if self.journal.has_pending() {
            self.journal.commit(Extra::default()).await;
        }
        let about = plan.to.and_then(|number| self.releases.get(&number));
        let hooks = about.map(|about| about.spec.hooks.clone()).unwrap_or_default();
        let plan = plan.with_hooks_of(&hooks);
        let before = self.journal.progress.clone();
        let deployment = before.deployments + 1;
        let generation = Generation(before.generation.0 + 1);
        self.journal.push(What::DeploymentBegan {
            deployment,
            format: FORMAT,
            request,
            actor: actor.to_owned(),
            plan,
            generation,
        });
        extra.deployment = self.deployment_row();
        extra.state = Some(self.state_to_store());
        extra.audit = Some(self.audit(actor, &format!("{request:?}").to_lowercase(), deployment));
        self.journal.try_commit(before, extra).await?;
        Ok(deployment)
    }

    fn answer(&self, message: String, deployment: Option<u64>) -> VerbAnswer {
        VerbAnswer { message, deployment, unfenced: Vec::new() }
    }

    /// Events that a person caused: durable before the answer.
    async fn say(&mut self, actor: &str, what: What) -> Result<(), Refusal> {
        if self.journal.has_pending() {
            self.journal.commit(Extra::default()).await;
        }
        let before = self.journal.progress.clone();
        let deployment = before.active.as_ref().map_or(0, |active| active.number);
        let audit = Some(self.audit(actor, what.kind(), deployment));
        self.journal.push(what);
        Ok(self.journal.try_commit(before, Extra { audit, ..Extra::default() }).await?)
    }

    /// One record a request that changes something, in the transaction of its effect.
    fn audit(&self, actor: &str, action: &str, deployment: u64) -> AuditRecord {
        AuditRecord {
            at_ms: super::clock::wall_ms(),
            actor: actor.to_owned(),
            request: format!("{}-{deployment}", self.service),
            action: action.to_owned(),
            object: format!("service:{}", self.service),
            verdict: Verdict::Allowed,
            reason: String::new(),
            detail: serde_json::Value::Null,
        }
    }

    async fn promote(&mut self, args: &VerbArgs) -> Result<VerbAnswer, Refusal> {
        let number = self.active_number("promote")?;
        let active = self.journal.progress.active.as_ref().expect("checked just now");
        let gated = active.current().is_some_and(|stage| match &stage.gate {
            Some(Gate::Hold(_) | Gate::Approve(_)) => true,
            None => false,
        });
        if active.undo.is_some() {
            return Err(Problem::new("promote", "the deployment is being undone").into());
        }
        if !args.full && (!gated || active.reached.is_none()) {
            let waits = self.waiting.as_ref().map_or("its next step", |w| w.what.as_str());
            let what = format!("there is no gate to open now; it waits for {waits}");
            let hint = "`rollway promote --full` opens all gates to come";
            return Err(Problem::new("promote", what).hint(hint).into());
        }
        let (stage, full, actor) = (active.stage, args.full, args.actor.clone());
        self.say(&args.actor, What::Approved { stage, actor, full }).await?;
        let what = if args.full { "all gates are open" } else { "the gate is open" };
        Ok(self.answer(format!("{}-{number}: {what}", self.service), Some(number)))
    }

    async fn pause(&mut self, args: &VerbArgs) -> Result<VerbAnswer, Refusal> {
        let number = self.active_number("pause")?;
        if self.journal.progress.active.as_ref().is_some_and(|a| a.paused.is_some()) {
            return Err(Problem::new("pause", "it is paused already").into());
        }
        let paused = What::Paused { actor: args.actor.clone(), reasons: Vec::new() };
        self.say(&args.actor, paused).await?;
        Ok(self.answer(format!("{}-{number} is paused", self.service), Some(number)))
    }

    async fn resume(&mut self, args: &VerbArgs) -> Result<VerbAnswer, Refusal> {
        let number = self.active_number("resume")?;
        if self.journal.progress.active.as_ref().is_some_and(|a| a.paused.is_none()) {
            return Err(Problem::new("resume", "it is not paused").into());
        }
        self.say(&args.actor, What::Resumed { actor: args.actor.clone() }).await?;
        Ok(self.answer(format!("{}-{number} goes on", self.service), Some(number)))
    }

    async fn abort(&mut self, args: &VerbArgs, verb: &str) -> Result<VerbAnswer, Refusal> {
        let number = self.active_number(verb)?;
        let undoing = self.journal.progress.active.as_ref().is_some_and(|a| a.undo.is_some());
        if !undoing {
            let why = args.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let who = if args.actor.is_empty() { "the operator" } else { &args.actor };
            self.fail(vec![format!("aborted by {who}{why}")], true).await;
            let audit = Some(self.audit(&args.actor, verb, number));
            self.journal.commit(Extra { audit, ..Extra::default() }).await;
        }
        Ok(self.answer(format!("{}-{number} is being undone", self.service), Some(number)))
    }

    async fn rollback(&mut self, args: &VerbArgs) -> Result<VerbAnswer, Refusal> {
        if self.journal.progress.active.is_some() && args.to.is_none() {
            return self.abort(args, "rollback").await;
        }
        self.refuse_if_active("rollback")?;
        let release = self.rollback_target(args.to.as_deref()).await?;
        let progress = &self.journal.progress;
        let request = Request {
            spec: &release.spec,
            from: progress.serving.filter(|_| progress.up),
            to: release.number,
            instances: progress.instances.max(1),
            before: progress.instances,
        };
        let plan = strategy::back(request);
        self.check_artifact(&release)?;
        let kind = DeploymentKind::Rollback;
        let number = self.begin(kind, &args.actor, plan, Extra::default()).await?;
        let (service, to) = (&self.service, release.number);
        let message = format!("{service}-{number}: back to {to} ({})", release.version);
        Ok(self.answer(message, Some(number)))
    }

    async fn restart(&mut self, args: &VerbArgs) -> Result<VerbAnswer, Refusal> {
        self.refuse_if_active("restart")?;
        let serving = self.serving_release("restart")?;
        let mut release = (*serving).clone();
        release.number = ReleaseNumber(self.releases.keys().next_back_number() + 1);
        let progress = &self.journal.progress;
        let request = Request {
            spec: &release.spec,
            from: progress.serving,
            to: release.number,
            instances: progress.instances,
            before: progress.instances,
        };
        let plan = strategy::roll(request, "restart");
        let extra = Extra { release: Some(release_row(&release)), ..Extra::default() };
        self.releases.insert(release.number, Arc::new(release));
        let number = self.begin(DeploymentKind::Restart, &args.actor, plan, extra).await?;
        Ok(self.answer(format!("{}-{number}: restarting", self.service), Some(number)))
    }

    async fn scale(&mut self, args: &VerbArgs) -> Result<VerbAnswer, Refusal> {
        self.refuse_if_active("scale")?;
        let release = self.serving_release("scale")?;
        let Some(instances) = args.instances else {
            return Err(Problem::new("scale", "how many instances?").into());
        };
        let before = self.journal.progress.instances;
        if instances == 0 {
            let hint = format!("`rollway down {}` stops it", self.service);
            return Err(Problem::new("instances", "at least 1 is needed").hint(hint).into());
        }
        if instances == before {
            let what = format!("{} has {before} instances already", self.service);
            return Err(Problem::new("instances", what).into());
        }
        let (from, to) = (Some(release.number), release.number);
        let plan =
            strategy::roll(Request { spec: &release.spec, from, to, instances, before }, "scale");
        let kind = DeploymentKind::Scale;
        let number = self.begin(kind, &args.actor, plan, Extra::default()).await?;
        let message = format!("{}-{number}: {before} to {instances} instances", self.service);
        Ok(self.answer(message, Some(number)))
    }

    async fn up(&mut self, args: &VerbArgs) -> Result<VerbAnswer, Refusal> {
        self.refuse_if_active("up")?;
        if self.journal.progress.up {
            // It is desired already; the loop brings back whatever is missing.
            return Ok(self.answer(format!("{} is up", self.service), None));
        }
        let serving = self.journal.progress.serving.and_then(|n| self.releases.get(&n)).cloned();
        let Some(release) = serving else {
            let hint = "`rollway deploy` makes the first release";
            let what = format!("{} has never served a release", self.service);
            return Err(Problem::new("up", what).hint(hint).into());
        };
        self.check_artifact(&release)?;
        let instances = self.journal.progress.instances.max(1);
        let (from, to) = (None, release.number);
        let request = Request { spec: &release.spec, from, to, instances, before: instances };
        let plan = strategy::roll(request, "up");
        let number = self.begin(DeploymentKind::Up, &args.actor, plan, Extra::default()).await?;
        Ok(self.answer(format!("{}-{number}: starting", self.service), Some(number)))
    }

    async fn down(&mut self, args: &VerbArgs) -> Result<VerbAnswer, Refusal> {
        self.refuse_if_active("down")?;
        let release = self.serving_release("down")?;
        let before = self.journal.progress.instances;
        let request = Request {
            spec: &release.spec,
            from: Some(release.number),
            to: release.number,
            instances: 0,
            before,
        };
        let plan = strategy::down(request);
        let kind = DeploymentKind::Down;
        let number = self.begin(kind, &args.actor, plan, Extra::default()).await?;
        Ok(self.answer(format!("{}-{number}: stopping", self.service), Some(number)))
    }

    fn serving_release(&self, verb: &str) -> Result<Arc<Release>, Refusal> {
        let progress = &self.journal.progress;
        let serving = progress.serving.filter(|_| progress.up);
        serving.and_then(|number| self.releases.get(&number)).cloned().ok_or_else(|| {
            let what = format!("{} is down", self.service);
            let hint = format!("`rollway up {}` or `rollway deploy`", self.service);
            Problem::new(verb, what).hint(hint).into()
        })
    }

    async fn rollback_target(&self, to: Option<&str>) -> Result<Arc<Release>, Refusal> {
        let progress = &self.journal.progress;
        let Some(to) = to else {
            let previous = match progress.standby {
                Some((old, _)) => Some(old),
                None => self.previous_serving().await?,
            };
            return previous.and_then(|number| self.releases.get(&number)).cloned().ok_or_else(
                || {
                    let what = format!("{} has no earlier release", self.service);
                    let hint = format!("`rollway release list {}` shows them", self.service);
                    Problem::new("rollback", what).hint(hint).into()
                },
            );
        };
        let number = to.strip_prefix('r').unwrap_or(to).parse().ok().map(ReleaseNumber);
        let by_number = number.and_then(|number| self.releases.get(&number));
        let mut numbers: Vec<_> = self.releases.keys().copied().collect();
        numbers.sort_unstable();
        // Of several releases of one version the newest, and rather one that does not serve.
        let by_version = || {
            let newest_first = numbers.iter().rev().filter_map(|n| self.releases.get(n));
            let of_version: Vec<_> = newest_first.filter(|r| r.version.as_str() == to).collect();
            let other = of_version.iter().find(|r| Some(r.number) != progress.serving);
            other.or(of_version.first()).copied()
        };
        let Some(release) = by_number.or_else(by_version).cloned() else {
            let known: BTreeMap<_, _> = self.releases.iter().collect();
            let known: Vec<String> = known
                .values()
                .rev()
                .take(10)
                .map(|r| format!("{} ({})", r.number, r.version))
                .collect();
            let what = format!("no release {to:?}; known: {}", known.join(", "));
            return Err(Problem::new("--to", what).hint("give a number such as r3").into());
        };
        if progress.serving == Some(release.number) && progress.up {
            let what = format!("{} ({}) serves already", release.number, release.version);
            return Err(Problem::new("--to", what).into());
        }
        Ok(release)
    }

    /// A kept artifact must still be what it was: a rollback is exact or it is not begun.
    fn check_artifact(&self, release: &Release) -> Result<(), Refusal> {
        let Some(kept) = &release.artifact else { return Ok(()) };
        let size = std::fs::metadata(&kept.path).map(|metadata| metadata.len());
        if size.as_ref().ok() == Some(&kept.size) {
            return Ok(());
        }
        let what = format!("the kept artifact of {} is gone or changed", release.number);
        Err(Problem::new(kept.path.clone(), what).hint("deploy the version again").into())
    }
}
