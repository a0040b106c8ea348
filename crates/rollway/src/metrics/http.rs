//! `source: {http: {url}}`: a JSON document of each release, with its counters.
//!
//! ```yaml
//! source:
//!   http: {url: "http://127.0.0.1:9000/stats?release={{release}}", total: /requests, bad: /failed}
//! ```

use http::Method;
use rollway_core::analysis::Counters;
use rollway_core::spec::HttpSource;
use rollway_core::verdict::eprocess::Pair;

use super::answer::{counters, json};
use super::client::{Asked, encoded, headers};
use super::{Arm, Found, Question};

/// Asks for the documents of both releases.
pub async fn ask(source: &HttpSource, question: &Question) -> Found {
    let Pair { canary, baseline } = &question.arms;
    let (canary, baseline) =
        tokio::try_join!(one(source, question, canary), one(source, question, baseline))?;
    Ok(Pair { canary, baseline })
}

async fn one(source: &HttpSource, question: &Question, arm: &Arm) -> Result<Counters, String> {
    let told = |why: String| format!("the document of {}: {why}", arm.release);
    let url = arm.fill(&source.url, &question.service, encoded).map_err(told)?;
    let asked = Asked {
        url,
        method: Method::GET,
        headers: headers(&source.headers, "application/json"),
        body: String::new(),
        access: &source.access,
    };
    let body = asked.body().await.map_err(told)?;
    counters(&json(&body).map_err(told)?, &source.total, &source.bad).map_err(told)
}
