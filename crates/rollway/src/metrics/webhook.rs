//! `source: {webhook: {url}}`: a service of the user's is asked about both releases at once.
//!
//! ```text
//! POST {"service": "shop", "canary": {"release": 2, "version": "v2", ...}, "baseline": {...}}
//! 200  {"canary": {"total": 480, "bad": 1}, "baseline": {"total": 9120, "bad": 12}}
//! ```

use http::Method;
use rollway_core::analysis::Counters;
use rollway_core::spec::Webhook;
use rollway_core::verdict::eprocess::Pair;
use serde_json::json;

use super::answer::{self, Pointers, counters};
use super::client::{Asked, headers};
use super::{Arm, Found, Question};

/// Where the numbers of the new release are.
const CANARY: Pointers<'_> =
    Pointers { total: "/canary/total", bad: "/canary/bad", value: "/canary/value" };
/// Where those of the old one are.
const BASELINE: Pointers<'_> =
    Pointers { total: "/baseline/total", bad: "/baseline/bad", value: "/baseline/value" };

/// Asks about both releases.
pub async fn ask(source: &Webhook, question: &Question) -> Found {
    let about = |arm: &Arm| {
        let (release, instance) = (arm.release.0, arm.instances());
        json!({"release": release, "version": arm.version, "instance": instance})
    };
    let body = json!({
        "service": question.service.as_str(),
        "deployment": question.deployment,
        "canary": about(&question.arms.canary),
        "baseline": about(&question.arms.baseline),
    });
    let asked = Asked {
        url: source.url.clone(),
        method: Method::POST,
        headers: headers(&source.headers, "application/json"),
        body: body.to_string(),
        access: &source.access,
    };
    let told = answer::json(&asked.body().await?)?;
    let baseline = match question.wants.baseline {
        true => counters(&told, &BASELINE, question.wants)?,
        false => Counters::default(),
    };
    Ok(Pair { canary: counters(&told, &CANARY, question.wants)?, baseline })
}
