//! The verbs and their flags, as clap reads them.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use rollway_core::units::Millis;

/// Progressive delivery for services on any target.
///
/// Rollway takes a service from one version to the next: rolling, blue-green or canary, behind its
/// own proxy, without losing a request. It rolls back by itself when the new version is worse, and
/// it remembers everything.
#[derive(Debug, Parser)]
#[command(name = "rollway", version, max_term_width = 100, after_long_help = EXAMPLES)]
#[command(disable_help_subcommand = true, subcommand_required = true)]
#[command(arg_required_else_help = true, subcommand_value_name = "VERB")]
#[command(subcommand_help_heading = "Verbs")]
pub struct Cli {
    /// What applies to every verb.
    #[command(flatten)]
    pub common: Common,
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  rollway init ./server                 write a rollway.yaml to begin with
  rollway deploy --version v2           deploy ./rollway.yaml as v2, and follow it
  rollway deploy --plan --version v2    only show what would be done
  rollway status --watch                what runs now
  rollway rollback                      the release before this one again

Exit codes: 0 done; 1 failed or rolled back; 2 wrong usage, nothing was changed.";

/// The heading over the flags of every verb.
const EVERYWHERE: &str = "Everywhere";

/// What applies to every verb.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Where the state is kept [default: ~/.local/state/rollway, as root /var/lib/rollway].
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FOLDER")]
    #[arg(env = "ROLLWAY_STATE_DIR", hide_env = true)]
    pub state_dir: Option<PathBuf>,
    /// Print data as JSON.
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub json: bool,
    /// Print without colour; so does the environment variable NO_COLOR.
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub no_color: bool,
    /// Print only data and errors.
    #[arg(long, short, global = true, help_heading = EVERYWHERE)]
    pub quiet: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Deploy a service, and follow the deployment to its end.
    Deploy(DeployFlags),
    /// Show what a deployment would do; change nothing.
    Plan(SpecFlags),
    /// Show what runs, and the deployment under way.
    Status(StatusFlags),
    /// Show the instances.
    Ps(ServiceFlag),
    /// Show what instances print.
    Logs(LogsFlags),
    /// Show what has happened to a service, step by step.
    Events(EventsFlags),
    /// Show the deployments of a service, or check the records.
    History(HistoryFlags),
    /// Tell how a canary was judged, what decided, and what would have changed it.
    Explain(ExplainFlags),
    /// Look at judgements again, or let the judge look at numbers of yours.
    #[command(subcommand)]
    Analysis(AnalysisVerb),
    /// Bring an earlier release back.
    Rollback(RollbackFlags),
    /// Open the gate that the deployment waits at.
    Promote(PromoteFlags),
    /// Stop the deployment where it is; what runs goes on running.
    Pause(ServiceFlag),
    /// Let a paused deployment go on.
    Resume(ServiceFlag),
    /// Undo the deployment under way.
    Abort(AbortFlags),
    /// Replace all instances by fresh ones of the same release.
    Restart(FollowFlags),
    /// Change the number of instances.
    Scale(ScaleFlags),
    /// Start a service again that was taken down.
    Up(FollowFlags),
    /// Stop all instances of a service; it stays known.
    Down(FollowFlags),
    /// List, show and compare releases.
    #[command(subcommand)]
    Release(ReleaseVerb),
    /// Follow branches of repositories.
    #[command(subcommand)]
    Gitops(super::gitops::args::GitopsVerb),
    /// Check a spec; change nothing.
    Lint(LintFlags),
    /// Print the JSON Schema of the spec, for editors.
    Schema,
    /// Write a spec to begin with.
    Init(InitFlags),
    /// Print the reference of a part of the spec.
    Docs(DocsFlags),
    /// Check what would stop a deployment on this machine.
    Doctor,
    /// Deploy versions of a small shop under load, and count what is lost.
    Demo(DemoFlags),
    /// Print completions for a shell.
    Completions(CompletionsFlags),
    /// Run the control plane in the foreground.
    Serve(ServeFlags),
    /// Stop the control plane; instances and proxy go on.
    Shutdown(ShutdownFlags),
    /// Run the proxy in the foreground; the control plane starts it by itself.
    Proxy(ProxyFlags),
}

/// The number of lines, events or deployments.
fn whole(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "it is not a whole number".to_owned())
}

/// Which service.
#[derive(Debug, Args)]
pub struct ServiceFlag {
    /// The service [default: that of ./rollway.yaml, or the only one].
    pub service: Option<String>,
}

/// Which spec, and what goes before it.
#[derive(Debug, Args)]
pub struct SpecFlags {
    /// The spec [default: ./rollway.yaml, .yml, .toml or .json].
    pub file: Option<PathBuf>,
    /// The label of the build; goes before the spec's.
    #[arg(long, value_name = "LABEL")]
    pub version: Option<String>,
    /// The strategy; goes before the spec's: rolling, blue_green, canary or recreate.
    #[arg(long, value_name = "NAME")]
    pub strategy: Option<String>,
}

