//! A small real HTTP service whose versions can be told to be slow, failing or never healthy.
//!
//! `shop --help` lists the flags, `routes` the paths. It is what the examples, the demo and the
//! tests deploy; beside its misbehaviour on request it is an ordinary service: it answers
//! `/healthz`, and on SIGTERM it finishes what is in flight and exits with 0.

mod flags;
mod routes;
mod server;
mod websocket;
mod witness;

use std::process::ExitCode;

use flags::Asked;

/// What the user got wrong, as in most programs.
const EXIT_USAGE: u8 = 2;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is a program's own output")]
fn main() -> ExitCode {
    let flags = match flags::read(std::env::args().skip(1), |name| std::env::var(name).ok()) {
        Ok(Asked::Serve(flags)) => flags,
        Ok(Asked::Help) => {
            print!("{}", flags::HELP);
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("shop: {wrong}\nshop: `shop --help` lists the flags");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match server::run(*flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("shop: {why}");
            ExitCode::FAILURE
        }
    }
}
