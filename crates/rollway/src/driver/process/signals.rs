//! Signals by the names that users write.

use rollway_core::problem;
use rustix::process::Signal;

/// The signals that may ask an instance to end.
const KNOWN: &[(&str, Signal)] = &[
    ("SIGABRT", Signal::ABORT),
    ("SIGALRM", Signal::ALARM),
    ("SIGHUP", Signal::HUP),
    ("SIGINT", Signal::INT),
    ("SIGKILL", Signal::KILL),
    ("SIGQUIT", Signal::QUIT),
    ("SIGTERM", Signal::TERM),
    ("SIGUSR1", Signal::USR1),
    ("SIGUSR2", Signal::USR2),
    ("SIGWINCH", Signal::WINCH),
];

/// Reads `SIGTERM` or `TERM`.
pub fn parse(name: &str) -> Result<Signal, String> {
    let same = |known: &&(&str, Signal)| known.0 == name || &known.0[3..] == name;
    KNOWN.iter().find(same).map(|(_, signal)| *signal).ok_or_else(|| {
        let names: Vec<&str> = KNOWN.iter().map(|(name, _)| *name).collect();
        problem::unknown("stop_signal", name, &names)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_two_names_and_a_slip_is_told() {
        assert_eq!(parse("SIGTERM"), Ok(Signal::TERM));
        assert_eq!(parse("INT"), Ok(Signal::INT));
        let error = parse("SIGTREM").expect_err("there is no such signal");
        assert!(
            error.starts_with("unknown stop_signal \"SIGTREM\"; known: SIGTERM, SIGABRT,"),
            "{error}"
        );
    }
}
