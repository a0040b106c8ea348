//! The JSON Schema (2020-12) of the spec, for editors, made from the shape.

use serde_json::{Map, Value, json};

use super::format::SPEC;
use super::shape::{Field, Need, Quantity, Shape, Table, Tagged, Variant};
use super::text::Text;
use super::{reference, yaml};
use crate::spec::node::{Node, Value as Written};

const DURATION: &str = r"^(0|(\d+(\.\d+)?(d|h|m|s|ms))+)$";
const AMOUNT: &str = r"^\d+%?$";
const SIZE: &str = r"^\d+(B|kB|KB|MB|GB|KiB|MiB|GiB|TiB)?$";
const ROOM: &str = r"^(\d+%|\d+(B|kB|KB|MB|GB|KiB|MiB|GiB|TiB)?)$";
const STATUSES: &str = r"^([1-5]xx|[1-5]\d\d(-[1-5]\d\d)?)$";

/// The JSON Schema of the whole format.
#[must_use]
pub fn json_schema() -> Value {
    let mut definitions = Map::new();
    reference::visit(&SPEC, &mut |inner| {
        if inner.name != SPEC.name {
            definitions.insert(inner.name.to_owned(), table(inner));
        }
    });
    let mut schema = Map::new();
    schema.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".into(), json!("Rollway spec"));
    if let Value::Object(root) = table(&SPEC) {
        schema.extend(root);
    }
    schema.insert("$defs".into(), Value::Object(definitions));
    Value::Object(schema)
}

fn table(table: &'static Table) -> Value {
    let mut properties: Map<String, Value> = Map::new();
    for field in table.fields {
        properties.insert(field.key.into(), property(field));
    }
    let required = table.fields.iter().filter(|field| field.need == Need::Required);
    let required: Vec<&str> = required.map(|field| field.key).collect();
    let mut schema = json!({"type": "object", "description": table.doc});
    if let Some(tagged) = table.one_of {
        for variant in tagged.variants {
            properties.insert(variant.name.into(), kind(variant));
        }
        let alternatives: Vec<Value> =
            tagged.names().into_iter().map(|name| json!({"required": [name]})).collect();
        schema["oneOf"] = Value::Array(alternatives);
    }
    schema["properties"] = Value::Object(properties);
    schema["additionalProperties"] = json!(false);
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    let bare = table.one_of.map(bare_names).unwrap_or_default();
    match bare.is_empty() {
        true => schema,
        false => json!({"anyOf": [{"enum": bare}, schema]}),
    }
}

fn property(field: &'static Field) -> Value {
    let mut schema = shape(&field.shape);
    schema["description"] = json!(field.doc);
    if let Need::Default(default) = field.need {
        schema["default"] = plain(default);
    }
    schema["examples"] = json!([plain(field.example)]);
    schema
}

fn kind(variant: &'static Variant) -> Value {
    let mut schema = match &variant.shape {
        None => json!({"type": ["null", "object"], "maxProperties": 0}),
        Some(of) => shape(of),
    };
    schema["description"] = json!(variant.doc);
    schema
}

fn bare_names(tagged: &Tagged) -> Vec<&'static str> {
    let bare = tagged.variants.iter().filter(|variant| variant.may_be_bare());
    bare.map(|variant| variant.name).collect()
}

fn tagged(tagged: &'static Tagged) -> Value {
    let properties: Map<String, Value> =
        tagged.variants.iter().map(|variant| (variant.name.into(), kind(variant))).collect();
    let object = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "minProperties": 1,
        "maxProperties": 1,
    });
    let bare = bare_names(tagged);
    match bare.is_empty() {
        true => object,
        false => json!({"anyOf": [{"enum": bare}, object]}),
    }
}

fn shape(of: &'static Shape) -> Value {
    // Numbers and booleans are taken as the text that is written.
    let text = ["string", "number", "boolean"];
    match of {
        Shape::Table(table) => json!({"$ref": format!("#/$defs/{}", table.name)}),
        Shape::Tagged(kinds) => tagged(kinds),
        Shape::Texts(texts) => json!({
            "type": "object",
            "propertyNames": {"pattern": texts.key.pattern},
            "additionalProperties": {"type": text},
            "maxProperties": texts.entries_max,
        }),
        Shape::List(of, least, most) => json!({
            "type": "array", "items": shape(of), "minItems": least, "maxItems": most,
        }),
        Shape::Text(word) if word.pattern.is_empty() => json!({"type": text}),
        Shape::Text(word) => json!({"type": text, "pattern": word.pattern}),
        Shape::Choice(words) => {
            let names: Vec<&str> = words.iter().map(|word| word.name).collect();
            json!({"enum": names})
        }
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Integer(least, most) => {
            json!({"type": "integer", "minimum": least, "maximum": most})
        }
        Shape::Number(least, most) => {
            json!({"type": "number", "minimum": least, "maximum": most})
        }
        Shape::Quantity(quantity) => {
            let pattern = match quantity {
                Quantity::Duration(_) => DURATION,
                Quantity::Amount(_) => AMOUNT,
                Quantity::Size(_) => SIZE,
                Quantity::Room => ROOM,
                Quantity::Statuses => STATUSES,
            };
            json!({"type": ["string", "number"], "pattern": pattern})
        }
    }
}

/// A value of the tables, which is written in YAML, as JSON.
fn plain(written: &str) -> Value {
    let node =
        yaml::read(&Text::new(written)).expect("the tables' values are YAML; a test reads them");
    json_of(&node)
}

/// A node as JSON.
pub fn json_of(node: &Node) -> Value {
    match &node.value {
        Written::Null => Value::Null,
        Written::Bool(yes) => json!(yes),
        Written::Integer(number) => json!(number),
        Written::Float(number) => json!(number),
        Written::Text(text) => json!(text),
        Written::List(items) => items.iter().map(json_of).collect(),
        Written::Map(entries) => {
            let entry =
                |(key, value): &(super::node::Key, Node)| (key.text.clone(), json_of(value));
            Value::Object(entries.iter().map(entry).collect())
        }
    }
}
