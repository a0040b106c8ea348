//! One service's loop: observe, decide by the pure core, write down, act, observe again.
//!
//! It is dumb on purpose. What is to be done is decided by `rollway_core::converge`; here it is
//! written to the journal, carried out through driver and router, and what came of it is noted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rollway_core::converge::{Decision, Situation, converge, wake};
use rollway_core::event::{DeploymentKind, DeploymentState, What};
use rollway_core::ids::{Generation, InstanceId, ReleaseNumber, ServiceName};
use rollway_core::observed::{Health, Instance, Life, Observed};
use rollway_core::plan::{Plan, Split, Waiting};
use rollway_core::progress::notices;
use rollway_core::release::Release;
use rollway_core::strategy;
use rollway_core::units::Millis;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::Shared;
use super::command::Command;
use super::journal::{Extra, Journal};
use super::outcome::Outcome;
use crate::driver;
use crate::failure::Failure;

/// Outcomes that wait for the loop; more make their tasks wait.
const OUTCOMES_MAX: usize = 4096;
/// Commands that wait for the loop; more make their callers wait.
pub(super) const COMMANDS_MAX: usize = 64;
/// Decisions in one round, before messages are looked at again.
const ROUND_MAX: usize = 64;
/// Without any reason to look again, look again after this.
const IDLE: Duration = Duration::from_secs(30);
/// The wait between two replacements of instances of a service that just serves.
const HEAL_MS: (u64, u64) = (1000, 30_000);
/// The wait before a route that failed is tried again, first and at most.
pub(super) const ROUTE_MS: (u64, u64) = (100, 10_000);
/// So many starts and ends are remembered against late observations.
const TOUCHED_MAX: usize = 10_000;

/// What is known of an instance beyond what decisions need.
#[derive(Debug, Clone, Default)]
pub(super) struct Detail {
    pub address: Option<std::net::SocketAddr>,
    pub incarnation: String,
    pub restarts: u32,
    pub reason: Option<String>,
    pub probing: Option<Probing>,
}

/// The task that probes an instance now; what an earlier one still says is not heard any more.
#[derive(Debug, Clone)]
pub(super) struct Probing {
    pub number: u64,
    pub task: AbortHandle,
}

impl Detail {
    /// Ends the probing.
    pub fn stop_probing(&mut self) {
        if let Some(probing) = self.probing.take() {
            probing.task.abort();
        }
    }
}

/// One service's loop and all that it knows.
pub(super) struct Actor {
    pub shared: Arc<Shared>,
    pub service: ServiceName,
    pub journal: Journal,
    pub observed: Observed,
    pub details: HashMap<InstanceId, Detail>,
    pub releases: HashMap<ReleaseNumber, Arc<Release>>,
    pub outcomes: mpsc::Sender<Outcome>,
    pub waiting: Option<Waiting>,
    pub revision: u64,
    pub starts_under_way: u32,
    /// How many tasks have probed so far.
    pub probings: u64,
    /// Answers that wait until no start of an older generation is under way.
    pub fenced: Vec<oneshot::Sender<()>>,
    /// Answers that wait for a split to be in effect.
    pub switched: Vec<(Split, oneshot::Sender<()>)>,
    /// The progress at the end of the last deployment.
    pub snapshot: Option<super::recover::Snapshot>,
    /// The last deployment as it was stored, for a control plane that has seen none yet.
    pub last_view: Option<rollway_core::view::DeploymentView>,
    /// Counts what was taken note of, so that an older observation does not undo it.
    pub turn: u64,
    /// When a start or an end of an instance was taken note of.
    pub touched: HashMap<InstanceId, u64>,
    /// Routes that fail are tried again with growing waits.
    pub route_after: Millis,
    pub route_wait: u64,
    heal_after: Millis,
    heal_wait: u64,
}

/// A loop that is ready to run, with the ends that others hold.
pub(super) struct Mailboxes {
    pub commands: mpsc::Receiver<Command>,
    pub outcomes: mpsc::Receiver<Outcome>,
}

impl Actor {
    pub fn new(shared: Arc<Shared>, journal: Journal) -> (Self, mpsc::Receiver<Outcome>) {
        let (outcomes, receiver) = mpsc::channel(OUTCOMES_MAX);
        let actor = Self {
            shared,
            service: journal.service.clone(),
            journal,
            observed: Observed::default(),
            details: HashMap::new(),
            releases: HashMap::new(),
            outcomes,
            waiting: None,
            revision: 0,
            starts_under_way: 0,
            probings: 0,
            fenced: Vec::new(),
            switched: Vec::new(),
            snapshot: None,
            last_view: None,
            turn: 0,
            touched: HashMap::new(),
            route_after: Millis::ZERO,
            route_wait: ROUTE_MS.0,
            heal_after: Millis::ZERO,
            heal_wait: HEAL_MS.0,
        };
        (actor, receiver)
    }

