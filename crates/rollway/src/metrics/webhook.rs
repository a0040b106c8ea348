//! `source: {webhook: {url}}`: a service of the user's is asked about both releases at once.
//!
//! ```text
//! POST {"service": "shop", "canary": {"release": 2, "version": "v2", ...}, "baseline": {...}}
//! 200  {"canary": {"total": 480, "bad": 1}, "baseline": {"total": 9120, "bad": 12}}
//! ```

use http::Method;
use rollway_core::spec::Webhook;
use rollway_core::verdict::eprocess::Pair;
use serde_json::json;

use super::answer::{self, counters};
use super::client::{Asked, headers};
use super::{Arm, Found, Question};

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
    let canary = counters(&told, "/canary/total", "/canary/bad")?;
    Ok(Pair { canary, baseline: counters(&told, "/baseline/total", "/baseline/bad")? })
}
