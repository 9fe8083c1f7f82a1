//! The messages of a chat completion request: their roles, their parts, and that calls and results of tools match.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::answer::VendorError;
use super::super::ask::{Ask, Speaker};
use super::ask::missing;
use super::error;

/// The list, if it is one of messages.
pub(super) fn list(body: &Value) -> Result<&[Value], VendorError> {
    let wrong = |code, message: &str| Err(error::parameter("messages", Some(code), message));
    match body.get("messages") {
        None | Some(Value::Null) => wrong("missing_required_parameter", "Missing required parameter: 'messages'."),
        Some(Value::Array(messages)) if messages.is_empty() => wrong(
            "empty_array",
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        ),
        Some(Value::Array(messages)) if messages.iter().all(|message| message["role"].is_string()) => Ok(messages),
        Some(Value::Array(_)) => wrong("missing_required_parameter", "Missing required parameter: 'messages[0].role'."),
        Some(_) => wrong("invalid_type", "Invalid type for 'messages': expected an array of objects."),
    }
}

/// Takes in all messages.
pub(super) fn hear(messages: &[Value], ask: &mut Ask) -> Result<(), VendorError> {
    let mut expected: BTreeSet<&str> = BTreeSet::new();
    for (at, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        let speaker = match role {
            "assistant" => Speaker::Assistant,
            "developer" | "system" => Speaker::System,
            "function" | "tool" => Speaker::Tool,
            "user" => Speaker::User,
            _ => {
                let message = format!(
                    "Invalid value: '{role}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', \
                     and 'developer'."
                );
                return Err(error::parameter(&format!("messages[{at}].role"), Some("invalid_value"), message));
            }
        };
        if role == "tool" {
            answered(&mut expected, &message["tool_call_id"], at)?;
        } else {
            unanswered(&expected)?;
            expected = calls(message, at)?;
        }
        let text = text(message, at, ask)?;
        ask.hear(speaker, text);
    }
    unanswered(&expected)?;
    // With no user's message the last message is the prompt.
    if !messages.iter().any(|message| message["role"] == "user") {
        let last = messages.last().map(|message| text(message, messages.len() - 1, ask)).transpose()?;
        ask.prompt = last.unwrap_or_default();
    }
    Ok(())
}

/// Strikes out the call that a tool's message answers.
fn answered(expected: &mut BTreeSet<&str>, id: &Value, at: usize) -> Result<(), VendorError> {
    let Some(id) = id.as_str() else { return Err(missing(&format!("messages[{at}].tool_call_id"))) };
    if expected.remove(id) {
        return Ok(());
    }
    let message =
        "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.";
    Err(error::parameter(&format!("messages.[{at}].role"), None, message))
}

fn unanswered(expected: &BTreeSet<&str>) -> Result<(), VendorError> {
    if expected.is_empty() {
        return Ok(());
    }
    let message = format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. \
         The following tool_call_ids did not have response messages: {}",
        expected.iter().copied().collect::<Vec<_>>().join(", ")
    );
    Err(error::parameter("messages", None, message))
}