/// `rollway deploy`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  rollway deploy --version v2
  rollway deploy shop.yaml --version v2 --strategy blue_green
  rollway deploy --version v2 --detach && rollway status --watch

A control plane is started in the background where none runs. Ctrl-C asks whether to leave the
deployment to it, or to undo it.

Exit codes: 0 done; 1 failed or rolled back; 2 wrong usage, nothing was changed.")]
pub struct DeployFlags {
    /// Which spec.
    #[command(flatten)]
    pub spec: SpecFlags,
    /// Only show what would be done.
    #[arg(long)]
    pub plan: bool,
    /// Do not wait for the end.
    #[arg(long, short)]
    pub detach: bool,
}

/// `rollway status`.
#[derive(Debug, Args)]
pub struct StatusFlags {
    /// Only this service, with its deployment's stages.
    pub service: Option<String>,
    /// Go on showing it until Ctrl-C.
    #[arg(long, short)]
    pub watch: bool,
}

/// `rollway logs`.
#[derive(Debug, Args)]
pub struct LogsFlags {
    /// The service [default: that of ./rollway.yaml, or the only one].
    pub service: Option<String>,
    /// Only this instance, such as r3-0.
    pub instance: Option<String>,
    /// Go on printing until Ctrl-C.
    #[arg(long, short)]
    pub follow: bool,
    /// So many last lines of each instance.
    #[arg(long, short = 'n', default_value = "50", value_name = "N", value_parser = whole)]
    pub lines: u64,
}

/// `rollway events`.
#[derive(Debug, Args)]
pub struct EventsFlags {
    /// The service [default: that of ./rollway.yaml, or the only one].
    pub service: Option<String>,
    /// Go on printing until Ctrl-C.
    #[arg(long, short)]
    pub follow: bool,
    /// So many last events.
    #[arg(long, short = 'n', default_value = "50", value_name = "N", value_parser = whole)]
    pub lines: u64,
}

/// `rollway history`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
#[command(subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
pub struct HistoryFlags {
    /// What else than to list deployments.
    #[command(subcommand)]
    pub verb: Option<HistoryVerb>,
    /// The service [default: that of ./rollway.yaml, or the only one].
    pub service: Option<String>,
    /// So many last deployments.
    #[arg(long, short = 'n', default_value = "20", value_name = "N", value_parser = whole)]
    pub lines: u64,
}

/// `rollway history verify` and the like.
#[derive(Debug, Subcommand)]
pub enum HistoryVerb {
    /// Check that nobody has altered the records.
    Verify,
    /// Print the records of a service as JSON lines.
    Export(ServiceFlag),
}

/// Which service, and whether to wait.
#[derive(Debug, Args)]
pub struct FollowFlags {
    /// The service [default: that of ./rollway.yaml, or the only one].
    pub service: Option<String>,
    /// Do not wait for the end.
    #[arg(long, short)]
    pub detach: bool,
}

/// `rollway rollback`.
#[derive(Debug, Args)]
pub struct RollbackFlags {
    /// The service [default: that of ./rollway.yaml, or the only one].
    pub service: Option<String>,
    /// The release: a number such as r3, or a version [default: the one before].
    #[arg(long, value_name = "RELEASE", value_parser = NonEmptyStringValueParser::new())]
    pub to: Option<String>,
    /// Do not wait for the end.
    #[arg(long, short)]
    pub detach: bool,
}

/// `rollway promote`.
#[derive(Debug, Args)]
pub struct PromoteFlags {
    /// The service [default: that of ./rollway.yaml, or the only one].
    pub service: Option<String>,
    /// Open all gates to come, too.
    #[arg(long)]
    pub full: bool,
}

/// `rollway abort`.
#[derive(Debug, Args)]
pub struct AbortFlags {
    /// The service [default: that of ./rollway.yaml, or the only one].
    pub service: Option<String>,
    /// Why, for the history.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Do not wait for the end.
    #[arg(long, short)]
    pub detach: bool,
}

/// `rollway scale`.
#[derive(Debug, Args)]
#[command(override_usage = "rollway scale [SERVICE] <INSTANCES>")]
pub struct ScaleFlags {
    /// The service, which may be left out, and how many instances.
    #[arg(required = true, num_args = 1..=2, value_name = "INSTANCES")]
    #[arg(allow_negative_numbers = true)]
    pub service_and_instances: Vec<String>,
    /// Do not wait for the end.
    #[arg(long, short)]
    pub detach: bool,
}

/// `rollway release`.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
#[command(subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
pub enum ReleaseVerb {
    /// List the releases of a service.
    List(ServiceFlag),
    /// Show one release.
    #[command(override_usage = "rollway release show [SERVICE] <RELEASE>")]
    Show {
        /// The service, which may be left out, and the release: r3, or a version.
        #[arg(required = true, num_args = 1..=2, value_name = "RELEASE")]
        service_and_release: Vec<String>,
    },
    /// Show what differs between two releases.
    #[command(override_usage = "rollway release diff [SERVICE] <FROM> <TO>")]
    Diff {
        /// The service, which may be left out, and the two releases: r3, or a version.
        #[arg(required = true, num_args = 2..=3, value_name = "RELEASE")]
        service_and_releases: Vec<String>,
    },
}

