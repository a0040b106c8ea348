//! Merge patches, RFC 7396: what an overlay says goes before what it is laid over.

use serde_json::Value;

/// The document with the patch on it: maps are merged, `null` removes, all else replaces.
#[must_use]
pub fn merge(document: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut merged = match document {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            serde_json::Map::new()
        }
    };
    for (key, value) in patch {
        if value.is_null() {
            merged.shift_remove(key);
            continue;
        }
        let before = merged.get(key).cloned().unwrap_or(Value::Null);
        merged.insert(key.clone(), merge(before, value));
    }
    Value::Object(merged)
}
