//! Asking the source of a judgement; the answer comes to the loop as a sample, whatever it is.
//! And explaining a judgement, from the samples that were stored.

use std::path::PathBuf;
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
use rollway_core::spec::Source;
use rollway_core::units::Millis;
use rollway_core::verdict::eprocess::Pair;

use super::actor::Actor;
use super::{Engine, Refusal};
use crate::failure::{Failure, FailureKind};
use crate::metrics::{
    self, Arm, Memory, Question, command, embedded_proxy, http, prometheus, webhook,
};
use crate::traffic::embedded::EmbeddedProxy;

/// A source that has not answered by then has taught nothing.
const WAIT: Duration = Duration::from_secs(5);
/// A command is killed with its tree within this much more than its time limit.
const KILL_MARGIN: Duration = Duration::from_secs(6);
/// So long requests are counted to tell their rate...
const RATE_WINDOW: Duration = Duration::from_secs(1);
/// ...and so many are the least that tells it.
const RATE_REQUESTS: u64 = 5;

impl Actor {
    /// Asks, in a task of its own.
    pub(super) fn sample(&self, ask: Ask) {
        let proxy = Arc::clone(&self.shared.proxy);
        let (outcomes, memory) = (self.outcomes.clone(), self.memory.clone());
        let Some((source, question)) = self.question(&ask) else { return };
        tokio::spawn(async move {
            let wait = source.timeout().map_or(WAIT, |timeout| timeout.duration());
            // A command has to be killed when its time is over, and sees to that itself.
            let longest = match &source {
                Source::Command(_) => wait + KILL_MARGIN,
                Source::EmbeddedProxy
                | Source::Prometheus(_)
                | Source::Http(_)
                | Source::Webhook(_) => wait,
            };
            let asked = read(&source, &question, &memory, &proxy);
            let sample = tokio::time::timeout(longest, asked).await.unwrap_or_else(|_| {
                let wait = Millis(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
                Sample::Missed(format!("no answer within {wait}"))
            });
            // The loop may have ended.
            let _ = outcomes.send(Input::Sampled(ask, sample)).await;
        });
    }

    /// What is asked, and of whom.
    fn question(&self, ask: &Ask) -> Option<(Source, Question)> {
        let active = self.engine.progress.active.as_ref()?;
        let by = &active.plan.watches.get(ask.watch)?.by;
        let release = |number| self.engine.releases.get(&number);
        let arm = |number| {
            let version = release(number).map(|release| release.version.to_string());
            Arm { release: number, version: version.unwrap_or_default() }
        };
        let folder = release(ask.canary).map(|release| PathBuf::from(&release.folder));
        let question = Question {
            service: self.engine.service.clone(),
            deployment: ask.deployment,
            watch: ask.watch,
            arms: Pair { canary: arm(ask.canary), baseline: arm(ask.baseline) },
            folder: folder.unwrap_or_default(),
            wants: by.wants(),
        };
        Some((by.source.clone(), question))
    }
}

async fn read(
    source: &Source,
    question: &Question,
    memory: &Memory,
    proxy: &EmbeddedProxy,
) -> Sample {
    match source {
        Source::EmbeddedProxy => match proxy.counts(&question.service).await {
            Ok(report) => {
                let Pair { canary, baseline } = &question.arms;
                let releases = Pair { canary: canary.release, baseline: baseline.release };
                embedded_proxy::read(&report, question.service.as_str(), releases)
            }
            Err(failure) => Sample::Missed(failure.chain()),
        },
        Source::Prometheus(of) => metrics::sample(prometheus::ask(of, question, memory).await),
        Source::Http(of) => metrics::sample(http::ask(of, question).await),
        Source::Webhook(of) => metrics::sample(webhook::ask(of, question).await),
        Source::Command(of) => metrics::sample(command::ask(of, question).await),
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
