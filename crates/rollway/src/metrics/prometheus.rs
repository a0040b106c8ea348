//! `source: {prometheus: {address, total, bad, latency}}`: counters of both releases by instant
//! queries, all of them for the same moment.
//!
//! ```yaml
//! source:
//!   prometheus:
//!     address: http://127.0.0.1:9090
//!     total: 'http_requests_total{release="{{release}}"}'
//!     bad: 'http_requests_total{release="{{release}}", code=~"5.."} or vector(0)'
//!     latency: 'http_request_duration_seconds_bucket{release="{{release}}"}'
//! ```
//! A series that its server has not seen for a while is not in the answer, or is what it was: in
//! neither case anything is counted, and without requests there is no verdict.

use std::collections::BTreeMap;

use http::Method;
use rollway_core::analysis::Counters;
use rollway_core::spec;
use rollway_core::verdict::eprocess::Pair;
use rollway_core::verdict::histogram::Histogram;
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

/// Asks for what the judge looks at, of both releases.
pub async fn ask(source: &spec::Prometheus, question: &Question, memory: &Memory) -> Found {
    let asking = Asking { source, question, memory, at: now_seconds() };
    let canary = asking.release(&question.arms.canary, &CANARY);
    if !question.wants.baseline {
        return Ok(Pair { canary: canary.await?.counters, baseline: Counters::default() });
    }
    let baseline = asking.release(&question.arms.baseline, &BASELINE);
    let (canary, baseline) = tokio::try_join!(canary, baseline)?;
    let (ours, theirs) = (&canary.edges, &baseline.edges);
    if ours != theirs {
        let (ours, theirs) = (ours.join(", "), theirs.join(", "));
        return Err(format!(
            "the histograms of `latency` have other buckets: le {ours} of {}, and {theirs} of {}",
            question.arms.canary.release, question.arms.baseline.release
        ));
    }
    Ok(Pair { canary: canary.counters, baseline: baseline.counters })
}

/// What the counters of a release are remembered as.
struct Kept {
    total: &'static str,
    bad: &'static str,
    latency: &'static str,
}

const CANARY: Kept = Kept { total: "canary total", bad: "canary bad", latency: "canary latency" };
const BASELINE: Kept =
    Kept { total: "baseline total", bad: "baseline bad", latency: "baseline latency" };

/// What was found of a release.
struct Release {
    counters: Counters,
    /// The upper edges of its latencies' buckets, as Prometheus has them.
    edges: Vec<String>,
}

/// One check.
struct Asking<'a> {
    source: &'a spec::Prometheus,
    question: &'a Question,
    memory: &'a Memory,
    at: f64,
}

impl Asking<'_> {
    async fn release(&self, arm: &Arm, kept: &Kept) -> Result<Release, String> {
        let (source, wants) = (self.source, self.question.wants);
        let query =
            |is_wanted: bool, query: &Option<String>| is_wanted.then(|| query.clone()).flatten();
        let (total, bad, latency, value) = tokio::try_join!(
            self.one(arm, "total", query(wants.counts, &source.total)),
            self.one(arm, "bad", query(wants.counts, &source.bad)),
            self.one(arm, "latency", query(wants.latency, &source.latency)),
            self.one(arm, "value", query(wants.value, &source.value)),
        )?;
        let told = |what: &str, why: String| format!("`{what}` of {}: {why}", arm.release);
        let sum = |what: &str, of, found: Option<Data>| {
            let Some(found) = found else { return Ok::<u64, String>(0) };
            let series = series(found).map_err(|why| told(what, why))?;
            Ok(self.risen(of, &series).into_values().fold(0u64, u64::saturating_add))
        };
        let total = sum("total", kept.total, total)?;
        let mut counters = checked(total, sum("bad", kept.bad, bad)?)?;
        if let Some(found) = value {
            let number = number(found).map_err(|why| told("value", why))?;
            counters.value = Some(number).filter(|number| number.is_finite());
        }
        let mut edges = Vec::new();
        if let Some(found) = latency {
            let series = buckets(found).map_err(|why| told("latency", why))?;
            let risen = self.risen(kept.latency, &series);
            (counters.latency, edges) = histogram(risen).map_err(|why| told("latency", why))?;
        }
        Ok(Release { counters, edges })
    }

    fn risen(&self, of: &'static str, series: &Series) -> BTreeMap<String, u64> {
        self.memory.risen(self.question.deployment, (self.question.watch, of), series)
    }

    /// The answer to a query; nothing where none is asked.
    async fn one(
        &self,
        arm: &Arm,
        what: &str,
        query: Option<String>,
    ) -> Result<Option<Data>, String> {
        let Some(query) = query else { return Ok(None) };
        let told = |why: String| format!("`{what}` of {}: {why}", arm.release);
        let query = arm.fill(&query, &self.question.service, str::to_owned).map_err(told)?;
        let server = Server { address: &self.source.address, access: &self.source.access };
        let body = format!("query={}&time={:.3}", encoded(&query), self.at);
        server.ask("query", body).await.map(Some).map_err(told)
    }
}

