//! The messages of a messages request: their roles, their content blocks, and that uses and results of tools match.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::answer::VendorError;
use super::super::ask::{Ask, Speaker};
use super::error::invalid;

/// Blocks that are taken and not looked into.
const OTHER_BLOCKS: [&str; 11] = [
    "bash_code_execution_tool_result",
    "code_execution_tool_result",
    "container_upload",
    "document",
    "redacted_thinking",
    "search_result",
    "server_tool_use",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "web_fetch_tool_result",
    "web_search_tool_result",
];
const IMAGE_TYPES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// Takes in all messages.
pub(super) fn hear(messages: &Value, ask: &mut Ask) -> Result<(), VendorError> {
    let messages = match messages {
        Value::Null => return Err(invalid("messages: Field required")),
        Value::Array(messages) if messages.is_empty() => {
            return Err(invalid("messages: at least one message is required"));
        }
        Value::Array(messages) => messages,
        _ => return Err(invalid("messages: Input should be a valid list")),
    };
    let mut used: BTreeSet<&str> = BTreeSet::new();
    for (at, message) in messages.iter().enumerate() {
        let speaker = speaker(at, &message["role"])?;
        if let Some(name) = super::ask::unlisted(message, &["content", "role"]) {
            return Err(invalid(format!("messages.{at}.{name}: Extra inputs are not permitted")));
        }
        let mut heard = Heard {
            place: format!("messages.{at}"),
            speaker,
            ask: &mut *ask,
            used: &used,
            results: BTreeSet::new(),
            uses: BTreeSet::new(),
            texts: Vec::new(),
        };
        heard.content(&message["content"], at + 1 == messages.len())?;
        let Heard { results, uses, texts, .. } = heard;
        if let Some(open) = used.difference(&results).next() {
            return Err(unanswered(at - 1, open));
        }
        used = uses;
        ask.begun = if speaker == Speaker::Assistant { begun(at, &texts)? } else { 0 };
        // A message with nothing but results is the tools', not the user's.
        if !texts.is_empty() || results.is_empty() {
            ask.hear(speaker, texts.join(" "));
        }
    }
    used.first().map_or(Ok(()), |open| Err(unanswered(messages.len() - 1, open)))
}

/// How many words of an answer the assistant's last message begins it with.
fn begun(at: usize, texts: &[&str]) -> Result<usize, VendorError> {
    if texts.last().is_some_and(|text| text.ends_with(char::is_whitespace)) {
        return Err(invalid(format!("messages.{at}: final assistant content cannot end with trailing whitespace")));
    }
    Ok(texts.iter().map(|text| text.split_whitespace().count()).sum())
}

fn speaker(at: usize, role: &Value) -> Result<Speaker, VendorError> {
    match role.as_str() {
        None => Err(invalid(format!("messages.{at}.role: Field required"))),
        Some("assistant") => Ok(Speaker::Assistant),
        Some("user") => Ok(Speaker::User),
        // The newest models take instructions between turns, but none of them before the first.
        Some("system") if at > 0 => Ok(Speaker::System),
        Some("system") => Err(invalid(
            "messages: Unexpected role \"system\". The Messages API accepts a top-level `system` parameter, not \
             \"system\" as an input message role.",
        )),
        Some(other) => {
            Err(invalid(format!("messages: Unexpected role \"{other}\". Allowed roles are \"user\" or \"assistant\".")))
        }
    }
}

fn unanswered(at: usize, id: &str) -> VendorError {
    invalid(format!(
        "messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {id}. Each `tool_use` \
         block must have a corresponding `tool_result` block in the next message."
    ))
}

/// A message being taken in.
struct Heard<'a, 'b> {
    place: String,
    speaker: Speaker,
    ask: &'b mut Ask,
    /// The uses of tools in the message before.
    used: &'b BTreeSet<&'a str>,
    results: BTreeSet<&'a str>,
    uses: BTreeSet<&'a str>,
    texts: Vec<&'a str>,
}

