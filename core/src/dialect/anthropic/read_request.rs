//! A client's request in Anthropic's words, read into the shared terms.

use serde_json::value::RawValue;

use super::fault::{Fault, object};
use super::read_blocks::{Reader, is_set, read_cache};
use super::read_tools::{Choice, read_choice, read_tools};
use crate::dialect::BadRequest;
use crate::dialect::chat::{Effort, Format, Json, Message, Request, Role, Thinking};
use crate::dialect::fields::Fields;

/// Parameters of Anthropic's without which the answer would be another one, or come from where it must not: state and tools
/// that the vendor keeps, and where in the world the model may run.
const ESSENTIAL: [&str; 4] = ["container", "mcp_servers", "thread", "inference_geo"];

/// Reads the body of `/v1/messages`.
pub fn read_request(body: &[u8]) -> Result<Request, BadRequest> {
    let mut fields = Fields::read(body)?;
    let max_tokens = fields.require("max_tokens")?;
    Ok(Request { max_tokens: Some(max_tokens), ..read(fields)? })
}

/// Reads the body of `/v1/messages/count_tokens`: it asks for no answer, and so sets no limit to one.
pub fn read_count_request(body: &[u8]) -> Result<Request, BadRequest> {
    let mut fields = Fields::read(body)?;
    let max_tokens = fields.take("max_tokens")?;
    Ok(Request { max_tokens, ..read(fields)? })
}

fn read(mut fields: Fields<'_>) -> Result<Request, BadRequest> {
    // Which model it is for has been read by the gateway.
    fields.take_raw("model");
    let mut reader = Reader::default();
    let messages = read_messages(&mut fields, &mut reader)?;
    let tools = match fields.take_raw("tools") {
        Some(raw) => read_tools(raw, &mut reader).map_err(|fault| fault.in_param("tools"))?,
        None => Vec::new(),
    };
    let choice = match fields.take_raw("tool_choice") {
        Some(raw) => read_choice(raw).map_err(|fault| fault.in_param("tool_choice"))?,
        None => Choice::default(),
    };
    let output = read_output(&mut fields, &mut reader)?;
    let request = Request {
        messages,
        tools,
        tool_choice: choice.tools,
        parallel_tools: choice.parallel,
        format: output.format,
        stop: fields.take("stop_sequences")?.unwrap_or_default(),
        temperature: fields.take("temperature")?,
        top_p: fields.take("top_p")?,
        top_k: fields.take("top_k")?,
        thinking: read_thinking(&mut fields, output.effort, &mut reader)?,
        user: read_user(&mut fields, &mut reader)?,
        stream: fields.take("stream")?.unwrap_or(false),
        ..Request::default()
    };
    for (name, _) in fields.rest().filter(|(_, value)| is_set(value)) {
        let essential = ESSENTIAL.contains(&name.as_str());
        reader.note(name, essential);
    }
    Ok(Request { others: reader.into_others(), ..request })
}

/// Reads `system` and `messages`.
fn read_messages(fields: &mut Fields<'_>, reader: &mut Reader) -> Result<Vec<Message>, BadRequest> {
    let mut messages = Vec::new();
    if let Some(system) = fields.take_raw("system") {
        let parts = reader.content(system).map_err(|fault| fault.in_param("system"))?;
        messages.push(Message { role: Role::System, parts });
    }
    let list: Vec<&RawValue> = fields.require("messages")?;
    if list.is_empty() {
        return Err(Fault::unfit("a list of at least one message").in_param("messages"));
    }
    for (at, raw) in list.into_iter().enumerate() {
        messages.push(read_message(raw, reader).map_err(|fault| fault.within(at).in_param("messages"))?);
    }
    // A hint that stands beside the messages is one for the last block.
    let cache = read_cache(fields).map_err(|fault| fault.in_param("cache_control"))?;
    if let Some(part) = messages.last_mut().and_then(|message| message.parts.last_mut()) {
        part.cache = part.cache.or(cache);
    }
    Ok(messages)
}

