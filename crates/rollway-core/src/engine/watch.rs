//! Judging: when a source is asked, and what is noted of its answer.

use super::{Effect, Engine};
use crate::analysis::Sample;
use crate::event::What;
use crate::ids::ReleaseNumber;
use crate::plan::Watch;
use crate::progress::Active;
use crate::spec::Source;
use crate::units::Millis;

/// The source is asked this often at least, so that a release that fails everything is found
/// before its check is due.
const GLANCE: Millis = Millis(1000);
/// A source that has not answered by then is asked again.
const LOST: Millis = Millis(30_000);

/// What a source is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// The deployment.
    pub deployment: u64,
    /// The judgement: its place among the plan's watches.
    pub watch: usize,
    /// The new release.
    pub canary: ReleaseNumber,
    /// The old one.
    pub baseline: ReleaseNumber,
}

impl Engine {
    /// Asks the sources whose time has come.
    pub(super) fn ask_sources(&mut self) {
        let Some(active) = watched(self.progress.active.as_ref()) else { return };
        let (Some(canary), Some(baseline)) = (active.plan.to, active.plan.from) else { return };
        let now = self.now;
        let due = under_way(active).filter(|(place, _)| self.ask_at(*place) <= now);
        let places: Vec<usize> = due.map(|(place, _)| place).collect();
        let deployment = active.number;
        for watch in places {
            self.asked.insert(watch, (now, true));
            self.effects.push(Effect::Sample(Ask { deployment, watch, canary, baseline }));
        }
    }

    /// When a source is to be asked again.
    fn ask_at(&self, place: usize) -> Millis {
        let Some(active) = &self.progress.active else { return Millis(u64::MAX) };
        let Some(watch) = active.plan.watches.get(place) else { return Millis(u64::MAX) };
        let sampled = active.trials.get(&place).map(|trial| trial.sampled);
        // What others count is asked for when a check is due, and not before.
        let again = match (&watch.by.source, sampled) {
            (Source::EmbeddedProxy, _) | (_, None) => Millis(0),
            (
                Source::Prometheus(_) | Source::Http(_) | Source::Webhook(_) | Source::Command(_),
                Some(sampled),
            ) => Millis(sampled.0 + watch.by.interval.0),
        };
        let glance = watch.by.interval.min(GLANCE);
        match self.asked.get(&place) {
            Some((asked, true)) => Millis(asked.0 + LOST.0),
            Some((asked, false)) => Millis(asked.0 + glance.0).max(again),
            None => self.now,
        }
    }

    /// When the next source is to be asked.
    pub(super) fn next_ask(&self) -> Option<Millis> {
        let active = watched(self.progress.active.as_ref())?;
        under_way(active).map(|(place, _)| self.ask_at(place)).min()
    }

    /// Notes what a source said.
    pub(super) fn sampled(&mut self, ask: &Ask, sample: Sample) {
        let place = ask.watch;
        if let Some((_, is_open)) = self.asked.get_mut(&place) {
            *is_open = false;
        }
        let now = self.now;
        let Some(active) = watched(self.progress.active.as_ref()) else { return };
        let Some((_, watch)) = under_way(active).find(|(known, _)| *known == place) else { return };
        if active.number != ask.deployment {
            return;
        }
        let Some(trial) = active.trials.get(&place) else {
            self.push(What::AnalysisBegan { watch: place, sample });
            return;
        };
        let due = trial.sampled.0 + watch.by.interval.0;
        if now.0 < due && !trial.is_urgent(&sample) {
            return;
        }
        let id = trial.last + 1;
        self.push(What::AnalysisSample { watch: place, id, sample });
        self.judge(place);
    }

    /// Records the verdict by the samples so far, if it decides anything.
    fn judge(&mut self, place: usize) {
        let Some(active) = &self.progress.active else { return };
        let step = active.reached.unwrap_or(active.stage_began);
        let news = active.trials.get(&place).and_then(|trial| trial.news(step));
        if let Some(verdict) = news {
            self.push(What::AnalysisVerdict { watch: place, verdict: Box::new(verdict) });
        }
    }

    /// Records how the judgements stand whose last stage ends, those without a decision too.
    pub(super) fn close_trials(&mut self) {
        let Some(active) = watched(self.progress.active.as_ref()) else { return };
        let step = active.reached.unwrap_or(active.stage_began);
        let last = |place: &usize| {
            active.plan.watches.get(*place).is_some_and(|watch| watch.stages.1 == active.stage)
        };
        let open =
            active.trials.iter().filter(|(place, trial)| last(place) && trial.verdict.is_none());
        let verdicts: Vec<_> = open.map(|(place, trial)| (*place, trial.look(step))).collect();
        for (watch, verdict) in verdicts {
            self.push(What::AnalysisVerdict { watch, verdict: Box::new(verdict) });
        }
    }
}

/// The deployment, if it may be judged now.
fn watched(active: Option<&Active>) -> Option<&Active> {
    active.filter(|active| active.undo.is_none() && active.paused.is_none())
}

/// The judgements of this stage, with their places. One begins when a first goal is reached:
/// before that the new release may have no traffic.
fn under_way(active: &Active) -> impl Iterator<Item = (usize, &Watch)> {
    let watches = active.plan.watches.iter().enumerate();
    watches.filter(|(place, watch)| {
        let (first, last) = watch.stages;
        let begins = active.reached.is_some() || active.trials.contains_key(place);
        (first..=last).contains(&active.stage) && begins
    })
}
