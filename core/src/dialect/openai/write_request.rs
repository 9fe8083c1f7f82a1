//! A request in the shared terms, written as a chat completion.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Number;

use super::write_messages::{Message, write_messages};
use crate::dialect::chat::{
    Abilities, Content, Effort, Format, Json, Message as ChatMessage, Part, Request, Role, Thinking, ToolChoice,
    Unsupported, Written,
};
use crate::dialect::schema;

/// Writes a request for the model `upstream`.
pub fn write_request(request: &Request, upstream: &str, abilities: &Abilities) -> Result<Written, Unsupported> {
    check(request, abilities)?;
    let mut dropped: Vec<String> = request.others.iter().map(|other| other.name.clone()).collect();
    if request.top_k.is_some() {
        dropped.push("top_k".into());
    }
    let tools: Vec<Tool<'_>> = request.tools.iter().map(Tool::from).collect();
    let response_format = request.format.as_ref().map(ResponseFormat::from);
    if is_less_strict(request, &tools, response_format.as_ref()) {
        dropped.push("strict".into());
    }
    // `OpenAI` refuses to be told how to use tools that are not there.
    let has_tools = !tools.is_empty();
    let effort = request.thinking.and_then(Thinking::effort);
    let wire = Wire {
        model: upstream,
        messages: write_messages(&request.messages)?,
        tools,
        tool_choice: request.tool_choice.as_ref().filter(|_| has_tools).map(Choice::from),
        parallel_tool_calls: request.parallel_tools.filter(|_| has_tools),
        response_format,
        max_completion_tokens: request.max_tokens,
        stop: &request.stop,
        temperature: request.temperature.as_ref(),
        top_p: request.top_p.as_ref(),
        frequency_penalty: request.frequency_penalty.as_ref(),
        presence_penalty: request.presence_penalty.as_ref(),
        seed: request.seed,
        n: request.choices,
        logprobs: request.logprobs.map(|_| true),
        top_logprobs: request.logprobs.filter(|alternatives| *alternatives > 0),
        reasoning_effort: effort.map(effort_word),
        user: request.user.as_deref(),
        stream: request.stream.then_some(true),
        stream_options: request.stream.then_some(StreamOptions { include_usage: true }),
    };
    let body = serde_json::to_vec(&wire).expect("our own types always have a JSON form");
    Ok(Written { body: Bytes::from(body), dropped })
}

/// What the target cannot do and what must not be left out.
fn check(request: &Request, abilities: &Abilities) -> Result<(), Unsupported> {
    let refuse = |what: &str| Err(Unsupported(what.to_owned()));
    if let Some(other) = request.others.iter().find(|other| other.essential) {
        return refuse(&other.name);
    }
    abilities.check(request)?;
    // The shared terms have no place for a second choice in a stream.
    if request.stream && request.choices.is_some_and(|choices| choices > 1) {
        return refuse("n");
    }
    if !abilities.prefill && request.messages.last().is_some_and(is_prefill) {
        return refuse("prefill");
    }
    Ok(())
}

/// Whether the answer is to go on from this message. `OpenAI`'s models begin a new one.
fn is_prefill(message: &ChatMessage) -> bool {
    message.role == Role::Assistant && matches!(message.parts.last(), Some(Part { content: Content::Text(_), .. }))
}

fn effort_word(effort: Effort) -> &'static str {
    match effort {
        Effort::None => "none",
        Effort::Minimal => "minimal",
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        // More models know it than `max`.
        Effort::Max => "xhigh",
    }
}

#[derive(Serialize)]
struct Wire<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "function")]
struct Tool<'a> {
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

impl<'a> From<&'a crate::dialect::chat::Tool> for Tool<'a> {
    fn from(tool: &'a crate::dialect::chat::Tool) -> Self {
        let function = Function {
            name: &tool.name,
            description: tool.description.as_deref(),
            parameters: tool.parameters.as_ref(),
            strict: strictness(tool.strict, tool.parameters.as_ref()),
        };
        Self { function }
    }
}

/// Whether the answer is to fit exactly. `OpenAI` refuses to be strict about a schema that leaves something open; told not to
/// be, it still goes by it.
fn strictness(strict: Option<bool>, schema: Option<&Json>) -> Option<bool> {
    strict.map(|strict| strict && schema.is_none_or(schema::is_strict))
}

/// Whether something is asked for less strictly than by the client.
fn is_less_strict(request: &Request, tools: &[Tool<'_>], format: Option<&ResponseFormat<'_>>) -> bool {
    let in_format = match (&request.format, format) {
        (Some(Format::Schema { strict, .. }), Some(ResponseFormat::JsonSchema { json_schema })) => {
            *strict != json_schema.strict
        }
        _ => false,
    };
    in_format || request.tools.iter().zip(tools).any(|(ours, theirs)| ours.strict != theirs.function.strict)
}

/// `"auto"`, or `{"type":"function","function":{"name":…}}`.
enum Choice<'a> {
    Word(&'static str),
    Tool(&'a str),
}

impl<'a> From<&'a ToolChoice> for Choice<'a> {
    fn from(choice: &'a ToolChoice) -> Self {
        match choice {
            ToolChoice::Auto => Self::Word("auto"),
            ToolChoice::Forbidden => Self::Word("none"),
            ToolChoice::Required => Self::Word("required"),
            ToolChoice::Tool(name) => Self::Tool(name),
        }
    }
}

impl Serialize for Choice<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Word(word) => serializer.serialize_str(word),
            Self::Tool(name) => {
                let function = Function { name, description: None, parameters: None, strict: None };
                Tool { function }.serialize(serializer)
            }
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat<'a> {
    JsonObject,
    JsonSchema { json_schema: JsonSchema<'a> },
}

#[derive(Serialize)]
struct JsonSchema<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    schema: &'a Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

impl<'a> From<&'a Format> for ResponseFormat<'a> {
    fn from(format: &'a Format) -> Self {
        match format {
            Format::Json => Self::JsonObject,
            Format::Schema { name, description, schema, strict } => Self::JsonSchema {
                json_schema: JsonSchema {
                    // `OpenAI` insists on a name.
                    name: name.as_deref().unwrap_or("answer"),
                    description: description.as_deref(),
                    schema,
                    strict: strictness(*strict, Some(schema)),
                },
            },
        }
    }
}
