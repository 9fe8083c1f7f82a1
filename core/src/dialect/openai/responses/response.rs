//! The response object: the same whole, on its way and failed.

use serde::Serialize;

use super::echo::{Echo, Text};
use super::items::{Item, Namer, Status};
use crate::dialect::chat::{Json, Stamp, Stop};
use crate::price::Usage;

/// A response. The order of its fields is that of `OpenAI`'s documentation.
#[derive(Serialize)]
pub(super) struct Response<'a> {
    id: String,
    object: &'static str,
    created_at: u64,
    status: Status,
    background: bool,
    error: Option<Failure<'a>>,
    incomplete_details: Option<Incomplete>,
    instructions: Option<&'a Json>,
    max_output_tokens: Option<&'a Json>,
    max_tool_calls: Option<&'a Json>,
    model: &'a str,
    output: &'a [Item],
    parallel_tool_calls: Option<bool>,
    previous_response_id: Option<&'a str>,
    prompt_cache_key: Option<&'a Json>,
    reasoning: Option<&'a Json>,
    safety_identifier: Option<&'a Json>,
    service_tier: Option<&'a str>,
    store: bool,
    temperature: Option<&'a Json>,
    text: Option<TextForm<'a>>,
    tool_choice: Option<&'a Json>,
    tools: Option<&'a Json>,
    top_logprobs: Option<&'a Json>,
    top_p: Option<&'a Json>,
    truncation: Option<&'a Json>,
    usage: Option<WireUsage>,
    user: Option<&'a Json>,
    metadata: Option<&'a Json>,
}

/// How far a response came, and why no further.
#[derive(Debug, Clone, Copy)]
pub(super) enum End<'a> {
    /// It is on its way.
    NotYet,
    /// It is whole.
    Whole,
    /// It ends early, for the reason that is given.
    Early(&'static str),
    /// It broke off.
    Broken(Failure<'a>),
}

/// What went wrong.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Failure<'a> {
    pub(super) code: &'a str,
    pub(super) message: &'a str,
}

#[derive(Clone, Copy, Serialize)]
struct Incomplete {
    reason: &'static str,
}

#[derive(Serialize)]
struct TextForm<'a> {
    format: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'a Json>,
}

#[derive(Serialize)]
struct WireUsage {
    input_tokens: u64,
    input_tokens_details: InputDetails,
    output_tokens: u64,
    output_tokens_details: OutputDetails,
    total_tokens: u64,
    /// In USD, where the price is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Json>,
}

#[derive(Serialize)]
struct InputDetails {
    cached_tokens: u64,
    cache_write_tokens: u64,
}

#[derive(Serialize)]
struct OutputDetails {
    reasoning_tokens: u64,
}

impl<'a> Response<'a> {
    pub(super) fn new(
        echo: &'a Echo,
        stamp: &Stamp,
        model: &'a str,
        output: &'a [Item],
        end: End<'a>,
        usage: Option<Usage>,
    ) -> Self {
        Self {
            id: Namer { stamp, echo }.response(),
            object: "response",
            created_at: stamp.created(),
            status: end.status(),
            background: false,
            error: if let End::Broken(failure) = end { Some(failure) } else { None },
            incomplete_details: if let End::Early(reason) = end { Some(Incomplete { reason }) } else { None },
            instructions: echo.instructions.as_ref(),
            max_output_tokens: echo.max_output_tokens.as_ref(),
            max_tool_calls: echo.max_tool_calls.as_ref(),
            model,
            output,
            parallel_tool_calls: echo.parallel_tool_calls,
            previous_response_id: None,
            prompt_cache_key: echo.prompt_cache_key.as_ref(),
            reasoning: echo.reasoning.as_ref(),
            safety_identifier: echo.safety_identifier.as_ref(),
            service_tier: None,
            store: false,
            temperature: echo.temperature.as_ref(),
            text: echo.text.as_ref().map(TextForm::of),
            tool_choice: echo.tool_choice.as_ref(),
            tools: echo.tools.as_ref(),
            top_logprobs: echo.top_logprobs.as_ref(),
            top_p: echo.top_p.as_ref(),
            truncation: echo.truncation.as_ref(),
            usage: usage.map(|usage| WireUsage::of(usage, stamp)),
            user: echo.user.as_ref(),
            metadata: echo.metadata.as_ref(),
        }
    }
}

impl End<'_> {
    /// What a vendor's reason comes to. A refusal in words is an answer; one without is the vendor's filter at work.
    pub(super) fn of(stop: &Stop, refused_in_words: bool) -> Self {
        match stop {
            Stop::End | Stop::Sequence(_) | Stop::Tools => Self::Whole,
            // There is no word for a turn that the vendor paused; this one has clients go on in the same way.
            Stop::Length | Stop::Pause => Self::Early("max_output_tokens"),
            Stop::Refusal if refused_in_words => Self::Whole,
            Stop::Refusal | Stop::Filtered => Self::Early("content_filter"),
        }
    }

    pub(super) fn status(self) -> Status {
        match self {
            Self::NotYet => Status::InProgress,
            Self::Whole => Status::Completed,
            Self::Early(_) => Status::Incomplete,
            Self::Broken(_) => Status::Failed,
        }
    }
}

impl<'a> TextForm<'a> {
    fn of(text: &'a Text) -> Self {
        Self { format: text.format.as_ref(), verbosity: text.verbosity.as_ref() }
    }
}

impl WireUsage {
    fn of(usage: Usage, stamp: &Stamp) -> Self {
        let cost = stamp.cost(usage).map(|cost| cost.to_string());
        Self {
            input_tokens: usage.input,
            input_tokens_details: InputDetails {
                cached_tokens: usage.cached_input,
                cache_write_tokens: usage.cache_write.saturating_add(usage.cache_write_1h),
            },
            output_tokens: usage.output,
            output_tokens_details: OutputDetails { reasoning_tokens: usage.reasoning },
            total_tokens: usage.input.saturating_add(usage.output),
            cost: cost.map(|cost| serde_json::from_str(&cost).expect("an amount is written as a decimal number")),
        }
    }
}
