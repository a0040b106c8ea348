//! Runs a proxy by itself, for measurements and tests: `proxy --state-dir DIR [--workers N]`.
#![expect(clippy::print_stderr, reason = "a program tells its user what went wrong")]

use std::path::PathBuf;
use std::process::ExitCode;

use rollway::proxy::{ProxyConfig, run};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut config = ProxyConfig::new(PathBuf::new());
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_default();
        match argument.as_str() {
            "--state-dir" => config.state_dir = value().into(),
            "--workers" => config.workers = value().parse().unwrap_or(0),
            "--access-log" => config.access_log = Some(value().into()),
            "--inherit" => config.inherit = true,
            other => {
                eprintln!("error: unknown argument {other:?}");
                return ExitCode::from(2);
            }
        }
    }
    match run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", failure.chain());
            ExitCode::FAILURE
        }
    }
}
