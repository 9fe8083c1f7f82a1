//! Embeddings in OpenAI's format, as numbers or in base64.

use serde::Serialize;
use serde_json::Value;

use super::super::answer::{Plain, VendorError};
use super::super::dialect::{Request, Turn};
use super::super::vector::vector;
use super::error;

#[derive(Debug, Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Item>,
    model: &'a str,
    usage: Usage,
}

#[derive(Debug, Serialize)]
struct Item {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Debug, Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

#[derive(Debug)]
enum Vector {
    Floats(Vec<f32>),
    Base64(String),
}

const INPUTS_MAX: usize = 2048;
const DIMENSIONS: usize = 1536;
const DIMENSIONS_MAX: u64 = 3072;
/// The parameters that are documented.
const FIELDS: [&str; 5] = ["dimensions", "encoding_format", "input", "model", "user"];

/// Answers a request.
pub(super) fn answer(request: &Request<'_>, turn: &Turn<'_>) -> Result<Plain, VendorError> {
    let Request { body, model, .. } = *request;
    error::unknown_fields(body, &FIELDS)?;
    let inputs = inputs(body)?;
    let dimensions = dimensions(body)?;
    let base64 = match body.get("encoding_format").and_then(Value::as_str) {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            let message = "Invalid value for 'encoding_format': expected one of 'float' or 'base64'.";
            return Err(error::parameter("encoding_format", Some("invalid_value"), message));
        }
    };
    let embedding = |(index, text): (usize, &String)| {
        let vector = vector(text, dimensions);
        let embedding = if base64 { Vector::Base64(base64_of(&vector)) } else { Vector::Floats(vector) };
        Item { object: "embedding", index, embedding }
    };
    let tokens = inputs.iter().map(|text| text.split_whitespace().count().max(1)).sum();
    let data = inputs.iter().enumerate().map(embedding).collect();
    let usage = Usage { prompt_tokens: tokens, total_tokens: tokens };
    Ok(Plain::ok(&List { object: "list", data, model, usage }, turn.first_token))
}

impl Serialize for Vector {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Floats(floats) => floats.serialize(serializer),
            Self::Base64(text) => text.serialize(serializer),
        }
    }
}

/// The inputs as texts: one, several, or token numbers, which stand for words.
fn inputs(body: &Value) -> Result<Vec<String>, VendorError> {
    let words = |tokens: &[Value]| {
        let numbers: Option<Vec<String>> = tokens.iter().map(|token| token.as_u64().map(|n| n.to_string())).collect();
        numbers.map(|numbers| numbers.join(" "))
    };
    let one = |value: &Value| match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Array(tokens) if !tokens.is_empty() => words(tokens),
        _ => None,
    };
    let wrong =
        || error::parameter("input", Some("invalid_type"), "'input' must be a non-empty string or array of strings.");
    match body.get("input") {
        None | Some(Value::Null) => {
            let message = "Missing required parameter: 'input'.";
            Err(error::parameter("input", Some("missing_required_parameter"), message))
        }
        Some(Value::Array(items)) if items.first().is_some_and(|first| !first.is_number()) => {
            if items.len() > INPUTS_MAX {
                let message = format!("'input' array must be {INPUTS_MAX} dimensions or less.");
                return Err(error::parameter("input", Some("array_above_max_length"), message));
            }
            items.iter().map(one).collect::<Option<Vec<String>>>().ok_or_else(wrong)
        }
        Some(single) => one(single).map(|text| vec![text]).ok_or_else(wrong),
    }
}

fn dimensions(body: &Value) -> Result<usize, VendorError> {
    match body.get("dimensions") {
        None | Some(Value::Null) => Ok(DIMENSIONS),
        Some(value) => {
            let asked = value.as_u64().filter(|asked| (1..=DIMENSIONS_MAX).contains(asked));
            asked.and_then(|asked| usize::try_from(asked).ok()).ok_or_else(|| {
                let message =
                    format!("Invalid value for 'dimensions': expected an integer from 1 to {DIMENSIONS_MAX}.");
                error::parameter("dimensions", Some("invalid_value"), message)
            })
        }
    }
}

/// Little-endian floats in base64, which the official clients ask for.
fn base64_of(vector: &[f32]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = vector.iter().flat_map(|place| place.to_le_bytes()).collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place)) & 63;
            text.push(if place <= group.len() { char::from(ALPHABET[sextet as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::super::sample::{TURN, request};
    use super::*;
    use serde_json::json;

    fn try_answer(body: &Value) -> Result<Plain, VendorError> {
        answer(&request(body), &TURN)
    }

    fn answered(body: &Value) -> Value {
        serde_json::from_slice(&try_answer(body).unwrap().body).unwrap()
    }

    #[test]
    fn several_texts_give_vectors_in_order() {
        let list = answered(&json!({"model": "e", "input": ["one two", "three"], "dimensions": 8}));
        assert_eq!(list["model"], "m");
        assert_eq!(list["data"].as_array().map(Vec::len), Some(2));
        assert_eq!(list["data"][1]["index"], 1);
        assert_eq!(list["data"][0]["embedding"].as_array().map(Vec::len), Some(8));
        assert_eq!(list["usage"], json!({"prompt_tokens": 3, "total_tokens": 3}));
    }

    #[test]
    fn base64_holds_the_same_floats() {
        assert_eq!(base64_of(&[1.0, -2.5]), "AACAPwAAIMA=");
        assert_eq!(base64_of(&[1.0, -2.5, 0.0]), "AACAPwAAIMAAAAAA");
        assert_eq!(base64_of(&[1.0]), "AACAPw==");
        let list = answered(&json!({"model": "e", "input": "x", "encoding_format": "base64"}));
        assert_eq!(list["data"][0]["embedding"].as_str().map(str::len), Some(DIMENSIONS * 4 / 3 * 4));
    }

    #[test]
    fn token_numbers_are_inputs_too() {
        assert_eq!(answered(&json!({"model": "e", "input": [1, 2, 3]}))["data"].as_array().map(Vec::len), Some(1));
        assert_eq!(answered(&json!({"model": "e", "input": [[1], [2]]}))["data"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn bad_requests_name_their_parameter() {
        for (body, param) in [
            (json!({"model": "e"}), "input"),
            (json!({"model": "e", "input": ""}), "input"),
            (json!({"model": "e", "input": ["x", 5]}), "input"),
            (json!({"model": "e", "input": vec!["x"; 2049]}), "input"),
            (json!({"model": "e", "input": "x", "dimensions": 0}), "dimensions"),
            (json!({"model": "e", "input": "x", "encoding_format": "hex"}), "encoding_format"),
        ] {
            assert_eq!(try_answer(&body).unwrap_err().error["param"], param);
        }
    }
}
