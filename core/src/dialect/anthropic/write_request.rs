//! A request in the shared terms, written for Anthropic.
//!
//! Anthropic's models are of two kinds. Those up to Claude 4.5 take a temperature and the like, think by a budget of tokens,
//! and go on from a given beginning. The later ones refuse all three with an error: they think by an effort, and the API of
//! 2026-10-21 has no sampling parameters at all. Which kind a target is shows in its `prefill` ability.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Number;

use super::write_messages::{Block, Conversation, Turn};
use super::write_thinking::{Thought, WireThinking};
use super::write_tools::{WireChoice, WireTool, write_choice, write_tool};
use crate::dialect::chat::{Abilities, Format, Json, Request, Unsupported, Written};
use crate::dialect::schema;

/// The body of `/v1/messages`.
#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<WireChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<WireThinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<WireFormat<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WireFormat<'a> {
    JsonSchema { schema: Cow<'a, Json> },
}

#[derive(Serialize)]
struct Metadata<'a> {
    user_id: &'a str,
}

/// Writes a request to the model `upstream`.
///
/// # Errors
///
/// The first thing that was asked for and that the target cannot give.
pub fn write_request(request: &Request, upstream: &str, abilities: &Abilities) -> Result<Written, Unsupported> {
    refuse(request, abilities)?;
    let mut dropped = Dropped::of(request);
    let mut conversation = Conversation::write(request, abilities, &mut dropped)?;
    let prefilled = conversation.prepare_end(abilities)?;
    let max_tokens = request.max_tokens.unwrap_or(abilities.max_output);
    let tools = request.tools.iter().map(|tool| write_tool(tool, abilities, &mut dropped)).collect::<Result<_, _>>()?;
    let thought = Thought::write(request, abilities, max_tokens, &conversation, prefilled, &mut dropped);
    let sampling = Sampling::write(request, abilities, thought.is_on(), &mut dropped);
    let format = match &request.format {
        None | Some(Format::Json) => None,
        Some(Format::Schema { schema, .. }) => {
            let schema = schema::closed(schema).ok_or_else(|| Unsupported("json_schema".into()))?;
            Some(WireFormat::JsonSchema { schema })
        }
    };
    let effort = thought.effort;
    let body = Body {
        model: upstream,
        max_tokens,
        system: conversation.system,
        messages: conversation.turns,
        tools,
        tool_choice: write_choice(request),
        thinking: thought.thinking,
        output_config: (effort.is_some() || format.is_some()).then_some(OutputConfig { effort, format }),
        stop_sequences: write_stop(request, &mut dropped),
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: sampling.top_k,
        metadata: write_user(request, &mut dropped),
        stream: request.stream,
    };
    let body = serde_json::to_vec(&body).expect("our own types always have a JSON form");
    Ok(Written { body: Bytes::from(body), dropped: dropped.with_others(request) })
}

/// Finds what no parameter of Anthropic's stands for, and what this target cannot do.
fn refuse(request: &Request, abilities: &Abilities) -> Result<(), Unsupported> {
    let unsupported = |name: &str| Err(Unsupported(name.to_owned()));
    if let Some(other) = request.others.iter().find(|other| other.essential) {
        return unsupported(&other.name);
    }
    if request.choices.is_some_and(|choices| choices > 1) {
        return unsupported("n");
    }
    if request.format == Some(Format::Json) {
        return unsupported("response_format");
    }
    abilities.check(request)
}

/// The names of what is left out, as clients of `OpenAI`'s dialect know them. None stands there twice.
#[derive(Debug, Default)]
pub(super) struct Dropped(Vec<&'static str>);

impl Dropped {
    pub(super) fn note(&mut self, name: &'static str) {
        if !self.0.contains(&name) {
            self.0.push(name);
        }
    }

    /// What Anthropic has no form for, whatever the target.
    fn of(request: &Request) -> Self {
        // Many clients always send a penalty, of nothing.
        let penalizes =
            |penalty: &Option<Number>| penalty.as_ref().is_some_and(|penalty| penalty.as_f64() != Some(0.0));
        let unknown = [
            ("frequency_penalty", penalizes(&request.frequency_penalty)),
            ("presence_penalty", penalizes(&request.presence_penalty)),
            ("seed", request.seed.is_some()),
            ("logprobs", request.logprobs.is_some()),
        ];
        let mut dropped = Self::default();
        unknown.iter().filter(|(_, is_set)| *is_set).for_each(|(name, _)| dropped.note(name));
        dropped
    }

    /// All of them, with those of the client's parameters that have no form in the shared terms either.
    fn with_others(self, request: &Request) -> Vec<String> {
        let others = request.others.iter().map(|other| other.name.clone());
        self.0.into_iter().map(str::to_owned).chain(others).collect()
    }
}

/// How tokens are chosen.
struct Sampling<'a> {
    temperature: Option<Number>,
    top_p: Option<&'a Number>,
    top_k: Option<u64>,
}

impl<'a> Sampling<'a> {
    /// `OpenAI`'s temperature goes to 2 and Anthropic's to 1: what is above is 1, as in Anthropic's own compatibility with
    /// `OpenAI`, and named because it is not what was asked for. A temperature or `top_p` of 1 is what all models do anyway.
    /// A model that thinks takes none of these.
    fn write(request: &'a Request, abilities: &Abilities, thinks: bool, dropped: &mut Dropped) -> Self {
        let set = |number: &'a Option<Number>| number.as_ref().filter(|number| number.as_f64() != Some(1.0));
        let (temperature, mut top_p) = (set(&request.temperature), set(&request.top_p));
        if thinks || !abilities.prefill {
            let names = [
                ("temperature", temperature.is_some()),
                ("top_p", top_p.is_some()),
                ("top_k", request.top_k.is_some()),
            ];
            names.iter().filter(|(_, is_set)| *is_set).for_each(|(name, _)| dropped.note(name));
            return Self { temperature: None, top_p: None, top_k: None };
        }
        let hot = temperature.and_then(Number::as_f64).is_some_and(|temperature| temperature > 1.0);
        if hot {
            dropped.note("temperature");
        }
        if temperature.is_some() && top_p.take().is_some() {
            // Claude 4.5 refuses the two together.
            dropped.note("top_p");
        }
        let temperature = if hot { Some(Number::from(1)) } else { temperature.cloned() };
        Self { temperature, top_p, top_k: request.top_k }
    }
}

/// Anthropic refuses a text without a visible character, at which hardly any answer would end.
fn write_stop<'a>(request: &'a Request, dropped: &mut Dropped) -> Vec<&'a str> {
    let (stop, blank): (Vec<_>, Vec<_>) =
        request.stop.iter().map(String::as_str).partition(|text| !text.trim().is_empty());
    if !blank.is_empty() {
        dropped.note("stop");
    }
    stop
}

/// Anthropic refuses a user's id that looks like an address or a telephone number.
fn write_user<'a>(request: &'a Request, dropped: &mut Dropped) -> Option<Metadata<'a>> {
    const DIGITS_MIN: usize = 7;
    let user_id = request.user.as_deref().filter(|user| !user.is_empty())?;
    let is_number = user_id.len() >= DIGITS_MIN
        && user_id.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'(' | b')' | b' '));
    if user_id.contains('@') || is_number {
        dropped.note("user");
        return None;
    }
    Some(Metadata { user_id })
}

#[cfg(test)]
mod tests;
