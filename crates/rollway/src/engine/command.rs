//! What people ask of a service, and what is answered.

use rollway_core::engine::{By, Keyed, Verb, Wanted};
use rollway_core::problem::Problem;
use rollway_core::release::Release;
use rollway_core::view::{
    DeploymentView, InstanceView, PlanView, ServiceView, VerbAnswer, VerbArgs,
};
use tokio::sync::oneshot;

use super::actor::Actor;
use super::intake::Intake;
use crate::failure::Failure;

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
        let mut result = self.done(verb, &args).await;
        let ticket = result.as_ref().ok().and_then(|_| self.engine.ticket_for(verb, &args));
        let waits = ticket.map(|ticket| {
            let (done, waits) = oneshot::channel();
            self.answers.insert(ticket, done);
            waits
        });
        tokio::spawn(async move {
            if let Some(waits) = waits {
                // An end that was dropped: the loop has ended, and the answer is as true as it
                // will get.
                let unfenced = waits.await.unwrap_or_default();
                if let Ok(answer) = &mut result {
                    answer.unfenced = unfenced;
                }
            }
            let _ = answer.send(result);
        });
    }

    async fn done(&mut self, verb: Verb, args: &VerbArgs) -> Result<VerbAnswer, Refusal> {
        let progress = &self.engine.progress;
        let asks = verb == Verb::Rollback && args.to.is_none();
        let previous = match asks && progress.active.is_none() && progress.standby.is_none() {
            true => self.previous_serving().await?,
            false => None,
        };
        let now = self.journal.clock.now();
        let answer = self.engine.verb(now, verb, args, previous, &check_artifact);
        let effects = self.engine.effects();
        self.perform(effects).await?;
        Ok(answer?)
    }

    async fn deploy(&mut self, intake: Intake) -> Result<DeploymentView, Refusal> {
        if let Some(known) = self.known_key(&intake).await? {
            return Ok(known);
        }
        self.engine.refuse_if_active("deploy")?;
        let wanted = self.engine.wanted(&intake.release)?;
        self.check_listen(&wanted.release)?;
        let request = intake.request_digest;
        let key = intake.idempotency_key.map(|key| Keyed { key, request });
        self.engine.deploy(self.journal.clock.now(), wanted, By { actor: intake.actor, key });
        let effects = self.engine.effects();
        self.perform(effects).await?;
        Ok(self.deployment_view().expect("it was begun just now"))
    }

    async fn known_key(&mut self, intake: &Intake) -> Result<Option<DeploymentView>, Refusal> {
        let Some(key) = &intake.idempotency_key else { return Ok(None) };
        let used = self.journal.store.key_use(&self.engine.service, key).await?;
        let Some(used) = used else { return Ok(None) };
        if used.request != intake.request_digest {
            let what = "this key was used for another request";
            return Err(Problem::new("idempotency_key", what).hint("use a new key").into());
        }
        Ok(self.deployment_by_number(used.deployment).await?)
    }

    fn plan_view(&self, intake: &Intake) -> Result<PlanView, Refusal> {
        self.engine.refuse_if_active("plan")?;
        let Wanted { release, plan, .. } = self.engine.wanted(&intake.release)?;
        let serving = plan.from.and_then(|number| self.engine.releases.get(&number));
        let stages = plan.stages.iter().map(super::views::stage_pending).collect();
        Ok(PlanView {
            stages,
            to: super::views::release_ref(&release),
            from: serving.map(|release| super::views::release_ref(release)),
            changes: serving.map(|serving| serving.diff(&release)).unwrap_or_default(),
            warnings: intake.warnings.clone(),
            forecast: Vec::new(),
            plan,
        })
    }
}

/// A kept artifact must still be what it was: a rollback is exact or it is not begun.
fn check_artifact(release: &Release) -> Result<(), Problem> {
    let Some(kept) = &release.artifact else { return Ok(()) };
    let size = std::fs::metadata(&kept.path).map(|metadata| metadata.len());
    if size.as_ref().ok() == Some(&kept.size) {
        return Ok(());
    }
    let what = format!("the kept artifact of {} is gone or changed", release.number);
    Err(Problem::new(kept.path.clone(), what).hint("deploy the version again"))
}
