//! Reading a messages request as strictly as Anthropic does, in its words for what is wrong.

use serde_json::Value;

use super::super::answer::VendorError;
use super::super::ask::{Ask, Format, Speaker};
use super::super::dialect::{Operation, Request};
use super::error::invalid;
use super::message::{Cache, Reading};
use super::{blocks, tools};

/// The parameters of a count; a message has [`MESSAGE_FIELDS`] too.
const COUNT_FIELDS: [&str; 10] = [
    "cache_control",
    "messages",
    "model",
    "output_config",
    "speed",
    "system",
    "thinking",
    "tool_choice",
    "tools",
    "user_profile_id",
];
const MESSAGE_FIELDS: [&str; 12] = [
    "container",
    "diagnostics",
    "inference_geo",
    "max_tokens",
    "metadata",
    "service_tier",
    "stop_sequences",
    "stream",
    // Gone from the newest clients, and still taken by all but the newest models.
    "temperature",
    "top_k",
    "top_p",
    "workspace_id",
];
/// Only with an `anthropic-beta` header.
const BETA_FIELDS: [&str; 7] = [
    "billing_policy",
    "compaction",
    "context_management",
    "fallback_credit_token",
    "fallbacks",
    "mcp_servers",
    "thread",
];

const STOPS_MAX: usize = 8191;

/// Checks a request, and reads it.
pub(super) fn read(request: &Request<'_>) -> Result<Reading, VendorError> {
    let body = request.body;
    let counting = request.operation == Operation::CountTokens;
    unknown_fields(request, counting)?;
    let mut ask = Ask::new(request.model);
    if !counting {
        ask.limit(Some(max_tokens(body)?));
    }
    ask.stream = match &body["stream"] {
        Value::Null => false,
        Value::Bool(stream) => *stream,
        _ => return Err(invalid("stream: Input should be a valid boolean")),
    };
    sampling(body)?;
    metadata(&body["metadata"])?;
    ask.stops = stops(&body["stop_sequences"])?;
    ask.format = format(&body["output_config"])?;
    let shown = thinking(body, &mut ask)?;
    tools::read(body, &mut ask)?;
    system(&body["system"], &mut ask)?;
    blocks::hear(&body["messages"], &mut ask)?;
    Ok(Reading { cache: Cache::of(body, &ask), ask, thinking_shown: shown })
}

fn unknown_fields(request: &Request<'_>, counting: bool) -> Result<(), VendorError> {
    let beta = request.headers.contains_key("anthropic-beta");
    let Some(fields) = request.body.as_object() else {
        return Err(invalid("Input should be a valid dictionary or object to extract fields from"));
    };
    let known = |name: &str| {
        COUNT_FIELDS.contains(&name)
            || (!counting && MESSAGE_FIELDS.contains(&name))
            || (beta && BETA_FIELDS.contains(&name))
    };
    extra(fields.keys().find(|name| !known(name)).map(String::as_str), "")
}

/// Refuses a field that is not documented.
pub(super) fn extra(name: Option<&str>, place: &str) -> Result<(), VendorError> {
    name.map_or(Ok(()), |name| Err(invalid(format!("{place}{name}: Extra inputs are not permitted"))))
}

/// The first field of an object that is none of these.
pub(super) fn unlisted<'a>(object: &'a Value, documented: &[&str]) -> Option<&'a str> {
    let names = object.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    names.into_iter().find(|name| !documented.contains(name))
}

fn max_tokens(body: &Value) -> Result<usize, VendorError> {
    match &body["max_tokens"] {
        Value::Null => Err(invalid("max_tokens: Field required")),
        value => match value.as_u64() {
            Some(tokens) if tokens > 0 => Ok(usize::try_from(tokens).unwrap_or(usize::MAX)),
            _ if value.is_i64() || value.is_u64() => {
                Err(invalid("max_tokens: Input should be greater than or equal to 1"))
            }
            _ => Err(invalid("max_tokens: Input should be a valid integer")),
        },
    }
}

