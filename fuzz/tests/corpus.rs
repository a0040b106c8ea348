//! Every kept input holds, and a second of fresh ones per target does too.

use std::io::Write as _;
use std::time::{Duration, SystemTime};

use rollway_fuzz::run::run;
use rollway_fuzz::{ALL, corpus};

/// How long each target is tried with inputs that nobody has seen.
const FRESH: Duration = Duration::from_secs(1);

/// One after another: how much memory an input takes is asked of the whole process.
#[test]
fn every_target_holds_on_its_corpus_and_on_fresh_inputs() {
    let seed = seed();
    let mut failing = Vec::new();
    for target in ALL {
        let kept = corpus::read(&corpus::home(), target).expect("the corpus can be read");
        assert!(!kept.is_empty(), "{} has no corpus", target.name);
        let inputs: Vec<Vec<u8>> = kept.into_iter().map(|(_, input)| input).collect();
        let account = run(target, &inputs, (seed, FRESH), |_| {});
        say(&account.to_string());
        assert!(account.execs >= inputs.len() as u64, "all of the corpus was tried");
        let told = |one: &rollway_fuzz::run::Failing| {
            let input = String::from_utf8_lossy(&one.input).into_owned();
            format!("{}: {}\ninput: {input:?}", target.name, one.what)
        };
        failing.extend(account.failing.iter().map(told));
    }
    let again = format!("ROLLWAY_FUZZ_SEED={seed} begins with the same inputs");
    assert!(failing.is_empty(), "{}\n{again}", failing.join("\n"));
}

#[test]
fn names_are_sorted_and_say_what_they_are() {
    assert!(ALL.is_sorted_by_key(|target| target.name));
    assert!(ALL.iter().all(|target| !target.about.is_empty()));
}

fn seed() -> u64 {
    let given = std::env::var("ROLLWAY_FUZZ_SEED").ok();
    given.map_or_else(
        || {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            now.unwrap_or_default().as_secs()
        },
        |text| text.parse().expect("ROLLWAY_FUZZ_SEED is a number"),
    )
}

/// Past the test runner, which shows a passing test's own output to nobody.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