fn read_message(raw: &RawValue, reader: &mut Reader) -> Result<Message, Fault> {
    let mut fields = object(raw)?;
    let role: String = fields.require("role")?;
    let role = match role.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => return Err(Fault::unfit("`user`, `assistant` or `system`").within("role")),
    };
    let content: &RawValue = fields.require("content")?;
    let parts = reader.content(content).map_err(|fault| fault.within("content"))?;
    Ok(Message { role, parts })
}

/// `output_config`, or the `output_format` that came before it.
#[derive(Default)]
struct Output {
    format: Option<Format>,
    effort: Option<Effort>,
}

fn read_output(fields: &mut Fields<'_>, reader: &mut Reader) -> Result<Output, BadRequest> {
    let mut output = Output::default();
    if let Some(raw) = fields.take_raw("output_format") {
        output.format = Some(read_format(raw).map_err(|fault| fault.in_param("output_format"))?);
    }
    if let Some(raw) = fields.take_raw("output_config") {
        output.read(raw, reader).map_err(|fault| fault.in_param("output_config"))?;
    }
    Ok(output)
}

impl Output {
    fn read(&mut self, raw: &RawValue, reader: &mut Reader) -> Result<(), Fault> {
        let mut config = object(raw)?;
        if let Some(raw) = config.take_raw("format") {
            self.format = Some(read_format(raw).map_err(|fault| fault.within("format"))?);
        }
        if let Some(effort) = config.take::<String>("effort")? {
            let unknown = || Fault::unfit("`low`, `medium`, `high`, `xhigh` or `max`").within("effort");
            self.effort = Some(read_effort(&effort).ok_or_else(unknown)?);
        }
        reader.note_rest("output_config", config);
        Ok(())
    }
}

fn read_format(raw: &RawValue) -> Result<Format, Fault> {
    let mut format = object(raw)?;
    let kind: String = format.require("type")?;
    if kind != "json_schema" {
        return Err(Fault::unfit("`json_schema`").within("type"));
    }
    let schema: &RawValue = format.require("schema")?;
    // Anthropic always keeps to it.
    Ok(Format::Schema { name: None, description: None, schema: Json::keep(schema), strict: Some(true) })
}

fn read_effort(effort: &str) -> Option<Effort> {
    match effort {
        "low" => Some(Effort::Low),
        "medium" => Some(Effort::Medium),
        "high" => Some(Effort::High),
        "xhigh" | "max" => Some(Effort::Max),
        _ => None,
    }
}

/// Reads `thinking`, which an effort goes with.
fn read_thinking(
    fields: &mut Fields<'_>,
    effort: Option<Effort>,
    reader: &mut Reader,
) -> Result<Option<Thinking>, BadRequest> {
    let as_liked = Thinking { effort, budget_tokens: None };
    let Some(raw) = fields.take_raw("thinking") else {
        return Ok(effort.map(|_| as_liked));
    };
    let mut read = || -> Result<Thinking, Fault> {
        let mut config = object(raw)?;
        let kind: String = config.require("type")?;
        let thinking = match kind.as_str() {
            "enabled" => Thinking { effort, budget_tokens: Some(config.require("budget_tokens")?) },
            "adaptive" | "between_tools" => as_liked,
            "disabled" => Thinking { effort: Some(Effort::None), budget_tokens: None },
            _ => return Err(Fault::unfit("`enabled`, `adaptive`, `between_tools` or `disabled`").within("type")),
        };
        // A summary is what other vendors show.
        if config.take::<String>("display")?.is_some_and(|display| display != "summarized") {
            reader.note("thinking.display", false);
        }
        reader.note_rest("thinking", config);
        Ok(thinking)
    };
    read().map(Some).map_err(|fault| fault.in_param("thinking"))
}

fn read_user(fields: &mut Fields<'_>, reader: &mut Reader) -> Result<Option<String>, BadRequest> {
    let Some(raw) = fields.take_raw("metadata") else { return Ok(None) };
    let mut metadata = object(raw).map_err(|fault| fault.in_param("metadata"))?;
    let user = metadata.take("user_id").map_err(|error| Fault::from(error).in_param("metadata"))?;
    reader.note_rest("metadata", metadata);
    Ok(user)
}

#[cfg(test)]
mod tests;
