//! Building what anybody outside sees.

use rollway_core::event::{DeploymentState, What};
use rollway_core::ids::ReleaseNumber;
use rollway_core::observed::{Health, Life};
use rollway_core::plan::{Gate, Stage};
use rollway_core::progress::{Active, Outcome as Ended};
use rollway_core::release::Release;
use rollway_core::view::{
    ArmView, DeploymentView, EventView, InstanceView, ReleaseRef, ServiceView, StageView,
    StandbyView,
};

use super::actor::Actor;
use super::clock::wall_ms;
use crate::failure::Failure;
use crate::store::{DeploymentRow, Event};

pub(super) fn release_ref(release: &Release) -> ReleaseRef {
    ReleaseRef { number: release.number.0, version: release.version.to_string() }
}

pub(super) fn stage_pending(stage: &Stage) -> StageView {
    let (name, state, goal) = (stage.name.clone(), "pending".to_owned(), stage.words());
    StageView { name, state, goal, elapsed_ms: None }
}

impl Actor {
    fn reference(&self, number: ReleaseNumber) -> ReleaseRef {
        match self.engine.releases.get(&number) {
            Some(release) => release_ref(release),
            None => ReleaseRef { number: number.0, version: "?".into() },
        }
    }

    /// The service as it is now.
    pub fn view(&self) -> ServiceView {
        let progress = &self.engine.progress;
        let now = self.journal.clock.now();
        let traffic = progress
            .active
            .as_ref()
            .and_then(|active| active.plan.to)
            .or(progress.serving)
            .and_then(|number| self.engine.releases.get(&number))
            .and_then(|release| release.spec.traffic.as_ref());
        let standby = progress.standby.map(|(release, until)| StandbyView {
            release: self.reference(release),
            left_ms: until.0.saturating_sub(now.0),
        });
        let wanted = progress.active.as_ref().map(|active| active.plan.instances);
        ServiceView {
            service: self.engine.service.to_string(),
            desired: if progress.up { "up" } else { "down" }.into(),
            serving: progress.serving.map(|number| self.reference(number)),
            instances_wanted: wanted.unwrap_or(progress.instances),
            instances_ready: self
                .engine
                .observed
                .fleets()
                .values()
                .map(|fleet| fleet.ready())
                .sum(),
            arms: self.arms(),
            listen: traffic.map(|traffic| traffic.listen.clone()).unwrap_or_default(),
            standby,
            deployment: self.deployment_view(),
            needs_operator: progress.needs_operator,
            last_seq: self.journal.last_seq,
        }
    }

    fn arms(&self) -> Vec<ArmView> {
        let route = self.engine.observed.route();
        let members = route.map_or(0, |route| route.members.len() as u32);
        let by_capacity = route.is_some_and(|route| route.weights.values().all(|w| *w == 0));
        let fleets = self.engine.observed.fleets().iter();
        fleets
            .map(|(release, fleet)| {
                let routed = || {
                    let of = route.into_iter().flat_map(|route| &route.members);
                    of.filter(|id| id.release == *release).count() as u32
                };
                let weight = match route {
                    None => 0,
                    Some(_) if by_capacity => (100 * routed()).checked_div(members).unwrap_or(0),
                    Some(route) => route.weights.get(release).copied().unwrap_or(0),
                };
                ArmView {
                    release: self.reference(*release),
                    weight,
                    instances: fleet.total(),
                    ready: fleet.ready(),
                }
            })
            .collect()
    }

    /// The deployment under way, or the last one.
    pub fn deployment_view(&self) -> Option<DeploymentView> {
        let progress = &self.engine.progress;
        match (&progress.active, &progress.last) {
            (Some(active), _) => Some(self.one_view(active, None)),
            (None, Some(ended)) => Some(self.one_view(&ended.deployment, Some(ended))),
            (None, None) => self.last_view.clone(),
        }
    }

    fn one_view(&self, active: &Active, ended: Option<&Ended>) -> DeploymentView {
        let now = ended.map_or_else(|| self.journal.clock.now(), |ended| ended.ended);
        let plan = &active.first_plan;
        let elapsed_ms = now.0.saturating_sub(active.began.0);
        let wall = wall_ms();
        let since = self.journal.clock.now().0.saturating_sub(active.began.0);
        let started_at_ms = wall - since.cast_signed();
        let reasons = match ended {
            Some(ended) => ended.reasons.clone(),
            None if active.paused.is_some() => active.pause_reasons.clone(),
            None => active.undo.as_ref().map(|undo| undo.reasons.clone()).unwrap_or_default(),
        };
        DeploymentView {
            id: format!("{}-{}", self.engine.service, active.number),
            number: active.number,
            service: self.engine.service.to_string(),
            kind: active.request,
            strategy: plan.strategy.clone(),
            from: plan.from.map(|number| self.reference(number)),
            to: self.reference(plan.to.or(plan.from).unwrap_or(ReleaseNumber(0))),
            state: ended.map_or_else(|| active.state(), |ended| ended.state),
            undoing: active.undo.is_some(),
            stages: self.stage_views(active, ended.is_some()),
            waiting: self.engine.waiting.clone().filter(|_| ended.is_none()),
            instances_started: active.started,
            instances_failed: active.failures.len().max(active.failed as usize) as u32,
            reasons,
            failures: active.failures.clone(),
            actor: active.actor.clone(),
            started_at_ms,
            ended_at_ms: ended.map(|_| started_at_ms + elapsed_ms.cast_signed()),
            elapsed_ms,
            eta_ms: ended.is_none().then(|| self.eta(active)).flatten(),
        }
    }

