//! SHA-256 over fields, in an encoding in which no two lists of fields look alike.
//!
//! A list of fields is the concatenation, field by field, of its length in bytes (8 bytes, most
//! significant first) and those bytes. A number is its 8 bytes, most significant first; what is
//! absent has length 0. The first field names what is encoded, as in `rollway event 1`, so that a
//! row of one kind can never be passed off as one of another.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// How many bytes a digest has.
pub const DIGEST_BYTES: usize = 32;

/// A SHA-256 digest, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; DIGEST_BYTES]);

impl Digest {
    /// The digest of these bytes as they are.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads 64 lower-case hexadecimal digits; the error is a sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("a digest is {} hexadecimal digits 0-9a-f", DIGEST_BYTES * 2);
        let digits = text.as_bytes();
        let plain = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
        if digits.len() != DIGEST_BYTES * 2 || !digits.iter().all(plain) {
            return Err(wrong());
        }
        let mut bytes = [0; DIGEST_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; DIGEST_BYTES * 2];
        for (pair, byte) in text.chunks_mut(2).zip(self.0) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).expect("hexadecimal digits are text"))
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Digest {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

/// A list of fields on its way to a digest.
pub(super) struct Fields(Vec<u8>);

impl Fields {
    /// Begins the list of a thing of this kind.
    pub(super) fn of(kind: &str) -> Self {
        Self(Vec::with_capacity(512)).text(kind)
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    pub(super) fn count(self, number: u64) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    pub(super) fn time(self, at_ms: i64) -> Self {
        self.bytes(&at_ms.to_be_bytes())
    }

    pub(super) fn maybe(self, number: Option<u64>) -> Self {
        match number {
            Some(number) => self.count(number),
            None => self.bytes(&[]),
        }
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(fields: &[Vec<u8>]) -> Vec<u8> {
        fields.iter().fold(Fields(Vec::new()), |list, field| list.bytes(field)).0
    }

    fn decoded(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut fields = Vec::new();
        while let Some((length, rest)) = bytes.split_first_chunk::<8>() {
            let length = usize::try_from(u64::from_be_bytes(*length)).expect("a small field");
            let (field, rest) = rest.split_at(length);
            fields.push(field.to_vec());
            bytes = rest;
        }
        assert!(bytes.is_empty(), "nothing is left over");
        fields
    }

    proptest! {
        #[test]
        fn every_list_of_fields_can_be_read_back(
            fields in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..12)
        ) {
            prop_assert_eq!(decoded(&encoded(&fields)), fields);
        }

        #[test]
        fn moving_a_boundary_changes_the_digest(
            text in prop::collection::vec(any::<u8>(), 1..60), one in 0..60usize, two in 0..60usize
        ) {
            let (one, two) = (one % (text.len() + 1), two % (text.len() + 1));
            let cut = |at: usize| encoded(&[text[..at].to_vec(), text[at..].to_vec()]);
            prop_assert_eq!(Digest::of(&cut(one)) == Digest::of(&cut(two)), one == two);
        }

        #[test]
        fn a_digest_reads_back_as_it_was_written(bytes in any::<[u8; DIGEST_BYTES]>()) {
            let digest = Digest(bytes);
            prop_assert_eq!(Digest::parse(&digest.to_string()), Ok(digest));
        }
    }

    #[test]
    fn absent_and_zero_differ() {
        let list = || Fields::of("rollway event 1");
        assert_ne!(list().maybe(None).digest(), list().maybe(Some(0)).digest());
    }

    #[test]
    fn refuses_what_is_not_a_digest() {
        for text in ["", "ab", &"A".repeat(64), &"é".repeat(32), &"0".repeat(65)] {
            assert!(Digest::parse(text).is_err(), "{text:?}");
        }
    }
}