/// The ids of the calls that an assistant's message made.
fn calls(message: &Value, at: usize) -> Result<BTreeSet<&str>, VendorError> {
    let calls = message["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default();
    let id = |(number, call): (usize, &'_ Value)| {
        let place = format!("messages[{at}].tool_calls[{number}]");
        if call["type"] != "function" {
            return Err(missing(&format!("{place}.type")));
        }
        let function = &call["function"];
        if !function["name"].is_string() {
            return Err(missing(&format!("{place}.function.name")));
        }
        if !function["arguments"].is_string() {
            let place = format!("{place}.function.arguments");
            let message = format!("Invalid type for '{place}': expected a string, but got an object instead.");
            return Err(error::parameter(&place, Some("invalid_type"), message));
        }
        if call["id"].is_string() { Ok(()) } else { Err(missing(&format!("{place}.id"))) }
    };
    calls.iter().enumerate().try_for_each(id)?;
    Ok(calls.iter().filter_map(|call| call["id"].as_str()).collect())
}

/// A message's text: a string, or the text parts of an array. Counts the images on the way.
fn text(message: &Value, at: usize, ask: &mut Ask) -> Result<String, VendorError> {
    let parts = match &message["content"] {
        Value::String(text) => return Ok(text.clone()),
        Value::Null if message["role"] == "assistant" => return Ok(String::new()),
        Value::Array(parts) => parts,
        other => {
            let kind = if other.is_null() { "null" } else { "an object" };
            let place = format!("messages.[{at}].content");
            let message = format!("Invalid value for 'content': expected a string, got {kind}.");
            return Err(error::parameter(&place, None, message));
        }
    };
    let mut texts = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let place = format!("messages[{at}].content[{number}]");
        match part["type"].as_str() {
            Some("text") => texts.push(part["text"].as_str().ok_or_else(|| missing(&format!("{place}.text")))?),
            Some("refusal") => texts.push(part["refusal"].as_str().unwrap_or_default()),
            Some("image_url") if message["role"] == "user" => {
                check_image(&part["image_url"], &place)?;
                ask.images += 1;
            }
            Some("input_audio" | "file") if message["role"] == "user" => {}
            kind => {
                let message = format!(
                    "Invalid value: '{}'. Supported values are: 'text', 'image_url', 'input_audio', 'refusal', and \
                     'file'.",
                    kind.unwrap_or_default()
                );
                return Err(error::parameter(&format!("{place}.type"), Some("invalid_value"), message));
            }
        }
    }
    Ok(texts.join(" "))
}

fn check_image(image: &Value, place: &str) -> Result<(), VendorError> {
    let url = image["url"].as_str().ok_or_else(|| missing(&format!("{place}.image_url.url")))?;
    let data = |url: &str| url.starts_with("data:image/") && url.contains(";base64,");
    if url.starts_with("https://") || url.starts_with("http://") || data(url) {
        return Ok(());
    }
    let message = "Invalid image URL: expected a URL, or a base64-encoded data URL with an image MIME type (e.g. \
                   'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU=').";
    Err(error::parameter(&format!("{place}.image_url.url"), Some("invalid_image_url"), message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn heard(messages: &Value) -> Result<Ask, VendorError> {
        let body = json!({"messages": messages});
        let mut ask = Ask::new("m");
        hear(list(&body)?, &mut ask)?;
        Ok(ask)
    }

    #[test]
    fn a_conversation_with_tools_and_images_is_understood() {
        let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let ask = heard(&json!([
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [
                {"type": "text", "text": "what is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            ]},
            {"role": "assistant", "content": null, "tool_calls": [call("c1"), call("c2")]},
            {"role": "tool", "tool_call_id": "c2", "content": "two"},
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "one"}]},
        ]));
        let ask = ask.unwrap();
        assert_eq!((ask.prompt.as_str(), ask.images, ask.prompt_tokens()), ("what is this?", 2, 7));
        assert_eq!(ask.results, ["two", "one"]);
    }

    #[test]
    fn malformed_lists_are_refused() {
        let user = json!({"role": "user", "content": "hi"});
        let calls = json!({"role": "assistant", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
        let parsed = json!({"role": "assistant", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {}}}]});
        for (messages, param) in [
            (Value::Null, "messages"),
            (json!([]), "messages"),
            (json!("hi"), "messages"),
            (json!(["hi"]), "messages"),
            (json!([{"role": "model", "content": "hi"}]), "messages[0].role"),
            (json!([{"role": "user"}]), "messages.[0].content"),
            (json!([{"role": "user", "content": [{"type": "image", "source": {}}]}]), "messages[0].content[0].type"),
            (json!([user, {"role": "user", "content": [{"type": "tool_result"}]}]), "messages[1].content[0].type"),
            (
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "AAAA"}}]}]),
                "messages[0].content[0].image_url.url",
            ),
            (json!([user, {"role": "tool", "tool_call_id": "c1", "content": "x"}]), "messages.[1].role"),
            (json!([user, calls, user]), "messages"),
            (json!([user, calls]), "messages"),
            (json!([user, parsed]), "messages[1].tool_calls[0].function.arguments"),
        ] {
            assert_eq!(heard(&messages).unwrap_err().error["param"], param, "{messages}");
        }
    }
}
