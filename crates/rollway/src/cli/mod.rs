//! The command line: one struct a verb, data to stdout, the rest to stderr.

pub mod args;
mod client;
mod daemons;
mod demo;
mod deploy;
mod doctor;
mod events;
mod explain;
mod export_file;
mod follow;
pub mod gitops;
mod history;
mod init;
mod instances;
mod live;
mod logs;
pub mod out;
mod outcome;
mod pages;
mod place;
mod progress;
mod release;
mod spec_file;
mod start;
mod status;
mod table;
mod tried;
mod usage;
mod verbs;
mod words;
mod wrong;

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use args::{AnalysisVerb, Cli, Verb};
use client::Client;
use out::Out;
use wrong::{DONE, Wrong};

use crate::failure::{Failure, FailureKind};

/// A question that nobody answers any more does not keep the program from ending.
const END_WAIT: Duration = Duration::from_millis(100);

/// What every verb needs to know.
#[derive(Debug)]
pub struct Context {
    /// Where output goes.
    pub out: Out,
    /// Where the state is kept.
    pub state_dir: PathBuf,
}

impl Context {
    /// A client of the control plane of this state folder.
    #[must_use]
    pub fn client(&self) -> Client<'_> {
        Client::new(&self.state_dir, self.out.json)
    }
}

/// Reads the command line, does it, and answers the exit code.
#[must_use]
pub fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colour = !refused && !has("--no-color");
    let out = Out { json: has("--json"), quiet: false, colour };
    let code = match usage::read(&arguments, out).and_then(|cli| verb(cli, colour)) {
        Ok(()) => DONE,
        Err(wrong) => wrong.say(out),
    };
    ExitCode::from(code)
}

fn verb(cli: Cli, colour: bool) -> Result<(), Wrong> {
    let out = Out { json: cli.common.json, quiet: cli.common.quiet, colour };
    let state_dir = place::state_dir(cli.common.state_dir)?;
    let ctx = Context { out, state_dir };
    match cli.verb {
        Verb::Deploy(flags) => wait(deploy::deploy(&ctx, &flags)),
        Verb::Plan(flags) => wait(deploy::plan(&ctx, &flags)),
        Verb::Status(flags) => wait(status::status(&ctx, &flags)),
        Verb::Ps(flags) => wait(instances::ps(&ctx, flags.service)),
        Verb::Logs(flags) => wait(logs::logs(&ctx, &flags)),
        Verb::Events(flags) => wait(events::events(&ctx, &flags)),
        Verb::History(flags) => wait(history::history(&ctx, &flags)),
        Verb::Explain(flags) => wait(explain::explain(&ctx, &flags)),
        Verb::Analysis(AnalysisVerb::Replay(flags)) => wait(explain::replay(&ctx, &flags)),
        Verb::Analysis(AnalysisVerb::Try(flags)) => tried::try_series(&ctx, &flags),
        Verb::Rollback(flags) => wait(verbs::rollback(&ctx, flags)),
        Verb::Promote(flags) => wait(verbs::promote(&ctx, flags)),
        Verb::Pause(flags) => wait(verbs::pause(&ctx, flags)),
        Verb::Resume(flags) => wait(verbs::resume(&ctx, flags)),
        Verb::Abort(flags) => wait(verbs::abort(&ctx, flags)),
        Verb::Restart(flags) => wait(verbs::restart(&ctx, flags)),
        Verb::Scale(flags) => wait(verbs::scale(&ctx, flags)),
        Verb::Up(flags) => wait(verbs::up(&ctx, flags)),
        Verb::Down(flags) => wait(verbs::down(&ctx, flags)),
        Verb::Release(verb) => wait(release::release(&ctx, &verb)),
        Verb::Gitops(verb) => wait(gitops::gitops(&ctx, verb)),
        Verb::Lint(flags) => pages::lint(&ctx, &flags),
        Verb::Schema => pages::schema(&ctx),
        Verb::Init(flags) => init::init(&ctx, &flags),
        Verb::Docs(flags) => pages::docs(&ctx, &flags),
        Verb::Doctor => wait(doctor::doctor(&ctx)),
        Verb::Completions(flags) => pages::completions(&ctx, &flags),
        Verb::Demo(flags) => wait(demo::demo(&ctx, &flags)),
        Verb::Serve(flags) => daemons::serve(&ctx, &flags),
        Verb::Shutdown(flags) => wait(verbs::shutdown(&ctx, flags)),
        Verb::Proxy(flags) => daemons::proxy(&ctx, &flags),
    }
}

fn wait(verb: impl Future<Output = Result<(), Wrong>>) -> Result<(), Wrong> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::because(FailureKind::NotDone, "could not begin", error))?;
    let result = runtime.block_on(verb);
    // A thread may be waiting for an answer from the terminal.
    runtime.shutdown_timeout(END_WAIT);
    result
}