    /// Runs until all handles are gone.
    pub async fn run(mut self, mut mail: Mailboxes) {
        let mut changes = self.shared.process.changes();
        let mut proxy_starts = self.shared.proxy.starts();
        loop {
            let wake = self.round().await;
            tokio::select! {
                command = mail.commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => break,
                },
                Some(outcome) = mail.outcomes.recv() => self.outcome(outcome),
                change = changes.recv() => match change {
                    Ok(change) if change.service != self.service => {}
                    Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {
                        self.look();
                    }
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => {}
                },
                Ok(()) = proxy_starts.changed() => self.observed.set_route(None),
                () = tokio::time::sleep(wake) => {}
            }
            // Whatever else has come in belongs to the same round: one decision, one write.
            while let Ok(outcome) = mail.outcomes.try_recv() {
                self.outcome(outcome);
            }
        }
        self.details.values_mut().for_each(Detail::stop_probing);
    }

    /// Decides and acts until there is nothing to do; says when to look again.
    async fn round(&mut self) -> Duration {
        for _ in 0..ROUND_MAX {
            let now = self.journal.clock.now();
            self.end_standby(now);
            self.note_failures(now);
            let Some((plan, stage)) = self.plan_now() else { break };
            let situation = Situation {
                plan: &plan,
                stage: &plan.stages[stage],
                active: self.journal.progress.active.as_ref(),
                observed: &self.observed,
                has_traffic: self.has_traffic(&plan),
                now,
            };
            match converge(&situation) {
                Decision::Act(actions) => {
                    let actions = self.paced(actions, now);
                    if actions.is_empty() {
                        let after = [self.heal_after, self.route_after];
                        let next = after.into_iter().filter(|at| *at > now).min();
                        return self.rest(next).await;
                    }
                    self.act(actions).await;
                }
                Decision::Wait(waiting) => {
                    let standby = self.journal.progress.standby.map(|(_, until)| until);
                    let wakes = [waiting.until, wake(&situation), standby];
                    self.waiting = self.journal.progress.active.is_some().then_some(waiting);
                    return self.rest(wakes.into_iter().flatten().min()).await;
                }
                Decision::Reached => self.journal.push(What::StageReached { stage }),
                Decision::Done => self.stage_done(&plan, stage).await,
                Decision::Failed(reasons) => self.fail(reasons, false).await,
            }
        }
        self.rest(None).await
    }

    /// Writes down what is left to write, and says how long to sleep.
    async fn rest(&mut self, until: Option<Millis>) -> Duration {
        if self.journal.has_pending() {
            self.journal.commit(Extra::default()).await;
        }
        self.answer_fenced();
        let now = self.journal.clock.now();
        until.map_or(IDLE, |until| {
            Duration::from_millis(until.0.saturating_sub(now.0).max(1)).min(IDLE)
        })
    }

    pub fn answer_fenced(&mut self) {
        if self.starts_under_way == 0 {
            for answer in self.fenced.drain(..) {
                // The caller may have gone.
                let _ = answer.send(());
            }
        }
    }

    /// The plan that holds now: the deployment's, or the one that keeps what serves as it is.
    fn plan_now(&self) -> Option<(Plan, usize)> {
        let progress = &self.journal.progress;
        if let Some(active) = &progress.active {
            return Some((active.plan.clone(), active.stage));
        }
        let release = progress.serving.and_then(|number| self.releases.get(&number));
        if let (true, Some(release)) = (progress.up, release) {
            let request = strategy::Request {
                spec: &release.spec,
                from: Some(release.number),
                to: release.number,
                instances: progress.instances,
                before: progress.instances,
            };
            let standby = progress.standby.map(|(old, _)| old);
            return Some((strategy::standing(request, standby), 0));
        }
        // Nothing should run: what is left over from a crash goes.
        let any = self.observed.fleets().keys().find_map(|number| self.releases.get(number))?;
        let request = strategy::Request {
            spec: &any.spec,
            from: None,
            to: any.number,
            instances: 0,
            before: 0,
        };
        Some((strategy::down(request), 0))
    }

    fn has_traffic(&self, plan: &Plan) -> bool {
        let traffic = |number: ReleaseNumber| {
            self.releases.get(&number).is_some_and(|release| release.spec.traffic.is_some())
        };
        self.observed.route().is_some()
            || plan.from.is_some_and(traffic)
            || plan.to.is_some_and(traffic)
    }

    fn end_standby(&mut self, now: Millis) {
        if let Some((release, until)) = self.journal.progress.standby
            && now >= until
            && self.journal.progress.active.is_none()
        {
            self.journal.push(What::StandbyEnded { release });
        }
    }

    fn note_failures(&mut self, now: Millis) {
        let Some(active) = &self.journal.progress.active else { return };
        if active.paused.is_some() {
            return;
        }
        for note in notices(active, &self.observed, now) {
            self.journal.push(What::InstanceFailed(note));
        }
    }

    /// A service that just serves replaces instances with growing waits, not in a hot loop.
    fn paced(
        &mut self,
        actions: Vec<rollway_core::plan::Action>,
        now: Millis,
    ) -> Vec<rollway_core::plan::Action> {
        use rollway_core::plan::Action;
        let routed =
            |action: &Action| now >= self.route_after || !matches!(action, Action::Route(_));
        let actions: Vec<Action> = actions.into_iter().filter(routed).collect();
        let starts = |action: &Action| matches!(action, Action::Start(_));
        if self.journal.progress.active.is_some() || !actions.iter().any(starts) {
            return actions;
        }
        if now < self.heal_after {
            return actions.into_iter().filter(|action| !starts(action)).collect();
        }
        if now.0 > self.heal_after.0 + HEAL_MS.1 {
            self.heal_wait = HEAL_MS.0;
        }
        self.heal_after = Millis(now.0 + self.heal_wait);
        self.heal_wait = (self.heal_wait * 2).min(HEAL_MS.1);
        actions
    }

    async fn stage_done(&mut self, plan: &Plan, stage: usize) {
        self.journal.push(What::StageDone { stage });
        if stage + 1 < plan.stages.len() {
            return;
        }
        let Some(active) = self.journal.progress.active.clone() else { return };
        let now = self.journal.clock.now();
        let what = match &active.undo {
            Some(undo) => What::DeploymentEnded {
                state: match active.first_plan.from {
                    Some(_) => DeploymentState::RolledBack,
                    None => DeploymentState::Failed,
                },
                reasons: undo.reasons.clone(),
                serving: active.first_plan.from,
                standby: None,
                needs_operator: false,
            },
            None => What::DeploymentEnded {
                state: DeploymentState::Completed,
                reasons: Vec::new(),
                serving: self.serving_after(&active),
                standby: plan.from.zip(plan.standby).map(|(old, t)| (old, Millis(now.0 + t.0))),
                needs_operator: false,
            },
        };
        self.end(what).await;
    }

    fn serving_after(&self, active: &rollway_core::progress::Active) -> Option<ReleaseNumber> {
        // A service that was taken down still knows what `up` brings back.
        match active.request {
            DeploymentKind::Down => self.journal.progress.serving,
            DeploymentKind::Deploy
            | DeploymentKind::Rollback
            | DeploymentKind::Restart
            | DeploymentKind::Scale
            | DeploymentKind::Up => active.first_plan.to,
        }
    }

    /// The deployment cannot go on: traffic back first, then the instances.
    pub async fn fail(&mut self, reasons: Vec<String>, by_operator: bool) {
        let Some(active) = self.journal.progress.active.clone() else { return };
        let reasons = self.with_evidence(reasons);
        if active.undo.is_some() {
            let mut all = vec!["the undo failed; a person must look".to_owned()];
            all.extend(reasons);
            all.extend(active.undo.iter().flat_map(|undo| undo.reasons.clone()));
            self.end(What::DeploymentEnded {
                state: DeploymentState::Failed,
                reasons: all,
                serving: active.first_plan.from,
                standby: None,
                needs_operator: true,
            })
            .await;
            return;
        }
        if !by_operator && !active.plan.automatic_rollback && active.first_plan.from.is_some() {
            self.journal.push(What::Paused { actor: "rollway".into(), reasons });
            return;
        }
        let spec_of = active.first_plan.from.or(active.first_plan.to);
        let Some(release) = spec_of.and_then(|number| self.releases.get(&number)) else { return };
        let ready = active.first_plan.from.and_then(|from| self.observed.fleet(from));
        let ready = ready.map_or(0, rollway_core::observed::Fleet::ready);
        let about = active.first_plan.to.and_then(|number| self.releases.get(&number));
        let hooks = about.map(|about| about.spec.hooks.clone()).unwrap_or_default();
        let plan = strategy::undo(&active.first_plan, &release.spec, ready).with_hooks_of(&hooks);
        let generation = Generation(self.journal.progress.generation.0 + 1);
        self.journal.push(What::UndoBegan { reasons, by_operator, plan, generation });
    }

    fn with_evidence(&self, mut reasons: Vec<String>) -> Vec<String> {
        let active = self.journal.progress.active.as_ref();
        let failures = active.map(|active| active.failures.as_slice()).unwrap_or_default();
        if let Some(first) = failures.first() {
            // What a reason says already is not evidence for it.
            let new = |line: &&String| !first.why.contains(line.as_str());
            reasons.extend(first.evidence.iter().filter(new).map(|line| format!("| {line}")));
        }
        reasons
    }

    async fn end(&mut self, what: What) {
        self.journal.push(what);
        self.waiting = None;
        let extra = Extra {
            deployment: self.deployment_row(),
            state: Some(self.state_to_store()),
            ..Extra::default()
        };
        self.journal.commit(extra).await;
        self.journal.ended.send_replace(self.journal.progress.deployments);
        for (_, answer) in self.switched.drain(..) {
            let _ = answer.send(());
        }
        tokio::spawn(super::prune::prune(Arc::clone(&self.shared)));
    }

    /// Asks the driver again; the answer comes as an outcome.
    pub fn look(&self) {
        let driver = Arc::clone(&self.shared.process);
        let (service, outcomes, turn) = (self.service.clone(), self.outcomes.clone(), self.turn);
        tokio::spawn(async move {
            let seen = driver.observe(&service).await;
            // The loop may have ended.
            let _ = outcomes.send(Outcome::Seen(seen, turn)).await;
        });
    }

    /// Remembers that an instance started or ended: what was seen before that is old.
    pub fn touch(&mut self, id: InstanceId) {
        self.turn += 1;
        if self.touched.len() >= TOUCHED_MAX {
            // Observations take milliseconds: what is this old is not needed any more.
            let old = self.turn.saturating_sub(TOUCHED_MAX as u64 / 2);
            self.touched.retain(|_, turn| *turn > old);
        }
        self.touched.insert(id, self.turn);
    }

    /// Takes note of what the driver sees; `asked` is the turn at which it was asked.
    pub fn seen(&mut self, seen: Result<Vec<driver::SeenInstance>, Failure>, asked: u64) {
        let seen = match seen {
            Ok(seen) => seen,
            Err(failure) => {
                // No answer is not an empty answer: nothing is concluded from it.
                tracing::warn!(service = %self.service, "{}", failure.chain());
                return;
            }
        };
        let now = self.journal.clock.now();
        let present: std::collections::HashSet<_> = seen.iter().map(|one| one.instance).collect();
        let newer = |id: &InstanceId, touched: &HashMap<InstanceId, u64>| {
            touched.get(id).is_some_and(|turn| *turn > asked)
        };
        for one in seen {
            if !newer(&one.instance, &self.touched) {
                self.seen_one(&one, now);
            }
        }
        let process = |release: &ReleaseNumber| {
            self.releases.get(release).is_none_or(|release| release.spec.run.driver == "process")
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
                instance.ends += 1;
            });
        }
    }

    /// Takes note of one instance that the driver sees.
    pub fn seen_one(&mut self, one: &driver::SeenInstance, now: Millis) {
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
        let mut instance = known.unwrap_or_else(|| {
            Instance::starting(Millis(now.0.saturating_sub(one.started_ms_ago)))
        });
        instance.life = life;
        instance.ends = instance.ends.max(ends);
        if !evidence.is_empty() {
            instance.evidence = evidence;
        }
        let runs = life == Life::Running;
        if other || !runs {
            // Another process must prove itself anew.
            instance.health = Health::Starting;
            detail.stop_probing();
        }
        let unprobed = detail.probing.is_none();
        self.observed.put(one.instance, instance);
        if runs && unprobed {
            self.probe(one.instance, false);
        }
    }
}

fn life_of(one: &driver::SeenInstance) -> (Life, u32, Vec<String>) {
    let describe = |ended: &driver::Ended| {
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
        driver::Life::Starting => (Life::Starting, one.restarts, Vec::new()),
        driver::Life::Running => (Life::Running, one.restarts, Vec::new()),
        driver::Life::Restarting { ended, .. } => {
            (Life::Restarting, one.restarts + 1, describe(ended))
        }
        driver::Life::Ended(ended) => (Life::Ended, one.restarts + 1, describe(ended)),
        driver::Life::Stopping => (Life::Leaving, one.restarts, Vec::new()),
    }
}