/// Anthropic's temperature ends at 1, OpenAI's at 2: one that was passed on is found out here.
fn sampling(body: &Value) -> Result<(), VendorError> {
    for name in ["temperature", "top_p"] {
        let value = &body[name];
        match value.as_f64() {
            None if value.is_null() => {}
            None => return Err(invalid(format!("{name}: Input should be a valid number"))),
            Some(number) if number < 0.0 => {
                return Err(invalid(format!("{name}: Input should be greater than or equal to 0")));
            }
            Some(number) if number > 1.0 => {
                return Err(invalid(format!("{name}: Input should be less than or equal to 1")));
            }
            Some(_) => {}
        }
    }
    if body["top_k"].is_null() || body["top_k"].is_u64() {
        return Ok(());
    }
    Err(invalid("top_k: Input should be a valid integer"))
}

fn metadata(metadata: &Value) -> Result<(), VendorError> {
    extra(unlisted(metadata, &["user_id"]), "metadata.")
}

fn stops(stops: &Value) -> Result<Vec<String>, VendorError> {
    if stops.is_null() {
        return Ok(Vec::new());
    }
    let Some(stops) = stops.as_array() else { return Err(invalid("stop_sequences: Input should be a valid list")) };
    if stops.len() > STOPS_MAX {
        return Err(invalid(format!("stop_sequences: List should have at most {STOPS_MAX} items after validation")));
    }
    let stop = |(at, stop): (usize, &Value)| match stop.as_str() {
        None => Err(invalid(format!("stop_sequences.{at}: Input should be a valid string"))),
        Some(stop) if stop.trim().is_empty() => {
            Err(invalid("stop_sequences: each stop sequence must contain non-whitespace"))
        }
        Some(stop) => Ok(stop.to_owned()),
    };
    stops.iter().enumerate().map(stop).collect()
}

fn format(config: &Value) -> Result<Format, VendorError> {
    extra(unlisted(config, &["effort", "format"]), "output_config.")?;
    let format = &config["format"];
    if format.is_null() {
        return Ok(Format::Text);
    }
    extra(unlisted(format, &["schema", "type"]), "output_config.format.")?;
    if format["type"] != "json_schema" {
        return Err(invalid("output_config.format.type: Input should be 'json_schema'"));
    }
    if !format["schema"].is_object() {
        return Err(invalid("output_config.format.schema: Field required"));
    }
    if is_open(&format["schema"], 0) {
        return Err(invalid(
            "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false",
        ));
    }
    Ok(Format::Schema(format["schema"].clone()))
}

/// Whether an object anywhere in the schema may have properties that it does not name.
fn is_open(schema: &Value, depth: usize) -> bool {
    const DEPTH_MAX: usize = 64;
    let open = schema["type"] == "object" && schema["additionalProperties"] != false;
    let nested = |value: &Value| match value {
        Value::Object(fields) => fields.values().any(|value| is_open(value, depth + 1)),
        Value::Array(values) => values.iter().any(|value| is_open(value, depth + 1)),
        _ => false,
    };
    open || (depth < DEPTH_MAX && nested(schema))
}

/// Whether to think goes into `ask`; gives whether to show it.
fn thinking(body: &Value, ask: &mut Ask) -> Result<bool, VendorError> {
    let config = &body["thinking"];
    let kind = match (config, config["type"].as_str()) {
        (Value::Null, _) => return Ok(false),
        (_, None) => return Err(invalid("thinking.type: Field required")),
        (_, Some(kind)) => kind,
    };
    match kind {
        "enabled" => budget(body, &config["budget_tokens"])?,
        "adaptive" => extra(unlisted(config, &["display", "type"]), "thinking.adaptive.")?,
        "between_tools" | "disabled" => return Ok(false),
        other => {
            return Err(invalid(format!(
                "thinking: Input tag '{other}' found using 'type' does not match any of the expected tags: 'adaptive', \
                 'between_tools', 'disabled', 'enabled'"
            )));
        }
    }
    if ["any", "tool"].iter().any(|forced| body["tool_choice"]["type"] == *forced) {
        return Err(invalid("Thinking may not be enabled when tool_choice forces tool use."));
    }
    if body["temperature"].as_f64().is_some_and(|temperature| temperature < 1.0) {
        return Err(invalid("`temperature` may only be set to 1 when thinking is enabled."));
    }
    ask.thinking = true;
    Ok(config["display"] != "omitted")
}

