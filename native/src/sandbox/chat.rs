//! Chat completions: checking the request as OpenAI does, and an answer in its exact wire format.
//!
//! The answer is made of the request alone, so that it repeats; it says what it is and echoes the prompt, so that a
//! person trying it sees their own words come back. A prompt that asks for "300 words" gets as many. One word is one
//! token.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::error::VendorError;
use super::fault::Fault;
use super::noise;
use super::spoil::{Answer, Plain, Stream};

/// A checked request.
#[derive(Debug)]
pub(super) struct Chat<'a> {
    model: &'a str,
    prompt: String,
    prompt_tokens: usize,
    tokens_max: usize,
    stream: bool,
    include_usage: bool,
    json: bool,
}

/// Who answers, and how fast.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speaker<'a> {
    pub(super) vendor: &'a str,
    /// Tells this answer's id from all others.
    pub(super) draw: u64,
    pub(super) first_token: Duration,
    pub(super) token_gap: Duration,
}

/// What an answer cost, as OpenAI counts it.
#[derive(Debug, Serialize)]
struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Debug, Serialize)]
struct PromptDetails {
    cached_tokens: usize,
    audio_tokens: usize,
}

#[derive(Debug, Default, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are OpenAI's")]
struct CompletionDetails {
    reasoning_tokens: usize,
    audio_tokens: usize,
    accepted_prediction_tokens: usize,
    rejected_prediction_tokens: usize,
}

#[derive(Debug, Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: [Choice<'a>; 1],
    usage: Usage,
    service_tier: &'static str,
    system_fingerprint: &'static str,
}

#[derive(Debug, Serialize)]
struct Choice<'a> {
    index: u32,
    message: Message<'a>,
    logprobs: (),
    finish_reason: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
    refusal: (),
    annotations: [(); 0],
}

/// What all chunks of a stream have in common.
#[derive(Debug, Clone, Copy, Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    service_tier: &'static str,
    system_fingerprint: &'static str,
    choices: &'a [Part<'a>],
    /// Null in every chunk but the last, if the client asked for usage at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<&'a RawValue>,
}

#[derive(Debug, Serialize)]
struct Part<'a> {
    index: u32,
    delta: Delta<'a>,
    logprobs: (),
    finish_reason: Option<&'a str>,
}

/// What a chunk adds; the fields come in OpenAI's order, since some readers look for these very bytes.
#[derive(Debug, Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    /// Null in the first chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<()>,
}

const TOKENS_MAX: usize = 4096;
const ECHO_WORDS_MAX: usize = 40;
const FILLER: &str = "The tide comes in and the gate holds; the tide goes out and the gate opens.";
const FINGERPRINT: &str = "fp_sandbox";

impl<'a> Chat<'a> {
    /// Checks a body the way OpenAI does, with its words for what is wrong.
    pub(super) fn check(body: &'a Value) -> Result<Self, VendorError> {
        let model = super::serve::model_asked(body)?;
        let messages = messages(body)?;
        let stream = flag(body, "stream")?;
        let options = body.get("stream_options").filter(|options| !options.is_null());
        if options.is_some() && !stream {
            let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
            return Err(VendorError::parameter("stream_options", None, message));
        }
        let texts: Vec<String> = messages.iter().map(text).collect();
        let last = messages.iter().rposition(|message| message["role"] == "user").unwrap_or(messages.len() - 1);
        let limit = match tokens_max(body, "max_completion_tokens")? {
            Some(limit) => Some(limit),
            None => tokens_max(body, "max_tokens")?,
        };
        Ok(Self {
            model,
            prompt_tokens: texts.iter().map(|text| text.split_whitespace().count()).sum::<usize>().max(1),
            prompt: texts.into_iter().nth(last).unwrap_or_default(),
            tokens_max: limit.unwrap_or(TOKENS_MAX),
            stream,
            include_usage: options.is_some_and(|options| options["include_usage"] == true),
            json: body["response_format"]["type"] == "json_object",
        })
    }

