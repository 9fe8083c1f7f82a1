//! Anthropic's API: messages, the count of their tokens and the list of models.

mod ask;
mod blocks;
mod error;
mod message;
mod tools;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

use super::answer::{Answer, Plain, VendorError};
use super::dialect::{Dialect, FrameOf, Head, Operation, Place, Request, Trouble, Turn};

/// The dialect.
#[derive(Debug)]
pub(super) struct Anthropic;

impl Dialect for Anthropic {
    fn key_places(&self) -> &'static [Place] {
        &[Place::XApiKey, Place::Bearer]
    }

    fn admit(&self, headers: &HeaderMap) -> Result<(), VendorError> {
        const VERSIONS: [&str; 3] = ["2026-10-21", "2023-06-01", "2023-01-01"];
        let Some(version) = headers.get("anthropic-version") else {
            return Err(error::invalid("anthropic-version: header is required"));
        };
        if VERSIONS.iter().any(|known| version == known) {
            return Ok(());
        }
        let shown = String::from_utf8_lossy(version.as_bytes()).into_owned();
        Err(error::invalid(format!("anthropic-version: \"{shown}\" is not a valid version for this endpoint")))
    }

    fn refuse(&self, trouble: &Trouble<'_>) -> VendorError {
        error::of(trouble)
    }

    fn prompt_refused(&self) -> Option<VendorError> {
        None
    }

    fn envelope(&self, error: &Value, request_id: &str) -> Value {
        error::envelope(error, request_id)
    }

    fn answer(&self, request: &Request<'_>, turn: &Turn<'_>) -> Result<Answer, VendorError> {
        let read = ask::read(request)?;
        if request.operation == Operation::CountTokens {
            let count = json!({"input_tokens": read.ask.prompt_tokens()});
            return Ok(Answer::Plain(Plain::ok(&count, turn.first_token)));
        }
        Ok(read.answer(turn))
    }

    fn models(&self, models: &[String], _: &str) -> Value {
        let model = |id: &String| json!({"type": "model", "id": id, "display_name": id, "created_at": CREATED_AT});
        json!({
            "data": models.iter().map(model).collect::<Vec<_>>(),
            "has_more": false,
            "first_id": models.first(),
            "last_id": models.last(),
        })
    }

    fn frame(&self, event: FrameOf, data: &[u8]) -> Bytes {
        let name: &[u8] = match event {
            FrameOf::Content => b"content_block_delta",
            FrameOf::Error => b"error",
        };
        [b"event: ", name, b"\ndata: ", data, b"\n\n"].concat().into()
    }

    fn around_content(&self, streamed: bool) -> [&'static str; 2] {
        if streamed { HUGE_STREAM } else { HUGE_ANSWER }
    }

    fn content_types(&self) -> [&'static str; 2] {
        ["application/json", "text/event-stream; charset=utf-8"]
    }

    fn headers(&self, head: &Head<'_>) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("request-id", head.request_id.to_owned()),
            ("anthropic-organization-id", "00000000-0000-4000-8000-000000000000".to_owned()),
        ];
        // Only on success: on a refusal they would say when to come back, which is for the script to say.
        if head.success {
            headers.extend(RATE_LIMITS.map(|(name, value)| (name, value.to_owned())));
            headers.extend(RESETS.map(|name| (name, rfc_3339(head.now.saturating_add(1)))));
        }
        headers
    }
}

const CREATED_AT: &str = "2026-01-01T00:00:00Z";
const RATE_LIMITS: [(&str, &str); 8] = [
    ("anthropic-ratelimit-requests-limit", "4000"),
    ("anthropic-ratelimit-requests-remaining", "3999"),
    ("anthropic-ratelimit-tokens-limit", "2400000"),
    ("anthropic-ratelimit-tokens-remaining", "2399000"),
    ("anthropic-ratelimit-input-tokens-limit", "2000000"),
    ("anthropic-ratelimit-input-tokens-remaining", "1999000"),
    ("anthropic-ratelimit-output-tokens-limit", "400000"),
    ("anthropic-ratelimit-output-tokens-remaining", "400000"),
];
const RESETS: [&str; 4] = [
    "anthropic-ratelimit-requests-reset",
    "anthropic-ratelimit-tokens-reset",
    "anthropic-ratelimit-input-tokens-reset",
    "anthropic-ratelimit-output-tokens-reset",
];

const HUGE_STREAM: [&str; 2] = [
    concat!(
        "event: message_start\n",
        r#"data: {"type":"message_start","message":{"id":"msg_huge","type":"message","role":"assistant","#,
        r#""model":"huge","content":[],"stop_reason":null,"stop_sequence":null,"#,
        r#""usage":{"input_tokens":1,"output_tokens":1}}}"#,
        "\n\nevent: content_block_start\n",
        r#"data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        "\n\nevent: content_block_delta\n",
        r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""#
    ),
    concat!(
        r#""}}"#,
        "\n\nevent: content_block_stop\n",
        r#"data: {"type":"content_block_stop","index":0}"#,
        "\n\nevent: message_delta\n",
        r#"data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"#,
        r#""usage":{"output_tokens":1}}"#,
        "\n\nevent: message_stop\n",
        r#"data: {"type":"message_stop"}"#,
        "\n\n"
    ),
];

const HUGE_ANSWER: [&str; 2] = [
    concat!(
        r#"{"id":"msg_huge","type":"message","role":"assistant","model":"huge","#,
        r#""content":[{"type":"text","text":""#
    ),
    concat!(
        r#""}],"stop_reason":"end_turn","stop_sequence":null,"#,
        r#""usage":{"input_tokens":1,"output_tokens":1}}"#
    ),
];

/// Seconds since 1970 as a date and a time (the civil calendar from days, after Howard Hinnant).
fn rfc_3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year_of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months counted from March, so that a leap day is the last of the year.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn dates_are_right() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (1_772_323_200, "2026-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc_3339(seconds), date);
        }
    }

    #[test]
    fn a_known_version_is_required() {
        let mut headers = HeaderMap::new();
        let message = |headers: &HeaderMap| {
            Anthropic.admit(headers).err().map(|error| error.error["message"].as_str().unwrap_or_default().to_owned())
        };
        assert_eq!(message(&headers).as_deref(), Some("anthropic-version: header is required"));
        headers.insert("anthropic-version", HeaderValue::from_static("2026-01-01"));
        assert!(message(&headers).is_some_and(|text| text.contains("not a valid version")));
        headers.insert("anthropic-version", HeaderValue::from_static("2026-10-21"));
        assert_eq!(message(&headers), None);
    }
}
