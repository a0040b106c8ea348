//! The two programs that stay: the control plane and the proxy.

use std::io::IsTerminal as _;

use rollway_core::problem::Problem;
use tracing_subscriber::EnvFilter;

use super::Context;
use super::args::{ProxyFlags, ServeFlags};
use super::wrong::Wrong;
use crate::failure::{Failure, FailureKind};
use crate::proxy::ProxyConfig;

/// Says how much is logged, in the words of `tracing_subscriber::EnvFilter`.
const LOG_VARIABLE: &str = "ROLLWAY_LOG";
/// What is logged where nobody says otherwise.
const LOG_USUAL: &str = "info";

/// Runs the control plane until it is asked to end.
pub fn serve(ctx: &Context, flags: &ServeFlags) -> Result<(), Wrong> {
    if let Some(address) = flags.webhooks.filter(|address| !address.ip().is_loopback()) {
        let what = format!("{address} is not an address of this machine alone");
        let hint = "webhooks are heard without TLS: listen on 127.0.0.1, behind a proxy with TLS";
        return Err(Problem::new("--webhooks", what).hint(hint).into());
    }
    begin(ctx, flags.detached)?;
    let failed = |error: std::io::Error| {
        Failure::because(FailureKind::NotDone, "could not start the control plane", error)
    };
    // What cannot be dropped now is dropped at each start of an instance.
    if let Err(error) = crate::os::fds::drop_inherited() {
        tracing::warn!("could not drop the files that were inherited: {error}");
    }
    let program = std::env::current_exe().map_err(failed)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed)?;
    if !flags.detached {
        ctx.out.note(&format!("control plane of {}", ctx.state_dir.display()));
    }
    Ok(runtime.block_on(crate::api::serve(&ctx.state_dir, program, flags.webhooks))?)
}

/// Runs the proxy until it is asked to end.
pub fn proxy(ctx: &Context, flags: &ProxyFlags) -> Result<(), Wrong> {
    begin(ctx, flags.detached)?;
    let usual = ProxyConfig::new(ctx.state_dir.clone());
    let config = ProxyConfig {
        workers: flags.workers.unwrap_or(usual.workers),
        connections_max: flags.connections_max.unwrap_or(usual.connections_max),
        access_log: flags.access_log.clone(),
        inherit: flags.inherit,
        ..usual
    };
    Ok(crate::proxy::run(&config)?)
}

/// Leaves the terminal's session if that is wanted, and begins to log to stderr.
fn begin(ctx: &Context, detached: bool) -> Result<(), Wrong> {
    if detached {
        // Fails only where it leads a group already, and then no terminal reaches it either.
        let _ = rustix::process::setsid();
    }
    let wanted = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| LOG_USUAL.to_owned());
    let filter = EnvFilter::try_new(&wanted).map_err(|error| {
        Problem::new(LOG_VARIABLE, format!("{wanted:?} is no filter: {error}"))
            .hint("such as info, debug, or rollway::proxy=trace")
    })?;
    // A second start in one process would be a bug, and its log goes where the first one's does.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ctx.out.colour && std::io::stderr().is_terminal())
        .try_init();
    Ok(())
}
