//! `rollway gitops`: follow branches of repositories.

pub mod args;
mod text;

use std::path::{Path, PathBuf};

use args::{AddFlags, CheckoutFlags, GitopsVerb, HoldFlags};
use rollway_core::gitops::address::RepoUrl;
use rollway_core::gitops::config::{Auth, Signatures, SourceConfig, WriteBack};
use rollway_core::gitops::name::{RefName, RepoPath, SourceName};
use rollway_core::gitops::state::{GitopsArgs, SourceView};
use rollway_core::gitops::window::Window;
use rollway_core::problem::Problem;
use rollway_core::units::Millis;
use serde_json::{Value, json};

use super::Context;
use super::client::{ANSWER_WAIT, WORK_WAIT};
use super::start;
use super::wrong::{FAILED, Wrong};
use crate::gitops::{Diff, Tested};

/// `rollway gitops`.
pub async fn gitops(ctx: &Context, verb: GitopsVerb) -> Result<(), Wrong> {
    match verb {
        GitopsVerb::Add(flags) => add(ctx, &flags).await,
        GitopsVerb::List => list(ctx).await,
        GitopsVerb::Show(of) => {
            let source = source(ctx, of.source).await?;
            let view: SourceView = ctx.client().get(&path(&source, ""), ANSWER_WAIT).await?;
            show(ctx, &view)
        }
        GitopsVerb::Sync(flags) => {
            let source = source(ctx, flags.source).await?;
            let args = GitopsArgs { confirm: flags.confirm, ..GitopsArgs::default() };
            show(ctx, &ctx.client().post(&path(&source, "/sync"), &args).await?)
        }
        GitopsVerb::Diff(of) => diff(ctx, of.source).await,
        GitopsVerb::Render(of) => {
            let source = source(ctx, of.source).await?;
            let specs: Value = ctx.client().get(&path(&source, "/render"), ANSWER_WAIT).await?;
            ctx.out.value(&specs)
        }
        GitopsVerb::Suspend(of) => plain(ctx, of.source, "suspend").await,
        GitopsVerb::Resume(of) => plain(ctx, of.source, "resume").await,
        GitopsVerb::Hold(flags) => hold(ctx, flags).await,
        GitopsVerb::Unhold(of) => {
            let source = source(ctx, Some(of.source)).await?;
            let args = GitopsArgs { service: Some(of.service), ..GitopsArgs::default() };
            show(ctx, &ctx.client().post(&path(&source, "/unhold"), &args).await?)
        }
        GitopsVerb::Test(of) => test(ctx, of.source).await,
        GitopsVerb::Remove(of) => {
            let source = source(ctx, of.source).await?;
            let removed: Value = ctx.client().post(&path(&source, "/remove"), &json!({})).await?;
            match ctx.out.json {
                true => ctx.out.value(&removed),
                false => ctx.out.line(&format!("{source} is followed no longer; services go on")),
            }
        }
        GitopsVerb::Checkout(flags) => checkout(ctx, flags).await,
    }
}

fn path(source: &SourceName, rest: &str) -> String {
    format!("/v1/gitops/{source}{rest}")
}

/// The source that is meant.
async fn source(ctx: &Context, given: Option<String>) -> Result<SourceName, Wrong> {
    let named = given.map(|name| SourceName::parse(&name)).transpose();
    let named = named.map_err(|what| Problem::new("", what))?;
    start::ensure_running_if_used(ctx).await?;
    if let Some(name) = named {
        return Ok(name);
    }
    let all: Vec<SourceView> = ctx.client().get("/v1/gitops", ANSWER_WAIT).await?;
    match all.as_slice() {
        [only] => Ok(only.config.name.clone()),
        [] => {
            let hint = "`rollway gitops add NAME URL` follows a repository";
            Err(Problem::new("", "nothing is followed yet").hint(hint).into())
        }
        several => {
            let names: Vec<&str> = several.iter().map(|one| one.config.name.as_str()).collect();
            let what = format!("which source? known: {}", names.join(", "));
            Err(Problem::new("", what).into())
        }
    }
}

async fn list(ctx: &Context) -> Result<(), Wrong> {
    start::ensure_running_if_used(ctx).await?;
    let all: Vec<SourceView> = ctx.client().get("/v1/gitops", ANSWER_WAIT).await?;
    match ctx.out.json {
        true => ctx.out.value(&all),
        false => ctx.out.data(&text::list(ctx.out, &all)),
    }
}

fn show(ctx: &Context, view: &SourceView) -> Result<(), Wrong> {
    match ctx.out.json {
        true => ctx.out.value(view),
        false => ctx.out.data(&text::source(ctx.out, view)),
    }
}

async fn plain(ctx: &Context, given: Option<String>, verb: &str) -> Result<(), Wrong> {
    let source = source(ctx, given).await?;
    let path = path(&source, &format!("/{verb}"));
    show(ctx, &ctx.client().post(&path, &GitopsArgs::default()).await?)
}

async fn hold(ctx: &Context, flags: HoldFlags) -> Result<(), Wrong> {
    let duration = flags.duration.map(|text| millis("--for", &text)).transpose()?;
    let source = source(ctx, Some(flags.of.source)).await?;
    let args = GitopsArgs {
        service: Some(flags.of.service),
        reason: flags.reason,
        duration_ms: duration.map(|duration| duration.0),
        ..GitopsArgs::default()
    };
    show(ctx, &ctx.client().post(&path(&source, "/hold"), &args).await?)
}

