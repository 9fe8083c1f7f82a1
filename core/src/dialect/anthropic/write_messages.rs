//! A conversation in the shared terms, in Anthropic's words.
//!
//! Anthropic takes less than others do: what the app says stands apart at the top, no text may be blank, results of tools come
//! first in a turn, and thinking needs its signature. All of it is put right here, without a change to what is said.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::write_request::Dropped;
use crate::dialect::chat::{Abilities, Cache, Content, Part, Request, Role, Source, ToolCall, Unsupported};
use crate::dialect::gemini;

/// What was said, and by whom.
#[derive(Debug, Default)]
pub(super) struct Conversation<'a> {
    pub(super) system: Vec<Block<'a>>,
    /// User and assistant take turns.
    pub(super) turns: Vec<Turn<'a>>,
}

#[derive(Debug, Serialize)]
pub(super) struct Turn<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
    /// Results of tools that came after something else, which they must not: at the end they go before it.
    #[serde(skip)]
    late_results: Vec<Block<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block<'a> {
    Text {
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Image {
        source: WireSource<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Document {
        source: WireSource<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a str,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: &'a str,
        input: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        content: Vec<Self>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum WireSource<'a> {
    Url { url: &'a str },
    Base64 { media_type: Cow<'a, str>, data: &'a str },
}

/// A hint that the prompt up to here is worth caching.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct CacheControl {
    r#type: &'static str,
    /// Five minutes where it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'static str>,
}

impl From<Cache> for CacheControl {
    fn from(cache: Cache) -> Self {
        let ttl = match cache {
            Cache::Short => None,
            Cache::Long => Some("1h"),
        };
        Self { r#type: "ephemeral", ttl }
    }
}

const USER: &str = "user";
const ASSISTANT: &str = "assistant";

impl<'a> Conversation<'a> {
    /// Writes what was said. Where the app says something later on, it is a part of the user's turn: few models take it for
    /// the app's there. So it is where nobody else says anything, because Anthropic wants a turn to answer to.
    pub(super) fn write(
        request: &'a Request,
        abilities: &Abilities,
        dropped: &mut Dropped,
    ) -> Result<Self, Unsupported> {
        let mut conversation = Self::default();
        let leading = request.messages.iter().position(|message| message.role != Role::System).unwrap_or(0);
        let (system, rest) = request.messages.split_at(leading);
        let mut writer = Writer { abilities, dropped, media: false };
        for part in system.iter().flat_map(|message| &message.parts) {
            conversation.system.extend(writer.block(part)?);
        }
        for message in rest {
            let role = if message.role == Role::Assistant { ASSISTANT } else { USER };
            writer.media = role == USER;
            for part in &message.parts {
                if let Some(block) = writer.block(part)? {
                    conversation.add(role, block);
                }
            }
        }
        if conversation.turns.is_empty() {
            return Err(Unsupported("messages".into()));
        }
        conversation.turns.iter_mut().for_each(Turn::put_results_first);
        Ok(conversation)
    }

    /// Adds to the turn of `role`, which is a new one only where the other's came before.
    fn add(&mut self, role: &'static str, block: Block<'a>) {
        match self.turns.last_mut() {
            Some(turn) if turn.role == role && block.is_result() => turn.late_results.push(block),
            Some(turn) if turn.role == role => turn.content.push(block),
            _ => self.turns.push(Turn { role, content: vec![block], late_results: Vec::new() }),
        }
    }

    /// Says whether the answer is to go on from a given beginning, which the target must be able to. White space at the end of
    /// it is refused, and the model would put it there by itself.
    pub(super) fn prepare_end(&mut self, abilities: &Abilities) -> Result<bool, Unsupported> {
        let Some(last) = self.turns.last_mut().filter(|turn| turn.role == ASSISTANT) else { return Ok(false) };
        if !abilities.prefill {
            return Err(Unsupported("prefill".into()));
        }
        if let Some(Block::Text { text, .. }) = last.content.last_mut() {
            *text = text.trim_end();
        }
        Ok(true)
    }

    /// Whether the last that the assistant did was to call tools after thinking that is not here any more, or never was.
    pub(super) fn lost_thinking(&self) -> bool {
        let Some(turn) = self.turns.iter().rfind(|turn| turn.role == ASSISTANT) else { return false };
        let calls = turn.content.iter().any(|block| matches!(block, Block::ToolUse { .. }));
        calls && !matches!(turn.content.first(), Some(Block::Thinking { .. } | Block::RedactedThinking { .. }))
    }
}

impl Turn<'_> {
    fn put_results_first(&mut self) {
        if !self.late_results.is_empty() {
            let (results, rest): (Vec<_>, Vec<_>) = self.content.drain(..).partition(Block::is_result);
            self.content = results;
            self.content.append(&mut self.late_results);
            self.content.extend(rest);
        }
    }
}

impl Block<'_> {
    fn is_result(&self) -> bool {
        matches!(self, Self::ToolResult { .. })
    }
}

/// Writes parts where they may stand.
struct Writer<'w> {
    abilities: &'w Abilities,
    dropped: &'w mut Dropped,
    /// Whether images and documents may be here: with the user alone.
    media: bool,
}

