//! What every mock is asked, in each dialect, through both APIs that clients have.

use std::fmt;

use serde_json::{Value, json};
use tidegate_tests::http::{Reply, Request};

use crate::DIALECTS;
use crate::mocks::World;

const MOCKS: [&str; 3] = ["llmock", "aimock", "vidaimock"];
const TOOL: &str = "tide_at";

/// A question to a mock in a dialect, through one of the gateway's APIs.
pub(crate) struct Question {
    mock: &'static str,
    dialect: &'static str,
    api: Api,
    form: Form,
}

/// How the client speaks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Api {
    Chat,
    Messages,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Plain,
    Stream,
    Tools,
    ToolStream,
}

/// What came back, whatever the API.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    text: String,
    /// The tool that is called, its call's id, and its arguments as JSON text.
    call: Option<(String, String, String)>,
    reason: String,
}

/// Every mock, dialect, API and form.
pub(crate) fn all() -> Vec<Question> {
    let mut all = Vec::new();
    for mock in MOCKS {
        for dialect in DIALECTS {
            for api in [Api::Chat, Api::Messages] {
                for form in [Form::Plain, Form::Stream, Form::Tools, Form::ToolStream] {
                    all.push(Question { mock, dialect, api, form });
                }
            }
        }
    }
    all
}

impl Question {
    pub(crate) fn name(&self) -> String {
        format!("{}::{}::{}::{}", self.mock, self.dialect, self.api, self.form)
    }

    /// Asks it; a tool's result is told, and so answered.
    pub(crate) async fn ask(&self, world: &World) {
        let mut body = json!({
            "model": format!("{}-{}", self.mock, self.dialect),
            "max_tokens": 500,
            "messages": [{"role": "user", "content": "Is the tide in?"}],
        });
        if self.streams() {
            body["stream"] = json!(true);
        }
        if self.form == Form::Plain || self.form == Form::Stream {
            let answer = self.answer(world, &body).await;
            assert!(answer.text.split_whitespace().count() > 1 && answer.call.is_none(), "{answer:?}");
            assert_eq!(answer.reason, self.api.done(), "{answer:?}");
            return;
        }
        body["tools"] = json!([self.api.tool()]);
        let first = self.answer(world, &body).await;
        // vidaimock ends a stream with a call as if it were one without, and passes through as it is.
        let quirk = self.mock == "vidaimock" && self.dialect == "openai" && self.form == Form::ToolStream;
        let reason = match self.api {
            Api::Chat if quirk => "stop",
            Api::Chat => "tool_calls",
            Api::Messages => "tool_use",
        };
        assert_eq!(first.reason, reason, "{first:?}");
        let (name, id, arguments) = first.call.unwrap_or_else(|| panic!("no call: {}", first.text));
        assert_eq!(name, TOOL);
        assert!(!id.is_empty(), "a call without an id cannot be answered");
        let arguments: Value = serde_json::from_str(&arguments).expect("arguments are JSON");
        assert!(arguments.is_object(), "{arguments}");
        let turns = self.api.told(&id, &arguments);
        body["messages"].as_array_mut().expect("messages are a list").extend(turns);
        let last = self.answer(world, &body).await;
        assert!(last.call.is_none() && !last.text.is_empty(), "a loop without an end: {last:?}");
        assert_eq!(last.reason, self.api.done(), "{last:?}");
    }

    fn streams(&self) -> bool {
        matches!(self.form, Form::Stream | Form::ToolStream)
    }

    async fn answer(&self, world: &World, body: &Value) -> Answer {
        let reply = Request::post(self.api.path(), body).send(world.gateway.address).await.expect(200);
        match (self.api, self.streams()) {
            (Api::Chat, false) => chat(&reply.json()),
            (Api::Chat, true) => chat_stream(&reply),
            (Api::Messages, false) => message(&reply.json()),
            (Api::Messages, true) => message_stream(&reply),
        }
    }
}

