//! Gemini's replies and errors that are not streamed.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::wire::{Answer, Candidate, Parts, PromptFeedback, broken, is_broken, is_filter, read_usage};
use crate::dialect::chat::{Choice, Content, Delta, Reply, Stop, ToolCall};
use crate::dialect::{Reading, VendorError};
use crate::time::Millis;

/// As much of any reply as tells whether it is one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline<'a> {
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    candidates: Option<Vec<Finish<'a>>>,
    #[serde(default)]
    prompt_feedback: Option<PromptFeedback>,
    #[serde(borrow, default)]
    usage_metadata: Option<&'a RawValue>,
    #[serde(default)]
    embedding: Option<IgnoredAny>,
    #[serde(default)]
    embeddings: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    total_tokens: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Finish<'a> {
    #[serde(borrow, default)]
    finish_reason: Option<Cow<'a, str>>,
    #[serde(default)]
    finish_message: Option<String>,
}

/// Reads the body of a reply whose status promised an answer: a chat, vectors or a count, which cannot be mistaken for each other.
///
/// An answer that broke off is an error, with the finish reason as its kind.
pub fn read_reply(body: &[u8]) -> Reading {
    if body.trim_ascii().is_empty() {
        return Reading::Empty;
    }
    let Ok(reply) = serde_json::from_slice::<Outline<'_>>(body) else {
        return match read_error(body) {
            nothing if nothing == VendorError::default() => Reading::Malformed,
            error => Reading::Error(error),
        };
    };
    if reply.error.is_some() {
        return Reading::Error(read_error(body));
    }
    let usage = read_usage(reply.usage_metadata);
    let has_vectors = reply.embedding.is_some() || reply.embeddings.is_some_and(|vectors| !vectors.is_empty());
    if has_vectors || reply.total_tokens.is_some() {
        return Reading::Answer(usage);
    }
    let candidates = reply.candidates.unwrap_or_default();
    if candidates.is_empty() {
        let is_blocked = reply.prompt_feedback.is_some_and(|feedback| feedback.blocks());
        return if is_blocked { Reading::Filtered(usage) } else { Reading::Empty };
    }
    let is_filtered = candidates.iter().any(|candidate| candidate.reason().is_some_and(is_filter));
    match candidates.into_iter().find(|candidate| candidate.reason().is_some_and(is_broken)) {
        Some(Finish { finish_reason, finish_message }) => {
            Reading::Error(broken(finish_reason.unwrap_or_default().into_owned(), finish_message))
        }
        None if is_filtered => Reading::Filtered(usage),
        None => Reading::Answer(usage),
    }
}

impl Finish<'_> {
    fn reason(&self) -> Option<&str> {
        self.finish_reason.as_deref()
    }
}

/// Reads a chat in full; `None` where [`read_reply`] finds no answer, or where its parts do not read. A prompt that was refused is
/// an answer without words that the filter stopped.
pub fn read_chat(body: &[u8]) -> Option<Reply> {
    let answer: Answer<'_> = serde_json::from_slice(body).ok()?;
    let id = answer.response_id.clone().unwrap_or_default();
    let is_blocked = answer.is_blocked();
    let mut choices = Vec::new();
    for candidate in answer.candidates.into_iter().flatten() {
        choices.push(choice(candidate, &id)?);
    }
    if choices.is_empty() {
        if !is_blocked {
            return None;
        }
        choices.push(Choice { parts: Vec::new(), stop: Stop::Filtered, logprobs: None });
    }
    let model = answer.model_version.unwrap_or_default();
    Some(Reply { id, model, choices, usage: read_usage(answer.usage_metadata) })
}

fn choice(candidate: Candidate<'_>, id: &str) -> Option<Choice> {
    let mut reader = Parts::new(id.to_owned());
    let mut parts = Vec::new();
    for part in candidate.content.and_then(|content| content.parts).unwrap_or_default() {
        reader.read(part, |delta| gather(&mut parts, delta));
    }
    // Who sends no finish reason with a whole answer means that it is whole.
    let reason = candidate.finish_reason.unwrap_or_else(|| "STOP".to_owned());
    let stop = reader.ending(reason, candidate.finish_message).ok()?;
    Some(Choice { parts, stop, logprobs: candidate.logprobs_result.and_then(|result| result.json()) })
}