    /// The answer, plain or streamed; `fault` may give it another finish reason.
    pub(super) fn answer(&self, speaker: Speaker<'_>, fault: Option<&Fault>) -> Answer {
        let whole = self.text(speaker.vendor);
        let tokens: Vec<&str> = whole.split_inclusive(' ').take(self.tokens_max).collect();
        let text = &whole[..tokens.iter().map(|token| token.len()).sum()];
        let finish_reason = match fault {
            Some(Fault::ContentFilter { finish_reason: true }) => Some("content_filter"),
            Some(Fault::NoFinish {}) => None,
            _ if text.len() < whole.len() => Some("length"),
            _ => Some("stop"),
        };
        let id = format!("chatcmpl-{:016x}{:08x}", noise::mix(speaker.draw), speaker.draw % (1 << 32));
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let usage = usage(self.prompt_tokens, tokens.len());
        if self.stream {
            let chunk = Chunk {
                id: &id,
                object: "chat.completion.chunk",
                created,
                model: self.model,
                service_tier: "default",
                system_fingerprint: FINGERPRINT,
                choices: &[],
                usage: self.include_usage.then_some(RawValue::NULL),
            };
            return Answer::Stream(self.stream(chunk, &tokens, finish_reason, &usage, speaker));
        }
        let completion = Completion {
            id: &id,
            object: "chat.completion",
            created,
            model: self.model,
            choices: [Choice {
                index: 0,
                message: Message { role: "assistant", content: text, refusal: (), annotations: [] },
                logprobs: (),
                finish_reason,
            }],
            usage,
            service_tier: "default",
            system_fingerprint: FINGERPRINT,
        };
        let count = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
        Answer::Plain(Plain::ok(&completion, speaker.first_token + speaker.token_gap * count))
    }

    fn stream(
        &self,
        chunk: Chunk<'_>,
        tokens: &[&str],
        finish_reason: Option<&str>,
        usage: &Usage,
        speaker: Speaker<'_>,
    ) -> Stream {
        let choice = |delta, finish_reason| {
            event(&Chunk { choices: &[Part { index: 0, delta, logprobs: (), finish_reason }], ..chunk })
        };
        let role = Delta { role: Some("assistant"), content: Some(""), refusal: Some(()) };
        let content = |text| Delta { content: Some(text), ..Delta::default() };
        let counts = to_raw_value(usage).expect("counts are JSON");
        Stream {
            opening: choice(role, None),
            tokens: tokens.iter().map(|token| choice(content(token), None)).collect(),
            finish: choice(Delta::default(), finish_reason),
            usage: self.include_usage.then(|| event(&Chunk { usage: Some(&counts), ..chunk })),
            first_token: speaker.first_token,
            token_gap: speaker.token_gap,
        }
    }

    fn text(&self, vendor: &str) -> String {
        let words: Vec<&str> = self.prompt.split_whitespace().take(ECHO_WORDS_MAX + 1).collect();
        let (echo, more) = match words.get(..ECHO_WORDS_MAX) {
            Some(echo) if words.len() > ECHO_WORDS_MAX => (echo.join(" "), " …"),
            _ => (words.join(" "), ""),
        };
        let model = self.model;
        if self.json {
            return json!({"simulated": true, "vendor": vendor, "model": model, "you_said": echo + more}).to_string();
        }
        let verb = if echo.ends_with('?') { "asked" } else { "said" };
        let opening = format!(
            "This is a simulated answer by the sandbox vendor {vendor}, standing in for {model}; no model was called. \
             You {verb}: \"{echo}{more}\""
        );
        let missing = self.words_asked().saturating_sub(opening.split_whitespace().count());
        FILLER.split(' ').cycle().take(missing).fold(opening, |text, word| text + " " + word)
    }

    /// The number in "300 words", if the prompt has one.
    fn words_asked(&self) -> usize {
        let words: Vec<&str> = self.prompt.split_whitespace().take(ECHO_WORDS_MAX).collect();
        let asked = words.windows(2).find(|pair| pair[1].starts_with("words"));
        asked.and_then(|pair| pair[0].parse().ok()).unwrap_or(0).min(TOKENS_MAX)
    }
}