/// `rollway explain`.
#[derive(Debug, Args)]
pub struct ExplainFlags {
    /// The deployment, as in shop-7; `rollway history` lists them.
    pub deployment: String,
}

/// The verbs about judgements.
#[derive(Debug, Subcommand)]
pub enum AnalysisVerb {
    /// Compute the verdicts of a deployment again from the stored samples, and compare.
    Replay(ReplayFlags),
    /// Let the judge look at two files of numbers, without a deployment.
    Try(TryFlags),
}

/// `rollway analysis replay`.
#[derive(Debug, Args)]
pub struct ReplayFlags {
    /// The deployment, as in shop-7 [default with --file: all of them].
    #[arg(required_unless_present = "file")]
    pub deployment: Option<String>,
    /// Read what `rollway history export` wrote; no control plane is asked.
    #[arg(long, value_name = "EXPORT")]
    pub file: Option<PathBuf>,
}

/// `rollway analysis try`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
The files are CSV with a line of names, or JSON, a list of maps with the same names:
  time,total,bad     requests since the row before, and how many of them failed
  time,latency       one request a row, and how many seconds it took
  time,latency,bad   the same, and whether it failed: 1 or 0
`time` is in seconds and rises. Both files have the same columns.

Example:
  rollway analysis try canary.csv baseline.csv --svg picture.svg

Exit codes: 0 judged, whatever the verdict; 1 the picture could not be written; 2 wrong usage or
wrong files.")]
pub struct TryFlags {
    /// What the new version did: a .csv or .json file.
    pub canary: PathBuf,
    /// What the old version did, at the same time.
    pub baseline: PathBuf,
    /// The time between two checks.
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = some_time)]
    pub interval: Millis,
    /// A judgement without a decision is over after this.
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = some_time)]
    pub deadline: Millis,
    /// So long from the beginning on nothing is compared.
    #[arg(long, default_value = "0s", value_name = "TIME", value_parser = Millis::parse)]
    pub warmup: Millis,
    /// Draw both versions and the evidence into this file.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// A time that is more than none.
fn some_time(text: &str) -> Result<Millis, String> {
    match Millis::parse(text)? {
        Millis::ZERO => Err("it must be more than 0".to_owned()),
        time => Ok(time),
    }
}

/// `rollway lint`.
#[derive(Debug, Args)]
pub struct LintFlags {
    /// The spec [default: ./rollway.yaml, .yml, .toml or .json].
    pub file: Option<PathBuf>,
}

/// `rollway init`.
#[derive(Debug, Args)]
pub struct InitFlags {
    /// The program that becomes a service [default: what this folder looks like].
    pub program: Option<PathBuf>,
}

/// `rollway docs`.
#[derive(Debug, Args)]
pub struct DocsFlags {
    /// The part; without it, the parts are listed.
    pub kind: Option<String>,
}

/// `rollway completions`.
#[derive(Debug, Args)]
pub struct CompletionsFlags {
    /// The shell.
    pub shell: Shell,
}

/// `rollway serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeFlags {
    /// Leave the terminal's session first; for starts in the background.
    #[arg(long, hide = true)]
    pub detached: bool,
    /// Hear webhooks at this address of this machine, such as 127.0.0.1:9010.
    #[arg(long, value_name = "ADDRESS", env = "ROLLWAY_WEBHOOKS", hide_env = true)]
    pub webhooks: Option<std::net::SocketAddr>,
}

/// `rollway shutdown`.
#[derive(Debug, Args)]
pub struct ShutdownFlags {
    /// Stop the proxy, too: nobody answers requests any more.
    #[arg(long)]
    pub proxy: bool,
}

/// `rollway proxy`.
#[derive(Debug, Clone, Args)]
pub struct ProxyFlags {
    /// So many worker threads [default: one a core].
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Write a JSON line for every request to this file.
    #[arg(long, value_name = "FILE")]
    pub access_log: Option<PathBuf>,
    /// So many client connections at once [default: 65536].
    #[arg(long, value_name = "N")]
    pub connections_max: Option<usize>,
    /// Take the listening sockets of another proxy from standard input.
    #[arg(long, hide = true)]
    pub inherit: bool,
    /// Leave the terminal's session first; for starts in the background.
    #[arg(long, hide = true)]
    pub detached: bool,
}

/// `rollway demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoFlags {
    /// The program that is deployed [default: `shop` beside this program].
    #[arg(long, value_name = "FILE")]
    pub shop: Option<PathBuf>,
    /// So many requests a second.
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub rate: u32,
    /// With short waits: a quarter of a minute instead of one.
    #[arg(long)]
    pub quick: bool,
}
