//! `rollway ps`: the instances.

use rollway_core::ids::ServiceName;
use rollway_core::view::InstanceView;

use super::out::{Out, Tone};
use super::table::{Cell, table};
use super::words;
use super::wrong::Wrong;
use super::{Context, place, spec_file};

/// `rollway ps`; without a service, and with no spec here, those of all services.
pub async fn ps(ctx: &Context, given: Option<String>) -> Result<(), Wrong> {
    let here = spec_file::service_here(std::path::Path::new("."));
    let services = match (given, here) {
        (None, None) => {
            let all = ctx.client().services().await?;
            all.iter().filter_map(|view| ServiceName::parse(&view.service).ok()).collect()
        }
        (given, _) => vec![place::service(ctx, given).await?],
    };
    let mut rows = Vec::new();
    for service in &services {
        for view in ctx.client().instances(service).await? {
            rows.push((service.to_string(), view));
        }
    }
    if ctx.out.json {
        return ctx.out.value(&rows.iter().map(|(_, view)| view).collect::<Vec<_>>());
    }
    ctx.out.data(&text(ctx.out, &rows))
}

/// The instances as a table.
#[must_use]
pub fn text(out: Out, views: &[(String, InstanceView)]) -> String {
    if views.is_empty() {
        return "no instances\n".to_owned();
    }
    let headings = [
        "SERVICE", "INSTANCE", "VERSION", "ADDRESS", "LIFE", "HEALTH", "TRAFFIC", "RESTARTS",
        "AGE", "PROCESS", "REASON",
    ];
    let rows: Vec<Vec<Cell>> = views.iter().map(|(service, view)| row(service, view)).collect();
    table(out, &headings, &rows)
}

fn row(service: &str, view: &InstanceView) -> Vec<Cell> {
    let health = match view.health.as_str() {
        "healthy" => Tone::Good,
        "unhealthy" => Tone::Bad,
        _ => Tone::Warn,
    };
    let process = view.incarnation.split(':').next().unwrap_or_default();
    vec![
        Cell::from(service),
        Cell::toned(view.instance.clone(), Tone::Strong),
        Cell::from(view.release.version.clone()),
        Cell::from(view.address.clone().unwrap_or_else(|| "-".to_owned())),
        Cell::from(view.life.clone()),
        Cell::toned(view.health.clone(), health),
        Cell::from(if view.routed { "yes" } else { "no" }),
        Cell::from(view.restarts.to_string()),
        Cell::from(words::duration(view.age_ms)),
        Cell::from(process),
        Cell::from(view.reason.clone().unwrap_or_default()),
    ]
}
