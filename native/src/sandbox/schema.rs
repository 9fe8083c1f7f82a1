//! Values that fit a JSON schema: the arguments of tool calls, and answers in a format of the client's.
//!
//! The same schema gives the same value. A schema comes from outside, so a value has a bound on its nodes and on its
//! depth, whatever references and least lengths say; within that bound it fits, but for patterns, which it does not read.

use std::collections::BTreeSet;

use serde_json::{Map, Number, Value};

/// A value that fits `schema`: JSON schema, or the part of `OpenAPI`'s that Gemini takes, with types in capitals.
pub(super) fn example(schema: &Value) -> Value {
    Maker { root: schema, nodes_left: NODES_MAX }.value(schema, "value", 0)
}

struct Maker<'a> {
    /// What references are resolved in.
    root: &'a Value,
    nodes_left: usize,
}

const NODES_MAX: usize = 1000;
const DEPTH_MAX: usize = 24;
/// Deeper than this, what is not required is left out: a recursive schema ends there.
const OPTIONAL_DEPTH_MAX: usize = 4;
const LENGTH_MAX: u64 = 1000;

impl<'a> Maker<'a> {
    fn value(&mut self, schema: &'a Value, name: &str, depth: usize) -> Value {
        if self.nodes_left == 0 || depth > DEPTH_MAX {
            return Value::Null;
        }
        self.nodes_left -= 1;
        if let Some(given) = given(schema) {
            return given;
        }
        if let Some(target) = self.target(schema) {
            return self.value(target, name, depth + 1);
        }
        for key in ["anyOf", "oneOf"] {
            let is_null = |branch: &&Value| type_of(branch).as_deref() == Some("null");
            let branches = schema[key].as_array().map(Vec::as_slice).unwrap_or_default();
            if let Some(branch) = branches.iter().find(|branch| !is_null(branch)).or(branches.first()) {
                return self.value(branch, name, depth + 1);
            }
        }
        if let Some(parts) = schema["allOf"].as_array() {
            return self.all_of(schema, parts, name, depth);
        }
        match type_of(schema).as_deref() {
            Some("string") => Value::from(string(schema, name)),
            Some("integer") => number(schema, true),
            Some("number") => number(schema, false),
            Some("boolean") => Value::Bool(true),
            Some("array") => self.array(schema, name, depth),
            Some("object") => self.object(schema, depth),
            _ => Value::Null,
        }
    }

    /// What a local reference points to.
    fn target(&self, schema: &Value) -> Option<&'a Value> {
        let reference = schema["$ref"].as_str().or(schema["ref"].as_str())?;
        self.root.pointer(reference.strip_prefix('#')?)
    }

    /// The objects of all parts in one; other types are the first part's.
    fn all_of(&mut self, schema: &'a Value, parts: &'a [Value], name: &str, depth: usize) -> Value {
        let mut whole = Map::new();
        let own = schema["properties"].is_object().then(|| self.object(schema, depth));
        let values: Vec<Value> = parts.iter().map(|part| self.value(part, name, depth + 1)).collect();
        for value in own.iter().chain(&values) {
            match value {
                Value::Object(fields) => whole.extend(fields.clone()),
                other => return other.clone(),
            }
        }
        Value::Object(whole)
    }

    fn object(&mut self, schema: &'a Value, depth: usize) -> Value {
        let required: BTreeSet<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut fields = Map::new();
        let properties = schema["properties"].as_object().into_iter().flatten();
        // What is required comes first, so that a bound takes the rest.
        let (first, rest): (Vec<_>, Vec<_>) = properties.partition(|(name, _)| required.contains(name.as_str()));
        for (name, property) in first {
            fields.insert(name.clone(), self.value(property, name, depth + 1));
        }
        for (name, property) in rest {
            if depth < OPTIONAL_DEPTH_MAX && self.nodes_left > 0 {
                fields.insert(name.clone(), self.value(property, name, depth + 1));
            }
        }
        Value::Object(fields)
    }

    fn array(&mut self, schema: &'a Value, name: &str, depth: usize) -> Value {
        let mut items = Vec::new();
        for item in schema["prefixItems"].as_array().into_iter().flatten() {
            items.push(self.value(item, name, depth + 1));
        }
        let most = count(&schema["maxItems"]).unwrap_or(u64::MAX);
        let usual = u64::from(items.is_empty() && depth < OPTIONAL_DEPTH_MAX);
        let wanted = count(&schema["minItems"]).unwrap_or(usual).min(most).min(LENGTH_MAX);
        while (items.len() as u64) < wanted && self.nodes_left > 0 {
            items.push(self.value(&schema["items"], name, depth + 1));
        }
        Value::Array(items)
    }
}

/// A value that the schema spells out.
fn given(schema: &Value) -> Option<Value> {
    let constant = schema.get("const");
    constant.or_else(|| schema["enum"].as_array()?.first()).cloned()
}

/// The type, in small letters; of several the first that is not null.
fn type_of(schema: &Value) -> Option<String> {
    let named = match &schema["type"] {
        Value::String(name) => Some(name.as_str()),
        Value::Array(names) => {
            let mut names = names.iter().filter_map(Value::as_str);
            names.clone().find(|name| *name != "null").or(names.next())
        }
        _ => None,
    };
    let implied = || {
        let has = |key| schema.get(key).is_some();
        if has("properties") {
            Some("object")
        } else if has("items") || has("prefixItems") {
            Some("array")
        } else {
            None
        }
    };
    named.or_else(implied).map(str::to_ascii_lowercase)
}

