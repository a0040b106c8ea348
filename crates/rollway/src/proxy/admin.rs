//! The administration: HTTP and JSON on a socket in the state directory, for its owner alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Json;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use rollway_core::problem::Problem;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Proxy;
use super::control::{Outcome, Refused};
use super::drain::{self, Drain};
use super::endpoint::{Endpoint, Kind};
use super::report;
use super::service::Service;
use super::table::ServiceTable;

/// What came of a change, as it is answered.
#[derive(Debug, Serialize)]
struct Applied {
    outcome: Outcome,
    generation: u64,
    revision: u64,
}

/// A service as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    table: ServiceTable,
    held: u64,
    members: Vec<ShownMember>,
}

#[derive(Debug, Serialize)]
struct ShownMember {
    instance: String,
    release: u64,
    address: std::net::SocketAddr,
    requests: u64,
    streams: u64,
    ejected: bool,
    verified: bool,
    /// In no table any more, but something is still in flight.
    leaving: bool,
}

#[derive(Debug, Deserialize)]
struct Deletion {
    generation: u64,
}

#[derive(Debug, Deserialize)]
struct Upgrade {
    program: std::path::PathBuf,
}

/// All that can be asked.
pub fn router(proxy: Arc<Proxy>) -> Router {
    Router::new()
        .route("/v1/health", get(health))
        .route("/v1/metrics", get(metrics))
        .route("/metrics", get(prometheus))
        .route("/v1/services", get(list))
        .route("/v1/services/{name}", put(apply).get(show).delete(remove))
        .route("/v1/services/{name}/drain", post(drain_members))
        .route("/v1/upgrade", post(upgrade))
        .route("/v1/shutdown", post(shutdown))
        .with_state(proxy)
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, body) = match self {
            Self::Problems(problems) => (StatusCode::BAD_REQUEST, json!({"problems": problems})),
            Self::Stale(generation, revision) => {
                let seen = json!({"generation": generation, "revision": revision});
                (StatusCode::CONFLICT, json!({"outcome": "stale", "seen": seen}))
            }
            Self::Unusable(failure) => {
                (StatusCode::UNPROCESSABLE_ENTITY, json!({"error": failure.chain()}))
            }
            Self::NotSaved(failure) => {
                (StatusCode::INTERNAL_SERVER_ERROR, json!({"error": failure.chain()}))
            }
            Self::Missing => (StatusCode::NOT_FOUND, json!({"error": "no such service"})),
            Self::Leaving => {
                let what = "another process takes over, ask again";
                (StatusCode::SERVICE_UNAVAILABLE, json!({"error": what}))
            }
        };
        (status, Json(body)).into_response()
    }
}

async fn apply(
    State(proxy): State<Arc<Proxy>>,
    Path(name): Path<String>,
    body: axum::body::Bytes,
) -> Result<Json<Applied>, Refused> {
    let problem = |path: &str, what: String| Refused::Problems(vec![Problem::new(path, what)]);
    let table: ServiceTable =
        serde_json::from_slice(&body).map_err(|error| problem("", error.to_string()))?;
    if table.service != name {
        let what = format!("the table is for {:?}, the address for {name:?}", table.service);
        return Err(problem("service", what));
    }
    let (generation, revision) = (table.generation, table.revision);
    let outcome = proxy.control.apply(table).await?;
    Ok(Json(Applied { outcome, generation, revision }))
}

async fn remove(
    State(proxy): State<Arc<Proxy>>,
    Path(name): Path<String>,
    Query(Deletion { generation }): Query<Deletion>,
) -> Result<Json<Applied>, Refused> {
    let outcome = proxy.control.remove(&name, generation).await?;
    Ok(Json(Applied { outcome, generation, revision: 0 }))
}

fn shown(service: &Service) -> Shown {
    let member = |endpoint: &Arc<Endpoint>| ShownMember {
        instance: endpoint.instance.clone(),
        release: endpoint.release,
        address: endpoint.address,
        requests: endpoint.in_flight(Kind::Request),
        streams: endpoint.in_flight(Kind::Stream),
        ejected: endpoint.ejected.load(Relaxed),
        verified: endpoint.verified.load(Relaxed),
        leaving: endpoint.retired.load(Relaxed),
    };
    let table = service.live.load().table.clone();
    let busy = |one: &ShownMember| !one.leaving || one.requests + one.streams > 0;
    let members = service.endpoints().iter().map(member).filter(busy).collect();
    Shown { table, held: service.held.load(Relaxed), members }
}

async fn list(State(proxy): State<Arc<Proxy>>) -> Json<BTreeMap<String, Shown>> {
    let services = proxy.control.services();
    let present = services.iter().filter(|service| !service.live.load().gone);
    Json(present.map(|service| (service.name.clone(), shown(service))).collect())
}

async fn show(
    State(proxy): State<Arc<Proxy>>,
    Path(name): Path<String>,
) -> Result<Json<Shown>, Refused> {
    let service = proxy.control.service(&name).filter(|service| !service.live.load().gone);
    service.map(|service| Json(shown(&service))).ok_or(Refused::Missing)
}

async fn drain_members(
    State(proxy): State<Arc<Proxy>>,
    Path(name): Path<String>,
    Json(wanted): Json<Drain>,
) -> Response {
    let Some(service) = proxy.control.service(&name) else {
        return Refused::Missing.into_response();
    };
    match drain::drain(&service, &wanted, &proxy.predecessor).await {
        Ok(drained) => Json(json!({"instances": drained})).into_response(),
        Err(serving) => {
            let error = format!("{serving} is still in the table: it would get new requests");
            (StatusCode::CONFLICT, Json(json!({"error": error}))).into_response()
        }
    }
}

/// The service that is asked about; absent = all.
#[derive(Debug, Deserialize)]
struct About {
    service: Option<String>,
}

async fn metrics(
    State(proxy): State<Arc<Proxy>>,
    Query(about): Query<About>,
) -> Json<report::Report> {
    Json(match about.service {
        Some(service) => report::report_of(&proxy.control, &service),
        None => report::report(&proxy.control),
    })
}

async fn prometheus(State(proxy): State<Arc<Proxy>>) -> Response {
    let text = report::prometheus(&report::report(&proxy.control));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

async fn health(State(proxy): State<Arc<Proxy>>) -> Json<report::Health> {
    Json(report::health(&proxy.control, proxy.predecessor.is_there()))
}

async fn upgrade(State(proxy): State<Arc<Proxy>>, Json(wanted): Json<Upgrade>) -> Response {
    match proxy.hand_over(&wanted.program).await {
        Ok(pid) => Json(json!({"outcome": "handed_over", "pid": pid})).into_response(),
        Err(failure) => {
            let body = json!({"error": failure.chain()});
            (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
        }
    }
}

async fn shutdown(State(proxy): State<Arc<Proxy>>) -> Json<serde_json::Value> {
    proxy.end.cancel();
    Json(json!({"outcome": "ending"}))
}