/// One event of a stream.
pub(super) fn event(data: &impl Serialize) -> Bytes {
    let mut bytes = b"data: ".to_vec();
    serde_json::to_writer(&mut bytes, data).expect("a Vec takes all, and these types have string keys only");
    bytes.extend_from_slice(b"\n\n");
    bytes.into()
}

/// Prompts from 1024 tokens on count as cached in steps of 128, as if OpenAI had seen them before.
fn usage(prompt_tokens: usize, completion_tokens: usize) -> Usage {
    let cached_tokens = if prompt_tokens >= 1024 { prompt_tokens / 128 * 128 } else { 0 };
    Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens: prompt_tokens + completion_tokens,
        prompt_tokens_details: PromptDetails { cached_tokens, audio_tokens: 0 },
        completion_tokens_details: CompletionDetails::default(),
    }
}

fn messages(body: &Value) -> Result<&Vec<Value>, VendorError> {
    let wrong = |code, message: &str| Err(VendorError::parameter("messages", Some(code), message));
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

fn flag(body: &Value, name: &'static str) -> Result<bool, VendorError> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => {
            let message = format!("Invalid type for '{name}': expected a boolean.");
            Err(VendorError::parameter(name, Some("invalid_type"), message))
        }
    }
}

fn tokens_max(body: &Value, name: &'static str) -> Result<Option<usize>, VendorError> {
    let Some(value) = body.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
    if let Some(limit) = value.as_u64().filter(|&limit| limit > 0) {
        return Ok(Some(usize::try_from(limit).unwrap_or(usize::MAX).min(TOKENS_MAX)));
    }
    Err(if value.is_i64() {
        let message =
            format!("Invalid '{name}': integer below minimum value. Expected a value >= 1, but got {value} instead.");
        VendorError::parameter(name, Some("integer_below_min_value"), message)
    } else {
        let message = format!("Invalid type for '{name}': expected an integer.");
        VendorError::parameter(name, Some("invalid_type"), message)
    })
}