impl<'a> Heard<'a, '_> {
    fn content(&mut self, content: &'a Value, last: bool) -> Result<(), VendorError> {
        let optional = last && self.speaker == Speaker::Assistant;
        match content {
            Value::Null => Err(invalid(format!("{}.content: Field required", self.place))),
            Value::String(text) if text.is_empty() && !optional => Err(self.empty()),
            Value::Array(blocks) if blocks.is_empty() && !optional => Err(self.empty()),
            Value::String(text) => {
                self.texts.push(text);
                Ok(())
            }
            Value::Array(blocks) => blocks.iter().enumerate().try_for_each(|(number, block)| self.block(number, block)),
            _ => Err(invalid(format!("{}.content: Input should be a valid string or list", self.place))),
        }
    }

    fn empty(&self) -> VendorError {
        invalid(format!(
            "{}: all messages must have non-empty content except for the optional final assistant message",
            self.place
        ))
    }

    fn block(&mut self, number: usize, block: &'a Value) -> Result<(), VendorError> {
        let place = format!("{}.content.{number}", self.place);
        let Some(kind) = block["type"].as_str() else { return Err(invalid(format!("{place}.type: Field required"))) };
        match (kind, self.speaker) {
            ("text", _) => self.texts.push(text_of(block, &place)?),
            ("image", Speaker::User) => {
                check_image(&block["source"], &place)?;
                self.ask.images += 1;
            }
            ("tool_result", Speaker::User) => self.result(number, block, &place)?,
            ("tool_use", Speaker::Assistant) => {
                if !self.uses.insert(use_of(block, &place)?) {
                    return Err(invalid("messages: `tool_use` ids must be unique"));
                }
            }
            ("thinking", Speaker::Assistant) => {
                let signed = block["signature"].is_string() && block["thinking"].is_string();
                if !signed {
                    return Err(invalid(format!("{place}.thinking.signature: Field required")));
                }
            }
            ("tool_result" | "image" | "tool_use" | "thinking", _) => {
                return Err(invalid(format!("{place}: `{kind}` blocks are not permitted in messages of this role")));
            }
            (kind, _) if OTHER_BLOCKS.contains(&kind) => {}
            (kind, _) => {
                return Err(invalid(format!(
                    "{place}: Input tag '{kind}' found using 'type' does not match any of the expected tags: 'document', \
                     'image', 'redacted_thinking', 'search_result', 'text', 'thinking', 'tool_result', 'tool_use', …"
                )));
            }
        }
        Ok(())
    }

    /// Results answer uses of the message before, and come before all else.
    fn result(&mut self, number: usize, block: &'a Value, place: &str) -> Result<(), VendorError> {
        let Some(id) = block["tool_use_id"].as_str() else {
            return Err(invalid(format!("{place}.tool_result.tool_use_id: Field required")));
        };
        if !self.used.contains(&id) {
            return Err(invalid(format!(
                "{place}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must \
                 have a corresponding `tool_use` block in the previous message."
            )));
        }
        if self.results.contains(&id) {
            return Err(invalid(format!(
                "{place}: each tool_use must have a single result. Found multiple `tool_result` blocks with id: {id}"
            )));
        }
        if number != self.results.len() {
            return Err(invalid(format!("{place}: `tool_result` blocks must come before all other content")));
        }
        self.results.insert(id);
        let text = match &block["content"] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Array(parts) => {
                let mut texts = Vec::new();
                for (at, part) in parts.iter().enumerate() {
                    let place = format!("{place}.tool_result.content.{at}");
                    match part["type"].as_str() {
                        Some("text") => texts.push(text_of(part, &place)?),
                        Some("image") => {
                            check_image(&part["source"], &place)?;
                            self.ask.images += 1;
                        }
                        Some("document" | "search_result" | "tool_reference") => {}
                        _ => return Err(invalid(format!("{place}.type: Input should be 'text' or 'image'"))),
                    }
                }
                texts.join(" ")
            }
            _ => return Err(invalid(format!("{place}.tool_result.content: Input should be a valid string or list"))),
        };
        self.ask.hear(Speaker::Tool, text);
        Ok(())
    }
}

/// The text of a text block, which must have some.
pub(super) fn text_of<'a>(block: &'a Value, place: &str) -> Result<&'a str, VendorError> {
    if block["type"] != "text" {
        return Err(invalid(format!("{place}.type: Input should be 'text'")));
    }
    super::ask::extra(
        super::ask::unlisted(block, &["cache_control", "citations", "text", "type"]),
        &format!("{place}.text."),
    )?;
    match block["text"].as_str() {
        None => Err(invalid(format!("{place}.text.text: Field required"))),
        Some("") => Err(invalid("messages: text content blocks must be non-empty")),
        Some(text) => Ok(text),
    }
}

fn use_of<'a>(block: &'a Value, place: &str) -> Result<&'a str, VendorError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let id = block["id"].as_str().filter(|id| !id.is_empty() && id.chars().all(fits));
    let Some(id) = id else {
        return Err(invalid(format!("{place}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")));
    };
    if !block["name"].is_string() {
        return Err(invalid(format!("{place}.tool_use.name: Field required")));
    }
    if !block["input"].is_object() {
        return Err(invalid(format!("{place}.tool_use.input: Input should be a valid dictionary")));
    }
    Ok(id)
}

