//! Reading a chat completion request as strictly as OpenAI does, in its words for what is wrong.

use serde_json::Value;

use super::super::answer::VendorError;
use super::super::ask::{Ask, Format, Tool, ToolChoice};
use super::chat::Chat;
use super::{error, messages};

/// The parameters that are documented; `thinking` is DeepSeek's.
const FIELDS: [&str; 38] = [
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];
const CHOICES_MAX: u64 = 128;
const STOPS_MAX: usize = 4;
const TOOLS_MAX: usize = 128;

/// Checks a body, and reads it.
pub(super) fn read(body: &Value, model: &str) -> Result<Chat, VendorError> {
    let mut ask = Ask::new(model);
    let list = messages::list(body)?;
    ask.stream = flag(body, "stream")?.unwrap_or(false);
    let options = body.get("stream_options").filter(|options| !options.is_null());
    if options.is_some() && !ask.stream {
        let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(error::parameter("stream_options", None, message));
    }
    error::unknown_fields(body, &FIELDS)?;
    ranges(body)?;
    let choices = whole_number(body, "n")?.unwrap_or(1);
    if choices > CHOICES_MAX {
        let message = format!(
            "Invalid 'n': integer above maximum value. Expected a value <= {CHOICES_MAX}, but got {choices} instead."
        );
        return Err(error::parameter("n", Some("integer_above_max_value"), message));
    }
    ask.choices = usize::try_from(choices).unwrap_or(1);
    let limit = match whole_number(body, "max_completion_tokens")? {
        Some(limit) => Some(limit),
        None => whole_number(body, "max_tokens")?,
    };
    ask.limit(limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)));
    ask.stops = stops(body)?;
    ask.format = format(&body["response_format"])?;
    ask.thinking = thinking(body);
    ask.tools = tools(body)?;
    ask.tool_choice = tool_choice(body, &ask.tools)?;
    ask.parallel_tools = flag(body, "parallel_tool_calls")?.unwrap_or(true);
    messages::hear(list, &mut ask)?;
    Ok(Chat {
        ask,
        include_usage: options.is_some_and(|options| options["include_usage"] == true),
        top_logprobs: logprobs(body)?,
    })
}

fn flag(body: &Value, name: &str) -> Result<Option<bool>, VendorError> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(wrong_type(name, "a boolean")),
    }
}

fn wrong_type(name: &str, expected: &str) -> VendorError {
    let message = format!("Invalid type for '{name}': expected {expected}.");
    error::parameter(name, Some("invalid_type"), message)
}

fn whole_number(body: &Value, name: &str) -> Result<Option<u64>, VendorError> {
    let Some(value) = body.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
    if let Some(limit) = value.as_u64().filter(|&limit| limit > 0) {
        return Ok(Some(limit));
    }
    if !value.is_i64() && !value.is_u64() {
        return Err(wrong_type(name, "an integer"));
    }
    let message =
        format!("Invalid '{name}': integer below minimum value. Expected a value >= 1, but got {value} instead.");
    Err(error::parameter(name, Some("integer_below_min_value"), message))
}

/// The numbers that have a range.
fn ranges(body: &Value) -> Result<(), VendorError> {
    const RANGES: [(&str, f64, f64); 5] = [
        ("temperature", 0.0, 2.0),
        ("top_p", 0.0, 1.0),
        ("frequency_penalty", -2.0, 2.0),
        ("presence_penalty", -2.0, 2.0),
        ("top_logprobs", 0.0, 20.0),
    ];
    for (name, least, most) in RANGES {
        let Some(value) = body.get(name).filter(|value| !value.is_null()) else { continue };
        let Some(number) = value.as_f64() else { return Err(wrong_type(name, "a decimal")) };
        if number < least {
            let message = format!(
                "Invalid '{name}': decimal below minimum value. Expected a value >= {least}, but got {value} instead."
            );
            return Err(error::parameter(name, Some("decimal_below_min_value"), message));
        }
        if number > most {
            let message = format!(
                "Invalid '{name}': decimal above maximum value. Expected a value <= {most}, but got {value} instead."
            );
            return Err(error::parameter(name, Some("decimal_above_max_value"), message));
        }
    }
    Ok(())
}