impl Api {
    fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Messages => "/v1/messages",
        }
    }

    /// How an answer ends when all is said.
    fn done(self) -> &'static str {
        match self {
            Self::Chat => "stop",
            Self::Messages => "end_turn",
        }
    }

    fn tool(self) -> Value {
        let description = "The times of high water at a port.";
        let schema = json!({
            "type": "object",
            "properties": {"port": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["port", "days"],
        });
        match self {
            Self::Chat => {
                let function = json!({"name": TOOL, "description": description, "parameters": schema});
                json!({"type": "function", "function": function})
            }
            Self::Messages => json!({"name": TOOL, "description": description, "input_schema": schema}),
        }
    }

    /// The turns that tell what a tool said.
    fn told(self, id: &str, arguments: &Value) -> [Value; 2] {
        const RESULT: &str = "high water at 04:12 and 16:38";
        match self {
            Self::Chat => {
                let function = json!({"name": TOOL, "arguments": arguments.to_string()});
                let call = json!({"id": id, "type": "function", "function": function});
                [
                    json!({"role": "assistant", "content": null, "tool_calls": [call]}),
                    json!({"role": "tool", "tool_call_id": id, "content": RESULT}),
                ]
            }
            Self::Messages => {
                let call = json!({"type": "tool_use", "id": id, "name": TOOL, "input": arguments});
                let result = json!({"type": "tool_result", "tool_use_id": id, "content": RESULT});
                [json!({"role": "assistant", "content": [call]}), json!({"role": "user", "content": [result]})]
            }
        }
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Chat { "chat" } else { "messages" })
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Stream => "stream",
            Self::Tools => "tools",
            Self::ToolStream => "tool_stream",
        })
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The data of each event; how many empty lines a mock puts between them is its own affair.
fn data_of(stream: &str) -> Vec<&str> {
    stream.lines().filter_map(|line| line.strip_prefix("data: ")).collect()
}

fn chat(body: &Value) -> Answer {
    let choice = &body["choices"][0];
    let function = |call: &Value| {
        let function = &call["function"];
        (text(&function["name"]), text(&call["id"]), text(&function["arguments"]))
    };
    Answer {
        text: text(&choice["message"]["content"]),
        call: choice["message"]["tool_calls"].as_array().and_then(|calls| calls.first()).map(function),
        reason: text(&choice["finish_reason"]),
    }
}

fn chat_stream(reply: &Reply) -> Answer {
    let body = reply.text();
    let mut events = data_of(&body);
    assert_eq!(events.pop(), Some("[DONE]"), "{reply}");
    let mut answer = Answer::default();
    for event in events {
        let chunk: Value = serde_json::from_str(event).unwrap_or_else(|_| panic!("not JSON: {event}"));
        let choice = &chunk["choices"][0];
        answer.text += &text(&choice["delta"]["content"]);
        if let Some(call) = choice["delta"]["tool_calls"].as_array().and_then(|calls| calls.first()) {
            let known = answer.call.get_or_insert_default();
            known.0 += &text(&call["function"]["name"]);
            known.1 += &text(&call["id"]);
            known.2 += &text(&call["function"]["arguments"]);
        }
        answer.reason += &text(&choice["finish_reason"]);
    }
    answer
}

fn message(body: &Value) -> Answer {
    let mut answer = Answer { reason: text(&body["stop_reason"]), ..Answer::default() };
    for block in body["content"].as_array().into_iter().flatten() {
        answer.text += &text(&block["text"]);
        if block["type"] == "tool_use" {
            answer.call = Some((text(&block["name"]), text(&block["id"]), block["input"].to_string()));
        }
    }
    answer
}

fn message_stream(reply: &Reply) -> Answer {
    let body = reply.text();
    let mut answer = Answer::default();
    let mut last = Value::Null;
    for event in data_of(&body) {
        last = serde_json::from_str(event).unwrap_or_else(|_| panic!("not JSON: {event}"));
        let (block, delta) = (&last["content_block"], &last["delta"]);
        if block["type"] == "tool_use" {
            answer.call = Some((text(&block["name"]), text(&block["id"]), String::new()));
        }
        answer.text += &text(&delta["text"]);
        if let Some(call) = &mut answer.call {
            call.2 += &text(&delta["partial_json"]);
        }
        answer.reason += &text(&delta["stop_reason"]);
    }
    assert_eq!(last["type"], "message_stop", "{reply}");
    // A call without arguments has no deltas.
    if let Some(call) = answer.call.as_mut().filter(|call| call.2.is_empty()) {
        "{}".clone_into(&mut call.2);
    }
    answer
}
