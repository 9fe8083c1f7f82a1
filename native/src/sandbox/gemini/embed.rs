//! Embeddings in Gemini's format, one or many at once.

use serde::Serialize;
use serde_json::Value;

use super::super::answer::{Plain, VendorError};
use super::super::dialect::{Operation, Request, Turn};
use super::super::vector::vector;
use super::contents::{self, Part};
use super::error::invalid;
use super::fields::{at, known, list};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct One {
    embedding: Values,
    usage_metadata: Usage,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Many {
    embeddings: Vec<Values>,
    usage_metadata: Usage,
}

#[derive(Debug, Serialize)]
struct Values {
    values: Vec<f32>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    prompt_token_count: usize,
}

const REQUESTS_MAX: usize = 100;
const DIMENSIONS: u64 = 3072;
const FIELDS: [&str; 6] = ["content", "embedContentConfig", "model", "outputDimensionality", "taskType", "title"];
const CONFIG_FIELDS: [&str; 6] =
    ["audioTrackExtraction", "autoTruncate", "documentOcr", "outputDimensionality", "taskType", "title"];

/// Answers a request.
pub(super) fn answer(request: &Request<'_>, turn: &Turn<'_>) -> Result<Plain, VendorError> {
    let body = request.body;
    if request.operation == Operation::Embed {
        let (embedding, prompt_token_count) = one(body, "")?;
        return Ok(Plain::ok(&One { embedding, usage_metadata: Usage { prompt_token_count } }, turn.first_token));
    }
    known(body, &["requests"], "")?;
    let requests = list(body, "requests", "")?;
    if requests.len() > REQUESTS_MAX {
        return Err(invalid(format!(
            "* BatchEmbedContentsRequest.requests: at most {REQUESTS_MAX} requests can be in one batch\n"
        )));
    }
    let (mut embeddings, mut prompt_token_count) = (Vec::new(), 0);
    for (number, inner) in requests.iter().enumerate() {
        if inner["model"].as_str().and_then(|model| model.strip_prefix("models/")) != Some(request.model) {
            return Err(invalid(format!(
                "* BatchEmbedContentsRequest.requests[{number}].model: the model must match the parent model \
                 'models/{}'\n",
                request.model
            )));
        }
        let (values, tokens) = one(inner, &format!("requests[{number}]"))?;
        embeddings.push(values);
        prompt_token_count += tokens;
    }
    Ok(Plain::ok(&Many { embeddings, usage_metadata: Usage { prompt_token_count } }, turn.first_token))
}

/// One text's vector, and its tokens.
fn one(request: &Value, place: &str) -> Result<(Values, usize), VendorError> {
    known(request, &FIELDS, place)?;
    let config = at(request, "embedContentConfig");
    known(config, &CONFIG_FIELDS, "embed_content_config")?;
    let asked = [request, config].map(|value| at(value, "outputDimensionality"));
    let asked = asked.into_iter().find(|asked| !asked.is_null());
    let dimensions = asked.map_or(Some(DIMENSIONS), Value::as_u64).filter(|asked| (1..=DIMENSIONS).contains(asked));
    let Some(dimensions) = dimensions.and_then(|asked| usize::try_from(asked).ok()) else {
        return Err(invalid(format!("output_dimensionality must be from 1 to {DIMENSIONS}")));
    };
    let mut texts = Vec::new();
    for part in contents::parts(&request["content"], "content")? {
        match part {
            Part::Text(text) => texts.push(text),
            _ => return Err(invalid("only text parts can be embedded by this model")),
        }
    }
    if texts.is_empty() {
        return Err(invalid("* EmbedContentRequest.content: content is empty\n"));
    }
    let text = texts.join(" ");
    Ok((Values { values: vector(&text, dimensions) }, text.split_whitespace().count().max(1)))
}

#[cfg(test)]
mod tests {
    use super::super::super::sample::{TURN, request};
    use super::*;
    use serde_json::json;

    fn answered(operation: Operation, body: &Value) -> Result<Value, VendorError> {
        let plain = answer(&Request { operation, ..request(body) }, &TURN)?;
        Ok(serde_json::from_slice(&plain.body).unwrap())
    }

    #[test]
    fn one_text_and_many_have_the_same_vectors() {
        let content = json!({"parts": [{"text": "one two"}]});
        let one = answered(Operation::Embed, &json!({"content": content, "outputDimensionality": 8})).unwrap();
        assert_eq!(one["embedding"]["values"].as_array().map(Vec::len), Some(8));
        let inner = json!({"model": "models/m", "content": content, "embedContentConfig": {"outputDimensionality": 8}});
        let many = answered(Operation::EmbedMany, &json!({"requests": [inner, inner]})).unwrap();
        assert_eq!(many["embeddings"][1], one["embedding"]);
        assert_eq!(many["usageMetadata"]["promptTokenCount"], 4);
    }

    #[test]
    fn bad_requests_are_refused() {
        let content = json!({"parts": [{"text": "x"}]});
        for (operation, body, part) in [
            (Operation::Embed, json!({"input": "x"}), "Unknown name \"input\""),
            (Operation::Embed, json!({"content": {"parts": []}}), "content is empty"),
            (Operation::Embed, json!({"content": content, "outputDimensionality": 0}), "output_dimensionality"),
            (Operation::EmbedMany, json!({"requests": [{"content": content}]}), "must match the parent model"),
            (Operation::EmbedMany, json!({"requests": vec![json!({}); 101]}), "at most 100"),
        ] {
            let error = answered(operation, &body).unwrap_err().error;
            assert!(error["message"].as_str().unwrap().contains(part), "{error}");
        }
    }
}