fn budget(body: &Value, budget: &Value) -> Result<(), VendorError> {
    let Some(tokens) = budget.as_u64() else {
        return Err(invalid("thinking.enabled.budget_tokens: Field required"));
    };
    if tokens < 1024 {
        return Err(invalid("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"));
    }
    if body["max_tokens"].as_u64().is_some_and(|most| most <= tokens) {
        return Err(invalid("`max_tokens` must be greater than `thinking.budget_tokens`."));
    }
    Ok(())
}

fn system(system: &Value, ask: &mut Ask) -> Result<(), VendorError> {
    match system {
        Value::Null => {}
        Value::String(text) => ask.hear(Speaker::System, text.clone()),
        Value::Array(parts) => {
            for (at, part) in parts.iter().enumerate() {
                let text = blocks::text_of(part, &format!("system.{at}"))?;
                ask.hear(Speaker::System, text.to_owned());
            }
        }
        _ => return Err(invalid("system: Input should be a valid string or list")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::sample::{self, request};
    use super::*;
    use serde_json::json;

    fn with(more: &Value) -> Value {
        sample::with(json!({"model": "m", "max_tokens": 2000, "messages": [{"role": "user", "content": "hi"}]}), more)
    }

    fn refused(body: &Value) -> String {
        let error = read(&request(body)).unwrap_err();
        assert_eq!(error.error["type"], "invalid_request_error");
        error.error["message"].as_str().unwrap().to_owned()
    }

    #[test]
    fn requests_are_checked_as_anthropic_does() {
        for (name, value, message) in [
            ("max_tokens", Value::Null, "max_tokens: Field required"),
            ("max_tokens", json!(0), "max_tokens: Input should be greater than or equal to 1"),
            ("max_tokens", json!("9"), "max_tokens: Input should be a valid integer"),
            ("stream", json!("yes"), "stream: Input should be a valid boolean"),
            ("temperature", json!(1.5), "temperature: Input should be less than or equal to 1"),
            ("metadata", json!({"run": "7"}), "metadata.run: Extra inputs are not permitted"),
            ("stop_sequences", json!("x"), "stop_sequences: Input should be a valid list"),
            ("stop_sequences", json!([" "]), "stop_sequences: each stop sequence must contain non-whitespace"),
            ("system", json!({"text": "x"}), "system: Input should be a valid string or list"),
            ("thinking", json!({"type": "enabled"}), "thinking.enabled.budget_tokens: Field required"),
            (
                "thinking",
                json!({"type": "enabled", "budget_tokens": 4096}),
                "`max_tokens` must be greater than `thinking.budget_tokens`.",
            ),
        ] {
            assert_eq!(refused(&with(&json!({name: value}))), message);
        }
    }

    #[test]
    fn what_is_not_documented_is_refused() {
        for name in ["models", "provider", "route", "tidegate", "n", "stop", "response_format", "fallbacks"] {
            assert_eq!(refused(&with(&json!({name: 1}))), format!("{name}: Extra inputs are not permitted"));
        }
        let body = with(&json!({}));
        let count = Request { operation: Operation::CountTokens, ..request(&body) };
        assert_eq!(read(&count).unwrap_err().error["message"], "max_tokens: Extra inputs are not permitted");
    }

    #[test]
    fn a_schema_must_close_its_objects() {
        let config =
            |schema: Value| with(&json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}}));
        let closed = json!({"type": "object", "properties": {}, "additionalProperties": false});
        assert_eq!(read(&request(&config(closed.clone()))).unwrap().ask.format, Format::Schema(closed));
        let open = json!({"type": "array", "items": {"type": "object"}});
        assert!(refused(&config(open)).contains("'additionalProperties' must be explicitly set to false"));
        let object = with(&json!({"output_config": {"format": {"type": "json_object"}}}));
        assert_eq!(refused(&object), "output_config.format.type: Input should be 'json_schema'");
    }
}