impl Writer<'_> {
    /// Writes a part; `None` for one that Anthropic would refuse and that says nothing.
    fn block<'a>(&mut self, part: &'a Part) -> Result<Option<Block<'a>>, Unsupported> {
        let cache_control = part.cache.map(CacheControl::from);
        Ok(Some(match &part.content {
            Content::Text(text) | Content::Refusal(text) if text.trim().is_empty() => return Ok(None),
            Content::Text(text) | Content::Refusal(text) => Block::Text { text, cache_control },
            Content::Image { source, detail } => {
                if detail.as_deref().is_some_and(|detail| detail != "auto") {
                    self.dropped.note("messages.image_url.detail");
                }
                Block::Image { source: self.image(source)?, cache_control }
            }
            Content::Document { source, name } => {
                Block::Document { source: self.document(source)?, title: name.as_deref(), cache_control }
            }
            Content::Thinking { signature: None, .. } => return Ok(None),
            // Another vendor's thinking is refused, as each refuses every other's.
            Content::Thinking { signature: Some(signature), .. } if gemini::own_signature(signature).is_some() => {
                return Ok(None);
            }
            Content::Thinking { text, signature: Some(signature) } => Block::Thinking { thinking: text, signature },
            Content::RedactedThinking(data) => Block::RedactedThinking { data },
            Content::ToolCall(call) => {
                let (id, input) = (self.tool_id(&call.id)?, write_input(call)?);
                Block::ToolUse { id, name: &call.name, input, cache_control }
            }
            Content::ToolResult { id, parts, is_error } => {
                let tool_use_id = self.tool_id(id)?;
                let mut content = Vec::with_capacity(parts.len());
                for part in parts {
                    if matches!(part.content, Content::ToolCall(_) | Content::ToolResult { .. }) {
                        return Err(Unsupported("messages.tool".into()));
                    }
                    content.extend(self.block(part)?);
                }
                Block::ToolResult { tool_use_id, content, is_error: *is_error, cache_control }
            }
            Content::Other(name) => return Err(Unsupported(format!("messages.{name}"))),
        }))
    }

    fn image<'a>(&self, source: &'a Source) -> Result<WireSource<'a>, Unsupported> {
        if !self.abilities.vision {
            return Err(Unsupported("vision".into()));
        }
        self.source(source, &["image/jpeg", "image/png", "image/gif", "image/webp"], "messages.image")
    }

    fn document<'a>(&self, source: &'a Source) -> Result<WireSource<'a>, Unsupported> {
        self.source(source, &["application/pdf"], "messages.document")
    }

    fn source<'a>(&self, source: &'a Source, known: &[&str], name: &str) -> Result<WireSource<'a>, Unsupported> {
        let unsupported = || Unsupported(name.to_owned());
        if !self.media {
            return Err(unsupported());
        }
        match source {
            Source::Url(url) => Ok(WireSource::Url { url }),
            Source::Base64 { media_type, data } => {
                let mut media_type = Cow::Borrowed(media_type.as_str());
                if media_type.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    media_type = Cow::Owned(media_type.to_ascii_lowercase());
                }
                if media_type == "image/jpg" {
                    media_type = Cow::Borrowed("image/jpeg");
                }
                if known.contains(&&*media_type) {
                    Ok(WireSource::Base64 { media_type, data })
                } else {
                    Err(unsupported())
                }
            }
        }
    }

    /// The name of a call, in the characters that Anthropic takes: other vendors have dots and colons in theirs.
    fn tool_id<'a>(&self, id: &'a str) -> Result<Cow<'a, str>, Unsupported> {
        if !self.abilities.tools {
            return Err(Unsupported("tools".into()));
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        Ok(match id {
            "" => Cow::Borrowed("_"),
            _ if id.chars().all(is_plain) => Cow::Borrowed(id),
            _ => Cow::Owned(id.chars().map(|c| if is_plain(c) { c } else { '_' }).collect()),
        })
    }
}

/// The arguments of a call, as the model wrote them. Some models write nothing where they mean none.
fn write_input(call: &ToolCall) -> Result<&RawValue, Unsupported> {
    let text = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
    let input = serde_json::from_str::<&RawValue>(text).ok().filter(|input| input.get().starts_with('{'));
    input.ok_or_else(|| Unsupported("messages.tool_calls.arguments".into()))
}
