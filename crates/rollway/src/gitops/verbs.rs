//! What operators change of a source by hand.

use std::collections::BTreeSet;

use rollway_core::gitops::state::{GitopsArgs, Held};
use rollway_core::ids::ServiceName;
use rollway_core::problem::{Problem, unknown};

use super::follow::Follower;
use super::{VERBS, now_ms};
use crate::engine::Refusal;

impl Follower {
    /// Does one of the verbs that change what is recorded.
    pub async fn verb(&mut self, verb: &str, args: GitopsArgs) -> Result<(), Refusal> {
        let before = self.record.clone();
        let mut done = self.change(verb, args);
        if done.is_ok() {
            done = self.save().await.map_err(Refusal::from);
        }
        if done.is_err() {
            // What is not written down is not done, whatever was asked for.
            self.record = before;
        }
        self.stopped_before = self.stopped();
        self.all_dirty();
        done
    }

    fn change(&mut self, verb: &str, args: GitopsArgs) -> Result<(), Refusal> {
        match verb {
            "suspend" => self.record.suspended = Some(args.actor),
            "resume" => {
                self.record.suspended = None;
            }
            "hold" => {
                let name = self.service(args.service.as_deref())?;
                let until = args.duration_ms.and_then(|wait| i64::try_from(wait).ok());
                let held = Held {
                    revision: None,
                    content: None,
                    reason: args.reason.unwrap_or_else(|| "held by hand".to_owned()),
                    by: args.actor,
                    since_ms: now_ms(),
                    until_ms: until.map(|wait| now_ms().saturating_add(wait)),
                };
                self.record.services.entry(name).or_default().held = Some(held);
            }
            "unhold" => {
                let name = self.service(args.service.as_deref())?;
                let one = self.record.services.entry(name.clone()).or_default();
                if one.held.take().is_none() {
                    return Err(Problem::new("service", format!("{name} is not held")).into());
                }
                one.operation = None;
            }
            other => return Err(Problem::new("verb", unknown("verb", other, &VERBS)).into()),
        }
        Ok(())
    }

    fn service(&self, given: Option<&str>) -> Result<ServiceName, Problem> {
        let names = self.record.wishes.keys().chain(self.record.services.keys());
        let known: BTreeSet<&str> = names.map(ServiceName::as_str).collect();
        let known: Vec<&str> = known.into_iter().collect();
        let given = given.unwrap_or_default();
        match known.contains(&given) {
            true => Ok(ServiceName::parse(given).expect("it is the name of a service")),
            // Not at "service": that is a service nobody has, and here it is one of others.
            false => Err(Problem::new("", unknown("service", given, &known))),
        }
    }
}