/// A server, and how it is reached.
struct Server<'a> {
    /// `http://127.0.0.1:9090`.
    address: &'a str,
    /// Who asks.
    access: &'a spec::Access,
}

impl Server<'_> {
    /// Posts a question to a path below `/api/v1`.
    async fn ask(&self, path: &str, body: String) -> Result<Data, String> {
        let asked = Asked {
            url: format!("{}/api/v1/{path}", self.address.trim_end_matches('/')),
            method: Method::POST,
            headers: headers(&NO_HEADERS, "application/x-www-form-urlencoded"),
            body,
            access: self.access,
        };
        let (status, body) = asked.send().await?;
        // What Prometheus refuses is told in JSON, with a status of its own.
        match serde_json::from_slice::<Answer>(&body) {
            Ok(answer) if answer.status == "error" => {
                Err(format!("Prometheus refuses it: {}", answer.error))
            }
            _ if !status.is_success() => {
                Err(format!("status {}, expected 200: {}", status.as_u16(), shown(&body)))
            }
            Ok(answer) => answer.data.ok_or_else(|| "the answer has no data".to_owned()),
            Err(why) => {
                json(&body)?;
                Err(format!("the answer is not Prometheus': {why}: {}", shown(&body)))
            }
        }
    }
}

static NO_HEADERS: BTreeMap<String, String> = BTreeMap::new();

/// The elements of an instant vector.
fn vector(data: Data) -> Result<Vec<Element>, String> {
    match data {
        Data::Scalar(sample) => Ok(vec![Element { metric: BTreeMap::new(), value: Some(sample) }]),
        Data::Vector(found) if found.is_empty() => {
            Err("nothing was found; where that is none, add `or vector(0)`".to_owned())
        }
        Data::Vector(found) if found.len() > SERIES_MAX => {
            let many = found.len();
            Err(format!("{many} series were found, at most {SERIES_MAX} are added up: use `sum`"))
        }
        Data::Vector(found) => Ok(found),
        Data::Matrix(found) | Data::String(found) => {
            let found = shown(found.to_string().as_bytes());
            Err(format!("a range or a text was found, expected an instant vector: {found}"))
        }
    }
}

fn parsed(value: &str) -> Result<f64, String> {
    value.parse::<f64>().map_err(|_| format!("{value:?} is not a number"))
}

/// Labels in one text, as a name.
fn labels(of: &BTreeMap<String, String>) -> String {
    let labels = of.iter().map(|(name, value)| format!("{name}={value:?}"));
    labels.collect::<Vec<_>>().join(",")
}

/// Counters, each of which may begin anew by itself.
fn series(data: Data) -> Result<Series, String> {
    let mut series = Series::new();
    for element in vector(data)? {
        let (_, value) = element.value.ok_or("it is a histogram, not a counter")?;
        let value = whole("it", parsed(&value)?)?;
        series.entry(labels(&element.metric)).or_default().insert(String::new(), value);
    }
    Ok(series)
}

/// The buckets of classic histograms: a process' labels but `le`, and those edges.
fn buckets(data: Data) -> Result<Series, String> {
    let mut series = Series::new();
    for mut element in vector(data)? {
        let (_, value) = element.value.ok_or("it is a native histogram, not a classic one")?;
        let edge = edge(&mut element.metric)?;
        let value = whole("a bucket", parsed(&value)?)?;
        series.entry(labels(&element.metric)).or_default().insert(edge, value);
    }
    Ok(series)
}

/// Takes `le` from labels; the same edge is the same text.
fn edge(labels: &mut BTreeMap<String, String>) -> Result<String, String> {
    let Some(edge) = labels.remove("le") else {
        let hint = "ask for the series that end in `_bucket`, or `sum by (le) (...)` of them";
        return Err(format!("there is no label `le`: {hint}"));
    };
    parsed(&edge).map(|edge| edge.to_string())
}

/// A histogram of the counts up to each edge, and its edges from the lowest on.
fn histogram(risen: BTreeMap<String, u64>) -> Result<(Histogram, Vec<String>), String> {
    let mut up_to: Vec<(f64, u64)> = Vec::new();
    for (edge, count) in risen {
        up_to.push((parsed(&edge)?, count));
    }
    up_to.sort_by(|one, other| one.0.total_cmp(&other.0));
    let edges = up_to.iter().map(|(edge, _)| edge.to_string()).collect();
    Ok((Histogram::from_cumulative(&up_to)?, edges))
}

/// One number, which is no counter.
fn number(data: Data) -> Result<f64, String> {
    match vector(data)?.as_slice() {
        [Element { value: Some((_, value)), .. }] => parsed(value),
        [_] => Err("it is a histogram, not a number".to_owned()),
        many => Err(format!("{} series were found, expected one: use `sum` or `avg`", many.len())),
    }
}
