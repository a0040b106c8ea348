//! Webhooks: whether one is from who knows the secret. What it says is never read.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Mutex;

use http::HeaderMap;
use ring::{digest, hmac};
use rollway_core::gitops::name::SourceName;

/// So many deliveries are remembered, so that none counts twice.
const DELIVERIES_MAX: usize = 512;
/// A secret is a line; a shorter one can be guessed.
const SECRET_BYTES_MIN: usize = 16;

/// Where each host puts its signature, in hexadecimal, perhaps behind `sha256=`: GitHub, Forgejo,
/// Gitea, Bitbucket, and anybody else.
const SIGNATURES: [&str; 5] = [
    "x-hub-signature-256",
    "x-forgejo-signature",
    "x-gitea-signature",
    "x-hub-signature",
    "x-rollway-signature",
];
/// GitLab sends the secret itself.
const TOKEN: &str = "x-gitlab-token";
/// Where each host names the delivery.
const NAMES: [&str; 7] = [
    "x-github-delivery",
    "x-forgejo-delivery",
    "x-gitea-delivery",
    "x-gitlab-event-uuid",
    "idempotency-key",
    "x-request-uuid",
    "x-rollway-delivery",
];

/// What became of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hooked {
    /// The source looks at its repository.
    Taken,
    /// It came before.
    Repeated,
    /// Nobody is told why.
    Refused,
}

/// The deliveries that were heard.
#[derive(Default)]
pub(super) struct Deliveries(Mutex<BTreeMap<SourceName, VecDeque<Vec<u8>>>>);

impl Deliveries {
    /// Judges one delivery.
    pub fn judge(
        &self,
        source: &SourceName,
        secret_file: &Path,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Hooked {
        let Ok(secret) = std::fs::read(secret_file) else {
            tracing::error!("could not read the secret of the webhook of {source}");
            return Hooked::Refused;
        };
        let secret = secret.trim_ascii();
        if secret.len() < SECRET_BYTES_MIN {
            tracing::error!(
                "the webhook secret of {source} is too short: {SECRET_BYTES_MIN} bytes"
            );
            return Hooked::Refused;
        }
        if !is_from_who_knows(secret, headers, body) {
            return Hooked::Refused;
        }
        let named = NAMES.iter().find_map(|name| headers.get(*name));
        let id = match named {
            Some(name) => name.as_bytes().to_vec(),
            // Without a name, the same words are the same delivery.
            None => digest::digest(&digest::SHA256, body).as_ref().to_vec(),
        };
        let mut all = self.0.lock().expect("nobody panics with it");
        let known = all.entry(source.clone()).or_default();
        if known.contains(&id) {
            return Hooked::Repeated;
        }
        if known.len() >= DELIVERIES_MAX {
            known.pop_front();
        }
        known.push_back(id);
        Hooked::Taken
    }
}

/// Every header that is there must be right: a request that shows two faces is refused.
fn is_from_who_knows(secret: &[u8], headers: &HeaderMap, body: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut is_signed = false;
    for name in SIGNATURES {
        for value in headers.get_all(name) {
            let text = value.to_str().unwrap_or_default();
            let Some(signature) = hex(text.strip_prefix("sha256=").unwrap_or(text)) else {
                return false;
            };
            // Compares in constant time.
            if hmac::verify(&key, body, &signature).is_err() {
                return false;
            }
            is_signed = true;
        }
    }
    for value in headers.get_all(TOKEN) {
        // The tags of equal texts are equal, and comparing tags takes the same time for all.
        let tag = hmac::sign(&key, secret);
        if hmac::verify(&key, value.as_bytes(), tag.as_ref()).is_err() {
            return false;
        }
        is_signed = true;
    }
    is_signed
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if text.len() != 64 {
        return None;
    }
    text.as_bytes().chunks(2).map(|two| Some(digit(two[0])? << 4 | digit(two[1])?)).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    const SECRET: &[u8] = b"It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    // The example of GitHub's documentation, "Validating webhook deliveries".
    const SIGNED: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn judge(headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        is_from_who_knows(SECRET, &map, BODY)
    }

    #[test]
    fn whoever_knows_the_secret_is_believed() {
        let with_kind = format!("sha256={SIGNED}");
        for name in ["x-hub-signature-256", "x-hub-signature", "x-rollway-signature"] {
            assert!(judge(&[(name, &with_kind)]), "{name}");
        }
        for name in ["x-gitea-signature", "x-forgejo-signature"] {
            assert!(judge(&[(name, SIGNED)]), "{name}");
        }
        assert!(judge(&[("x-gitlab-token", "It's a Secret to Everybody")]));
    }

    #[test]
    fn nobody_else_is() {
        let wrong = SIGNED.replace('7', "8");
        let cases: [&[(&'static str, &str)]; 7] = [
            &[],
            &[("x-hub-signature-256", &wrong)],
            &[("x-hub-signature-256", "sha256=")],
            &[("x-hub-signature", "sha1=757107ea0eb2509fc211221cce984b8a37570b6d")],
            &[("x-gitlab-token", "It's a Secret to Everybod")],
            &[("x-gitlab-token", "")],
            &[("x-gitea-signature", SIGNED), ("x-hub-signature-256", &wrong)],
        ];
        for headers in cases {
            assert!(!judge(headers), "{headers:?}");
        }
    }

    #[test]
    fn a_delivery_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, SECRET).unwrap();
        let source = SourceName::parse("shop").unwrap();
        let (deliveries, mut headers) = (Deliveries::default(), HeaderMap::new());
        headers.insert("x-gitea-signature", SIGNED.parse().unwrap());
        headers.insert("x-gitea-delivery", "one".parse().unwrap());
        let judge = |headers: &HeaderMap| deliveries.judge(&source, &file, headers, BODY);
        assert_eq!([judge(&headers), judge(&headers)], [Hooked::Taken, Hooked::Repeated]);
        headers.insert("x-gitea-delivery", "two".parse().unwrap());
        assert_eq!(judge(&headers), Hooked::Taken);
        std::fs::write(&file, "short").unwrap();
        headers.insert("x-gitea-delivery", "three".parse().unwrap());
        assert_eq!(judge(&headers), Hooked::Refused);
    }
}
