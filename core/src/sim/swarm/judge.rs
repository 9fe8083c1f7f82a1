//! What a client was answered, held against the only two things that it may be: one whole answer, or one error.

use http::header::RETRY_AFTER;
use memchr::memmem;
use serde_json::Value;

use super::terms;
use crate::dialect::Surface;
use crate::reply::CANNED;
use crate::sim::Answer;

/// Whether an answer is whole; otherwise it is an error that says so. Vendors count their words, so that a missing one shows.
pub(super) fn judge(answer: &Answer, surface: Surface, stream: bool) -> Result<bool, String> {
    if answer.streamed {
        return if stream { judge_stream(answer, surface) } else { Err("a stream that nobody asked for".to_owned()) };
    }
    let status = answer.status.map_or(0, |status| status.as_u16());
    let json = answer.json();
    if status != 200 {
        return judge_error(answer, status, &json).map(|()| false);
    }
    if stream {
        return Err("a whole answer to who asked for a stream".to_owned());
    }
    let told = match surface {
        Surface::Messages => Told {
            text: text(&json["content"][0]["text"]),
            counted: json["usage"]["output_tokens"].as_u64(),
            finished: json["stop_reason"].is_string(),
        },
        _ => Told {
            text: text(&json["choices"][0]["message"]["content"]),
            counted: json["usage"]["completion_tokens"].as_u64(),
            finished: json["choices"][0]["finish_reason"].is_string(),
        },
    };
    told.check(answer).map(|()| true)
}

/// What was said in an answer.
#[derive(Default)]
struct Told {
    text: String,
    counted: Option<u64>,
    finished: bool,
}

impl Told {
    /// Whether it is all that there was to say.
    fn check(&self, answer: &Answer) -> Result<(), String> {
        let words = self.words()?;
        if !self.finished {
            return Err("no reason why it ended".to_owned());
        }
        // The route's own words cost nothing. A stream that a comment has begun cannot be marked any more.
        let is_canned = self.text == terms::CANNED && self.counted == Some(0);
        let is_marked = answer.streamed || answer.headers.contains_key(CANNED);
        // Whoever went on with another's stream has counted its own words.
        let is_rescued = answer.streamed && memmem::find(&answer.body, b": tidegate rescued by ").is_some();
        if (is_canned && is_marked) || is_rescued || self.counted == Some(words) {
            return Ok(());
        }
        Err(format!("{words} words are passed as the whole of {:?}", self.counted))
    }

    /// How many words there are: `1 2 3`, and none is lost or told twice.
    fn words(&self) -> Result<u64, String> {
        let mut count = 0;
        for word in self.text.split_whitespace() {
            count += 1;
            if word.parse() != Ok(count) {
                return Err(format!("words are lost or told twice: {}", self.text));
            }
        }
        Ok(count)
    }
}

fn judge_stream(answer: &Answer, surface: Surface) -> Result<bool, String> {
    let (events, rest) = answer.events();
    if !rest.is_empty() {
        return Err("a torn event".to_owned());
    }
    let mut told = Told::default();
    let mut end = None;
    for (nth, event) in events.iter().enumerate() {
        let event: Value = serde_json::from_str(event).unwrap_or_else(|_| Value::from(event.as_str()));
        if end.is_some() {
            return Err(format!("event {nth} comes after the end"));
        }
        if !event["error"].is_null() {
            end = Some(false);
        } else if event == "[DONE]" || event["type"] == "message_stop" {
            end = Some(true);
        }
        let (said, counted, reason) = if surface == Surface::Messages {
            (&event["delta"]["text"], &event["usage"]["output_tokens"], &event["delta"]["stop_reason"])
        } else {
            let choice = &event["choices"][0];
            (&choice["delta"]["content"], &event["usage"]["completion_tokens"], &choice["finish_reason"])
        };
        told.text += &text(said);
        told.counted = counted.as_u64().or(told.counted);
        told.finished |= reason.is_string();
    }
    match end {
        Some(true) => told.check(answer).map(|()| true),
        Some(false) => told.words().map(|_| false),
        None => Err("a stream without an end".to_owned()),
    }
}

fn judge_error(answer: &Answer, status: u16, json: &Value) -> Result<(), String> {
    if !json["error"]["message"].is_string() {
        return Err("an error that says nothing".to_owned());
    }
    if !matches!(status, 400 | 404 | 429 | 502 | 503 | 504) {
        return Err(format!("{status} is none of the client's business"));
    }
    let hint: u64 = answer.header(RETRY_AFTER.as_str()).parse().unwrap_or(0);
    if matches!(status, 429 | 503) && hint == 0 {
        return Err("it does not say when to come back".to_owned());
    }
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("").to_owned()
}
