//! The probe `command`: a command ends well, and its output is as expected.
//!
//! ```yaml
//! health:
//!   - command: {argv: [./bin/check, --fast], output: ready}
//! ```

use rollway_core::spec::CommandCheck;
use rollway_core::units::Millis;

use super::{Found, MATCHED_BYTES_MAX, Subject, matches};
use crate::os::run::{self, Job};

/// What a command has of our environment unless the instance has its own.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// Runs the command, and judges its end.
pub(super) async fn check(check: &CommandCheck, timeout: Millis, subject: &Subject<'_>) -> Found {
    let mut env = subject.env.clone();
    for name in INHERITED {
        if let Ok(value) = std::env::var(name) {
            env.entry(name.into()).or_insert(value);
        }
    }
    if let Some(address) = subject.address {
        env.entry("PORT".into()).or_insert_with(|| address.port().to_string());
    }
    let port = env.get("PORT").cloned().unwrap_or_default();
    let job = Job {
        argv: check.argv.iter().map(|one| one.replace("{{port}}", &port)).collect(),
        env,
        working_folder: subject.working_folder.to_owned(),
        longest: timeout.duration(),
        output_bytes_max: MATCHED_BYTES_MAX,
    };
    let ran = match run::run(job).await {
        Ok(ran) => ran,
        Err(error) => return Found::bad(format!("could not run {:?}: {error}", check.argv)),
    };
    let found = match (ran.timed_out, ran.code, ran.signal) {
        (true, ..) => Found::bad(format!("killed, as it did not end within {timeout}")),
        (false, Some(code), _) if code == check.exit_code => output(check, code, &ran.output),
        (false, Some(code), _) => {
            Found::bad(format!("exit code {code}, expected {}", check.exit_code))
        }
        (false, None, signal) => Found::bad(format!("ended by signal {}", signal.unwrap_or(0))),
    };
    found.evidence(ran.output)
}

fn output(check: &CommandCheck, code: i32, output: &[u8]) -> Found {
    let Some(expression) = &check.output else { return Found::good(format!("exit code {code}")) };
    match matches(expression, output) {
        Ok(true) => Found::good(format!("exit code {code}, the output matches")),
        Ok(false) => {
            Found::bad(format!("exit code {code}, but the output does not match {expression:?}"))
        }
        Err(found) => found,
    }
}
