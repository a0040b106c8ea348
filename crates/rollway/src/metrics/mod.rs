//! Sources of numbers for judgements, one file each.
//!
//! What a source cannot learn, by a time-out or an answer that makes no sense, is told with its
//! reason: it becomes a [`Sample::Missed`](rollway_core::analysis::Sample), and is never taken for
//! a good sign. Counters are read as they are; the core finds what was counted since the last
//! check.

mod answer;
mod client;
pub mod command;
pub mod embedded_proxy;
pub mod http;
mod memory;
pub mod prometheus;
pub mod webhook;

use std::path::PathBuf;

pub use memory::Memory;

use rollway_core::analysis::{Counters, Sample};
use rollway_core::ids::{ReleaseNumber, ServiceName};
use rollway_core::spec::Wants;
use rollway_core::template::{self, Values};
use rollway_core::verdict::eprocess::Pair;

/// What a source is asked about.
#[derive(Debug, Clone)]
pub struct Question {
    /// The service.
    pub service: ServiceName,
    /// The number of the deployment.
    pub deployment: u64,
    /// The judgement: its place among the plan's watches.
    pub watch: usize,
    /// Both releases.
    pub arms: Pair<Arm>,
    /// The folder of the new release's spec; commands run there.
    pub folder: PathBuf,
    /// What the judge looks at: nothing else is asked for.
    pub wants: Wants,
}

/// One release.
#[derive(Debug, Clone)]
pub struct Arm {
    /// Its number.
    pub release: ReleaseNumber,
    /// The label of its build.
    pub version: String,
}

/// What a source found, or why it found nothing.
pub type Found = Result<Pair<Counters>, String>;

/// Both releases, or the new one alone where the judge does not look at the old one.
async fn of_both<'a, F: Future<Output = Result<Counters, String>>>(
    question: &'a Question,
    ask: impl Fn(&'a Arm) -> F,
) -> Found {
    let Pair { canary, baseline } = &question.arms;
    if !question.wants.baseline {
        return Ok(Pair { canary: ask(canary).await?, baseline: Counters::default() });
    }
    let (canary, baseline) = tokio::try_join!(ask(canary), ask(baseline))?;
    Ok(Pair { canary, baseline })
}

/// What was found as a sample.
#[must_use]
pub fn sample(found: Found) -> Sample {
    match found {
        Ok(both) => Sample::Counters(Box::new(both)),
        Err(why) => Sample::Missed(why),
    }
}

impl Arm {
    /// A pattern of the names of its instances, as in `r2-[0-9]+`.
    fn instances(&self) -> String {
        format!("r{}-[0-9]+", self.release.0)
    }

    /// A text with the names of this release filled in, each as `written` puts it.
    fn fill(
        &self,
        text: &str,
        service: &ServiceName,
        written: impl Fn(&str) -> String,
    ) -> Result<String, String> {
        let values = Values {
            instance: Some(written(&self.instances())),
            release: Some(written(&self.release.0.to_string())),
            service: Some(written(service.as_str())),
            version: Some(written(&self.version)),
            ..Values::default()
        };
        template::render_last(text, &values).map_err(|problem| problem.to_string())
    }
}
