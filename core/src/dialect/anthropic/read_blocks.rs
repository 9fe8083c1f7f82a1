//! The content of a message in Anthropic's words: a text, or a list of blocks.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::fault::{Fault, object};
use crate::dialect::chat::{Cache, Content, Other, Part, Source, ToolCall};
use crate::dialect::fields::Fields;

/// Values that ask for nothing: what the vendor does by itself.
const UNSET: [&str; 7] = ["false", "[]", "{}", "\"\"", "\"auto\"", "\"standard\"", "\"global\""];

/// Reads the parts of a request, and remembers what has no form in the shared terms.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// By their names: whether leaving them out would change what was asked for.
    others: BTreeMap<String, bool>,
}

/// Where blocks stand: a message may hold a tool's result, that a document, and that no other. So nothing nests without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Message,
    Result,
    Document,
}

#[derive(Deserialize)]
struct WireCache {
    #[serde(default)]
    ttl: Option<String>,
}

#[derive(Deserialize)]
struct Citations {
    #[serde(default)]
    enabled: bool,
}

impl Reader {
    /// Remembers a parameter that has no form in the shared terms.
    pub(super) fn note(&mut self, name: impl Into<String>, essential: bool) {
        *self.others.entry(name.into()).or_default() |= essential;
    }

    /// Remembers what is left of an object that stands under `name`.
    pub(super) fn note_rest(&mut self, name: &str, rest: Fields<'_>) {
        for (member, _) in rest.rest().filter(|(_, value)| is_set(value)) {
            self.note(format!("{name}.{member}"), false);
        }
    }

    /// All that was remembered.
    pub(super) fn into_others(self) -> Vec<Other> {
        self.others.into_iter().map(|(name, essential)| Other { name, essential }).collect()
    }

    /// Reads the content of a message.
    pub(super) fn content(&mut self, raw: &RawValue) -> Result<Vec<Part>, Fault> {
        let mut parts = Vec::new();
        self.parts(raw, Place::Message, &mut parts)?;
        Ok(parts)
    }

    fn parts(&mut self, raw: &RawValue, place: Place, parts: &mut Vec<Part>) -> Result<(), Fault> {
        if raw.get().starts_with('"') {
            let text = serde_json::from_str(raw.get()).map_err(|_| Fault::unfit("a text of whole characters"))?;
            parts.push(plain(Content::Text(text)));
            return Ok(());
        }
        let blocks: Vec<&RawValue> =
            serde_json::from_str(raw.get()).map_err(|_| Fault::unfit("a text or a list of blocks"))?;
        for (at, block) in blocks.into_iter().enumerate() {
            self.block(block, place, parts).map_err(|fault| fault.within(at))?;
        }
        Ok(())
    }

    /// Reads a block. A document that is made of others comes to all of them.
    fn block(&mut self, raw: &RawValue, place: Place, parts: &mut Vec<Part>) -> Result<(), Fault> {
        let mut fields = object(raw)?;
        let kind: String = fields.require("type")?;
        let cache = read_cache(&mut fields)?;
        let content = match (kind.as_str(), place) {
            ("text", _) => Content::Text(fields.require("text")?),
            ("image", _) => self.image(&mut fields)?,
            ("document", Place::Message | Place::Result) => self.document(&mut fields, parts)?,
            ("thinking", Place::Message) => {
                // Where another vendor thought, the client was given an empty one.
                let signature: Option<String> = fields.take("signature")?;
                let signature = signature.filter(|signature| !signature.is_empty());
                Content::Thinking { text: fields.require("thinking")?, signature }
            }
            ("redacted_thinking", Place::Message) => Content::RedactedThinking(fields.require("data")?),
            ("tool_use", Place::Message) => tool_use(&mut fields)?,
            ("tool_result", Place::Message) => self.tool_result(&mut fields)?,
            _ => Content::Other(kind),
        };
        parts.push(Part { content, cache });
        Ok(())
    }