fn string(schema: &Value, name: &str) -> String {
    let text = match schema["format"].as_str() {
        Some("date") => "2026-01-31".to_owned(),
        Some("date-time") => "2026-01-31T12:00:00Z".to_owned(),
        Some("time") => "12:00:00Z".to_owned(),
        Some("duration") => "PT1M".to_owned(),
        Some("email") => "sandbox@example.com".to_owned(),
        Some("uri") => "https://example.com/sandbox".to_owned(),
        Some("hostname") => "example.com".to_owned(),
        Some("ipv4") => "192.0.2.1".to_owned(),
        Some("ipv6") => "2001:db8::1".to_owned(),
        Some("uuid") => "00000000-0000-4000-8000-000000000000".to_owned(),
        _ => format!("some {name}"),
    };
    let least = count(&schema["minLength"]).unwrap_or(0).min(LENGTH_MAX);
    let most = count(&schema["maxLength"]).unwrap_or(LENGTH_MAX);
    let fit = |length: u64| usize::try_from(length).unwrap_or(usize::MAX);
    let padding = fit(least).saturating_sub(text.chars().count());
    text.chars().chain(std::iter::repeat_n('a', padding)).take(fit(most)).collect()
}

/// The number nearest to 1 that lies within the bounds.
fn number(schema: &Value, whole: bool) -> Value {
    let step = schema["multipleOf"].as_f64().filter(|step| *step > 0.0);
    // The least amount by which an exclusive bound is left.
    let away = step.unwrap_or(if whole { 1.0 } else { 0.5 });
    let bound = |inclusive: &str, exclusive: &str, sign: f64| {
        let outside = schema[exclusive].as_f64().map(|bound| bound + sign * away);
        schema[inclusive].as_f64().or(outside)
    };
    let mut value = 1.0_f64;
    if let Some(most) = bound("maximum", "exclusiveMaximum", -1.0) {
        value = value.min(most);
    }
    if let Some(least) = bound("minimum", "exclusiveMinimum", 1.0) {
        value = value.max(least);
    }
    if let Some(step) = step {
        value = (value / step).ceil() * step;
    }
    let number = if whole { value.ceil() } else { value };
    // A whole number is written without a point.
    let written = if number.fract() == 0.0 { format!("{number:.0}").parse::<Number>().ok() } else { None };
    written.or_else(|| Number::from_f64(number)).map_or(Value::Null, Value::Number)
}

/// A length, which `OpenAPI`'s JSON writes as a string.
fn count(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_schema_gives_a_value_that_fits() {
        let schema = json!({
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "days": {"type": "integer", "minimum": 3, "maximum": 7},
                "ratio": {"type": ["null", "number"], "exclusiveMaximum": 1},
                "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 2},
                "when": {"anyOf": [{"type": "null"}, {"type": "string", "format": "date"}]},
                "code": {"type": "string", "minLength": 12, "maxLength": 12},
                "kind": {"const": "weather"},
                "sure": {"type": "boolean"},
            },
            "required": ["city"],
            "$defs": {"tag": {"type": "object", "properties": {"name": {"type": "string"}}}},
        });
        let expected = json!({
            "city": "some city", "unit": "celsius", "days": 3, "ratio": 0.5,
            "tags": [{"name": "some name"}, {"name": "some name"}],
            "when": "2026-01-31", "code": "some codeaaa", "kind": "weather", "sure": true,
        });
        assert_eq!(example(&schema), expected);
        assert_eq!(example(&schema), example(&schema));
    }

    #[test]
    fn geminis_types_are_understood_too() {
        let schema = json!({"type": "OBJECT", "properties": {
            "n": {"type": "NUMBER", "nullable": true}, "l": {"type": "ARRAY", "items": {"type": "STRING"}, "minItems": "2"},
        }});
        assert_eq!(example(&schema), json!({"n": 1, "l": ["some l", "some l"]}));
    }

    #[test]
    fn parts_come_together() {
        let schema = json!({"allOf": [
            {"properties": {"a": {"type": "integer"}}}, {"properties": {"b": {"type": "integer", "multipleOf": 5}}},
        ]});
        assert_eq!(example(&schema), json!({"a": 1, "b": 5}));
    }

    #[test]
    fn hostile_schemas_end() {
        let loops = json!({"$ref": "#"});
        assert_eq!(example(&loops), Value::Null);
        let recursive = json!({"type": "object", "properties": {"next": {"$ref": "#"}, "n": {"type": "integer"}}});
        assert_eq!(example(&recursive)["n"], 1);
        let wide = json!({"type": "array", "minItems": 1_000_000_000, "items": {
            "type": "array", "minItems": 1_000_000_000, "items": {"type": "string", "minLength": u64::MAX}}});
        assert!(example(&wide).to_string().len() < 2 * NODES_MAX * usize::try_from(LENGTH_MAX).unwrap());
        for nonsense in [json!(null), json!(true), json!("x"), json!({"type": 7, "enum": []}), json!([])] {
            assert_eq!(example(&nonsense), Value::Null);
        }
        let extreme = json!({"type": "integer", "minimum": 1e300});
        assert!(example(&extreme).is_number());
    }
}
