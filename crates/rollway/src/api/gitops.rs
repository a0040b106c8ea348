//! The paths of sources: what is followed, how it stands, and what operators may do to it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use rollway_core::gitops::config::SourceConfig;
use rollway_core::gitops::name::SourceName;
use rollway_core::gitops::state::{GitopsArgs, SourceView};
use rollway_core::problem::Problem;
use serde::{Deserialize, Serialize};

use super::answer::Refused;
use super::routes::Answer;
use super::{Peer, Served};
use crate::gitops::{Diff, Tested};

pub(super) fn router() -> Router<Served> {
    Router::new()
        .route("/v1/gitops", get(list).post(add))
        .route("/v1/gitops/{source}", get(show))
        .route("/v1/gitops/{source}/diff", get(diff))
        .route("/v1/gitops/{source}/render", get(render))
        .route("/v1/gitops/{source}/test", post(test))
        .route("/v1/gitops/{source}/checkout", post(checkout))
        .route("/v1/gitops/{source}/remove", post(remove))
        .route("/v1/gitops/{source}/{verb}", post(verb))
}

fn named(source: &str) -> Result<SourceName, Refused> {
    SourceName::parse(source).map_err(|what| Refused(Problem::new("source", what).into()))
}

async fn list(State(served): State<Served>) -> Answer<Vec<SourceView>> {
    Ok(Json(served.gitops.list().await?))
}

async fn add(
    State(served): State<Served>,
    Extension(peer): Extension<Peer>,
    Json(config): Json<SourceConfig>,
) -> Answer<SourceView> {
    Ok(Json(served.gitops.add(config, &peer.actor("")).await?))
}

async fn show(State(served): State<Served>, Path(source): Path<String>) -> Answer<SourceView> {
    Ok(Json(served.gitops.show(&named(&source)?).await?))
}

async fn diff(State(served): State<Served>, Path(source): Path<String>) -> Answer<Vec<Diff>> {
    Ok(Json(served.gitops.diff(&named(&source)?).await?))
}

async fn render(
    State(served): State<Served>,
    Path(source): Path<String>,
) -> Answer<BTreeMap<String, serde_json::Value>> {
    Ok(Json(served.gitops.render(&named(&source)?).await?))
}

async fn test(State(served): State<Served>, Path(source): Path<String>) -> Answer<Tested> {
    let config = served.gitops.config(&named(&source)?).await?;
    Ok(Json(served.gitops.test(&config).await?))
}

/// Where to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct To {
    folder: PathBuf,
}

/// What was written there.
#[derive(Debug, Serialize)]
struct CheckedOut {
    revision: String,
    folder: PathBuf,
}

async fn checkout(
    State(served): State<Served>,
    Path(source): Path<String>,
    Json(to): Json<To>,
) -> Answer<CheckedOut> {
    let revision = served.gitops.checkout(&named(&source)?, &to.folder).await?;
    Ok(Json(CheckedOut { revision, folder: to.folder }))
}

async fn remove(
    State(served): State<Served>,
    Extension(peer): Extension<Peer>,
    Path(source): Path<String>,
) -> Answer<serde_json::Value> {
    served.gitops.remove(&named(&source)?, &peer.actor("")).await?;
    Ok(Json(serde_json::json!({ "removed": source })))
}

async fn verb(
    State(served): State<Served>,
    Extension(peer): Extension<Peer>,
    Path((source, verb)): Path<(String, String)>,
    Json(mut args): Json<GitopsArgs>,
) -> Answer<SourceView> {
    args.actor = peer.actor(&args.actor);
    Ok(Json(served.gitops.verb(&named(&source)?, &verb, args).await?))
}
