//! How a model is to think, in Anthropic's words.

use serde::Serialize;

use super::write_messages::Conversation;
use super::write_request::Dropped;
use crate::dialect::chat::{Abilities, Effort, Request, Thinking};

/// `thinking`, and the effort that goes with it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Thought {
    pub(super) thinking: Option<WireThinking>,
    /// `output_config.effort`.
    pub(super) effort: Option<&'static str>,
}

/// Where a model thinks, the client gets to read it in short: to it, and to the time limits on its way, a stream that says
/// nothing while the model thinks would be one that is stuck.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum WireThinking {
    Disabled,
    Adaptive { display: &'static str },
    Enabled { budget_tokens: u64, display: &'static str },
}

const DISPLAY: &str = "summarized";

/// The smallest budget that Anthropic takes.
const BUDGET_MIN: u64 = 1024;

/// The budget for a client that wants thinking and does not say how much: what a medium effort comes to.
const BUDGET_DEFAULT: u64 = 8192;

impl Thought {
    /// Whether the model is asked to think.
    pub(super) fn is_on(&self) -> bool {
        !matches!(self.thinking, None | Some(WireThinking::Disabled))
    }

    /// Writes what the client asks for, which is left out where Anthropic would refuse it: a model that thinks can neither be
    /// forced to call a tool nor go on from a given beginning. Models that think unasked are told not to when a call is forced.
    pub(super) fn write(
        request: &Request,
        abilities: &Abilities,
        max_tokens: u64,
        conversation: &Conversation<'_>,
        prefilled: bool,
        dropped: &mut Dropped,
    ) -> Self {
        let off = Self::off(abilities);
        let early = abilities.prefill;
        let forced = request.forces_tools();
        let Some(thinking) = request.thinking else {
            return if forced && !early && abilities.thinking_off { off } else { Self::default() };
        };
        let mut drop = || dropped.note(if thinking.effort.is_some() { "reasoning_effort" } else { "thinking" });
        if thinking.is_off() {
            if abilities.thinking && !abilities.thinking_off {
                drop();
            }
            return off;
        }
        let written = if forced || prefilled || !abilities.thinking {
            None
        } else if early {
            Self::by_budget(thinking, max_tokens, conversation)
        } else {
            Some(Self::by_effort(thinking))
        };
        written.unwrap_or_else(|| {
            drop();
            off
        })
    }

    /// No thinking, or what comes nearest to it.
    fn off(abilities: &Abilities) -> Self {
        match (abilities.thinking, abilities.thinking_off) {
            (true, true) => Self { thinking: Some(WireThinking::Disabled), effort: None },
            (true, false) => Self { thinking: None, effort: Some("low") },
            (false, _) => Self::default(),
        }
    }

    fn by_effort(thinking: Thinking) -> Self {
        let effort = thinking.effort().map(|effort| match effort {
            Effort::None | Effort::Minimal | Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::Max => "max",
        });
        Self { thinking: Some(WireThinking::Adaptive { display: DISPLAY }), effort }
    }

    /// The answer needs room beside the thinking: a budget that is too large is half of what there is. A model that thinks by
    /// a budget wants its thinking back while it works with tools, and refuses a history that has lost it.
    fn by_budget(thinking: Thinking, max_tokens: u64, conversation: &Conversation<'_>) -> Option<Self> {
        let wanted = thinking.budget().unwrap_or(BUDGET_DEFAULT).max(BUDGET_MIN);
        let budget_tokens = if wanted < max_tokens { wanted } else { max_tokens / 2 };
        if budget_tokens < BUDGET_MIN || conversation.lost_thinking() {
            return None;
        }
        Some(Self { thinking: Some(WireThinking::Enabled { budget_tokens, display: DISPLAY }), effort: None })
    }
}
