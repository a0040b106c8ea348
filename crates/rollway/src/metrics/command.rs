//! `source: {command: {argv}}`: a command prints the counters of a release as JSON.
//!
//! ```yaml
//! source:
//!   command: {argv: [/usr/local/bin/counters, "{{release}}"]}
//! ```
//! It runs in the folder of the new release's spec, and prints nothing else, to its standard error
//! neither.

use std::collections::BTreeMap;

use rollway_core::analysis::Counters;
use rollway_core::spec::CommandSource;

use super::answer::{Pointers, counters, json, shown};
use super::{Arm, Found, Question, of_both};
use crate::os::run::{self, Job};

/// What a command has of our environment.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];
/// More output is no document of two counters.
const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// Where its numbers are.
const AT: Pointers<'_> = Pointers { total: "/total", bad: "/bad", value: "/value" };

/// Runs the command for both releases.
pub async fn ask(source: &CommandSource, question: &Question) -> Found {
    of_both(question, |arm| one(source, question, arm)).await
}

async fn one(source: &CommandSource, question: &Question, arm: &Arm) -> Result<Counters, String> {
    let told = |why: String| format!("the command for {}: {why}", arm.release);
    let argv = source.argv.iter().map(|word| arm.fill(word, &question.service, str::to_owned));
    let argv = argv.collect::<Result<Vec<_>, _>>().map_err(told)?;
    let inherited = |name: &str| Some((name.to_owned(), std::env::var(name).ok()?));
    let mut env: BTreeMap<String, String> = INHERITED.into_iter().filter_map(inherited).collect();
    env.insert("ROLLWAY_SERVICE".to_owned(), question.service.to_string());
    env.insert("ROLLWAY_RELEASE".to_owned(), arm.release.0.to_string());
    env.insert("ROLLWAY_VERSION".to_owned(), arm.version.clone());
    let job = Job {
        argv,
        env,
        working_folder: question.folder.clone(),
        longest: source.timeout.duration(),
        output_bytes_max: OUTPUT_BYTES_MAX,
    };
    let ran = run::run(job).await.map_err(|why| told(format!("could not run it: {why}")))?;
    match (ran.timed_out, ran.code, ran.signal) {
        (true, ..) => Err(told(format!("killed, as it did not end within {}", source.timeout))),
        (false, Some(0), _) => {
            let document = json(&ran.output).map_err(told)?;
            counters(&document, &AT, question.wants).map_err(told)
        }
        (false, Some(code), _) => {
            Err(told(format!("exit code {code}, expected 0: {}", shown(&ran.output))))
        }
        (false, None, signal) => Err(told(format!("ended by signal {}", signal.unwrap_or(0)))),
    }
}
