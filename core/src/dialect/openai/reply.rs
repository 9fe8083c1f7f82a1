//! A vendor's reply that is not streamed.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::usage::find_usage_in;
use crate::dialect::{Operation, Reading, VendorError};

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(default)]
    data: Option<Vec<IgnoredAny>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    finish_reason: Option<Cow<'a, str>>,
}

/// Reads the body of a reply whose status promised an answer.
pub fn read_reply(operation: Operation, body: &[u8]) -> Reading {
    str::from_utf8(body).map_or(Reading::Malformed, |text| read_reply_and_place(operation, text).0)
}

/// The same, and where in the body the answer's cost is to be put: nowhere, where it has no usage or tells its cost.
pub fn read_reply_and_place(operation: Operation, body: &str) -> (Reading, Option<usize>) {
    if body.trim_ascii().is_empty() {
        return (Reading::Empty, None);
    }
    let Ok(reply) = serde_json::from_str::<Reply<'_>>(body) else {
        return (Reading::Malformed, None);
    };
    if reply.error.is_some() {
        return (Reading::Error(read_error(body.as_bytes())), None);
    }
    let (usage, place) = find_usage_in(body.as_bytes(), reply.usage).unzip();
    let reading = match operation {
        Operation::Chat | Operation::Stream => match reply.choices.as_deref() {
            None | Some([]) => Reading::Empty,
            Some(choices) if choices.iter().any(Choice::is_filtered) => Reading::Filtered(usage),
            Some(_) => Reading::Answer(usage),
        },
        Operation::Embed | Operation::EmbedMany | Operation::CountTokens => match reply.data.as_deref() {
            None | Some([]) => Reading::Empty,
            Some(_) => Reading::Answer(usage),
        },
    };
    (reading, place.flatten())
}

impl Choice<'_> {
    fn is_filtered(&self) -> bool {
        self.finish_reason.as_deref() == Some("content_filter")
    }
}

/// Reads an error body in any of the shapes in use: `{"error":{…}}`, `{"error":"…"}`, `{"detail":…}`, `{"message":…}`, or
/// one of them in a list. A body that is none of these is an error without words.
pub fn read_error(body: &[u8]) -> VendorError {
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return VendorError::default();
    };
    let outer = match &body {
        Value::Array(list) => list.first().unwrap_or(&Value::Null),
        other => other,
    };
    let inner = ["error", "detail"].iter().find_map(|key| outer.get(key)).unwrap_or(outer);
    match inner {
        Value::String(message) => VendorError { message: message.clone(), ..VendorError::default() },
        fields => VendorError {
            message: text(&fields["message"]),
            kind: text(&fields["type"]),
            code: text(&fields["code"]),
            retry_in: None,
        },
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::price::Usage;

    #[test]
    fn answers_and_what_only_looks_like_one() {
        let answer = br#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],
            "usage":{"prompt_tokens":9,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4}}}"#;
        let usage = Usage { input: 9, cached_input: 4, output: 3, ..Usage::default() };
        assert_eq!(read_reply(Operation::Chat, answer), Reading::Answer(Some(usage)));
        let filtered = br#"{"choices":[{"finish_reason":"content_filter"}]}"#;
        assert_eq!(read_reply(Operation::Chat, filtered), Reading::Filtered(None));
        let vectors = br#"{"data":[{"embedding":[0.5]}],"usage":{"prompt_tokens":2,"total_tokens":2}}"#;
        let usage = Usage { input: 2, ..Usage::default() };
        assert_eq!(read_reply(Operation::Embed, vectors), Reading::Answer(Some(usage)));
        for (body, reading) in [
            (&b""[..], Reading::Empty),
            (b" \n", Reading::Empty),
            (b"{}", Reading::Empty),
            (br#"{"choices":[]}"#, Reading::Empty),
            (b"<html>", Reading::Malformed),
            (br#"{"choices":[{"finish"#, Reading::Malformed),
        ] {
            assert_eq!(read_reply(Operation::Chat, body), reading, "{body:?}");
        }
    }

    #[test]
    fn usage_that_does_not_read_is_unknown_not_fatal() {
        let body = br#"{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":"many"}}"#;
        assert_eq!(read_reply(Operation::Chat, body), Reading::Answer(None));
    }

    #[test]
    fn errors_in_every_shape() {
        let error = |message: &str, kind: &str, code: &str| VendorError {
            message: message.into(),
            kind: kind.into(),
            code: code.into(),
            ..VendorError::default()
        };
        for (body, expected) in [
            (r#"{"error":{"message":"m","type":"t","code":"c","param":null}}"#, error("m", "t", "c")),
            (r#"{"error":{"message":"m","code":400}}"#, error("m", "", "400")),
            (r#"{"error":"m"}"#, error("m", "", "")),
            (r#"{"detail":"m"}"#, error("m", "", "")),
            (r#"{"message":"m","type":"t"}"#, error("m", "t", "")),
            (r#"[{"error":{"message":"m","code":503}}]"#, error("m", "", "503")),
            ("oops", error("", "", "")),
            ("[]", error("", "", "")),
        ] {
            assert_eq!(read_error(body.as_bytes()), expected, "{body}");
        }
        let in_200 = br#"{"error":{"message":"m","type":"server_error"}}"#;
        assert_eq!(read_reply(Operation::Chat, in_200), Reading::Error(error("m", "server_error", "")));
    }

    proptest! {
        #[test]
        fn any_bytes_read_as_something(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_reply(Operation::Chat, &body);
            let _ = read_error(&body);
        }
    }
}
