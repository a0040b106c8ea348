//! The paths of the interface.

use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use rollway_core::ids::{ReleaseNumber, ServiceName};
use rollway_core::problem::{Problem, unknown};
use rollway_core::view::{DeployArgs, VerbArgs};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::Refused;
use super::{Peer, Served};
use crate::engine::{HistoryReport, Refusal, Verb};

pub(super) type Answer<T> = Result<Json<T>, Refused>;

pub(super) fn router(served: Served) -> Router {
    Router::new()
        .route("/v1/health", get(health))
        .route("/v1/plan", post(plan))
        .route("/v1/deployments", post(deploy))
        .route("/v1/services", get(services))
        .route("/v1/services/{service}", get(service))
        .route("/v1/services/{service}/instances", get(instances))
        .route("/v1/services/{service}/events", get(events))
        .route("/v1/services/{service}/deployments", get(deployments))
        .route("/v1/services/{service}/deployments/{number}", get(deployment))
        .route("/v1/services/{service}/deployments/{number}/analysis", get(analysis))
        .route("/v1/services/{service}/releases", get(releases))
        .route("/v1/services/{service}/releases/{number}", get(release))
        .route("/v1/services/{service}/{verb}", post(verb))
        .route("/v1/history/verify", get(verify))
        .route("/v1/history/export", get(export))
        .route("/v1/shutdown", post(shutdown))
        .merge(super::gitops::router())
        .with_state(served)
}

fn named(service: &str) -> Result<ServiceName, Refused> {
    ServiceName::parse(service).map_err(|what| Refused(Problem::new("service", what).into()))
}

async fn health(State(served): State<Served>) -> Json<serde_json::Value> {
    let proxy = served.engine.proxy_health().await;
    let alarms = proxy.as_ref().and_then(|proxy| proxy.get("alarms").cloned());
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "state_dir": served.engine.state_dir(),
        "epoch": served.engine.epoch(),
        "uptime_ms": u64::try_from(served.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        "rss_bytes": resident_bytes(),
        "proxy": {
            "running": proxy.is_some(),
            "pid": proxy.as_ref().and_then(|proxy| proxy.get("pid").cloned()),
            "alarms": alarms.unwrap_or_else(|| json!([])),
        },
    }))
}

fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

async fn plan(
    State(served): State<Served>,
    Json(args): Json<DeployArgs>,
) -> Answer<rollway_core::view::PlanView> {
    Ok(Json(served.engine.plan(args).await?))
}

async fn deploy(
    State(served): State<Served>,
    Extension(peer): Extension<Peer>,
    Json(mut args): Json<DeployArgs>,
) -> Result<Response, Refused> {
    args.actor = peer.actor(&args.actor);
    let view = served.engine.deploy(args).await?;
    Ok((StatusCode::ACCEPTED, Json(view)).into_response())
}

async fn services(State(served): State<Served>) -> Answer<Vec<rollway_core::view::ServiceView>> {
    Ok(Json(served.engine.views().await?))
}

async fn service(
    State(served): State<Served>,
    Path(service): Path<String>,
) -> Answer<rollway_core::view::ServiceView> {
    Ok(Json(served.engine.view(&named(&service)?).await?))
}

async fn instances(
    State(served): State<Served>,
    Path(service): Path<String>,
) -> Answer<Vec<rollway_core::view::InstanceView>> {
    Ok(Json(served.engine.instances(&named(&service)?).await?))
}

/// Where to begin, how many, how long to wait for the first.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Page {
    after: u64,
    limit: u32,
    wait_ms: u64,
}

impl Default for Page {
    fn default() -> Self {
        Self { after: 0, limit: 1000, wait_ms: 0 }
    }
}

async fn events(
    State(served): State<Served>,
    Path(service): Path<String>,
    Query(page): Query<Page>,
) -> Answer<serde_json::Value> {
    let wait = Duration::from_millis(page.wait_ms);
    let service = named(&service)?;
    let (events, last) = served.engine.events(&service, page.after, page.limit, wait).await?;
    Ok(Json(json!({ "events": events, "last_seq": last })))
}

async fn deployments(
    State(served): State<Served>,
    Path(service): Path<String>,
    Query(page): Query<Page>,
) -> Answer<Vec<rollway_core::view::DeploymentView>> {
    Ok(Json(served.engine.deployments(&named(&service)?, page.limit).await?))
}

async fn deployment(
    State(served): State<Served>,
    Path((service, number)): Path<(String, u64)>,
    Query(page): Query<Page>,
) -> Answer<rollway_core::view::DeploymentView> {
    let wait = Duration::from_millis(page.wait_ms);
    Ok(Json(served.engine.deployment(&named(&service)?, number, wait).await?))
}

async fn analysis(
    State(served): State<Served>,
    Path((service, number)): Path<(String, u64)>,
) -> Answer<rollway_core::explain::Explanation> {
    Ok(Json(served.engine.explain(&named(&service)?, number).await?))
}

async fn releases(
    State(served): State<Served>,
    Path(service): Path<String>,
) -> Answer<Vec<rollway_core::release::Release>> {
    Ok(Json(served.engine.releases(&named(&service)?).await?))
}

async fn release(
    State(served): State<Served>,
    Path((service, number)): Path<(String, u64)>,
) -> Answer<rollway_core::release::Release> {
    let number = ReleaseNumber(number);
    Ok(Json(served.engine.release(&named(&service)?, number).await?))
}

async fn verb(
    State(served): State<Served>,
    Extension(peer): Extension<Peer>,
    Path((service, name)): Path<(String, String)>,
    Json(mut args): Json<VerbArgs>,
) -> Answer<rollway_core::view::VerbAnswer> {
    args.actor = peer.actor(&args.actor);
    let Some((_, verb)) = Verb::ALL.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = Verb::ALL.iter().map(|(name, _)| *name).collect();
        let problem = Problem::new("verb", unknown("verb", &name, &known));
        return Err(Refused(Refusal::from(problem)));
    };
    Ok(Json(served.engine.verb(&named(&service)?, *verb, args).await?))
}

#[derive(Debug, Serialize)]
struct Verified {
    ok: bool,
    #[serde(flatten)]
    report: HistoryReport,
}

async fn verify(State(served): State<Served>) -> Answer<Verified> {
    let report = served.engine.store().verify().await?;
    Ok(Json(Verified { ok: report.is_whole(), report }))
}

#[derive(Debug, Deserialize)]
struct Of {
    service: String,
}

async fn export(State(served): State<Served>, Query(of): Query<Of>) -> Result<Response, Refused> {
    let mut lines = Vec::new();
    served.engine.store().export(&named(&of.service)?, &mut lines).await?;
    Ok(([("content-type", "application/x-ndjson")], lines).into_response())
}

async fn shutdown(State(served): State<Served>) -> Json<serde_json::Value> {
    served.stop.send_replace(true);
    Json(json!({ "stopping": true }))
}
