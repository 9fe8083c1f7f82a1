//! Fields as Google's JSON has them: known by two spellings, and refused where they are not known.

use serde_json::Value;

use super::super::answer::VendorError;
use super::error::{unknown_field, wrong_type};

/// The value of a field, which may be spelled with capitals (documented) or underscores; null if it is missing.
pub(super) fn at<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or_else(|| &value[snake(name)])
}

/// The items of a list, which may be missing.
pub(super) fn list<'a>(value: &'a Value, name: &str, place: &str) -> Result<&'a [Value], VendorError> {
    match at(value, name) {
        Value::Null => Ok(&[]),
        Value::Array(items) => Ok(items),
        other => Err(wrong_type(other, "repeated field", &join(place, name))),
    }
}

/// Refuses a field that is none of these.
pub(super) fn known(value: &Value, documented: &[&str], place: &str) -> Result<(), VendorError> {
    let fits = |name: &str| documented.iter().any(|known| *known == name || snake(known) == name);
    match value {
        Value::Null => Ok(()),
        Value::Object(fields) => match fields.keys().find(|name| !fits(name)) {
            Some(name) => Err(unknown_field(name, place)),
            None => Ok(()),
        },
        other => Err(wrong_type(other, "message", place)),
    }
}

/// A place within a place, as errors spell it.
pub(super) fn join(place: &str, name: &str) -> String {
    if place.is_empty() { snake(name) } else { format!("{place}.{}", snake(name)) }
}

fn snake(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

/// The part of `OpenAPI`'s schema that Gemini takes where it does not take JSON schema.
pub(super) fn check_schema(schema: &Value, place: &str, depth: usize) -> Result<(), VendorError> {
    const FIELDS: [&str; 22] = [
        "anyOf",
        "default",
        "description",
        "enum",
        "example",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "nullable",
        "pattern",
        "properties",
        "propertyOrdering",
        "required",
        "title",
        "type",
    ];
    const DEPTH_MAX: usize = 64;
    known(schema, &FIELDS, place)?;
    let kind = &schema["type"];
    if !kind.is_null() && !kind.is_string() {
        return Err(wrong_type(kind, "type.googleapis.com/google.ai.generativelanguage.v1beta.Type", place));
    }
    if depth == DEPTH_MAX {
        return Ok(());
    }
    check_schema(&schema["items"], &join(place, "items"), depth + 1)?;
    for (number, branch) in list(schema, "anyOf", place)?.iter().enumerate() {
        check_schema(branch, &format!("{}[{number}]", join(place, "anyOf")), depth + 1)?;
    }
    let properties = schema["properties"].as_object().into_iter().flatten();
    for (number, (_, property)) in properties.enumerate() {
        check_schema(property, &format!("{}[{number}].value", join(place, "properties")), depth + 1)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_spellings_are_one_field() {
        let value = json!({"generationConfig": 1, "system_instruction": 2});
        assert_eq!((at(&value, "generationConfig"), at(&value, "systemInstruction")), (&json!(1), &json!(2)));
        assert!(known(&value, &["generationConfig", "systemInstruction"], "").is_ok());
        let error = known(&value, &["generationConfig"], "").unwrap_err().error;
        let message = "Invalid JSON payload received. Unknown name \"system_instruction\": Cannot find field.";
        assert_eq!((&error["message"], &error["status"]), (&json!(message), &json!("INVALID_ARGUMENT")));
    }

    #[test]
    fn what_only_json_schema_has_is_refused_with_its_place() {
        let schema = json!({"type": "object", "properties": {
            "a": {"type": "string"}, "b": {"type": "array", "items": {"const": 1}}}});
        let error = check_schema(&schema, "tools[0].function_declarations[0].parameters", 0).unwrap_err().error;
        let place = "tools[0].function_declarations[0].parameters.properties[1].value.items";
        assert_eq!(error["details"][0]["fieldViolations"][0]["field"], place);
        assert!(check_schema(&json!({"type": ["string", "null"]}), "p", 0).is_err());
        assert!(check_schema(&json!({"type": "object", "additionalProperties": false}), "p", 0).is_err());
    }
}
