//! The APIs that clients speak: how each asks, and how each hears an answer, whole or streamed. So a scenario says once what
//! holds for all of them.

use serde_json::{Value, json};
use tidegate_tests::http::{Reply, Request};

/// An API that answers with words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    Chat,
    Completions,
    Responses,
    Messages,
}

/// An answer, whatever its API.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) model: String,
    pub(crate) thinking: String,
    pub(crate) text: String,
    pub(crate) calls: Vec<Call>,
    /// Why it ended, in the API's own word.
    pub(crate) end: String,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    /// In USD; `None`: not told.
    pub(crate) cost: Option<f64>,
}

/// A call of a tool.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: Value,
}

/// Why an answer ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    Stop,
    Length,
    Calls,
    Filtered,
}

/// What is asked unless a scenario asks something else. The vendors count its words: four tokens.
pub(crate) const QUESTION: &str = "Is the tide in?";

impl Api {
    pub(crate) const ALL: [Self; 4] = [Self::Chat, Self::Completions, Self::Responses, Self::Messages];
    /// Those that know tools, images and thinking.
    pub(crate) const RICH: [Self; 3] = [Self::Chat, Self::Responses, Self::Messages];

    /// A request to this API.
    pub(crate) fn ask(self, body: &Value) -> Request {
        let path = match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
        };
        Request::post(path, body)
    }

    /// The usual question.
    pub(crate) fn question(self, model: &str) -> Value {
        self.saying(model, &json!(QUESTION))
    }

    /// A question of one's own: text, or a list of parts.
    pub(crate) fn saying(self, model: &str, content: &Value) -> Value {
        let message = json!([{"role": "user", "content": content}]);
        match self {
            Self::Chat => json!({"model": model, "messages": message}),
            Self::Completions => json!({"model": model, "prompt": content, "max_tokens": 2000}),
            Self::Responses => json!({"model": model, "input": message}),
            Self::Messages => json!({"model": model, "messages": message, "max_tokens": 2000}),
        }
    }

    /// The usual question, for a stream that tells its usage.
    pub(crate) fn streamed(self, model: &str) -> Value {
        self.as_stream(self.question(model))
    }

    /// The same request, for a stream that tells its usage.
    pub(crate) fn as_stream(self, body: Value) -> Value {
        let more = match self {
            Self::Chat | Self::Completions => json!({"stream": true, "stream_options": {"include_usage": true}}),
            Self::Responses | Self::Messages => json!({"stream": true}),
        };
        with(body, &more)
    }

    /// The limit on an answer's length, in tokens.
    pub(crate) fn limit(self, tokens: u64) -> Value {
        match self {
            Self::Responses => json!({"max_output_tokens": tokens}),
            Self::Chat | Self::Completions | Self::Messages => json!({"max_tokens": tokens}),
        }
    }

    /// The API's word for an end.
    pub(crate) fn word(self, end: End) -> &'static str {
        match (self, end) {
            (Self::Chat | Self::Completions, End::Stop) => "stop",
            (Self::Chat | Self::Completions, End::Length) => "length",
            (Self::Chat | Self::Completions, End::Calls) => "tool_calls",
            (Self::Chat | Self::Completions | Self::Responses, End::Filtered) => "content_filter",
            (Self::Responses, End::Stop | End::Calls) => "completed",
            (Self::Responses, End::Length) => "max_output_tokens",
            (Self::Messages, End::Stop) => "end_turn",
            (Self::Messages, End::Length) => "max_tokens",
            (Self::Messages, End::Calls) => "tool_use",
            (Self::Messages, End::Filtered) => "refusal",
        }
    }

    /// Reads an answer of either kind, to its end.
    #[track_caller]
    pub(crate) fn heard(self, reply: &Reply) -> Heard {
        let whole = if reply.header("content-type").starts_with("text/event-stream") {
            self.gathered(reply)
        } else {
            reply.json()
        };
        match self {
            Self::Chat | Self::Completions => of_choice(&whole),
            Self::Responses => of_response(&whole),
            Self::Messages => of_message(&whole),
        }
    }

    /// A stream as the whole answer that it stands for.
    #[track_caller]
    fn gathered(self, reply: &Reply) -> Value {
        let mut events = reply.events();
        if matches!(self, Self::Chat | Self::Completions) {
            assert_eq!(events.pop().as_deref(), Some("[DONE]"), "{reply}");
        }
        let read = |event: &String| serde_json::from_str(event).unwrap_or_else(|_| panic!("{event} in {reply}"));
        let events: Vec<Value> = events.iter().map(read).collect();
        match self {
            Self::Chat | Self::Completions => gather_chunks(&events),
            Self::Responses => gather_response(&events),
            Self::Messages => gather_message(&events),
        }
    }
}

