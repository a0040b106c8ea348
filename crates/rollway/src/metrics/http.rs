//! `source: {http: {url}}`: a JSON document of each release, with its counters.
//!
//! ```yaml
//! source:
//!   http: {url: "http://127.0.0.1:9000/stats?release={{release}}", total: /requests, bad: /failed}
//! ```

use http::Method;
use rollway_core::analysis::Counters;
use rollway_core::spec::HttpSource;

use super::answer::{Pointers, counters, json};
use super::client::{Asked, encoded, headers};
use super::{Arm, Found, Question, of_both};

/// Asks for the documents of both releases.
pub async fn ask(source: &HttpSource, question: &Question) -> Found {
    of_both(question, |arm| one(source, question, arm)).await
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
    let value = source.value.as_deref().unwrap_or("/value");
    let at = Pointers { total: &source.total, bad: &source.bad, value };
    counters(&json(&body).map_err(told)?, &at, question.wants).map_err(told)
}
