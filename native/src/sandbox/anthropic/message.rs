//! Messages in Anthropic's exact wire format, plain and streamed.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::answer::{Answer, Plain, Stream, named_event};
use super::super::ask::Ask;
use super::super::dialect::Turn;
use super::super::noise;
use super::super::words::{End, Said};

/// A checked request.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) ask: Ask,
    pub(super) cache: Cache,
    /// Whether the thinking is told, or only signed.
    pub(super) thinking_shown: bool,
}

/// What of the prompt has to do with the cache: nothing unless the request asks for that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cache {
    read: usize,
    written: usize,
    for_an_hour: bool,
}

#[derive(Debug, Serialize)]
struct Message<'a> {
    id: &'a str,
    r#type: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Block<'a>>,
    stop_reason: Option<&'static str>,
    stop_sequence: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_details: Option<Refusal>,
    usage: Usage,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text { text: String },
    Thinking { thinking: String, signature: String },
    ToolUse { id: String, name: &'a str, input: Value },
}

#[derive(Debug, Serialize)]
struct Refusal {
    r#type: &'static str,
    category: (),
    explanation: (),
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Usage {
    input_tokens: usize,
    cache_creation_input_tokens: usize,
    cache_read_input_tokens: usize,
    cache_creation: Creation,
    output_tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_details: Option<OutputDetails>,
    service_tier: &'static str,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Creation {
    ephemeral_5m_input_tokens: usize,
    ephemeral_1h_input_tokens: usize,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct OutputDetails {
    thinking_tokens: usize,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event<'a> {
    MessageStart { message: Message<'a> },
    Ping {},
    ContentBlockStart { index: usize, content_block: Block<'a> },
    ContentBlockDelta { index: usize, delta: Delta<'a> },
    ContentBlockStop { index: usize },
    MessageDelta { delta: Ending<'a>, usage: FinalUsage },
    MessageStop {},
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "the names are Anthropic's")]
enum Delta<'a> {
    TextDelta { text: &'a str },
    ThinkingDelta { thinking: &'a str },
    SignatureDelta { signature: String },
    InputJsonDelta { partial_json: &'a str },
}

#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are Anthropic's")]
struct Ending<'a> {
    stop_reason: Option<&'static str>,
    stop_sequence: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_details: Option<Refusal>,
}

/// The counts of a stream's last event, which are those of the whole.
#[derive(Debug, Serialize)]
struct FinalUsage {
    input_tokens: usize,
    cache_creation_input_tokens: usize,
    cache_read_input_tokens: usize,
    output_tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_details: Option<OutputDetails>,
}

impl Reading {
    /// The answer, plain or streamed.
    pub(super) fn answer(&self, turn: &Turn<'_>) -> Answer {
        let said = self.ask.answer(turn).remove(0);
        let id = format!("msg_{:016x}{:08x}", noise::mix(turn.draw), turn.draw % (1 << 32));
        if self.ask.stream {
            return Answer::Stream(self.stream(&id, &said, turn));
        }
        let Ending { stop_reason, stop_sequence, stop_details } = ending(&said);
        let content = self.blocks(&said, turn);
        let message = Message {
            content,
            stop_reason,
            stop_sequence,
            stop_details,
            usage: self.usage(&said, said.tokens()),
            ..self.bare(&id, &said)
        };
        let pace = turn.token_gap * u32::try_from(said.tokens()).unwrap_or(u32::MAX);
        Answer::Plain(Plain::ok(&message, turn.first_token + pace))
    }

    /// The message before its first token.
    fn bare<'a>(&'a self, id: &'a str, said: &Said) -> Message<'a> {
        Message {
            id,
            r#type: "message",
            role: "assistant",
            model: &self.ask.model,
            content: Vec::new(),
            stop_reason: None,
            stop_sequence: None,
            stop_details: None,
            usage: Usage { output_tokens_details: None, ..self.usage(said, 1) },
        }
    }

    fn blocks<'a>(&self, said: &'a Said, turn: &Turn<'_>) -> Vec<Block<'a>> {
        let mut blocks = Vec::new();
        if !said.thinking.is_empty() {
            let thinking = if self.thinking_shown { said.thinking.concat() } else { String::new() };
            blocks.push(Block::Thinking { thinking, signature: signature(turn) });
        }
        if !said.text.is_empty() {
            blocks.push(Block::Text { text: said.text.concat() });
        }
        for call in &said.calls {
            blocks.push(Block::ToolUse { id: tool_id(&call.id), name: &call.name, input: call.arguments.clone() });
        }
        blocks
    }

    fn stream(&self, id: &str, said: &Said, turn: &Turn<'_>) -> Stream {
        let message = self.bare(id, said);
        let opening = [written(&Event::MessageStart { message }), written(&Event::Ping {})].concat().into();
        let mut out = Blocks::default();
        if !said.thinking.is_empty() {
            let thinking = Block::Thinking { thinking: String::new(), signature: String::new() };
            let shown = said.thinking.iter().filter(|_| self.thinking_shown);
            out.block(thinking, shown.map(|thinking| Delta::ThinkingDelta { thinking }));
            out.more(Delta::SignatureDelta { signature: signature(turn) });
        }
        if !said.text.is_empty() {
            out.block(Block::Text { text: String::new() }, said.text.iter().map(|text| Delta::TextDelta { text }));
        }
        for call in &said.calls {
            let start = Block::ToolUse { id: tool_id(&call.id), name: &call.name, input: json!({}) };
            let pieces = call.pieces.iter().map(|partial_json| Delta::InputJsonDelta { partial_json });
            out.block(start, pieces);
        }
        let Usage { input_tokens, cache_creation_input_tokens, cache_read_input_tokens, output_tokens_details, .. } =
            self.usage(said, said.tokens());
        let usage = FinalUsage {
            input_tokens,
            cache_creation_input_tokens,
            cache_read_input_tokens,
            output_tokens: said.tokens(),
            output_tokens_details,
        };
        let last = written(&Event::MessageDelta { delta: ending(said), usage });
        let (tokens, closing) = out.end();
        Stream {
            opening,
            tokens,
            finish: [closing, last].concat().into(),
            usage: None,
            done: Some(written(&Event::MessageStop {})),
            first_token: turn.first_token,
            token_gap: turn.token_gap,
        }
    }

    fn usage(&self, said: &Said, output_tokens: usize) -> Usage {
        let Cache { read, written, for_an_hour } = self.cache;
        let thinking_tokens = said.thinking.len();
        Usage {
            input_tokens: self.ask.prompt_tokens() - read - written,
            cache_creation_input_tokens: written,
            cache_read_input_tokens: read,
            cache_creation: Creation {
                ephemeral_5m_input_tokens: if for_an_hour { 0 } else { written },
                ephemeral_1h_input_tokens: if for_an_hour { written } else { 0 },
            },
            output_tokens,
            output_tokens_details: (thinking_tokens > 0).then_some(OutputDetails { thinking_tokens }),
            service_tier: "standard",
        }
    }
}

impl Cache {
    /// Of a long prompt with a `cache_control` anywhere, whole steps were read and half of the rest is written.
    pub(super) fn of(body: &Value, ask: &Ask) -> Self {
        let read = ask.cached_tokens();
        match control(body) {
            Some(control) if read > 0 => {
                let written = (ask.prompt_tokens() - read) / 2;
                Self { read, written, for_an_hour: control["ttl"] == "1h" }
            }
            _ => Self::default(),
        }
    }
}

/// The first `cache_control` of a request, wherever it may stand: on the request, its tools, system, blocks and results.
fn control(body: &Value) -> Option<&Value> {
    let own = |value: &'_ Value| value.get("cache_control").is_some_and(Value::is_object);
    let items = |value: &'static str| body[value].as_array().into_iter().flatten();
    let blocks = items("messages").flat_map(|message| message["content"].as_array().into_iter().flatten());
    let inner = blocks.clone().flat_map(|block| block["content"].as_array().into_iter().flatten());
    let mut places = std::iter::once(body).chain(items("tools")).chain(items("system")).chain(blocks).chain(inner);
    places.find(|value| own(value)).map(|value| &value["cache_control"])
}

/// The events of content blocks, grouped by token: a block begins with its first token and ends before the next block.
#[derive(Default)]
struct Blocks {
    tokens: Vec<Bytes>,
    count: usize,
}

impl Blocks {
    fn block<'a>(&mut self, start: Block<'_>, deltas: impl Iterator<Item = Delta<'a>>) {
        let index = self.count;
        let mut before = self.closing();
        before.extend(written(&Event::ContentBlockStart { index, content_block: start }));
        self.count += 1;
        for delta in deltas {
            before.extend(written(&Event::ContentBlockDelta { index, delta }));
            self.tokens.push(std::mem::take(&mut before).into());
        }
        if !before.is_empty() {
            self.tokens.push(before.into());
        }
    }

    /// Adds to the last token of the open block.
    fn more(&mut self, delta: Delta<'_>) {
        let event = written(&Event::ContentBlockDelta { index: self.count.saturating_sub(1), delta });
        if let Some(last) = self.tokens.last_mut() {
            *last = [last.as_ref(), event.as_ref()].concat().into();
        }
    }

    fn closing(&self) -> Vec<u8> {
        let open = self.count.checked_sub(1);
        open.map(|index| written(&Event::ContentBlockStop { index }).into()).unwrap_or_default()
    }

    fn end(self) -> (Vec<Bytes>, Bytes) {
        let closing = self.closing().into();
        (self.tokens, closing)
    }
}

fn written(event: &Event<'_>) -> Bytes {
    let name = match event {
        Event::MessageStart { .. } => "message_start",
        Event::Ping {} => "ping",
        Event::ContentBlockStart { .. } => "content_block_start",
        Event::ContentBlockDelta { .. } => "content_block_delta",
        Event::ContentBlockStop { .. } => "content_block_stop",
        Event::MessageDelta { .. } => "message_delta",
        Event::MessageStop {} => "message_stop",
    };
    named_event(name, event)
}

fn ending(said: &Said) -> Ending<'_> {
    let stop_reason = said.end.as_ref().map(|end| match end {
        End::Calls => "tool_use",
        End::Filtered | End::Refused => "refusal",
        End::Length => "max_tokens",
        End::Stop => "end_turn",
        End::StopSequence(_) => "stop_sequence",
    });
    let stop_sequence = match &said.end {
        Some(End::StopSequence(stop)) => Some(stop.as_str()),
        _ => None,
    };
    let refused = matches!(said.end, Some(End::Filtered | End::Refused));
    let stop_details = refused.then_some(Refusal { r#type: "refusal", category: (), explanation: () });
    Ending { stop_reason, stop_sequence, stop_details }
}

fn tool_id(id: &str) -> String {
    format!("toolu_{id}")
}

/// Looks like base64, as a real one does.
fn signature(turn: &Turn<'_>) -> String {
    format!("EqQB{:016x}{:016x}AA==", noise::mix(turn.draw ^ 1), noise::mix(turn.draw ^ 2))
}

#[cfg(test)]
mod tests {
    use super::super::super::fault::Fault;
    use super::super::super::sample::{self, TURN, request};
    use super::super::ask;
    use super::*;

    fn with(more: &Value) -> Value {
        sample::with(json!({"model": "m", "max_tokens": 2000, "messages": [{"role": "user", "content": "hi"}]}), more)
    }

    fn answer(more: &Value, turn: &Turn<'_>) -> Answer {
        ask::read(&request(&with(more))).unwrap().answer(turn)
    }

    fn plain(more: &Value) -> Value {
        match answer(more, &TURN) {
            Answer::Plain(plain) => serde_json::from_slice(&plain.body).unwrap(),
            Answer::Stream(_) => panic!("asked for a plain answer"),
        }
    }

    /// Name and data of all events.
    fn events(more: &Value) -> Vec<(String, Value)> {
        let mut more = more.clone();
        more["stream"] = json!(true);
        let Answer::Stream(stream) = answer(&more, &TURN) else { panic!("asked for a stream") };
        let groups = [stream.opening].into_iter().chain(stream.tokens).chain([stream.finish]).chain(stream.done);
        let text: String = groups.map(|group| String::from_utf8(group.to_vec()).unwrap()).collect();
        let event = |event: &str| {
            let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
            let data: Value = serde_json::from_str(data).unwrap();
            assert_eq!(data["type"], name);
            (name.to_owned(), data)
        };
        text.trim_end().split("\n\n").map(event).collect()
    }

    fn tools() -> Value {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        json!([{"name": "f", "input_schema": schema}, {"name": "g", "input_schema": schema}])
    }

    #[test]
    fn a_message_has_words_an_end_and_counts() {
        let message = plain(&json!({"system": "be brief"}));
        let text = message["content"][0]["text"].as_str().unwrap();
        assert!(text.ends_with("You said: \"hi\""), "{text}");
        assert_eq!((&message["type"], &message["stop_reason"]), (&json!("message"), &json!("end_turn")));
        assert_eq!(message["usage"]["input_tokens"], 3);
        assert_eq!(message["usage"]["output_tokens"], text.split(' ').count());
        let cut = plain(&json!({"max_tokens": 2}));
        assert_eq!((&cut["content"][0]["text"], &cut["stop_reason"]), (&json!("This is "), &json!("max_tokens")));
        let stopped = plain(&json!({"stop_sequences": ["simulated"]}));
        assert_eq!(
            (&stopped["stop_reason"], &stopped["stop_sequence"]),
            (&json!("stop_sequence"), &json!("simulated"))
        );
    }

    #[test]
    fn a_stream_has_all_its_events_in_order() {
        let events = events(&json!({"max_tokens": 2}));
        let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
        let expected = [
            "message_start",
            "ping",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ];
        assert_eq!(names, expected);
        assert_eq!(events[0].1["message"]["content"], json!([]));
        assert_eq!(events[3].1["delta"], json!({"type": "text_delta", "text": "This "}));
        assert_eq!(events[6].1["delta"], json!({"stop_reason": "max_tokens", "stop_sequence": null}));
        assert_eq!(events[6].1["usage"]["output_tokens"], 2);
    }

    #[test]
    fn thinking_is_signed_and_tools_are_used_in_parallel() {
        let more = json!({
            "messages": [{"role": "user", "content": "both"}],
            "tools": tools(),
            "thinking": {"type": "enabled", "budget_tokens": 1024},
        });
        let message = plain(&more);
        assert_eq!(message["content"].as_array().map(Vec::len), Some(3));
        assert!(message["content"][0]["thinking"].as_str().unwrap().starts_with("The prompt has"));
        assert_eq!(message["content"][2]["input"], json!({"city": "some city"}));
        assert_eq!(message["stop_reason"], "tool_use");
        assert_eq!(message["usage"]["output_tokens_details"]["thinking_tokens"], 10);

        let mut blocks: Vec<Value> = Vec::new();
        let mut json = vec![String::new(); 3];
        for (name, data) in events(&more) {
            let index = data["index"].as_u64().map_or(0, |index| usize::try_from(index).unwrap());
            match (name.as_str(), data["delta"]["type"].as_str()) {
                ("content_block_start", _) => {
                    assert_eq!(index, blocks.len());
                    blocks.push(data["content_block"].clone());
                }
                (_, Some("input_json_delta")) => json[index] += data["delta"]["partial_json"].as_str().unwrap(),
                (_, Some("signature_delta")) => blocks[0]["signature"] = data["delta"]["signature"].clone(),
                _ => {}
            }
        }
        assert_eq!(blocks[0]["signature"], message["content"][0]["signature"]);
        assert_eq!((&blocks[1]["name"], &blocks[2]["name"]), (&json!("f"), &json!("g")));
        assert_eq!(json[1..], [r#"{"city":"some city"}"#; 2]);
    }

    #[test]
    fn omitted_thinking_is_only_signed() {
        let more = json!({"thinking": {"type": "adaptive", "display": "omitted"}});
        let message = plain(&more);
        assert_eq!(message["content"][0]["thinking"], "");
        let deltas = events(&more);
        assert!(!deltas.iter().any(|(_, data)| data["delta"]["type"] == "thinking_delta"));
        assert!(deltas.iter().any(|(_, data)| data["delta"]["type"] == "signature_delta"));
    }

    #[test]
    fn cached_tokens_lie_outside_the_input() {
        let long = json!([{"type": "text", "text": "word ".repeat(1200), "cache_control": {"type": "ephemeral", "ttl": "1h"}}]);
        let usage = plain(&json!({"messages": [{"role": "user", "content": long}]}))["usage"].clone();
        assert_eq!((&usage["cache_read_input_tokens"], &usage["input_tokens"]), (&json!(1152), &json!(24)));
        assert_eq!(usage["cache_creation_input_tokens"], 24);
        assert_eq!(usage["cache_creation"]["ephemeral_1h_input_tokens"], 24);
        let plainly = plain(&json!({"messages": [{"role": "user", "content": "word ".repeat(1200)}]}));
        assert_eq!(plainly["usage"]["input_tokens"], 1200);
    }

    #[test]
    fn a_refusal_comes_before_the_words_or_after() {
        let refused = |finish_reason| {
            let fault = Fault::ContentFilter { finish_reason };
            let Answer::Plain(plain) = answer(&json!({}), &Turn { fault: Some(&fault), ..TURN }) else {
                panic!("plain")
            };
            serde_json::from_slice::<Value>(&plain.body).unwrap()
        };
        let before = refused(false);
        assert_eq!((&before["content"], &before["stop_reason"]), (&json!([]), &json!("refusal")));
        let after = refused(true);
        assert_eq!((after["content"].as_array().map(Vec::len), &after["stop_reason"]), (Some(1), &json!("refusal")));
        assert_eq!(after["stop_details"]["type"], "refusal");
    }
}
