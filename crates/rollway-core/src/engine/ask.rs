//! Beginning a deployment: which release it is, its plan, and the append that makes it so.

use std::sync::Arc;

use super::{Audited, Before, Engine, Extra, Rows, Tries};
use crate::event::{DeploymentKind, FORMAT, What};
use crate::ids::{Generation, ReleaseNumber};
use crate::mutant::{self, Mutant};
use crate::plan::Plan;
use crate::problem::Problem;
use crate::release::Release;
use crate::strategy::{self, Request};
use crate::units::Millis;

/// Who asks for a deployment, and by which key.
#[derive(Debug, Clone, Default)]
pub struct By {
    /// Who.
    pub actor: String,
    /// The key that makes the request the same one when it is sent again.
    pub key: Option<Keyed>,
}

/// The key of a request, and a digest of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    /// The caller's key.
    pub key: String,
    /// The digest of what was asked with it.
    pub request: String,
}

/// A release that is to be deployed.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The release with its number.
    pub release: Release,
    /// Whether it has never been stored.
    pub is_new: bool,
    /// How it comes to serve.
    pub plan: Plan,
}

impl Engine {
    /// Refuses a verb while a deployment is under way.
    pub fn refuse_if_active(&self, verb: &str) -> Result<(), Problem> {
        let active = self.progress.active.as_ref();
        let Some(active) = active.filter(|_| !mutant::is(Mutant::TwoDeployments)) else {
            return Ok(());
        };
        let (service, number) = (&self.service, active.number);
        Err(Problem::new(verb, format!("{service}-{number} is under way"))
            .hint(format!("wait for it, or `rollway abort {service}`")))
    }

    /// What deploying this release comes to: an equal one that serves, or a new one, and its plan.
    pub fn wanted(&self, release: &Release) -> Result<Wanted, Problem> {
        let progress = &self.progress;
        let serving = progress.serving.and_then(|number| self.releases.get(&number));
        let mut release = release.clone();
        if let Some(serving) = serving.filter(|serving| serving.digest == release.digest) {
            if progress.up && progress.instances == release.spec.instances {
                let (service, version) = (&self.service, &release.version);
                let what =
                    format!("{service} already serves {version} ({}), unchanged", serving.number);
                let hint = format!(
                    "give another --version, change the spec, or `rollway restart {service}`"
                );
                return Err(Problem::new("version", what).hint(hint));
            }
            release.number = serving.number;
            let plan = self.plan_for(&release);
            return Ok(Wanted { release, is_new: false, plan });
        }
        release.number = self.next_release();
        let plan = self.plan_for(&release);
        Ok(Wanted { release, is_new: true, plan })
    }

    pub(super) fn next_release(&self) -> ReleaseNumber {
        ReleaseNumber(self.releases.last_key_value().map_or(0, |(last, _)| last.0) + 1)
    }

    fn plan_for(&self, release: &Release) -> Plan {
        let progress = &self.progress;
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

    /// Begins to deploy; answers the number of the deployment. The append is tried once: if it
    /// fails, [`Engine::withdraw`].
    pub fn deploy(&mut self, now: Millis, wanted: Wanted, by: By) -> u64 {
        self.now = now;
        let release = Arc::new(wanted.release);
        let extra = Extra {
            spec: Some(Arc::clone(&release)),
            release: wanted.is_new.then(|| Arc::clone(&release)),
            key: by.key,
            ..Extra::default()
        };
        self.begin(DeploymentKind::Deploy, &by.actor, wanted.plan, (Some(release), extra))
    }

    /// Begins a deployment: durable before anything is done.
    pub(super) fn begin(
        &mut self,
        request: DeploymentKind,
        actor: &str,
        plan: Plan,
        (release, mut extra): (Option<Arc<Release>>, Extra),
    ) -> u64 {
        self.remember();
        if let Some(release) = release
            && self.releases.insert(release.number, Arc::clone(&release)).is_none()
            && let Some(before) = &mut self.before
        {
            before.release = Some(release.number);
        }
        let about = plan.to.and_then(|number| self.releases.get(&number));
        let hooks = about.map(|about| about.spec.hooks.clone()).unwrap_or_default();
        let plan = plan.with_hooks_of(&hooks);
        let deployment = self.progress.deployments + 1;
        let more = u64::from(!mutant::is(Mutant::BeginKeepsGeneration));
        let generation = Generation(self.progress.generation.0 + more);
        let actor = actor.to_owned();
        let action = format!("{request:?}").to_lowercase();
        extra.audit = Some(Audited { actor: actor.clone(), action, deployment });
        extra.rows = Rows::Deployment;
        self.push(What::DeploymentBegan {
            deployment,
            format: FORMAT,
            request,
            actor,
            plan,
            generation,
        });
        self.append(Tries::Once, extra);
        deployment
    }

    /// What was noted before is written first; what follows can be taken back.
    fn remember(&mut self) {
        self.flush();
        self.before = Some(Box::new(Before {
            progress: self.progress.clone(),
            seq: self.seq,
            snapshot: self.snapshot.clone(),
            release: None,
        }));
    }

    /// An event that a person caused: durable before the answer.
    pub(super) fn say(&mut self, actor: &str, what: What) {
        self.remember();
        let audit = Some(self.audited(actor, &what));
        self.push(what);
        self.append(Tries::Once, Extra { audit, ..Extra::default() });
    }

    /// The same where the answer waits for what follows from it: one append for both.
    pub(super) fn say_with_next(&mut self, actor: &str, what: What) {
        self.flush();
        self.audit = Some(self.audited(actor, &what));
        self.push(what);
    }

    fn audited(&self, actor: &str, what: &What) -> Audited {
        let deployment = self.progress.active.as_ref().map_or(0, |active| active.number);
        Audited { actor: actor.to_owned(), action: what.kind().to_owned(), deployment }
    }
}