    fn stage_views(&self, active: &Active, ended: bool) -> Vec<StageView> {
        let now = self.journal.clock.now();
        // The times of the stages before the undo come first in the list.
        let done = active.stage_times.len().saturating_sub(active.stage);
        let view = |(index, stage): (usize, &Stage)| {
            let mut view = stage_pending(stage);
            if index < active.stage {
                view.state = "done".into();
                view.elapsed_ms = active.stage_times.get(done + index).map(|time| time.0);
            } else if index == active.stage && !ended {
                view.state = "active".into();
                view.elapsed_ms = Some(now.0.saturating_sub(active.stage_began.0));
            }
            view
        };
        active.plan.stages.iter().enumerate().map(view).collect()
    }

    /// The holds that are left; nothing where a person decides.
    fn eta(&self, active: &Active) -> Option<u64> {
        if active.paused.is_some() {
            return None;
        }
        let now = self.journal.clock.now();
        let mut left = 0;
        for (index, stage) in active.plan.stages.iter().enumerate().skip(active.stage) {
            match &stage.gate {
                None => {}
                Some(Gate::Approve(_)) if active.full => {}
                Some(Gate::Analyse(_)) if active.full => {}
                Some(Gate::Approve(_) | Gate::Analyse(_)) => return None,
                Some(Gate::Hold(_)) if active.full => {}
                Some(Gate::Hold(time)) if index == active.stage => {
                    let passed = active.reached.map_or(0, |at| now.0.saturating_sub(at.0));
                    left += time.0.saturating_sub(passed);
                }
                Some(Gate::Hold(time)) => left += time.0,
            }
        }
        Some(left)
    }

    /// The row of the deployment, with the view as its body.
    pub fn deployment_row(&self) -> Option<DeploymentRow> {
        let view = self.deployment_view()?;
        let (number, state) = (view.number, view.state.name().to_owned());
        let active = self.engine.progress.active.is_some();
        let body = serde_json::to_value(&view).expect("a view is plain data");
        Some(DeploymentRow { number, state, active, body })
    }

    /// A deployment of now or of the past.
    pub async fn deployment_by_number(
        &self,
        number: u64,
    ) -> Result<Option<DeploymentView>, Failure> {
        if let Some(view) = self.deployment_view().filter(|view| view.number == number) {
            return Ok(Some(view));
        }
        let row = self.journal.store.deployment(&self.engine.service, number).await?;
        Ok(row.and_then(|row| serde_json::from_value(row.body).ok()))
    }

    /// The release that served before the one that serves.
    pub async fn previous_serving(&self) -> Result<Option<ReleaseNumber>, Failure> {
        let serving = self.engine.progress.serving;
        let rows = self.journal.store.deployments(&self.engine.service, 1000).await?;
        let completed = DeploymentState::Completed.name();
        let views = rows.into_iter().filter(|row| row.state == completed);
        let mut views =
            views.filter_map(|row| serde_json::from_value::<DeploymentView>(row.body).ok());
        let other = views.find_map(|view| {
            let from = view.from.filter(|_| Some(ReleaseNumber(view.to.number)) == serving)?;
            Some(ReleaseNumber(from.number)).filter(|from| Some(*from) != serving)
        });
        Ok(other)
    }

    /// The instances, by name.
    pub fn instance_views(&self) -> Vec<InstanceView> {
        let now = self.journal.clock.now();
        let mut views = Vec::new();
        for (release, fleet) in self.engine.observed.fleets() {
            for (slot, seen) in fleet.iter() {
                let id = rollway_core::ids::InstanceId { release: *release, slot };
                let detail = self.engine.details.get(&id).cloned().unwrap_or_default();
                let life = match seen.life {
                    Life::Starting => "starting",
                    Life::Running => "running",
                    Life::Restarting => "restarting",
                    Life::Ended => "ended",
                    Life::Leaving => "stopping",
                };
                let health = match seen.health {
                    Health::Starting => "starting",
                    Health::Healthy(_) => "healthy",
                    Health::Unhealthy(_) => "unhealthy",
                };
                views.push(InstanceView {
                    instance: id.to_string(),
                    release: self.reference(*release),
                    address: detail.address.map(|address| address.to_string()),
                    life: life.into(),
                    health: health.into(),
                    reason: detail.reason,
                    routed: self.engine.observed.is_routed(id),
                    incarnation: detail.incarnation,
                    restarts: detail.restarts,
                    age_ms: now.0.saturating_sub(seen.started.0),
                    log: None,
                });
            }
        }
        views
    }
}

/// One stored event as people see it.
pub fn event_view(event: &Event) -> EventView {
    let what: Option<What> = serde_json::from_value(event.body.clone()).ok();
    EventView {
        seq: event.seq,
        deployment: event.deployment,
        at_ms: event.at_ms,
        kind: event.kind.clone(),
        text: what.map_or_else(|| event.kind.clone(), |what| what.words()),
        body: event.body.clone(),
        hash: event.hash.to_string(),
    }
}
