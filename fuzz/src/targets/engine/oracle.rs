//! What must hold of everything that the engine says.

use std::collections::BTreeSet;

use rollway_core::engine::{Append, Effect, Engine};
use rollway_core::event::{Event, What};
use rollway_core::ids::Generation;
use rollway_core::plan::Route;
use rollway_core::progress::Progress;
use rollway_core::units::Millis;

use crate::Marks;
use crate::targets::equal;

/// Remembers what was durable, and holds the rest against it.
#[derive(Default)]
pub struct Oracle {
    /// The events that are durable.
    pub log: Vec<(Option<u64>, Event)>,
    ended: BTreeSet<u64>,
    generation: Generation,
    clock: Millis,
}

impl Oracle {
    /// An append that was written.
    pub fn written(&mut self, append: &Append, marks: &mut Marks) -> Result<(), String> {
        for (deployment, event) in &append.events {
            marks.mark((self.log.last().map(|(_, last)| last.what.kind()), event.what.kind()));
            if event.clock < self.clock {
                return Err(format!("the clock went back to `{}`", event.clock));
            }
            self.clock = event.clock;
            if let Some(number) = deployment {
                if self.ended.contains(number) {
                    let kind = event.what.kind();
                    return Err(format!("an event of a deployment that ended: `{kind}`"));
                }
                if matches!(event.what, What::DeploymentEnded { .. }) {
                    self.ended.insert(*number);
                }
            }
            self.log.push((*deployment, event.clone()));
        }
        self.fence(append.generation)
    }

    /// The fence never goes back.
    pub fn fence(&mut self, generation: Generation) -> Result<(), String> {
        if generation < self.generation {
            return Err(format!("the generation went back to `{generation}`"));
        }
        self.generation = generation;
        Ok(())
    }

    /// What an effect carries.
    pub fn effect(&mut self, effect: &Effect) -> Result<(), String> {
        match effect {
            Effect::Complain(illegal) => Err(format!("the engine complains: {illegal}")),
            Effect::Route(route, generation, _) => {
                weights(route)?;
                self.fence(*generation)
            }
            Effect::Start(ids, generation) | Effect::Retire(ids, generation) => {
                let different: BTreeSet<_> = ids.iter().collect();
                equal("instances of one action, each once", &different.len(), &ids.len())?;
                self.fence(*generation)
            }
            Effect::Fence(generation) => self.fence(*generation),
            Effect::Append(_)
            | Effect::Hook(..)
            | Effect::Observe(_)
            | Effect::Probe(..)
            | Effect::StopProbing(_)
            | Effect::Sample(_)
            | Effect::Answer(..)
            | Effect::Ended => Ok(()),
        }
    }

    /// What was durable comes to a progress that the engine's own is not behind.
    pub fn replays(&self, engine: &Engine) -> Result<(), String> {
        let progress = self.folded()?;
        if engine.progress.generation < progress.generation {
            return Err("the engine is behind its own log".to_owned());
        }
        equal("the log, folded twice", &progress, &self.folded()?)
    }

    /// The fold of what is durable.
    pub fn folded(&self) -> Result<Progress, String> {
        let mut progress = Progress::default();
        for (_, event) in &self.log {
            progress.apply(event).map_err(|illegal| format!("its own log: {illegal}"))?;
        }
        Ok(progress)
    }
}

/// Weights sum to 100, or there are none; no member is there twice.
fn weights(route: &Route) -> Result<(), String> {
    let total: u64 = route.weights.values().map(|weight| u64::from(*weight)).sum();
    if total != 0 && total != 100 {
        return Err(format!("weights that sum to `{total}`"));
    }
    let members: BTreeSet<_> = route.members.iter().collect();
    equal("members, each once", &members.len(), &route.members.len())?;
    let serves = |release| route.members.iter().any(|id| id.release == release);
    let idle = route.weights.iter().find(|(release, weight)| **weight > 0 && !serves(**release));
    match idle {
        Some((release, weight)) => Err(format!("{weight} % for {release}, which has no member")),
        None => Ok(()),
    }
}