/// A message's text: a string, or the text parts of an array.
fn text(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEAKER: Speaker<'_> = Speaker {
        vendor: "acme",
        draw: 1,
        first_token: Duration::from_millis(200),
        token_gap: Duration::from_millis(10),
    };

    fn plain(body: &Value) -> (Value, Duration) {
        match Chat::check(body).unwrap().answer(SPEAKER, None) {
            Answer::Plain(plain) => (serde_json::from_slice(&plain.body).unwrap(), plain.wait),
            Answer::Stream(_) => panic!("asked for a plain answer"),
        }
    }

    fn stream(body: &Value) -> Stream {
        match Chat::check(body).unwrap().answer(SPEAKER, None) {
            Answer::Stream(stream) => stream,
            Answer::Plain(_) => panic!("asked for a stream"),
        }
    }

    fn data(event: &Bytes) -> Value {
        let text = std::str::from_utf8(event).unwrap();
        serde_json::from_str(text.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap()).unwrap()
    }

    #[test]
    fn an_answer_says_what_it_is_and_echoes_the_prompt() {
        let (answer, wait) = plain(&json!({"model": "m1", "messages": [
            {"role": "user", "content": "earlier"},
            {"role": "assistant", "content": "yes"},
            {"role": "user", "content": [{"type": "text", "text": "Is this real?"}]},
        ]}));
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(text.contains("simulated answer by the sandbox vendor acme, standing in for m1"), "{text}");
        assert!(text.ends_with("You asked: \"Is this real?\""), "{text}");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        let tokens = text.split(' ').count();
        assert_eq!(answer["usage"]["prompt_tokens"], 5);
        assert_eq!(answer["usage"]["completion_tokens"], tokens);
        assert_eq!(answer["usage"]["total_tokens"], tokens + 5);
        assert_eq!(wait, Duration::from_millis(200 + 10 * tokens as u64));
    }

    #[test]
    fn a_limit_cuts_the_answer_and_says_so() {
        let (answer, _) =
            plain(&json!({"model": "m", "max_tokens": 3, "messages": [{"role": "user", "content": "hi"}]}));
        assert_eq!(answer["choices"][0]["message"]["content"], "This is a ");
        assert_eq!(answer["choices"][0]["finish_reason"], "length");
        assert_eq!(answer["usage"]["completion_tokens"], 3);
    }

    #[test]
    fn a_prompt_can_ask_for_length_and_a_format_for_json() {
        let (answer, _) = plain(&json!({"model": "m", "messages": [{"role": "user", "content": "write 120 words"}]}));
        assert_eq!(answer["usage"]["completion_tokens"], 120);
        let (answer, _) = plain(&json!({"model": "m", "response_format": {"type": "json_object"},
            "messages": [{"role": "user", "content": "hi"}]}));
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap()["you_said"], "hi");
    }

    #[test]
    fn long_prompts_count_as_cached_in_steps() {
        let (answer, _) =
            plain(&json!({"model": "m", "messages": [{"role": "user", "content": "word ".repeat(1200)}]}));
        assert_eq!(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 1152);
    }

    #[test]
    fn a_stream_has_role_content_finish_and_usage() {
        let stream = stream(&json!({"model": "m", "stream": true, "stream_options": {"include_usage": true},
            "messages": [{"role": "user", "content": "hi"}]}));
        let opening = data(&stream.opening);
        assert_eq!(opening["choices"][0]["delta"], json!({"role": "assistant", "content": "", "refusal": null}));
        assert!(opening.get("usage").is_some_and(Value::is_null));
        let text: String = stream
            .tokens
            .iter()
            .map(|token| data(token)["choices"][0]["delta"]["content"].as_str().unwrap().to_owned())
            .collect();
        assert!(text.ends_with("You said: \"hi\""), "{text}");
        let finish = data(&stream.finish);
        assert_eq!(
            (&finish["choices"][0]["delta"], &finish["choices"][0]["finish_reason"]),
            (&json!({}), &json!("stop"))
        );
        let usage = data(stream.usage.as_ref().unwrap());
        assert_eq!(usage["choices"], json!([]));
        assert_eq!(usage["usage"]["completion_tokens"], stream.tokens.len());
        assert!([&opening, &finish, &usage].iter().all(|chunk| chunk["id"] == opening["id"]));
    }

    #[test]
    fn without_asking_there_is_no_usage() {
        let stream = stream(&json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": "hi"}]}));
        assert!(stream.usage.is_none());
        assert!(data(&stream.opening).get("usage").is_none());
    }

    #[test]
    fn requests_are_checked_as_openai_does() {
        let user = json!([{"role": "user", "content": "hi"}]);
        for (body, param, code) in [
            (json!({"messages": user}), json!("model"), Value::Null),
            (json!({"model": "m"}), json!("messages"), json!("missing_required_parameter")),
            (json!({"model": "m", "messages": []}), json!("messages"), json!("empty_array")),
            (json!({"model": "m", "messages": "hi"}), json!("messages"), json!("invalid_type")),
            (json!({"model": "m", "messages": ["hi"]}), json!("messages"), json!("missing_required_parameter")),
            (
                json!({"model": "m", "messages": user, "max_tokens": 0}),
                json!("max_tokens"),
                json!("integer_below_min_value"),
            ),
            (
                json!({"model": "m", "messages": user, "max_completion_tokens": "9"}),
                json!("max_completion_tokens"),
                json!("invalid_type"),
            ),
            (json!({"model": "m", "messages": user, "stream": "yes"}), json!("stream"), json!("invalid_type")),
            (json!({"model": "m", "messages": user, "stream_options": {}}), json!("stream_options"), Value::Null),
        ] {
            let error = Chat::check(&body).unwrap_err().body();
            assert_eq!(error["error"]["type"], "invalid_request_error", "{body}");
            assert_eq!((&error["error"]["param"], &error["error"]["code"]), (&param, &code), "{body}");
        }
    }
}
