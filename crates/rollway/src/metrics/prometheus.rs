//! `source: {prometheus: {address, total, bad}}`: counters of both releases by instant queries, all
//! of them for the same moment.
//!
//! ```yaml
//! source:
//!   prometheus:
//!     address: http://127.0.0.1:9090
//!     total: 'http_requests_total{release="{{release}}"}'
//!     bad: 'http_requests_total{release="{{release}}", code=~"5.."} or vector(0)'
//! ```
//! A series that its server has not seen for a while is not in the answer, or is what it was: in
//! neither case anything is counted, and without requests there is no verdict.

use std::collections::BTreeMap;

use http::Method;
use rollway_core::spec;
use rollway_core::verdict::eprocess::Pair;
use serde::Deserialize;
use serde_json::Value;

use super::answer::{checked, json, now_seconds, shown, whole};
use super::client::{Asked, encoded, headers};
use super::memory::{Memory, Series};
use super::{Arm, Found, Question};

/// More series of one query are not added up.
const SERIES_MAX: usize = 10_000;

/// What is read of an answer.
#[derive(Debug, Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "snake_case")]
enum Data {
    Vector(Vec<Element>),
    Scalar((f64, String)),
    Matrix(Value),
    String(Value),
}

#[derive(Debug, Deserialize)]
struct Element {
    metric: BTreeMap<String, String>,
    /// A moment, and the value; absent where it is a native histogram.
    value: Option<(f64, String)>,
}

/// Asks for the counters of both releases.
pub async fn ask(source: &spec::Prometheus, question: &Question, memory: &Memory) -> Found {
    let at = now_seconds();
    let asked = |arm, what, query| one(source, question, (arm, what, query), at);
    let Pair { canary, baseline } = &question.arms;
    let read = tokio::try_join!(
        asked(canary, "total", &source.total),
        asked(canary, "bad", &source.bad),
        asked(baseline, "total", &source.total),
        asked(baseline, "bad", &source.bad),
    );
    let (canary_total, canary_bad, baseline_total, baseline_bad) = read?;
    let risen = |of, series| memory.risen(question.deployment, (question.watch, of), series);
    let canary = checked(risen("canary total", &canary_total), risen("canary bad", &canary_bad))?;
    let total = risen("baseline total", &baseline_total);
    let baseline = checked(total, risen("baseline bad", &baseline_bad))?;
    Ok(Pair { canary, baseline })
}

async fn one(
    source: &spec::Prometheus,
    question: &Question,
    (arm, what, query): (&Arm, &str, &str),
    at: f64,
) -> Result<Series, String> {
    let told = |why: String| format!("`{what}` of {}: {why}", arm.release);
    let query = arm.fill(query, &question.service, str::to_owned).map_err(told)?;
    let asked = Asked {
        url: format!("{}/api/v1/query", source.address.trim_end_matches('/')),
        method: Method::POST,
        headers: headers(&NO_HEADERS, "application/x-www-form-urlencoded"),
        body: format!("query={}&time={at:.3}", encoded(&query)),
        access: &source.access,
    };
    let (status, body) = asked.send().await.map_err(told)?;
    // What Prometheus refuses is told in JSON, with a status of its own.
    match serde_json::from_slice::<Answer>(&body) {
        Ok(answer) if answer.status == "error" => {
            Err(told(format!("Prometheus refuses it: {}", answer.error)))
        }
        _ if !status.is_success() => {
            Err(told(format!("status {}, expected 200: {}", status.as_u16(), shown(&body))))
        }
        Ok(answer) => series(answer).map_err(told),
        Err(why) => {
            json(&body).map_err(told)?;
            Err(told(format!("the answer is not Prometheus': {why}: {}", shown(&body))))
        }
    }
}

static NO_HEADERS: BTreeMap<String, String> = BTreeMap::new();

fn series(answer: Answer) -> Result<Series, String> {
    let count = |value: &str| {
        let number = value.parse::<f64>().map_err(|_| format!("{value:?} is not a number"))?;
        whole("it", number)
    };
    match answer.data {
        None => Err("the answer has no data".to_owned()),
        Some(Data::Scalar((_, value))) => Ok([(String::new(), count(&value)?)].into()),
        Some(Data::Vector(found)) if found.is_empty() => {
            Err("nothing was found; where that is none, add `or vector(0)`".to_owned())
        }
        Some(Data::Vector(found)) if found.len() > SERIES_MAX => {
            let many = found.len();
            Err(format!("{many} series were found, at most {SERIES_MAX} are added up: use `sum`"))
        }
        Some(Data::Vector(found)) => {
            let read = found.into_iter().map(|element| {
                let (_, value) = element.value.ok_or("it is a histogram, not a counter")?;
                let labels = element.metric.iter().map(|(name, value)| format!("{name}={value:?}"));
                Ok((labels.collect::<Vec<_>>().join(","), count(&value)?))
            });
            read.collect()
        }
        Some(Data::Matrix(found) | Data::String(found)) => {
            let found = shown(found.to_string().as_bytes());
            Err(format!("a range or a text was found, expected an instant vector: {found}"))
        }
    }
}