fn stops(body: &Value) -> Result<Vec<String>, VendorError> {
    let stops: Option<Vec<String>> = match &body["stop"] {
        Value::Null => Some(Vec::new()),
        Value::String(stop) => Some(vec![stop.clone()]),
        Value::Array(stops) => stops.iter().map(|stop| stop.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    let stops = stops.ok_or_else(|| wrong_type("stop", "a string or an array of strings"))?;
    if stops.len() > STOPS_MAX {
        let message = format!(
            "Invalid 'stop': array too long. Expected an array with maximum length {STOPS_MAX}, but got an array with \
             length {} instead.",
            stops.len()
        );
        return Err(error::parameter("stop", Some("array_above_max_length"), message));
    }
    Ok(stops.into_iter().filter(|stop| !stop.is_empty()).collect())
}

fn format(format: &Value) -> Result<Format, VendorError> {
    if format.is_null() {
        return Ok(Format::Text);
    }
    match format["type"].as_str() {
        Some("text") => Ok(Format::Text),
        Some("json_object") => Ok(Format::Json),
        Some("json_schema") => {
            let given = &format["json_schema"];
            if !given["name"].is_string() {
                return Err(missing("response_format.json_schema.name"));
            }
            // The schema may be left out: then any object will do.
            Ok(if given["schema"].is_object() { Format::Schema(given["schema"].clone()) } else { Format::Json })
        }
        other => {
            let message = format!(
                "Invalid value: '{}'. Supported values are: 'json_object', 'json_schema', and 'text'.",
                other.unwrap_or_default()
            );
            Err(error::parameter("response_format.type", Some("invalid_value"), message))
        }
    }
}

/// OpenAI's way of asking for it, or DeepSeek's.
fn thinking(body: &Value) -> bool {
    let effort = body["reasoning_effort"].as_str().is_some_and(|effort| effort != "none");
    effort || body["thinking"]["type"].as_str().is_some_and(|kind| kind != "disabled")
}

fn tools(body: &Value) -> Result<Vec<Tool>, VendorError> {
    let tools = match &body["tools"] {
        Value::Null => return Ok(Vec::new()),
        Value::Array(tools) => tools,
        _ => return Err(wrong_type("tools", "an array of objects")),
    };
    if tools.is_empty() {
        let message = "Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty array \
                       instead.";
        return Err(error::parameter("tools", Some("empty_array"), message));
    }
    if tools.len() > TOOLS_MAX {
        let message = format!(
            "Invalid 'tools': array too long. Expected an array with maximum length {TOOLS_MAX}, but got an array with \
             length {} instead.",
            tools.len()
        );
        return Err(error::parameter("tools", Some("array_above_max_length"), message));
    }
    let read = |(at, tool): (usize, &Value)| {
        if tool["type"] != "function" {
            let message = format!(
                "Invalid value: '{}'. Supported values are: 'function' and 'custom'.",
                tool["type"].as_str().unwrap_or_default()
            );
            return Err(error::parameter(&format!("tools[{at}].type"), Some("invalid_value"), message));
        }
        let place = format!("tools[{at}].function.name");
        let name = tool["function"]["name"].as_str().ok_or_else(|| missing(&place))?;
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
            let message = format!(
                "Invalid '{place}': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
            );
            return Err(error::parameter(&place, Some("invalid_value"), message));
        }
        let schema = &tool["function"]["parameters"];
        if !schema.is_null() && !schema.is_object() {
            return Err(wrong_type(&format!("tools[{at}].function.parameters"), "an object"));
        }
        Ok(Tool { name: name.to_owned(), schema: schema.clone() })
    };
    tools.iter().enumerate().map(read).collect()
}

fn tool_choice(body: &Value, tools: &[Tool]) -> Result<ToolChoice, VendorError> {
    let choice = &body["tool_choice"];
    if !choice.is_null() && tools.is_empty() {
        let message = "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.";
        return Err(error::parameter("tool_choice", None, message));
    }
    let known = |name: &Value| {
        let name = name.as_str().filter(|name| tools.iter().any(|tool| tool.name == *name));
        name.map(str::to_owned).ok_or_else(|| {
            let message = "Invalid value for 'tool_choice': the chosen function is not in 'tools'.";
            error::parameter("tool_choice", None, message)
        })
    };
    match (choice, choice["type"].as_str()) {
        (Value::Null, _) => Ok(ToolChoice::Any),
        (Value::String(word), _) if word == "none" => Ok(ToolChoice::Never),
        (Value::String(word), _) if word == "auto" || word == "required" => Ok(ToolChoice::Any),
        (_, Some("function")) => known(&choice["function"]["name"]).map(ToolChoice::One),
        (_, Some("allowed_tools")) => {
            let allowed = choice["allowed_tools"]["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
            allowed.iter().map(|tool| known(&tool["function"]["name"])).collect::<Result<_, _>>().map(ToolChoice::Of)
        }
        _ => {
            let message = format!(
                "Invalid value: {choice}. Supported values are: 'none', 'auto', 'required', and an object that names a \
                 function."
            );
            Err(error::parameter("tool_choice", Some("invalid_value"), message))
        }
    }
}

/// How many alternatives of each token to tell; absent, none of its odds.
fn logprobs(body: &Value) -> Result<Option<usize>, VendorError> {
    let top = body["top_logprobs"].as_u64();
    match flag(body, "logprobs")? {
        Some(true) => Ok(Some(top.and_then(|top| usize::try_from(top).ok()).unwrap_or(0))),
        _ if top.is_some() => {
            let message = "'top_logprobs' is only allowed when 'logprobs' is true.";
            Err(error::parameter("top_logprobs", None, message))
        }
        _ => Ok(None),
    }
}

pub(super) fn missing(place: &str) -> VendorError {
    let message = format!("Missing required parameter: '{place}'.");
    error::parameter(place, Some("missing_required_parameter"), message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with(name: &str, value: Value) -> Value {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        body[name] = value;
        body
    }

    fn refused(body: &Value) -> Value {
        read(body, "m").unwrap_err().error
    }

    #[test]
    fn requests_are_checked_as_openai_does() {
        for (name, value, code) in [
            ("max_tokens", json!(0), json!("integer_below_min_value")),
            ("max_completion_tokens", json!("9"), json!("invalid_type")),
            ("stream", json!("yes"), json!("invalid_type")),
            ("stream_options", json!({}), Value::Null),
            ("n", json!(129), json!("integer_above_max_value")),
            ("temperature", json!(2.5), json!("decimal_above_max_value")),
            ("top_p", json!("1"), json!("invalid_type")),
            ("stop", json!(7), json!("invalid_type")),
            ("stop", json!(["a", "b", "c", "d", "e"]), json!("array_above_max_length")),
            ("tools", json!([]), json!("empty_array")),
            ("tools", json!(vec![0; 129]), json!("array_above_max_length")),
            ("tool_choice", json!("auto"), Value::Null),
            ("top_logprobs", json!(2), Value::Null),
        ] {
            let error = refused(&with(name, value));
            assert_eq!((&error["param"], &error["code"]), (&json!(name), &code));
        }
    }

    #[test]
    fn a_gateways_own_fields_are_refused() {
        for name in ["models", "fallbacks", "provider", "route", "tidegate", "system", "max_output_tokens"] {
            let message = refused(&with(name, json!([])))["message"].clone();
            assert_eq!(message, format!("Unrecognized request argument supplied: {name}"));
        }
    }

    #[test]
    fn tools_are_checked() {
        let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {}}});
        for (tools, param) in [
            (json!([{"name": "f", "input_schema": {}}]), "tools[0].type"),
            (json!([tool("f"), {"type": "function", "function": {}}]), "tools[1].function.name"),
            (json!([tool("no spaces")]), "tools[0].function.name"),
        ] {
            assert_eq!(refused(&with("tools", tools))["param"], param);
        }
        let mut body = with("tools", json!([tool("f"), tool("g")]));
        for (choice, expected) in [
            (json!("none"), Some(ToolChoice::Never)),
            (json!("required"), Some(ToolChoice::Any)),
            (json!({"type": "function", "function": {"name": "g"}}), Some(ToolChoice::One("g".to_owned()))),
            (json!({"type": "function", "function": {"name": "h"}}), None),
            (json!({"type": "tool", "name": "g"}), None),
        ] {
            body["tool_choice"] = choice;
            assert_eq!(read(&body, "m").ok().map(|chat| chat.ask.tool_choice), expected);
        }
    }

    #[test]
    fn thinking_is_asked_for_in_two_ways() {
        for (name, value, expected) in [
            ("reasoning_effort", json!("low"), true),
            ("reasoning_effort", json!("none"), false),
            ("thinking", json!({"type": "enabled"}), true),
            ("thinking", json!({"type": "disabled"}), false),
        ] {
            assert_eq!(read(&with(name, value), "m").unwrap().ask.thinking, expected);
        }
    }
}
