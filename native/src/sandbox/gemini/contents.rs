//! The contents of a request: their roles, their parts, and that calls and responses of functions match.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::answer::VendorError;
use super::super::ask::{Ask, Speaker};
use super::error::{invalid, wrong_type};
use super::fields::{at, known, list};

/// What a part is; the rest is taken and not looked into.
#[derive(Debug)]
pub(super) enum Part<'a> {
    Text(&'a str),
    Image,
    Call(&'a str),
    Response(&'a str, String),
    Other,
}

/// How often each function is called, and has yet to respond.
type Calls<'a> = BTreeMap<&'a str, usize>;

const PART_FIELDS: [&str; 14] = [
    "codeExecutionResult",
    "executableCode",
    "fileData",
    "functionCall",
    "functionResponse",
    "inlineData",
    "mediaResolution",
    "partMetadata",
    "text",
    "thought",
    "thoughtSignature",
    "toolCall",
    "toolResponse",
    "videoMetadata",
];

/// Takes in all contents.
pub(super) fn hear(contents: &[Value], ask: &mut Ask) -> Result<(), VendorError> {
    if contents.is_empty() {
        return Err(invalid("* GenerateContentRequest.contents: contents is not specified\n"));
    }
    let mut called = Calls::new();
    let mut last = Speaker::User;
    for (number, content) in contents.iter().enumerate() {
        let place = format!("contents[{number}]");
        last = match content["role"].as_str() {
            None | Some("user" | "function") => Speaker::User,
            Some("model") => Speaker::Assistant,
            Some(_) => return Err(invalid("Please use a valid role: user, model.")),
        };
        let parts = parts(content, &place)?;
        if parts.is_empty() {
            return Err(invalid(format!(
                "* GenerateContentRequest.{place}.parts: contents.parts must not be empty.\n"
            )));
        }
        called = turn(parts, last, called, ask)?;
    }
    if last == Speaker::Assistant {
        return Err(invalid("Please ensure that multiturn requests end with a user role or a function response."));
    }
    Ok(())
}

/// Takes in one content; gives the functions that it calls.
fn turn<'a>(
    parts: Vec<Part<'a>>,
    speaker: Speaker,
    mut open: Calls<'a>,
    ask: &mut Ask,
) -> Result<Calls<'a>, VendorError> {
    let (mut calls, mut texts, mut results) = (Calls::new(), Vec::new(), Vec::new());
    for part in parts {
        match (part, speaker) {
            (Part::Text(text), _) => texts.push(text),
            (Part::Image, _) => ask.images += 1,
            (Part::Call(name), Speaker::Assistant) => *calls.entry(name).or_default() += 1,
            (Part::Response(name, text), Speaker::User) => {
                let Some(left) = open.get_mut(name).filter(|left| **left > 0) else {
                    return Err(invalid(
                        "Please ensure that function response turn comes immediately after a function call turn.",
                    ));
                };
                *left -= 1;
                results.push(text);
            }
            (Part::Call(_) | Part::Response(..), _) => {
                return Err(invalid(
                    "Please ensure that function call turn comes immediately after a user turn or after a function response turn.",
                ));
            }
            (Part::Other, _) => {}
        }
    }
    if open.values().any(|left| *left > 0) {
        return Err(invalid(
            "Please ensure that the number of function response parts is equal to the number of function call parts of \
             the function call turn.",
        ));
    }
    let only_results = texts.is_empty() && !results.is_empty();
    for text in results {
        ask.hear(Speaker::Tool, text);
    }
    if !only_results {
        ask.hear(speaker, texts.join(" "));
    }
    Ok(calls)
}

/// The parts of a content.
pub(super) fn parts<'a>(content: &'a Value, place: &str) -> Result<Vec<Part<'a>>, VendorError> {
    known(content, &["parts", "role"], place)?;
    let parts = list(content, "parts", place)?;
    parts.iter().enumerate().map(|(number, part)| read(part, &format!("{place}.parts[{number}]"))).collect()
}

fn read<'a>(part: &'a Value, place: &str) -> Result<Part<'a>, VendorError> {
    known(part, &PART_FIELDS, place)?;
    let field = |name| Some(at(part, name)).filter(|value| !value.is_null());
    if let Some(signature) = field("thoughtSignature")
        && !signature.is_string()
    {
        return Err(wrong_type(signature, "TYPE_BYTES", &format!("{place}.thought_signature")));
    }
    if let Some(text) = field("text") {
        let said = text.as_str().ok_or_else(|| wrong_type(text, "TYPE_STRING", &format!("{place}.text")))?;
        return Ok(if *at(part, "thought") == true { Part::Other } else { Part::Text(said) });
    }
    if let Some(data) = field("inlineData") {
        let place = format!("{place}.inline_data");
        known(data, &["data", "displayName", "mimeType"], &place)?;
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte);
        let bytes = data["data"].as_str().filter(|data| !data.is_empty() && data.bytes().all(is_base64));
        if bytes.is_none() {
            return Err(wrong_type(&Value::Null, "TYPE_BYTES", &format!("{place}.data")));
        }
        return media(at(data, "mimeType"));
    }
    if let Some(data) = field("fileData") {
        known(data, &["displayName", "fileUri", "mimeType"], &format!("{place}.file_data"))?;
        if !at(data, "fileUri").is_string() {
            return Err(invalid(format!(
                "* GenerateContentRequest.{place}.file_data.file_uri: file_uri must not be empty.\n"
            )));
        }
        // A file's type may be left for Gemini to find out.
        return if at(data, "mimeType").is_null() { Ok(Part::Image) } else { media(at(data, "mimeType")) };
    }
    if let Some(call) = field("functionCall") {
        known(call, &["args", "id", "name"], &format!("{place}.function_call"))?;
        if !call["args"].is_null() && !call["args"].is_object() {
            return Err(wrong_type(&call["args"], "Struct", &format!("{place}.function_call.args")));
        }
        return name(call, place, "function_call").map(Part::Call);
    }
    if let Some(response) = field("functionResponse") {
        let place = format!("{place}.function_response");
        known(response, &["id", "name", "parts", "response", "scheduling", "willContinue"], &place)?;
        if !response["response"].is_object() {
            return Err(wrong_type(&response["response"], "Struct", &format!("{place}.response")));
        }
        return Ok(Part::Response(name(response, &place, "name")?, told(&response["response"])));
    }
    if ["executableCode", "codeExecutionResult", "toolCall", "toolResponse"].iter().any(|name| field(name).is_some()) {
        return Ok(Part::Other);
    }
    Err(invalid(format!(
        "* GenerateContentRequest.{place}.data: required oneof field 'data' must have one initialized field\n"
    )))
}