/// Puts the pieces of an answer together.
fn gather(parts: &mut Vec<Content>, delta: Delta) {
    let next = match (delta, parts.last_mut()) {
        (Delta::Text(more), Some(Content::Text(text)))
        | (Delta::Thinking(more), Some(Content::Thinking { text, signature: None })) => return text.push_str(&more),
        (Delta::Signature(proof), Some(Content::Thinking { signature: signature @ None, .. })) => {
            *signature = Some(proof);
            return;
        }
        (Delta::Arguments { json, .. }, Some(Content::ToolCall(call))) => {
            call.arguments = json;
            return;
        }
        (Delta::Text(text), _) => Content::Text(text),
        (Delta::Thinking(text), _) => Content::Thinking { text, signature: None },
        (Delta::Signature(proof), _) => Content::Thinking { text: String::new(), signature: Some(proof) },
        (Delta::ToolCall { id, name, signature, .. }, _) => {
            Content::ToolCall(ToolCall { id, name, arguments: String::new(), signature })
        }
        _ => return,
    };
    parts.push(next);
}

/// How many tokens `countTokens` found.
pub fn read_count(body: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Outline<'_>>(body).ok()?.total_tokens
}

/// Reads an error body: `{"error":{code, message, status, details}}`, alone or in a list. Google's status is its kind; its code is
/// the reason that `ErrorInfo` gives, as a 400 for a bad key has one, else the number. A body that is nothing of the kind
/// is an error without words.
pub fn read_error(body: &[u8]) -> VendorError {
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return VendorError::default();
    };
    let outer = match &body {
        Value::Array(list) => list.first().unwrap_or(&Value::Null),
        other => other,
    };
    let error = match &outer["error"] {
        Value::String(message) => return VendorError { message: message.clone(), ..VendorError::default() },
        error => error,
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let detail = |kind: &str, field: &str| -> Option<&str> {
        let of_kind = |detail: &&Value| detail["@type"].as_str().is_some_and(|name| name.ends_with(kind));
        error["details"].as_array()?.iter().find(of_kind)?[field].as_str()
    };
    let code = detail("google.rpc.ErrorInfo", "reason").map(str::to_owned);
    VendorError {
        message: text(&error["message"]),
        kind: text(&error["status"]),
        code: code.or_else(|| error["code"].as_u64().map(|code| code.to_string())).unwrap_or_default(),
        retry_in: detail("google.rpc.RetryInfo", "retryDelay").and_then(seconds),
    }
}

