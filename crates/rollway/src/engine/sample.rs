//! Asking the source of a judgement; the answer comes to the loop as a sample, whatever it is.

use std::sync::Arc;
use std::time::Duration;

use rollway_core::analysis::Sample;
use rollway_core::engine::{Ask, Input};
use rollway_core::verdict::eprocess::Pair;

use super::actor::Actor;
use crate::metrics::embedded_proxy;

/// A source that has not answered by then has taught nothing.
const WAIT: Duration = Duration::from_secs(5);

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