/// An object with more members, or with others in their place.
pub(crate) fn with(mut body: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

fn of_choice(whole: &Value) -> Heard {
    let (choice, usage) = (&whole["choices"][0], &whole["usage"]);
    let message = &choice["message"];
    let call = |call: &Value| Call {
        id: text(&call["id"]),
        name: text(&call["function"]["name"]),
        arguments: parsed(&call["function"]["arguments"]),
    };
    Heard {
        model: text(&whole["model"]),
        thinking: text(&message["reasoning_content"]),
        text: text(&message["content"]) + &text(&choice["text"]),
        calls: list(&message["tool_calls"]).map(call).collect(),
        end: text(&choice["finish_reason"]),
        input_tokens: number(&usage["prompt_tokens"]),
        output_tokens: number(&usage["completion_tokens"]),
        cost: usage["cost"].as_f64(),
    }
}

fn of_response(whole: &Value) -> Heard {
    let items = |kind: &'static str| list(&whole["output"]).filter(move |item| item["type"] == kind);
    let texts = |kind, parts: &'static str| {
        items(kind).flat_map(move |item| list(&item[parts])).map(|part| text(&part["text"])).collect()
    };
    let call = |item: &Value| Call {
        id: text(&item["call_id"]),
        name: text(&item["name"]),
        arguments: parsed(&item["arguments"]),
    };
    let (usage, early) = (&whole["usage"], &whole["incomplete_details"]["reason"]);
    Heard {
        model: text(&whole["model"]),
        thinking: texts("reasoning", "summary"),
        text: texts("message", "content"),
        calls: items("function_call").map(call).collect(),
        end: text(if early.is_null() { &whole["status"] } else { early }),
        input_tokens: number(&usage["input_tokens"]),
        output_tokens: number(&usage["output_tokens"]),
        cost: usage["cost"].as_f64(),
    }
}

fn of_message(whole: &Value) -> Heard {
    let blocks = |kind: &'static str| list(&whole["content"]).filter(move |block| block["type"] == kind);
    let call =
        |block: &Value| Call { id: text(&block["id"]), name: text(&block["name"]), arguments: block["input"].clone() };
    let usage = &whole["usage"];
    Heard {
        model: text(&whole["model"]),
        thinking: blocks("thinking").map(|block| text(&block["thinking"])).collect(),
        text: blocks("text").map(|block| text(&block["text"])).collect(),
        calls: blocks("tool_use").map(call).collect(),
        end: text(&whole["stop_reason"]),
        input_tokens: number(&usage["input_tokens"]),
        output_tokens: number(&usage["output_tokens"]),
        cost: usage["cost"].as_f64(),
    }
}

fn gather_chunks(chunks: &[Value]) -> Value {
    let (mut message, mut calls, mut choice) = (json!({}), Vec::new(), json!({"text": ""}));
    for chunk in chunks {
        let (piece, delta) = (&chunk["choices"][0], &chunk["choices"][0]["delta"]);
        append(&mut choice["text"], &piece["text"]);
        for name in ["content", "reasoning_content"] {
            append(&mut message[name], &delta[name]);
        }
        for call in list(&delta["tool_calls"]) {
            let index = usize::try_from(number(&call["index"])).expect("few calls");
            if calls.len() <= index {
                calls.push(call.clone());
            } else {
                append(&mut calls[index]["function"]["arguments"], &call["function"]["arguments"]);
            }
        }
        if piece["finish_reason"].is_string() {
            choice["finish_reason"] = piece["finish_reason"].clone();
        }
    }
    message["tool_calls"] = calls.into();
    choice["message"] = message;
    let last = chunks.last().expect("a chunk");
    json!({"model": last["model"], "choices": [choice], "usage": last["usage"]})
}

/// The last event holds it all; what came before must have said the same.
fn gather_response(events: &[Value]) -> Value {
    let last = events.last().expect("an event");
    let ends = ["response.completed", "response.incomplete"];
    assert!(ends.iter().any(|end| last["type"] == *end), "{last}");
    let deltas = |kind: &str| -> String {
        events.iter().filter(|event| event["type"] == kind).map(|event| text(&event["delta"])).collect()
    };
    let whole = last["response"].clone();
    let heard = of_response(&whole);
    assert_eq!(deltas("response.output_text.delta"), heard.text, "{whole}");
    assert_eq!(deltas("response.reasoning_summary_text.delta"), heard.thinking, "{whole}");
    let arguments: String = list(&whole["output"])
        .filter(|item| item["type"] == "function_call")
        .map(|item| text(&item["arguments"]))
        .collect();
    assert_eq!(deltas("response.function_call_arguments.delta"), arguments, "{whole}");
    whole
}

fn gather_message(events: &[Value]) -> Value {
    let mut message = events[0]["message"].clone();
    assert_eq!(events.last().expect("an event")["type"], "message_stop", "{events:?}");
    let mut blocks: Vec<Value> = Vec::new();
    for event in events {
        let delta = &event["delta"];
        match event["type"].as_str().expect("each event has a type") {
            "content_block_start" => blocks.push(event["content_block"].clone()),
            "content_block_delta" => {
                let block = blocks.last_mut().expect("a block has begun");
                append(&mut block["text"], &delta["text"]);
                append(&mut block["thinking"], &delta["thinking"]);
                append(&mut block["json"], &delta["partial_json"]);
            }
            "content_block_stop" => {
                let block = blocks.last_mut().expect("a block has begun");
                if block["json"].is_string() {
                    block["input"] = parsed(&block["json"]);
                }
            }
            "message_delta" => {
                message = with(message, delta);
                message["usage"] = with(message["usage"].take(), &event["usage"]);
            }
            _ => {}
        }
    }
    message["content"] = blocks.into();
    message
}

fn append(to: &mut Value, more: &Value) {
    if let Some(more) = more.as_str() {
        *to = (text(to) + more).into();
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

#[track_caller]
fn parsed(value: &Value) -> Value {
    serde_json::from_str(value.as_str().unwrap_or_default()).unwrap_or_else(|_| panic!("no JSON: {value}"))
}