/// A protobuf duration in JSON: `34.074824224s`. Rounded up to a millisecond, so as never to come back early.
fn seconds(text: &str) -> Option<Millis> {
    let number = text.strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let nanos: u64 = match fraction.len() {
        0 => 0,
        1..=9 if fraction.bytes().all(|digit| digit.is_ascii_digit()) => format!("{fraction:0<9}").parse().ok()?,
        _ => return None,
    };
    Some(Millis::from_secs(whole.parse().ok()?) + Millis(nanos.div_ceil(1_000_000)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dialect::chat::Json;
    use crate::price::Usage;

    const REPLY: &str = include_str!("../../../../tests/data/golden/gemini/reply.json");
    const LOGPROBS: &str = include_str!("../../../../tests/data/golden/gemini/reply_logprobs.json");
    const QUOTA: &str = include_str!("../../../../tests/data/golden/gemini/error_quota.json");
    const KEY: &str = include_str!("../../../../tests/data/golden/gemini/error_key.json");

    fn error(message: &str, kind: &str, code: &str) -> VendorError {
        VendorError { message: message.into(), kind: kind.into(), code: code.into(), retry_in: None }
    }

    fn call(id: &str, name: &str, arguments: &str, signature: Option<&str>) -> Content {
        let signature = signature.map(str::to_owned);
        Content::ToolCall(ToolCall { id: id.into(), name: name.into(), arguments: arguments.into(), signature })
    }

    /// A whole answer of `parts`, as JSON, that ended for `reason`.
    fn answer(parts: &str, reason: &str) -> String {
        format!(r#"{{"candidates":[{{"content":{{"parts":{parts}}},"finishReason":"{reason}"}}]}}"#)
    }

    #[test]
    fn thinking_text_and_calls_in_their_order() {
        let usage = Usage { input: 125, cached_input: 64, output: 120, reasoning: 90, ..Usage::default() };
        assert_eq!(read_reply(REPLY.as_bytes()), Reading::Answer(Some(usage)));
        let reply = read_chat(REPLY.as_bytes()).unwrap();
        assert_eq!((reply.id.as_str(), reply.model.as_str()), ("mAitaLmkHPPlz7IPvtfUqQ4", "gemini-3.8-flash"));
        assert_eq!(reply.usage, Some(usage));
        let thought = "**Weather**\n\nBoth cities are asked for, so two calls.".to_owned();
        let parts = [
            Content::Thinking { text: thought, signature: None },
            Content::Text("Let me look.".into()),
            Content::Thinking { text: String::new(), signature: Some("gemini:EiYKJGUyNDgzMGE3".into()) },
            call("8f2b1a", "get_weather", r#"{"city": "Zürich", "days": 2}"#, Some("EiYKJGUyNDgzMGE3")),
            call("call_mAitaLmkHPPlz7IPvtfUqQ4_1", "get_weather", r#"{"city": "Bern"}"#, None),
            call("call_mAitaLmkHPPlz7IPvtfUqQ4_2", "now", "{}", None),
        ];
        assert_eq!(reply.choices.len(), 1);
        assert_eq!(reply.choices[0].parts, parts);
        assert_eq!(reply.choices[0].stop, Stop::Tools);
    }

    #[test]
    fn several_answers_and_their_probabilities() {
        let reply = read_chat(LOGPROBS.as_bytes()).unwrap();
        let [first, second] = &reply.choices[..] else { panic!("{reply:?}") };
        assert_eq!(first.parts, [Content::Text("Oui!".into())], "who saw no thinking needs no proof of it");
        assert_eq!((&first.stop, &second.stop), (&Stop::Length, &Stop::End));
        let expected = concat!(
            r#"{"content":[{"token":"Oui","logprob":-0.125,"bytes":[79,117,105],"top_logprobs":["#,
            r#"{"token":"Oui","logprob":-0.125,"bytes":[79,117,105]},{"token":"Non","logprob":-2.5,"bytes":[78,111,110]}]},"#,
            r#"{"token":"é","logprob":0,"bytes":[195,169],"top_logprobs":[]}]}"#,
        );
        assert_eq!(first.logprobs.as_ref().map(Json::text), Some(expected));
        assert_eq!(second.logprobs, None);
    }

    #[test]
    fn a_proof_goes_with_its_thinking_or_stands_for_the_text_before_it() {
        let parts =
            r#"[{"text":"Hm","thought":true,"thoughtSignature":"QQ=="},{"text":"So","thoughtSignature":"Qg=="}]"#;
        let reply = read_chat(answer(parts, "STOP").as_bytes()).unwrap();
        let expected = [
            Content::Thinking { text: "Hm".into(), signature: Some("gemini:QQ==".into()) },
            Content::Text("So".into()),
            Content::Thinking { text: String::new(), signature: Some("gemini:Qg==".into()) },
        ];
        assert_eq!(reply.choices[0].parts, expected);
    }

    #[test]
    fn every_end() {
        let calls = r#"[{"functionCall":{"name":"f"}}]"#;
        for (parts, reason, stop) in [
            ("[]", "STOP", Stop::End),
            (calls, "STOP", Stop::Tools),
            (calls, "FUNCTION_CALL", Stop::Tools),
            (calls, "MAX_TOKENS", Stop::Length),
            ("null", "CONTINUATION", Stop::Length),
        ] {
            let body = answer(parts, reason);
            assert_eq!(read_reply(body.as_bytes()), Reading::Answer(None), "{body}");
            assert_eq!(read_chat(body.as_bytes()).unwrap().choices[0].stop, stop, "{body}");
        }
        for reason in ["SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "LANGUAGE"] {
            let body = answer("[]", reason);
            assert_eq!(read_reply(body.as_bytes()), Reading::Filtered(None), "{body}");
            assert_eq!(read_chat(body.as_bytes()).unwrap().choices[0].stop, Stop::Filtered, "{body}");
        }
        for reason in ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE", "OTHER", "NEW"] {
            let body = answer("[]", reason);
            let broken = error(&format!("The answer broke off: {reason}."), reason, "");
            assert_eq!(read_reply(body.as_bytes()), Reading::Error(broken), "{body}");
            assert_eq!(read_chat(body.as_bytes()), None, "{body}");
        }
        let no_reason = br#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]}}]}"#;
        assert_eq!(read_chat(no_reason).unwrap().choices[0].stop, Stop::End);
    }

    #[test]
    fn answers_and_what_only_looks_like_one() {
        let blocked = br#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":3}}"#;
        let usage = Some(Usage { input: 3, ..Usage::default() });
        assert_eq!(read_reply(blocked), Reading::Filtered(usage));
        let reply = read_chat(blocked).unwrap();
        assert_eq!((reply.choices[0].stop.clone(), reply.choices[0].parts.len()), (Stop::Filtered, 0));
        for (body, reading) in [
            ("", Reading::Empty),
            (" \n", Reading::Empty),
            ("{}", Reading::Empty),
            (r#"{"candidates":[],"usageMetadata":{"promptTokenCount":3}}"#, Reading::Empty),
            (r#"{"promptFeedback":{"safetyRatings":[]}}"#, Reading::Empty),
            (r#"{"embeddings":[]}"#, Reading::Empty),
            ("<html>", Reading::Malformed),
            (r#"{"candidates":[{"finish"#, Reading::Malformed),
            (
                r#"{"error":{"code":500,"message":"m","status":"INTERNAL"}}"#,
                Reading::Error(error("m", "INTERNAL", "500")),
            ),
            (r#"[{"error":{"code":500,"message":"m"}}]"#, Reading::Error(error("m", "", "500"))),
            (r#"{"embedding":{"values":[0.5]},"usageMetadata":{"promptTokenCount":3}}"#, Reading::Answer(usage)),
            (r#"{"embeddings":[{"values":[0.5]}]}"#, Reading::Answer(None)),
            (r#"{"totalTokens":31}"#, Reading::Answer(None)),
            (r#"{"candidates":[{}],"usageMetadata":{"promptTokenCount":"many"}}"#, Reading::Answer(None)),
        ] {
            assert_eq!(read_reply(body.as_bytes()), reading, "{body}");
        }
    }

    #[test]
    fn tokens_are_counted() {
        assert_eq!(read_count(br#"{"totalTokens": 31, "promptTokensDetails": []}"#), Some(31));
        assert_eq!(read_count(b"{}"), None);
    }

    #[test]
    fn errors_say_what_they_are_and_when_to_come_back() {
        let quota = read_error(QUOTA.as_bytes());
        assert_eq!((quota.kind.as_str(), quota.code.as_str()), ("RESOURCE_EXHAUSTED", "429"));
        assert_eq!(quota.retry_in, Some(Millis(34_075)));
        assert_eq!(quota.message, "You exceeded your current quota. Please retry in 34.074824224s.");
        let key = read_error(KEY.as_bytes());
        assert_eq!((key.kind.as_str(), key.code.as_str(), key.retry_in), ("INVALID_ARGUMENT", "API_KEY_INVALID", None));
        assert_eq!(read_error(format!("[{KEY}]").as_bytes()), key);
        for (body, expected) in [
            (r#"{"error":"m"}"#, error("m", "", "")),
            (r#"{"error":{"code":404,"message":"m","status":"NOT_FOUND"}}"#, error("m", "NOT_FOUND", "404")),
            ("oops", error("", "", "")),
            ("[]", error("", "", "")),
        ] {
            assert_eq!(read_error(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn durations_are_read_to_the_millisecond() {
        for (text, wait) in [
            ("34s", Some(34_000)),
            ("0s", Some(0)),
            ("0.25s", Some(250)),
            ("1.000000001s", Some(1001)),
            ("18446744073709551615s", Some(u64::MAX)),
            ("1.5", None),
            ("-1s", None),
            ("1.+5s", None),
            ("1.0000000001s", None),
            ("s", None),
        ] {
            assert_eq!(seconds(text), wait.map(Millis), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_read_as_something(
            noise in prop::collection::vec(any::<u8>(), 0..200),
            cut in 0..REPLY.trim_end().len(),
            at in any::<prop::sample::Index>(),
            byte: u8,
        ) {
            let mut changed = REPLY.as_bytes().to_vec();
            let place = at.index(changed.len());
            changed[place] = byte;
            for body in [&noise[..], &REPLY.as_bytes()[..cut], &changed] {
                let reading = read_reply(body);
                let _ = (read_chat(body), read_error(body), read_count(body));
                prop_assert!(body.len() != cut || !matches!(reading, Reading::Answer(_)), "a cut reply is none");
            }
        }
    }
}