fn name<'a>(value: &'a Value, place: &str, field: &str) -> Result<&'a str, VendorError> {
    let name = value["name"].as_str().filter(|name| !name.is_empty());
    name.ok_or_else(|| invalid(format!("* GenerateContentRequest.{place}.{field}.name: Name cannot be empty.\n")))
}

fn media(kind: &Value) -> Result<Part<'static>, VendorError> {
    match kind.as_str() {
        Some(kind) if kind.starts_with("image/") => Ok(Part::Image),
        Some(kind) if kind.contains('/') => Ok(Part::Other),
        other => Err(invalid(format!("Unsupported MIME type: {}", other.unwrap_or_default()))),
    }
}

/// What a function said: the one text in its response, or all of it as JSON.
fn told(response: &Value) -> String {
    let values: Vec<&Value> = response.as_object().into_iter().flatten().map(|(_, value)| value).collect();
    match values.as_slice() {
        [Value::String(text)] => text.clone(),
        _ => response.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn heard(contents: &Value) -> Result<Ask, VendorError> {
        let mut ask = Ask::new("m");
        hear(contents.as_array().unwrap(), &mut ask).map(|()| ask)
    }

    #[test]
    fn a_conversation_with_functions_and_images_is_understood() {
        let ask = heard(&json!([
            {"role": "user", "parts": [
                {"text": "what is this?"},
                {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
                {"fileData": {"fileUri": "https://example.com/a.png", "mimeType": "image/png"}},
            ]},
            {"role": "model", "parts": [
                {"text": "hm", "thought": true},
                {"functionCall": {"id": "1", "name": "f", "args": {}}, "thoughtSignature": "AAAA"},
                {"functionCall": {"name": "g"}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"id": "1", "name": "f", "response": {"result": "one"}}},
                {"functionResponse": {"name": "g", "response": {"n": 2}}},
            ]},
        ]))
        .unwrap();
        assert_eq!((ask.prompt.as_str(), ask.images, ask.prompt_tokens()), ("what is this?", 2, 5));
        assert_eq!(ask.results, ["one", r#"{"n":2}"#]);
    }

    #[test]
    fn malformed_contents_are_refused() {
        let user = json!({"role": "user", "parts": [{"text": "hi"}]});
        let call =
            json!({"role": "model", "parts": [{"functionCall": {"name": "f"}}, {"functionCall": {"name": "g"}}]});
        let responses = |names: &[&str]| {
            let part = |name: &&str| json!({"functionResponse": {"name": name, "response": {}}});
            json!({"role": "user", "parts": names.iter().map(part).collect::<Vec<_>>()})
        };
        for (contents, part) in [
            (json!([]), "contents is not specified"),
            (json!([{"role": "assistant", "parts": [{"text": "x"}]}]), "valid role: user, model"),
            (json!([{"role": "user", "content": "x"}]), "Unknown name \"content\" at 'contents[0]'"),
            (json!([{"role": "user", "parts": []}]), "must not be empty"),
            (json!([{"role": "user", "parts": [{"type": "text", "text": "x"}]}]), "\"type\" at 'contents[0].parts[0]'"),
            (json!([{"role": "user", "parts": [{}]}]), "must have one initialized field"),
            (
                json!([{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "data:x;base64,"}}]}]),
                "contents[0].parts[0].inline_data.data",
            ),
            (
                json!([user, {"role": "model", "parts": [{"functionCall": {"name": "f", "args": "{}"}}]}]),
                "function_call.args",
            ),
            (json!([user, {"role": "model", "parts": [{"text": "x"}]}]), "end with a user role"),
            (json!([user, call, responses(&["f"])]), "number of function response parts"),
            (json!([user, call, user]), "number of function response parts"),
            (json!([user, responses(&["f"])]), "immediately after a function call turn"),
            (json!([user, call, responses(&["f", "h"])]), "immediately after a function call turn"),
        ] {
            let error = heard(&contents).unwrap_err();
            assert!(error.error["message"].as_str().unwrap().contains(part), "{part}: {error:?}");
        }
    }
}