async fn diff(ctx: &Context, given: Option<String>) -> Result<(), Wrong> {
    let source = source(ctx, given).await?;
    let all: Vec<Diff> = ctx.client().get(&path(&source, "/diff"), WORK_WAIT).await?;
    match ctx.out.json {
        true => ctx.out.value(&all),
        false => ctx.out.data(&text::diff(ctx.out, &all)),
    }
}

async fn test(ctx: &Context, given: Option<String>) -> Result<(), Wrong> {
    let source = source(ctx, given).await?;
    let tested: Tested = ctx.client().post(&path(&source, "/test"), &json!({})).await?;
    match ctx.out.json {
        true => ctx.out.value(&tested)?,
        false => ctx.out.data(&text::tested(&tested))?,
    }
    if tested.ok { Ok(()) } else { Err(Wrong::Said(FAILED)) }
}

async fn checkout(ctx: &Context, flags: CheckoutFlags) -> Result<(), Wrong> {
    let source = source(ctx, Some(flags.source)).await?;
    let folder = absolute("folder", &flags.folder)?;
    let done: Value =
        ctx.client().post(&path(&source, "/checkout"), &json!({ "folder": folder })).await?;
    match ctx.out.json {
        true => ctx.out.value(&done),
        false => {
            let revision = done["revision"].as_str().unwrap_or_default();
            ctx.out.line(&format!("{folder} is {revision}"))
        }
    }
}

async fn add(ctx: &Context, flags: &AddFlags) -> Result<(), Wrong> {
    let config = config(flags)?;
    start::ensure_running(ctx).await?;
    let added: SourceView = ctx.client().post("/v1/gitops", &config).await?;
    if !ctx.out.json {
        let next = format!("`rollway gitops show {}` shows how it stands", added.config.name);
        ctx.out.note(&next);
    }
    show(ctx, &added)
}

/// What the flags say.
fn config(flags: &AddFlags) -> Result<SourceConfig, Problem> {
    let problem = |path: &'static str| move |what: String| Problem::new(path, what);
    let reference = match (&flags.branch, &flags.tag, &flags.reference) {
        (_, _, Some(full)) => RefName::parse(full).map_err(problem("--ref"))?,
        (_, Some(tag), None) => RefName::tag(tag).map_err(problem("--tag"))?,
        (Some(branch), None, None) => RefName::branch(branch).map_err(problem("--branch"))?,
        (None, None, None) => RefName::branch("main").map_err(problem("--branch"))?,
    };
    let auth = match (&flags.token_file, &flags.ssh_key, &flags.known_hosts) {
        (Some(file), ..) => Auth::Token {
            user: flags.user.clone().unwrap_or_else(|| "git".to_owned()),
            file: absolute("--token-file", file)?,
        },
        (None, Some(key), Some(known_hosts)) => Auth::Ssh {
            key: absolute("--ssh-key", key)?,
            known_hosts: absolute("--known-hosts", known_hosts)?,
        },
        (None, _, _) => Auth::None,
    };
    let every_commit = flags.every_commit;
    let signatures = match (&flags.verify_ssh, &flags.verify_gpg) {
        (Some(file), _) => {
            let allowed_signers = absolute("--verify-ssh", file)?;
            Signatures::Ssh { allowed_signers, every_commit }
        }
        (None, Some(folder)) => {
            Signatures::Gpg { keyring: absolute("--verify-gpg", folder)?, every_commit }
        }
        (None, None) if every_commit => {
            let hint = "give --verify-ssh FILE or --verify-gpg FOLDER, too";
            return Err(Problem::new("--every-commit", "nothing is verified").hint(hint));
        }
        (None, None) => Signatures::None,
    };
    let secret = flags.webhook_secret_file.as_deref();
    let windows: Result<Vec<Window>, String> =
        flags.windows.iter().map(|text| Window::parse(text)).collect();
    Ok(SourceConfig {
        name: SourceName::parse(&flags.name).map_err(problem("NAME"))?,
        url: RepoUrl::parse(&flags.url).map_err(problem("URL"))?,
        reference,
        path: RepoPath::parse(&flags.path).map_err(problem("--path"))?,
        interval: millis("--interval", &flags.interval)?,
        drift_interval: millis("--drift-interval", &flags.drift_interval)?,
        environment: flags.environment.clone(),
        auth,
        signatures,
        prune: flags.prune,
        self_heal: flags.self_heal,
        follow_moved_tag: flags.follow_moved_tag,
        windows: windows.map_err(problem("--window"))?,
        write_back: WriteBack::parse(&flags.write_back).map_err(problem("--write-back"))?,
        webhook_secret_file: secret
            .map(|file| absolute("--webhook-secret-file", file))
            .transpose()?,
    })
}

fn millis(flag: &str, text: &str) -> Result<Millis, Problem> {
    Millis::parse(text).map_err(|what| Problem::new(flag, what))
}

/// The control plane has another working folder.
fn absolute(flag: &str, path: &Path) -> Result<String, Problem> {
    let full: PathBuf = std::path::absolute(path)
        .map_err(|error| Problem::new(flag, format!("{}: {error}", path.display())))?;
    let text = full.to_str().map(str::to_owned);
    text.ok_or_else(|| Problem::new(flag, "the path is not text in UTF-8"))
}
