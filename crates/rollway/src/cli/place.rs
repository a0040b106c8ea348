//! Where things are: the state folder, and the service that is meant when none is named.

use std::path::{Path, PathBuf};

use rollway_core::ids::ServiceName;
use rollway_core::problem::Problem;

use super::wrong::Wrong;
use super::{Context, spec_file, start};

/// The state folder as given, or the usual one.
pub fn state_dir(given: Option<PathBuf>) -> Result<PathBuf, Problem> {
    let folder = match given {
        Some(folder) => folder,
        None => usual_state_dir()?,
    };
    std::path::absolute(&folder)
        .map_err(|error| Problem::new("--state-dir", format!("no such place: {error}")))
}

fn usual_state_dir() -> Result<PathBuf, Problem> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/rollway"));
    }
    let folder = |name: &str| {
        let value = std::env::var_os(name).map(PathBuf::from);
        value.filter(|folder| folder.is_absolute())
    };
    folder("XDG_STATE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".local/state")))
        .map(|base| base.join("rollway"))
        .ok_or_else(|| {
            Problem::new("--state-dir", "there is no HOME to keep the state in")
                .hint("give --state-dir, or set ROLLWAY_STATE_DIR")
        })
}

/// Who asks, for the history.
#[must_use]
pub fn actor() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| {
        std::env::var(name).ok().filter(|value| !value.is_empty() && value.len() <= 64)
    });
    named.unwrap_or_else(|| match rustix::process::getuid() {
        user if user.is_root() => "root".to_owned(),
        user => format!("user {}", user.as_raw()),
    })
}

/// The service that is named, that the spec in this folder names, or that is the only one.
pub async fn service(ctx: &Context, given: Option<String>) -> Result<ServiceName, Wrong> {
    match named(given)? {
        Some(name) => Ok(name),
        None => only(ctx).await,
    }
}

/// The same for a verb that acts: what is named is checked before a control plane is started.
pub async fn service_to_act_on(ctx: &Context, given: Option<String>) -> Result<ServiceName, Wrong> {
    let named = named(given)?;
    start::ensure_running_if_used(ctx).await?;
    match named {
        Some(name) => Ok(name),
        None => only(ctx).await,
    }
}

fn named(given: Option<String>) -> Result<Option<ServiceName>, Problem> {
    let Some(name) = given else { return Ok(spec_file::service_here(Path::new("."))) };
    let parsed = ServiceName::parse(&name);
    parsed
        .map(Some)
        .map_err(|what| Problem::new("", format!("{name:?} cannot be a service: {what}")))
}

async fn only(ctx: &Context) -> Result<ServiceName, Wrong> {
    let services = ctx.client().services().await?;
    match services.as_slice() {
        [only] => Ok(ServiceName::parse(&only.service)
            .map_err(|what| Problem::new(only.service.clone(), what))?),
        [] => Err(Problem::new("", "there is no service yet")
            .hint("`rollway init` writes a spec, `rollway deploy` deploys it")
            .into()),
        several => {
            let names: Vec<&str> = several.iter().map(|one| one.service.as_str()).collect();
            Err(Problem::new("", format!("which service? known: {}", names.join(", ")))
                .hint("name it, or go to the folder of its rollway.yaml")
                .into())
        }
    }
}

/// Takes the service off the front of arguments of which `needed` are something else.
pub async fn service_and(
    ctx: &Context,
    mut arguments: Vec<String>,
    needed: usize,
) -> Result<(ServiceName, Vec<String>), Wrong> {
    let given = (arguments.len() > needed).then(|| arguments.remove(0));
    Ok((service(ctx, given).await?, arguments))
}
