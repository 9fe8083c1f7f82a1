//! What Gemini answers with. A whole reply and each event of a stream have the same form, so both are read by what is here.

use serde::{Deserialize, Serialize};
use serde_json::Number;
use serde_json::value::RawValue;

use super::SIGNATURE_MARK;
use crate::dialect::VendorError;
use crate::dialect::chat::{Delta, Json, Stop};
use crate::price::Usage;

/// `GenerateContentResponse`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer<'a> {
    #[serde(borrow, default)]
    pub(super) error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) candidates: Option<Vec<Candidate<'a>>>,
    #[serde(default)]
    pub(super) prompt_feedback: Option<PromptFeedback>,
    #[serde(borrow, default)]
    pub(super) usage_metadata: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) response_id: Option<String>,
    #[serde(default)]
    pub(super) model_version: Option<String>,
}

/// One answer, or the piece of it that came with an event.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate<'a> {
    #[serde(default)]
    pub(super) index: Option<u32>,
    #[serde(borrow, default)]
    pub(super) content: Option<Content<'a>>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
    #[serde(default)]
    pub(super) finish_message: Option<String>,
    #[serde(default)]
    pub(super) logprobs_result: Option<LogprobsResult>,
}

#[derive(Deserialize)]
pub(super) struct Content<'a> {
    /// Absent where the model had nothing to say.
    #[serde(borrow, default)]
    pub(super) parts: Option<Vec<Part<'a>>>,
}

/// What a part may hold of all that Gemini has: tools that Google runs and pictures that it draws are never asked for here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part<'a> {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    thought: Option<bool>,
    #[serde(default)]
    thought_signature: Option<String>,
    #[serde(borrow, default)]
    function_call: Option<FunctionCall<'a>>,
}

#[derive(Deserialize)]
struct FunctionCall<'a> {
    #[serde(default)]
    id: Option<String>,
    name: String,
    #[serde(borrow, default)]
    args: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PromptFeedback {
    #[serde(default)]
    block_reason: Option<String>,
}

impl PromptFeedback {
    /// Whether the prompt itself was refused: then there is no candidate.
    pub(super) fn blocks(&self) -> bool {
        self.block_reason.is_some()
    }
}

impl Answer<'_> {
    /// Whether it says anything at all that an answer says.
    pub(super) fn says_something(&self) -> bool {
        self.candidates.is_some() || self.prompt_feedback.is_some() || self.usage_metadata.is_some()
    }

    /// Whether the prompt was refused, and so will not be answered.
    pub(super) fn is_blocked(&self) -> bool {
        self.prompt_feedback.as_ref().is_some_and(PromptFeedback::blocks)
    }
}

/// Puts the parts of one answer into the shared terms, in their order.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Gemini's name for the answer, for the names of calls that have none.
    id: String,
    /// The calls so far.
    calls: u32,
    /// Whether any thinking was shown.
    thinks: bool,
}

impl Parts {
    /// A reader for the answer that Gemini calls `id`.
    pub(super) fn new(id: String) -> Self {
        Self { id, ..Self::default() }
    }

    /// Reads one part, and hands on what it comes to.
    pub(super) fn read(&mut self, part: Part<'_>, mut emit: impl FnMut(Delta)) {
        let signature = part.thought_signature.filter(|signature| !signature.is_empty());
        // Plain text and calls may be signed, for the sake of the next turn. Who was shown no thinking did not ask for any, and
        // is not to meet a block of it that holds a proof alone.
        let proof = signature.as_ref().filter(|_| self.thinks || part.thought == Some(true));
        let proof = proof.map(|signature| Delta::Signature(format!("{SIGNATURE_MARK}{signature}")));
        if let Some(called) = part.function_call {
            // A call has a place for its signature, but not with every client: those find it in the thinking before.
            proof.map(&mut emit);
            let call = self.calls;
            self.calls = call.saturating_add(1);
            let id = called.id.filter(|id| !id.is_empty()).unwrap_or_else(|| self.name_call(call));
            emit(Delta::ToolCall { call, id, name: called.name, signature });
            emit(Delta::Arguments { call, json: called.args.map_or("{}", RawValue::get).to_owned() });
            return;
        }
        let text = part.text.filter(|text| !text.is_empty());
        if part.thought == Some(true) {
            self.thinks = true;
            text.map(Delta::Thinking).map(&mut emit);
        } else {
            text.map(Delta::Text).map(&mut emit);
        }
        proof.map(emit);
    }

    /// A name for a call that Gemini gave none: unlike any other in the conversation, and the same whenever it is read.
    fn name_call(&self, call: u32) -> String {
        if self.id.is_empty() { format!("call_{call}") } else { format!("call_{}_{call}", self.id) }
    }

