//! Measures what Rollway promises, with the real program and real processes on this machine.
//!
//! ```text
//! cargo build --release && target/release/rollway-bench switch
//! ```
//!
//! Each benchmark prints a small table for people and one line of JSON for programs, and leaves
//! nothing behind. They use the loopback interface only.

mod inflight;
mod machine;
mod proxies;
mod recover;
mod rollback;
mod rolling;
mod say;
mod switch;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use rollway::trial::Trial;

/// Measures what Rollway promises.
#[derive(Debug, Parser)]
#[command(name = "rollway-bench", version, max_term_width = 100)]
struct Asked {
    /// The program to measure [default: `rollway` beside this program].
    #[arg(long, global = true)]
    rollway: Option<PathBuf>,
    /// The service to deploy [default: `shop` beside this program].
    #[arg(long, global = true)]
    shop: Option<PathBuf>,
    /// Fewer repeats: to see that it works.
    #[arg(long, global = true)]
    quick: bool,
    /// What to measure.
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
enum What {
    /// 40 switches under 2,000 requests a second, old instances stopped at once.
    Switch,
    /// What is in flight at a switch: slow requests and a WebSocket.
    Inflight,
    /// 50 processes one after the other, beside a bash loop.
    Rolling,
    /// 100, 1,000 and 10,000 targets on which nothing is run.
    Null,
    /// From a crash, or failing health, to the beginning of the rollback.
    Rollback,
    /// Our proxy beside nginx and HAProxy, one core each.
    Proxy,
    /// The memory of control plane and proxy that have nothing to do.
    Idle,
    /// kill -9 of the control plane and of the proxy.
    Recover,
    /// All of them.
    All,
}

/// What all benchmarks need.
pub(crate) struct Bench {
    pub rollway: PathBuf,
    pub shop: PathBuf,
    pub quick: bool,
}

impl Bench {
    /// So many repeats, or few of them if it is to be quick.
    pub fn repeats(&self, usual: usize) -> usize {
        if self.quick { usual.div_ceil(10) } else { usual }
    }

    /// A fresh control plane.
    pub async fn trial(&self, name: &str) -> Result<Trial> {
        Ok(Trial::start(&self.rollway, name).await?)
    }

    /// The command that runs the shop, with further flags.
    pub fn command(&self, flags: &[&str]) -> serde_json::Value {
        let shop = self.shop.display().to_string();
        let usual = [shop.as_str(), "--port={{port}}", "--version={{version}}"];
        serde_json::Value::from([&usual, flags].concat())
    }
}

/// Ends a trial; what had to be killed is an error, but not before the figures are out.
pub(crate) async fn end(trial: Trial) -> Result<()> {
    let left = trial.end().await;
    if !left.is_empty() {
        bail!("not everything ended by itself: {}", left.join("; "));
    }
    Ok(())
}

fn main() -> ExitCode {
    match run(&Asked::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(asked: &Asked) -> Result<()> {
    let own = std::env::current_exe().context("could not find this program")?;
    let beside = |name: &str| own.with_file_name(name);
    let found = |given: &Option<PathBuf>, name: &str| {
        let path = given.clone().unwrap_or_else(|| beside(name));
        let path = path.canonicalize();
        path.with_context(|| format!("there is no {name}; `cargo build --release` builds it"))
    };
    let bench = Bench {
        rollway: found(&asked.rollway, "rollway")?,
        shop: found(&asked.shop, "shop")?,
        quick: asked.quick,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("no runtime")?;
    machine::print();
    let all = [
        What::Switch,
        What::Inflight,
        What::Rolling,
        What::Null,
        What::Rollback,
        What::Proxy,
        What::Idle,
        What::Recover,
    ];
    let wanted: Vec<What> =
        all.into_iter().filter(|one| asked.what == What::All || *one == asked.what).collect();
    let interrupted = async {
        tokio::select! {
            measured = measure(&bench, &wanted) => measured,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    };
    runtime.block_on(interrupted)
}

async fn measure(bench: &Bench, wanted: &[What]) -> Result<()> {
    for what in wanted {
        let load = machine::load_average();
        say::line(&format!("\n{} (load average {load})", format!("{what:?}").to_lowercase()));
        match what {
            What::Switch => switch::run(bench).await?,
            What::Inflight => inflight::run(bench).await?,
            What::Rolling => rolling::processes(bench).await?,
            What::Null => rolling::null(bench).await?,
            What::Rollback => rollback::run(bench).await?,
            What::Proxy => proxies::compare(bench).await?,
            What::Idle => proxies::idle(bench).await?,
            What::Recover => recover::run(bench).await?,
            What::All => {}
        }
    }
    Ok(())
}