    fn image(&mut self, fields: &mut Fields<'_>) -> Result<Content, Fault> {
        if fields.take_raw("transformations").is_some_and(is_set) {
            self.note("image.transformations", false);
        }
        let source: &RawValue = fields.require("source")?;
        image_source(source).map_err(|fault| fault.within("source"))
    }

    /// Reads a document. Of one that is made of blocks, all but the last are put into `parts`.
    fn document(&mut self, fields: &mut Fields<'_>, parts: &mut Vec<Part>) -> Result<Content, Fault> {
        let title: Option<String> = fields.take("title")?;
        let context: Option<String> = fields.take("context")?;
        if fields.take::<Citations>("citations")?.is_some_and(|citations| citations.enabled) {
            self.note("document.citations", false);
        }
        let source: &RawValue = fields.require("source")?;
        parts.extend(context.map(|context| plain(Content::Text(context))));
        self.document_source(source, title, parts).map_err(|fault| fault.within("source"))
    }

    /// A document that is text is text to any vendor, under its title.
    fn document_source(
        &mut self,
        raw: &RawValue,
        title: Option<String>,
        parts: &mut Vec<Part>,
    ) -> Result<Content, Fault> {
        let mut source = object(raw)?;
        let kind: String = source.require("type")?;
        if let Some(source) = read_source(&kind, &mut source)? {
            return Ok(Content::Document { source, name: title });
        }
        parts.extend(title.map(|title| plain(Content::Text(title))));
        match kind.as_str() {
            "text" => Ok(Content::Text(source.require("data")?)),
            "content" => {
                let content: &RawValue = source.require("content")?;
                self.parts(content, Place::Document, parts).map_err(|fault| fault.within("content"))?;
                Ok(parts.pop().map_or(Content::Text(String::new()), |last| last.content))
            }
            _ => Ok(Content::Other(format!("document.{kind}"))),
        }
    }

    fn tool_result(&mut self, fields: &mut Fields<'_>) -> Result<Content, Fault> {
        let mut parts = Vec::new();
        if let Some(raw) = fields.take_raw("content") {
            self.parts(raw, Place::Result, &mut parts).map_err(|fault| fault.within("content"))?;
        }
        let is_error = fields.take("is_error")?.unwrap_or(false);
        Ok(Content::ToolResult { id: fields.require("tool_use_id")?, parts, is_error })
    }
}

fn image_source(raw: &RawValue) -> Result<Content, Fault> {
    let mut source = object(raw)?;
    let kind: String = source.require("type")?;
    Ok(match read_source(&kind, &mut source)? {
        Some(source) => Content::Image { source, detail: None },
        None => Content::Other(format!("image.{kind}")),
    })
}

/// Where an image or a document is; `None`: with the vendor (`file`), or in another form.
fn read_source(kind: &str, source: &mut Fields<'_>) -> Result<Option<Source>, Fault> {
    Ok(match kind {
        "base64" => Some(Source::Base64 { media_type: source.require("media_type")?, data: source.require("data")? }),
        "url" => Some(Source::Url(source.require("url")?)),
        _ => None,
    })
}

fn tool_use(fields: &mut Fields<'_>) -> Result<Content, Fault> {
    let input: &RawValue = fields.require("input")?;
    if !input.get().starts_with('{') {
        return Err(Fault::unfit("an object").within("input"));
    }
    let arguments = input.get().to_owned();
    Ok(Content::ToolCall(ToolCall {
        id: fields.require("id")?,
        name: fields.require("name")?,
        arguments,
        signature: None,
    }))
}

/// A hint that the prompt up to here is worth caching.
pub(super) fn read_cache(fields: &mut Fields<'_>) -> Result<Option<Cache>, Fault> {
    let wire: Option<WireCache> = fields.take("cache_control")?;
    Ok(wire.map(|wire| if wire.ttl.as_deref() == Some("1h") { Cache::Long } else { Cache::Short }))
}

/// Whether a parameter asks for anything.
pub(super) fn is_set(value: &RawValue) -> bool {
    !UNSET.contains(&value.get())
}

fn plain(content: Content) -> Part {
    Part { content, cache: None }
}