    /// Why the answer ended, as `finishReason` says; an error where it ended in a way that no answer should. Google says
    /// `STOP` after calls too; others who speak its dialect say `FUNCTION_CALL`.
    pub(super) fn ending(&self, reason: String, message: Option<String>) -> Result<Stop, VendorError> {
        match reason.as_str() {
            "STOP" | "FUNCTION_CALL" => Ok(if self.calls > 0 { Stop::Tools } else { Stop::End }),
            // `CONTINUATION`: the request's own limit was met before the one that was set.
            "MAX_TOKENS" | "CONTINUATION" => Ok(Stop::Length),
            reason if is_filter(reason) => Ok(Stop::Filtered),
            _ => Err(broken(reason, message)),
        }
    }
}

/// Whether a `finishReason` says that a filter stopped the answer.
pub(super) fn is_filter(reason: &str) -> bool {
    const FILTERS: [&str; 11] = [
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "MODEL_ARMOR",
        "ESCALATION",
    ];
    FILTERS.contains(&reason)
}

/// Whether a `finishReason` says that the answer broke off: a call that does not parse or that nobody declared
/// (`MALFORMED_FUNCTION_CALL`, `UNEXPECTED_TOOL_CALL`), a response that is none (`MALFORMED_RESPONSE`), `OTHER`, and whatever
/// Google adds. All come with a 200, and asking again often helps, so they are errors: not one is a clean end.
pub(super) fn is_broken(reason: &str) -> bool {
    !matches!(reason, "STOP" | "FUNCTION_CALL" | "MAX_TOKENS" | "CONTINUATION") && !is_filter(reason)
}

/// The error that such an ending is.
pub(super) fn broken(reason: String, message: Option<String>) -> VendorError {
    let message = message.unwrap_or_else(|| format!("The answer broke off: {reason}."));
    VendorError { message, kind: reason, ..VendorError::default() }
}

/// `usageMetadata`, and what embeddings have of it.
#[derive(Deserialize)]
struct UsageMetadata {
    #[serde(rename = "promptTokenCount")]
    prompt: u64,
    #[serde(rename = "cachedContentTokenCount", default)]
    cached: Option<u64>,
    #[serde(rename = "toolUsePromptTokenCount", default)]
    tools: Option<u64>,
    #[serde(rename = "candidatesTokenCount", default)]
    candidates: Option<u64>,
    #[serde(rename = "thoughtsTokenCount", default)]
    thoughts: Option<u64>,
}

/// Reads `usageMetadata`. One that does not read is unknown: it never spoils an answer. Cached tokens lie within the
/// prompt's; what tools brought in and what was thought lie outside of the counts that their names suggest.
pub(super) fn read_usage(raw: Option<&RawValue>) -> Option<Usage> {
    let wire: UsageMetadata = serde_json::from_str(raw?.get()).ok()?;
    let reasoning = wire.thoughts.unwrap_or(0);
    Some(Usage {
        input: wire.prompt.saturating_add(wire.tools.unwrap_or(0)),
        cached_input: wire.cached.unwrap_or(0),
        output: wire.candidates.unwrap_or(0).saturating_add(reasoning),
        reasoning,
        ..Usage::default()
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogprobsResult {
    #[serde(default)]
    chosen_candidates: Option<Vec<Logprob>>,
    #[serde(default)]
    top_candidates: Option<Vec<TopCandidates>>,
}

#[derive(Deserialize)]
struct TopCandidates {
    #[serde(default)]
    candidates: Option<Vec<Logprob>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Logprob {
    #[serde(default)]
    token: String,
    #[serde(default = "certain")]
    log_probability: Number,
}

/// A probability of 1, whose logarithm protobuf leaves out.
fn certain() -> Number {
    Number::from(0)
}

#[derive(Serialize)]
struct Logprobs<'a> {
    content: Vec<TokenLogprob<'a>>,
}

#[derive(Serialize)]
struct TokenLogprob<'a> {
    token: &'a str,
    logprob: &'a Number,
    bytes: &'a [u8],
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<Vec<Self>>,
}

impl Logprob {
    fn with<'a>(&'a self, top_logprobs: Option<Vec<TokenLogprob<'a>>>) -> TokenLogprob<'a> {
        TokenLogprob { token: &self.token, logprob: &self.log_probability, bytes: self.token.as_bytes(), top_logprobs }
    }
}

impl LogprobsResult {
    /// In `OpenAI`'s form; `None` where there is not a single token.
    pub(super) fn json(&self) -> Option<Json> {
        let chosen = self.chosen_candidates.as_deref().filter(|chosen| !chosen.is_empty())?;
        let mut steps = self.top_candidates.iter().flatten();
        let content = chosen.iter().map(|token| {
            let top = steps.next().and_then(|step| step.candidates.as_deref()).unwrap_or_default();
            token.with(Some(top.iter().map(|token| token.with(None)).collect()))
        });
        Some(Json::of(&Logprobs { content: content.collect() }))
    }
}
