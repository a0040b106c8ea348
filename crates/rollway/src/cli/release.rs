//! `rollway release`: list, show and compare releases.

use rollway_core::ids::{ReleaseNumber, ServiceName};
use rollway_core::problem::Problem;
use rollway_core::release::Release;
use rollway_core::view::ServiceView;

use super::args::ReleaseVerb;
use super::deploy::changes_text;
use super::out::{Out, Tone, one_line};
use super::table::{Cell, table};
use super::words;
use super::wrong::Wrong;
use super::{Context, place};

/// So many hexadecimal digits tell digests apart for people.
const DIGEST_CHARACTERS: usize = 19;
/// So many releases are listed where an unknown one was named.
const KNOWN_MAX: usize = 10;

/// `rollway release`.
pub async fn release(ctx: &Context, verb: &ReleaseVerb) -> Result<(), Wrong> {
    match verb {
        ReleaseVerb::List(of) => {
            let service = place::service(ctx, of.service.clone()).await?;
            let releases = ctx.client().releases(&service).await?;
            let view = ctx.client().service(&service).await?;
            match ctx.out.json {
                true => ctx.out.value(&releases),
                false => ctx.out.data(&list(ctx.out, &releases, &view)),
            }
        }
        ReleaseVerb::Show { service_and_release } => {
            let (_, releases) = named(ctx, service_and_release.clone(), 1).await?;
            match ctx.out.json {
                true => ctx.out.value(&releases[0]),
                false => ctx.out.data(&show(ctx.out, &releases[0])),
            }
        }
        ReleaseVerb::Diff { service_and_releases } => {
            let (_, releases) = named(ctx, service_and_releases.clone(), 2).await?;
            let changes = releases[0].diff(&releases[1]);
            match ctx.out.json {
                true => ctx.out.value(&changes),
                false if changes.is_empty() => ctx.out.line("they are the same"),
                false => ctx.out.data(&changes_text(ctx.out, &changes)),
            }
        }
    }
}

/// The releases that are named by number or version.
async fn named(
    ctx: &Context,
    arguments: Vec<String>,
    count: usize,
) -> Result<(ServiceName, Vec<Release>), Wrong> {
    let (service, names) = place::service_and(ctx, arguments, count).await?;
    let all = ctx.client().releases(&service).await?;
    let found: Result<Vec<Release>, Problem> = names.iter().map(|name| find(&all, name)).collect();
    Ok((service, found?))
}

/// A number such as `3` or `r3`, else the last release with that version.
fn find(all: &[Release], name: &str) -> Result<Release, Problem> {
    let number = name.strip_prefix('r').unwrap_or(name).parse().ok().map(ReleaseNumber);
    let by_number = all.iter().find(|release| Some(release.number) == number);
    let newest_first = || {
        let mut sorted: Vec<&Release> = all.iter().collect();
        sorted.sort_by_key(|release| std::cmp::Reverse(release.number));
        sorted
    };
    let by_version = || newest_first().into_iter().find(|release| release.version.as_str() == name);
    by_number.or_else(by_version).cloned().ok_or_else(|| {
        let known: Vec<String> = newest_first()
            .into_iter()
            .take(KNOWN_MAX)
            .map(|release| format!("{} ({})", release.number, release.version))
            .collect();
        let known = if known.is_empty() { "none yet".to_owned() } else { known.join(", ") };
        let what = format!("unknown release {name:?}; known: {known}");
        Problem::new("", what).hint("name it by number or by version, such as r3 or v2")
    })
}

fn list(out: Out, releases: &[Release], view: &ServiceView) -> String {
    let mut sorted: Vec<&Release> = releases.iter().collect();
    sorted.sort_by_key(|release| std::cmp::Reverse(release.number));
    let rows: Vec<Vec<Cell>> = sorted
        .into_iter()
        .map(|release| {
            let is = |other: Option<u64>| other == Some(release.number.0);
            let role = match () {
                () if is(view.serving.as_ref().map(|serving| serving.number)) => "serving",
                () if is(view.standby.as_ref().map(|old| old.release.number)) => "standby",
                () if view.arms.iter().any(|arm| arm.release.number == release.number.0) => "runs",
                () => "",
            };
            let tone = if role.is_empty() { Tone::Plain } else { Tone::Good };
            let digest: String = release.digest.chars().take(DIGEST_CHARACTERS).collect();
            vec![
                Cell::toned(release.number.to_string(), Tone::Strong),
                Cell::from(release.version.to_string()),
                Cell::toned(role, tone),
                Cell::toned(digest, Tone::Faint),
                Cell::from(release.spec.run.command.join(" ")),
            ]
        })
        .collect();
    match rows.is_empty() {
        true => "no releases\n".to_owned(),
        false => table(out, &["RELEASE", "VERSION", "", "DIGEST", "COMMAND"], &rows),
    }
}

fn show(out: Out, release: &Release) -> String {
    let mut rows = vec![
        ("release", format!("{} of {}", release.number, release.service)),
        ("version", release.version.to_string()),
        ("digest", release.digest.clone()),
        ("folder", release.folder.clone()),
        ("command", format!("{:?}", release.spec.run.command)),
    ];
    for (name, value) in &release.spec.run.env {
        rows.push(("env", format!("{name}={value}")));
    }
    if let Some(kept) = &release.artifact {
        rows.push(("artifact", format!("{} ({})", kept.digest, words::size(kept.size))));
    }
    if let Some(digest) = &release.env_file_digest {
        rows.push(("env file", format!("{digest} (its values are not shown)")));
    }
    for probe in &release.spec.health {
        let name = if probe.label() == probe.check.kind() { "" } else { probe.label() };
        rows.push(("probe", format!("{} {name} every {}", probe.check.kind(), probe.interval)));
    }
    if let Some(traffic) = &release.spec.traffic {
        rows.push(("listens on", traffic.listen.join(", ")));
    }
    let mut text = String::new();
    for (name, value) in rows {
        let name = out.paint(Tone::Faint, &format!("{name:<12}"));
        text.push_str(&format!("{name}{}\n", one_line(&value)));
    }
    text
}
