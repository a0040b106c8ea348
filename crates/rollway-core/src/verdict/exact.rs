//! Floats in files of state, bit for bit: as text with the digits that bring the same bits back.
//!
//! Plain JSON numbers would not do: infinity has none, and a parser may be a bit off in the last
//! place. A canary that is resumed must decide as one that was never stopped.

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A float that is written as text.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Exact(f64);

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:e}", self.0))
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Exact;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number as text, for example \"1.5e-3\" or \"-inf\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Exact, E> {
                let wrong = |_| E::custom(format!("{text:?} is not a number"));
                text.parse().map(Exact).map_err(wrong)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// For `#[serde(with = "exact::one")]` on an `f64`.
pub(super) mod one {
    use super::{Deserialize, Deserializer, Exact, Serialize, Serializer};

    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        Exact(*value).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Exact::deserialize(deserializer)?.0)
    }
}

/// For `#[serde(with = "exact::many")]` on a `[f64; N]`.
pub(super) mod many {
    use super::{Deserializer, Error, Exact, SeqAccess, Serializer, Visitor, fmt};
    use serde::ser::SerializeTuple as _;

    pub fn serialize<S: Serializer, const N: usize>(
        values: &[f64; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(N)?;
        for value in values {
            tuple.serialize_element(&Exact(*value))?;
        }
        tuple.end()
    }

    pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[f64; N], D::Error> {
        struct Values<const N: usize>;
        impl<'de, const N: usize> Visitor<'de> for Values<N> {
            type Value = [f64; N];

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{N} numbers as text")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<[f64; N], A::Error> {
                let mut values = [0.0; N];
                for (index, value) in values.iter_mut().enumerate() {
                    let next = seq.next_element::<Exact>()?;
                    *value = next.ok_or_else(|| Error::invalid_length(index, &self))?.0;
                }
                Ok(values)
            }
        }
        deserializer.deserialize_tuple(N, Values::<N>)
    }
}

/// For `#[serde(with = "exact::many_small")]` on a `[f32; N]`.
pub(super) mod many_small {
    use super::{Deserializer, Serializer, many, small};

    pub fn serialize<S: Serializer, const N: usize>(
        values: &[f32; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        many::serialize(&values.map(f64::from), serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[f32; N], D::Error> {
        Ok(many::deserialize::<D, N>(deserializer)?.map(small))
    }
}

/// The nearest float of half the size; one that was one comes back as it was.
pub(super) fn small(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Both {
        #[serde(with = "one")]
        one: f64,
        #[serde(with = "many")]
        many: [f64; 4],
    }

    #[test]
    fn every_bit_comes_back() {
        let many = [f64::NEG_INFINITY, f64::MIN_POSITIVE / 8.0, -0.1 - 0.2, 1.0 / 3.0];
        let text = serde_json::to_string(&Both { one: f64::EPSILON, many }).expect("JSON");
        assert!(text.contains(r#""-inf""#), "{text}");
        let back: Both = serde_json::from_str(&text).expect("JSON");
        assert_eq!(back.one.to_bits(), f64::EPSILON.to_bits());
        assert_eq!(back.many.map(f64::to_bits), many.map(f64::to_bits));
    }

    #[test]
    fn what_is_no_number_is_told() {
        let error =
            serde_json::from_str::<Both>(r#"{"one":"much","many":[]}"#).err().expect("an error");
        assert_eq!(error.to_string(), "\"much\" is not a number at line 1 column 13");
        let error =
            serde_json::from_str::<Both>(r#"{"one":"1","many":["1"]}"#).err().expect("an error");
        assert!(error.to_string().contains("4 numbers as text"), "{error}");
    }
}
