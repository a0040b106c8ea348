//! What the demonstration has shown, as a table and as JSON; and whether it is what it should be.

use std::fmt::Write as _;
use std::time::Instant;

use rollway_core::view::DeploymentView;
use serde_json::{Value, json};

use super::Done;
use super::script::{Act, Script};
use crate::cli::out::{Out, Tone, one_line};
use crate::cli::table::{Cell, table};
use crate::load::{Answer, Outcome, Report};

/// All that there is to tell.
pub struct Shown<'a> {
    /// What was asked for.
    pub script: &'a Script,
    /// The deployments.
    pub done: &'a [Done],
    /// What the clients saw.
    pub report: &'a Report,
    /// What had to be killed at the end, or is left.
    pub left: Vec<String>,
}

/// A failure that a version is to blame for: it answers so on purpose.
fn is_its_own(answer: &Answer<'_>) -> bool {
    let fails = |version| Act::ALL.iter().any(|act| act.version == version && act.fails);
    answer.status == Some(500) && answer.version.is_some_and(fails)
}

fn is_ours(answer: &Answer<'_>) -> bool {
    answer.outcome != Outcome::Ok && !is_its_own(answer)
}

impl Shown<'_> {
    fn count(&self, wanted: impl Fn(&Answer<'_>) -> bool) -> u64 {
        self.report.answers().filter(wanted).count() as u64
    }

    fn sent_between(&self, from: Instant, to: Instant) -> impl Fn(&Answer<'_>) -> bool {
        let started = self.report.started;
        move |answer| (from..to).contains(&(started + answer.sent))
    }

    fn answered(&self, version: &str) -> u64 {
        self.count(|answer| answer.version == Some(version))
    }

    fn failed_by_us(&self) -> u64 {
        self.count(is_ours)
    }

    fn rolled_back(&self) -> Option<&DeploymentView> {
        self.done.iter().find(|done| done.act.fails).map(|done| &done.view)
    }

    /// The tables for people.
    pub fn text(&self, out: Out) -> String {
        let mut text = self.deployments(out);
        text.push('\n');
        for done in self.done {
            let stages = done.view.stages.iter().map(|stage| {
                let took = stage.elapsed_ms.unwrap_or(0) as f64 / 1000.0;
                format!("{} {took:.1} s", stage.name)
            });
            let stages: Vec<String> = stages.collect();
            let undone = if done.view.undoing { " (the way back)" } else { "" };
            writeln!(text, "stages of {}{undone}: {}", done.act.version, stages.join(", "))
                .expect("a String takes every write");
        }
        if let Some(view) = self.rolled_back() {
            text.push_str("\nwhy v3 was rolled back:\n");
            for reason in view.reasons.iter().map(|reason| one_line(reason)) {
                writeln!(text, "  {reason}").expect("a String takes every write");
            }
        }
        let (sent, ours) = (self.report.tally.issued, self.failed_by_us());
        let tone = if ours == 0 { Tone::Good } else { Tone::Bad };
        let ours = out.paint(tone, &ours.to_string());
        let latency = self.report.latency();
        let (p50, p99) = (latency.p50_us as f64 / 1000.0, latency.p99_us as f64 / 1000.0);
        write!(
            text,
            "\n{sent} requests at {} a second, half of them on fresh connections\n\
             {ours} failed because of us; {} answered 500 by v3 itself\n\
             latency p50 {p50:.1} ms, p99 {p99:.1} ms; longest time without an answer {:.0} ms\n",
            self.script.rate,
            self.count(is_its_own),
            self.report.longest_gap().as_secs_f64() * 1000.0,
        )
        .expect("a String takes every write");
        text
    }

    fn deployments(&self, out: Out) -> String {
        let headings =
            ["VERSION", "STRATEGY", "ENDED", "TOOK", "SENT MEANWHILE", "FAILED BY US", "ANSWERED"];
        let rows = self.done.iter().map(|done| {
            let during = self.sent_between(done.began, done.ended);
            let tone = if done.view.state == done.act.should { Tone::Good } else { Tone::Bad };
            let took = done.ended.duration_since(done.began).as_secs_f64();
            let ours = self.count(|answer| during(answer) && is_ours(answer));
            vec![
                done.act.version.into(),
                done.view.strategy.replace('_', "-").into(),
                Cell::toned(done.view.state.name(), tone),
                format!("{took:.1} s").into(),
                self.count(&during).to_string().into(),
                ours.to_string().into(),
                self.answered(done.act.version).to_string().into(),
            ]
        });
        table(out, &headings, &rows.collect::<Vec<Vec<Cell>>>())
    }

    /// The same for programs.
    pub fn value(&self) -> Value {
        let deployments = self.done.iter().map(|done| {
            json!({
                "version": done.act.version,
                "strategy": done.view.strategy,
                "state": done.view.state,
                "should": done.act.should,
                "elapsed_ms": done.ended.duration_since(done.began).as_millis() as u64,
                "answered": self.answered(done.act.version),
                "stages": done.view.stages,
                "reasons": done.view.reasons,
            })
        });
        json!({
            "deployments": deployments.collect::<Vec<_>>(),
            "requests": self.report.tally.issued,
            "failed_because_of_us": self.failed_by_us(),
            "errors_of_v3": self.count(is_its_own),
            "load": self.report.summary(),
            "left": self.left,
            "wrong": self.wrong(),
        })
    }

    /// What is not as it should be.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for done in self.done.iter().filter(|done| done.view.state != done.act.should) {
            let (state, should) = (done.view.state.name(), done.act.should.name());
            let why = done.view.reasons.join(": ");
            wrong.push(format!("{} ended {state}, not {should}: {why}", done.act.version));
        }
        let ours = self.failed_by_us();
        if ours > 0 {
            let first = self.report.failures.iter().map(|failure| failure.why.as_str());
            let first: Vec<&str> = first.take(3).collect();
            wrong.push(format!("{ours} requests failed because of us: {}", first.join("; ")));
        }
        if !self.report.is_complete() {
            wrong.push("more requests were sent than are remembered one by one".to_owned());
        }
        let last = self.done.last().map_or("", |done| done.act.version);
        let over = self.done.last().map_or(self.report.started, |done| done.ended);
        let old = self.count(|answer| {
            self.report.started + answer.sent >= over && answer.version != Some(last)
        });
        if old > 0 {
            wrong.push(format!("{old} requests were not answered by {last} after it completed"));
        }
        wrong.extend(self.left.iter().cloned());
        wrong
    }
}
