//! Asking the source of a judgement; the answer comes to the loop as a sample, whatever it is.
//! And explaining a judgement, from the samples that were stored.

use std::sync::Arc;
use std::time::Duration;

use rollway_core::analysis::Sample;
use rollway_core::engine::{Ask, Input};
use rollway_core::event::Event;
use rollway_core::explain::{Explanation, explain};
use rollway_core::forecast::Seen;
use rollway_core::ids::ServiceName;
use rollway_core::plan::Plan;
use rollway_core::problem::Problem;
use rollway_core::verdict::eprocess::Pair;

use super::actor::Actor;
use super::{Engine, Refusal};
use crate::failure::{Failure, FailureKind};
use crate::metrics::embedded_proxy;

/// A source that has not answered by then has taught nothing.
const WAIT: Duration = Duration::from_secs(5);
/// So long requests are counted to tell their rate...
const RATE_WINDOW: Duration = Duration::from_secs(1);
/// ...and so many are the least that tells it.
const RATE_REQUESTS: u64 = 5;

impl Actor {
    /// Asks, in a task of its own.
    pub(super) fn sample(&self, ask: Ask) {
        let proxy = Arc::clone(&self.shared.proxy);
        let (service, outcomes) = (self.engine.service.clone(), self.outcomes.clone());
        tokio::spawn(async move {
            let sample = match tokio::time::timeout(WAIT, proxy.counts(&service)).await {
                Ok(Ok(report)) => {
                    let releases = Pair { canary: ask.canary, baseline: ask.baseline };
                    embedded_proxy::read(&report, service.as_str(), releases)
                }
                Ok(Err(failure)) => Sample::Missed(failure.chain()),
                Err(_) => Sample::Missed(format!("no answer within {}s", WAIT.as_secs())),
            };
            // The loop may have ended.
            let _ = outcomes.send(Input::Sampled(ask, sample)).await;
        });
    }
}

impl Engine {
    /// The traffic of the release that serves, where a plan has judgements and the proxy sees
    /// enough of it to tell its rate.
    pub(super) async fn traffic_of(&self, plan: &Plan) -> Option<Seen> {
        let from = plan.from.filter(|_| !plan.watches.is_empty())?;
        let read = || async {
            let report = self.shared.proxy.counts(&plan.service).await.ok()?;
            let both = Pair { canary: from, baseline: from };
            match embedded_proxy::read(&report, plan.service.as_str(), both) {
                Sample::Counters(both) => Some((tokio::time::Instant::now(), both.baseline)),
                Sample::Missed(_) => None,
            }
        };
        let (began, before) = tokio::time::timeout(WAIT, read()).await.ok()??;
        tokio::time::sleep(RATE_WINDOW).await;
        let (ended, after) = tokio::time::timeout(WAIT, read()).await.ok()??;
        let counted = after.total.checked_sub(before.total).filter(|n| *n >= RATE_REQUESTS)?;
        let per_second = f64::from(u32::try_from(counted).ok()?) / (ended - began).as_secs_f64();
        Some(Seen { per_second, total: after.total, bad: after.bad })
    }

    /// What the judgements of a deployment found, computed again from the stored samples.
    pub async fn explain(
        &self,
        service: &ServiceName,
        number: u64,
    ) -> Result<Explanation, Refusal> {
        self.handle(service).await?;
        let doing = || format!("could not explain {service}-{number}");
        let damaged = |why: String| Failure::because(FailureKind::Damaged, doing(), why);
        let stored = self.shared.store.events_of(service, number).await?;
        if stored.is_empty() {
            let what = format!("{service} has no deployment {number}");
            let hint = format!("`rollway history {service}` lists them");
            return Err(Problem::new("deployment", what).hint(hint).into());
        }
        let events: Result<Vec<Event>, _> =
            stored.into_iter().map(|one| serde_json::from_value(one.body)).collect();
        let events = events.map_err(|why| damaged(why.to_string()))?;
        // Reading many samples takes a while, and others wait for this thread.
        let explained = tokio::task::spawn_blocking(move || explain(&events)).await;
        let explained = explained.map_err(|why| damaged(why.to_string()))?;
        Ok(explained.map_err(|why| damaged(why.to_string()))?)
    }
}