fn check_image(source: &Value, place: &str) -> Result<(), VendorError> {
    let place = format!("{place}.image.source");
    match source["type"].as_str() {
        Some("base64") => {
            let kind = source["media_type"].as_str().unwrap_or_default();
            if !IMAGE_TYPES.contains(&kind) {
                let types = "'image/jpeg', 'image/png', 'image/gif' or 'image/webp'";
                return Err(invalid(format!("{place}.base64.media_type: Input should be {types}")));
            }
            let data = source["data"].as_str().unwrap_or_default();
            let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
            if data.is_empty() || !data.bytes().all(is_base64) {
                return Err(invalid(format!("{place}.base64: invalid base64 data")));
            }
            Ok(())
        }
        Some("url") => match source["url"].as_str() {
            Some(url) if url.starts_with("https://") || url.starts_with("http://") => Ok(()),
            _ => Err(invalid(format!("{place}.url.url: Only HTTPS URLs are supported."))),
        },
        Some("file") if source["file_id"].is_string() => Ok(()),
        kind => Err(invalid(format!(
            "{place}: Input tag '{}' found using 'type' does not match any of the expected tags: 'base64', 'url', 'file'",
            kind.unwrap_or_default()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn heard(messages: &Value) -> Result<Ask, VendorError> {
        let mut ask = Ask::new("m");
        hear(messages, &mut ask).map(|()| ask)
    }

    fn tool_use(id: &str) -> Value {
        json!({"type": "tool_use", "id": id, "name": "f", "input": {}})
    }

    fn tool_result(id: &str, content: &str) -> Value {
        json!({"type": "tool_result", "tool_use_id": id, "content": content})
    }

    #[test]
    fn a_conversation_with_tools_and_images_is_understood() {
        let ask = heard(&json!([
            {"role": "user", "content": [
                {"type": "text", "text": "what is this?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"}, tool_use("t1"), tool_use("t2"),
            ]},
            {"role": "user", "content": [tool_result("t2", "two"), tool_result("t1", "one")]},
        ]))
        .unwrap();
        assert_eq!((ask.prompt.as_str(), ask.images, ask.prompt_tokens()), ("what is this?", 2, 5));
        assert_eq!(ask.results, ["two", "one"]);
    }

    #[test]
    fn malformed_lists_are_refused() {
        let user = json!({"role": "user", "content": "hi"});
        let called = json!({"role": "assistant", "content": [tool_use("t1")]});
        let in_user = |block: Value| json!([{"role": "user", "content": [block]}]);
        for (messages, message) in [
            (Value::Null, "messages: Field required"),
            (json!([]), "messages: at least one message is required"),
            (json!([{"role": "system", "content": "x"}]), "messages: Unexpected role \"system\"."),
            (json!([user, {"role": "tool", "content": "x"}]), "messages: Unexpected role \"tool\"."),
            (json!([{"role": "user"}]), "messages.0.content: Field required"),
            (json!([{"role": "user", "content": ""}]), "messages.0: all messages must have non-empty content"),
            (json!([{"role": "user", "content": "x", "name": "ann"}]), "messages.0.name: Extra inputs"),
            (in_user(json!({"type": "text", "text": ""})), "messages: text content blocks must be non-empty"),
            (in_user(json!({"type": "image_url", "image_url": {}})), "messages.0.content.0: Input tag 'image_url'"),
            (
                in_user(json!({"type": "image", "source": {"type": "url", "url": "data:image/png;base64,AA"}})),
                "messages.0.content.0.image.source.url.url: Only HTTPS",
            ),
            (in_user(tool_result("t1", "x")), "messages.0.content.0: unexpected `tool_use_id` found"),
            (json!([user, called]), "messages.1: `tool_use` ids were found without `tool_result` blocks"),
            (json!([user, called, user]), "messages.1: `tool_use` ids were found without `tool_result` blocks"),
            (
                json!([user, called, {"role": "user", "content": [{"type": "text", "text": "x"}, tool_result("t1", "x")]}]),
                "messages.2.content.1: `tool_result` blocks must come before",
            ),
            (
                json!([user, {"role": "assistant", "content": [
                {"type": "tool_use", "id": "t1", "name": "f", "input": "{}"}]}]),
                "messages.1.content.0.tool_use.input: Input should be a valid dictionary",
            ),
            (
                json!([user, {"role": "assistant", "content": [
                {"type": "tool_use", "id": "call:1", "name": "f", "input": {}}]}]),
                "messages.1.content.0.tool_use.id: String should match pattern",
            ),
            (
                json!([user, {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}]}]),
                "messages.1.content.0.thinking.signature: Field required",
            ),
        ] {
            let error = heard(&messages).unwrap_err();
            assert!(error.error["message"].as_str().unwrap().starts_with(message), "{message}: {error:?}");
        }
    }
}
