//! The verbs that act on a service that is there.

use std::time::Duration;

use rollway_core::event::DeploymentState;
use rollway_core::problem::Problem;
use rollway_core::view::{VerbAnswer, VerbArgs};

use super::args::{
    AbortFlags, FollowFlags, PromoteFlags, RollbackFlags, ScaleFlags, ServiceFlag, ShutdownFlags,
};
use super::deploy::{follow_or_detach, last_seq};
use super::follow::{self, Followed};
use super::wrong::Wrong;
use super::{Context, outcome, place};
use crate::failure::{Failure, FailureKind};

/// A control plane that is asked to end writes what waits to be written first.
const END_WAIT: Duration = Duration::from_secs(10);
/// The time between two looks at whether it has ended.
const END_LOOK: Duration = Duration::from_millis(20);

/// `rollway rollback`.
pub async fn rollback(ctx: &Context, flags: RollbackFlags) -> Result<(), Wrong> {
    let args = VerbArgs { to: flags.to, ..asked() };
    act(ctx, flags.service, "rollback", (args, flags.detach)).await
}

/// `rollway promote`.
pub async fn promote(ctx: &Context, flags: PromoteFlags) -> Result<(), Wrong> {
    say(ctx, flags.service, "promote", VerbArgs { full: flags.full, ..asked() }).await
}

/// `rollway pause`.
pub async fn pause(ctx: &Context, flags: ServiceFlag) -> Result<(), Wrong> {
    say(ctx, flags.service, "pause", asked()).await
}

/// `rollway resume`.
pub async fn resume(ctx: &Context, flags: ServiceFlag) -> Result<(), Wrong> {
    say(ctx, flags.service, "resume", asked()).await
}

/// `rollway abort`.
pub async fn abort(ctx: &Context, flags: AbortFlags) -> Result<(), Wrong> {
    let service = place::service_to_act_on(ctx, flags.service).await?;
    let args = VerbArgs { reason: flags.reason, ..asked() };
    let after = last_seq(ctx, &service).await?;
    let answer = ctx.client().verb(&service, "abort", &args).await?;
    unfenced(ctx, &answer)?;
    let Some(number) = answer.deployment.filter(|_| !flags.detach) else {
        return answered(ctx, &answer);
    };
    ctx.out.note(&answer.message);
    // What was aborted ends as rolled back, and here that is what was asked for.
    let view = ctx.client().deployment(&service, number).await?;
    let followed = follow::follow(ctx, view, after).await?;
    if let Followed::Ended(view, _) = &followed
        && view.state == DeploymentState::RolledBack
    {
        return match ctx.out.json {
            true => ctx.out.value(view),
            false => ctx.out.line(&outcome::result(view, None)),
        };
    }
    outcome::finish(ctx, followed)
}

/// `rollway restart`.
pub async fn restart(ctx: &Context, flags: FollowFlags) -> Result<(), Wrong> {
    act(ctx, flags.service, "restart", (asked(), flags.detach)).await
}

/// `rollway scale`.
pub async fn scale(ctx: &Context, flags: ScaleFlags) -> Result<(), Wrong> {
    let mut arguments = flags.service_and_instances;
    let number = arguments.pop().unwrap_or_default();
    let instances = number.parse::<u32>().map_err(|_| {
        Problem::new("", format!("{number:?} is not a number of instances"))
            .hint("`rollway scale shop 5` makes five")
    })?;
    let args = VerbArgs { instances: Some(instances), ..asked() };
    act(ctx, arguments.pop(), "scale", (args, flags.detach)).await
}

/// `rollway up`.
pub async fn up(ctx: &Context, flags: FollowFlags) -> Result<(), Wrong> {
    act(ctx, flags.service, "up", (asked(), flags.detach)).await
}

/// `rollway down`.
pub async fn down(ctx: &Context, flags: FollowFlags) -> Result<(), Wrong> {
    act(ctx, flags.service, "down", (asked(), flags.detach)).await
}

/// `rollway shutdown`.
pub async fn shutdown(ctx: &Context, flags: ShutdownFlags) -> Result<(), Wrong> {
    let health = match ctx.client().health().await {
        Err(Wrong::Absent(_)) if flags.proxy => {
            ctx.client().shutdown_proxy().await?;
            ctx.out.note("the proxy has ended");
            return Ok(());
        }
        other => other?,
    };
    ctx.client().shutdown().await?;
    let ended = async {
        while !matches!(ctx.client().health().await, Err(Wrong::Absent(_))) {
            tokio::time::sleep(END_LOOK).await;
        }
    };
    if tokio::time::timeout(END_WAIT, ended).await.is_err() {
        let doing = format!("the control plane (process {}) has not ended yet", health.pid);
        return Err(Failure::new(FailureKind::Unknown, doing).into());
    }
    if flags.proxy {
        ctx.client().shutdown_proxy().await?;
        ctx.out.note("the control plane and the proxy have ended; instances go on");
    } else {
        ctx.out.note("the control plane has ended; instances and proxy go on");
    }
    Ok(())
}

fn asked() -> VerbArgs {
    VerbArgs { actor: place::actor(), ..VerbArgs::default() }
}

/// A verb that is done when it is answered.
async fn say(
    ctx: &Context,
    service: Option<String>,
    verb: &str,
    args: VerbArgs,
) -> Result<(), Wrong> {
    let service = place::service_to_act_on(ctx, service).await?;
    let answer = ctx.client().verb(&service, verb, &args).await?;
    answered(ctx, &answer)
}

/// A verb that begins a deployment, which is followed.
async fn act(
    ctx: &Context,
    service: Option<String>,
    verb: &str,
    (args, detach): (VerbArgs, bool),
) -> Result<(), Wrong> {
    let service = place::service_to_act_on(ctx, service).await?;
    let after = last_seq(ctx, &service).await?;
    let answer = ctx.client().verb(&service, verb, &args).await?;
    unfenced(ctx, &answer)?;
    match answer.deployment {
        Some(number) => follow_or_detach(ctx, &service, (number, after), detach).await,
        None => answered(ctx, &answer),
    }
}

fn answered(ctx: &Context, answer: &VerbAnswer) -> Result<(), Wrong> {
    match ctx.out.json {
        true => ctx.out.value(answer),
        false => ctx.out.line(&answer.message),
    }
}

/// Targets that could not be told may still do what an earlier order said.
fn unfenced(ctx: &Context, answer: &VerbAnswer) -> Result<(), Wrong> {
    if !answer.unfenced.is_empty() {
        ctx.out.warn(&format!("it does not hold yet on {}", answer.unfenced.join(", ")));
    }
    Ok(())
}
