//! `rollway demo`: five deployments of a real service under load, and what its clients saw.
//!
//! Everything is real and of its own: a control plane, a proxy and instances in a temporary
//! folder, requests at a fixed rate. v3 answers 5 % of its requests with an error; its own health
//! check tells when that is more than 2 %, and so the canary is taken back.

mod report;
mod script;

use std::path::PathBuf;
use std::time::Instant;

use rollway_core::problem::Problem;
use rollway_core::view::DeploymentView;

use super::Context;
use super::args::DemoFlags;
use super::out::Out;
use super::wrong::{FAILED, INTERRUPTED, Wrong};
use crate::failure::{Failure, FailureKind};
use crate::load::{Load, LoadPlan, RATE_MAX, Report};
use crate::trial::{Trial, free_address};
use report::Shown;
use script::{Act, SERVICE, Script};

/// The program that is deployed, beside ours.
const SHOP: &str = "shop";

/// One deployment as it went.
pub(super) struct Done {
    pub act: Act,
    pub view: DeploymentView,
    pub began: Instant,
    pub ended: Instant,
}

/// Shows it, and answers whether it went as it should.
pub async fn demo(ctx: &Context, flags: &DemoFlags) -> Result<(), Wrong> {
    let out = ctx.out;
    if !(1..=RATE_MAX).contains(&flags.rate) {
        let what = format!("is {}; expected 1 to {RATE_MAX} requests a second", flags.rate);
        return Err(Problem::new("--rate", what).into());
    }
    let shop = shop(flags)?;
    let program = std::env::current_exe().map_err(|error| {
        Failure::because(FailureKind::NotDone, "could not find this program", error)
    })?;
    let listen = free_address()?;
    let script = Script { shop, listen, rate: flags.rate, quick: flags.quick };
    let trial = Trial::start(&program, "demo").await?;
    out.note(&format!("control plane, proxy and instances are in {}", trial.folder().display()));
    let shown = tokio::select! {
        shown = show(&trial, &script, out) => Some(shown),
        () = interrupted() => None,
    };
    out.note("cleaning up");
    let left = trial.end().await;
    let Some(shown) = shown else { return Err(Wrong::Said(INTERRUPTED)) };
    let (done, report) = shown?;
    let shown = Shown { script: &script, done: &done, report: &report, left };
    match out.json {
        true => out.value(&shown.value())?,
        false => out.data(&shown.text(out))?,
    }
    let wrong = shown.wrong();
    for one in &wrong {
        out.say(&format!("not as it should be: {one}"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(Wrong::Said(FAILED)) }
}

fn shop(flags: &DemoFlags) -> Result<PathBuf, Problem> {
    let beside = || {
        let own = std::env::current_exe().ok();
        own.and_then(|own| own.parent().map(|folder| folder.join(SHOP)))
    };
    let path = flags.shop.clone().or_else(beside).unwrap_or_else(|| PathBuf::from(SHOP));
    let problem = |what: String| {
        let hint = "`cargo build --release -p shop` builds it, --shop says where it is";
        Problem::new("--shop", what).hint(hint)
    };
    match path.canonicalize() {
        Ok(path) if path.is_file() => Ok(path),
        Ok(path) => Err(problem(format!("{} is not a program", path.display()))),
        Err(_) => Err(problem(format!("there is no {}", path.display()))),
    }
}

/// Waits for Ctrl-C, or for being asked to end.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut int), Ok(mut term), Ok(mut hangup)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// The five deployments, with load from the second on.
async fn show(trial: &Trial, script: &Script, out: Out) -> Result<(Vec<Done>, Report), Failure> {
    let mut done = Vec::new();
    let mut load = None;
    for act in Act::ALL {
        out.note(&format!("{}: {}", act.version, act.what));
        let began = Instant::now();
        let number = trial.deploy(&script.spec(act), act.version).await?;
        let view = trial.ended(SERVICE, number, script.wait_max()).await?;
        let ended = Instant::now();
        let seconds = ended.duration_since(began).as_secs_f64();
        out.note(&format!("    {} after {seconds:.1} s", view.state.name()));
        done.push(Done { act, view, began, ended });
        if load.is_none() {
            load =
                Some(Load::start(LoadPlan { rate: script.rate, ..LoadPlan::to(script.listen) })?);
            out.note(&format!("{} requests a second from now on", script.rate));
        }
        // Requests go on for a while after each change.
        tokio::time::sleep(script.pause()).await;
    }
    let load = load.expect("it was started after the first deployment");
    Ok((done, load.stop().await))
}
