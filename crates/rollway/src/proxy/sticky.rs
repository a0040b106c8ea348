//! Knows clients again: a signed cookie that holds a random key, or a keyed hash of a header.
//!
//! The cookie says only who the client is, never which release it has: the release follows from
//! the key and the weights, so that a client stays on a release while its share grows.

use std::path::Path;

use http::{HeaderMap, HeaderValue, header};
use ring::hmac;

use super::state;
use crate::failure::{Failure, FailureKind};

/// 256 bits, the size of the hash.
const KEY_BYTES: usize = 32;
/// 128 bits of signature, in hexadecimal: forging one takes 2^128 tries.
const SIGNATURE_CHARACTERS: usize = 32;
/// A 64-bit key in hexadecimal.
const KEY_CHARACTERS: usize = 16;

/// Signs and checks; the key stays in the state directory.
pub struct Signer {
    key: hmac::Key,
}

impl Signer {
    /// Takes the key of this proxy, or makes it if there is none yet.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("sticky.key");
        let doing = || format!("could not read {}", path.display());
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut fresh = [0_u8; KEY_BYTES];
                ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut fresh)
                    .map_err(|_| Failure::new(FailureKind::NotDone, "no randomness to be had"))?;
                state::write(&path, &fresh)?;
                fresh.to_vec()
            }
            Err(error) => return Err(Failure::because(FailureKind::NotDone, doing(), error)),
        };
        if bytes.len() != KEY_BYTES {
            let what = format!("{} bytes, not {KEY_BYTES}", bytes.len());
            return Err(Failure::because(FailureKind::Damaged, doing(), what));
        }
        Ok(Self::new(&bytes))
    }

    /// Signs with this key.
    pub fn new(key: &[u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    /// A number for a header's value, not to be foreseen without the key.
    pub fn point(&self, service: &str, value: &[u8]) -> u64 {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [b"header", service.as_bytes(), value] {
            // The zero keeps "a" + "bc" apart from "ab" + "c"; neither part can hold one.
            context.update(part);
            context.update(&[0]);
        }
        let tag = context.sign();
        u64::from_be_bytes(tag.as_ref()[..8].try_into().expect("a tag has 32 bytes"))
    }

    fn signature(&self, service: &str, key: &str) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        for part in ["cookie", service, key] {
            context.update(part.as_bytes());
            context.update(&[0]);
        }
        let hex = |byte: &u8| format!("{byte:02x}");
        context.sign().as_ref().iter().take(SIGNATURE_CHARACTERS / 2).map(hex).collect()
    }

    /// The value of the cookie for a client.
    pub fn cookie_value(&self, service: &str, point: u64) -> String {
        let key = format!("{point:016x}");
        let signature = self.signature(service, &key);
        format!("{key}.{signature}")
    }

    /// The client's key, if the cookie is there and we made it.
    pub fn cookie_point(&self, service: &str, name: &str, headers: &HeaderMap) -> Option<u64> {
        let lines = headers.get_all(header::COOKIE).into_iter();
        let pairs = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(';'));
        let split = pairs.filter_map(|pair| pair.trim().split_once('='));
        let mut ours = split.filter(|(key, _)| *key == name);
        ours.find_map(|(_, value)| self.check(service, value))
    }

    fn check(&self, service: &str, value: &str) -> Option<u64> {
        let (key, signature) = value.split_once('.')?;
        if key.len() != KEY_CHARACTERS || signature.len() != SIGNATURE_CHARACTERS {
            return None;
        }
        let expected = self.signature(service, key);
        // No early end at the first difference: the time must not tell how much was right.
        let pairs = expected.bytes().zip(signature.bytes());
        let differences = pairs.fold(0, |all, (a, b)| all | (a ^ b));
        (differences == 0).then(|| u64::from_str_radix(key, 16).ok()).flatten()
    }

    /// The `Set-Cookie` line for a new client.
    pub fn set_cookie(&self, service: &str, name: &str, point: u64, tls: bool) -> HeaderValue {
        let value = self.cookie_value(service, point);
        let secure = if tls { "; Secure" } else { "" };
        let line = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::try_from(line).expect("names were checked, the rest is plain text")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, cookie.parse().expect("plain text"));
        headers
    }

    #[test]
    fn only_our_own_cookies_count() {
        let signer = Signer::new(&[7; KEY_BYTES]);
        let good = signer.cookie_value("shop", 42);
        let point = |cookie: String| signer.cookie_point("shop", "c", &headers(&cookie));
        assert_eq!(point(format!("a=b; c={good}")), Some(42));
        assert_eq!(point(format!("c=forged; c={good}")), Some(42));
        assert_eq!(point(format!("c={}", good.replace("2a.", "2b."))), None);
        assert_eq!(point(format!("d={good}")), None);
        assert_eq!(signer.cookie_point("cart", "c", &headers(&format!("c={good}"))), None);
        let other = Signer::new(&[8; KEY_BYTES]);
        assert_eq!(other.cookie_point("shop", "c", &headers(&format!("c={good}"))), None);
    }

    #[test]
    fn a_cookie_is_not_for_scripts() {
        let line = Signer::new(&[7; KEY_BYTES]).set_cookie("shop", "c", 1, true);
        let line = line.to_str().expect("plain text");
        assert!(line.starts_with("c=0000000000000001."), "{line}");
        assert!(line.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"), "{line}");
    }
}
