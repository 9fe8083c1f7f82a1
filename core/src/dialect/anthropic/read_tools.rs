//! Tools in Anthropic's words, and which of them the model must call.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::fault::{Fault, object};
use super::read_blocks::{Reader, read_cache};
use crate::dialect::chat::{Json, Tool, ToolChoice};

/// `tool_choice`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Choice {
    pub(super) tools: Option<ToolChoice>,
    pub(super) parallel: Option<bool>,
}

#[derive(Deserialize)]
struct WireChoice {
    r#type: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    disable_parallel_tool_use: Option<bool>,
}

/// Reads the tools that the client runs. One that Anthropic defines or runs is remembered as essential.
pub(super) fn read_tools(raw: &RawValue, reader: &mut Reader) -> Result<Vec<Tool>, Fault> {
    let list: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|_| Fault::unfit("a list of tools"))?;
    let mut tools = Vec::with_capacity(list.len());
    for (at, raw) in list.into_iter().enumerate() {
        tools.extend(read_tool(raw, reader).map_err(|fault| fault.within(at))?);
    }
    Ok(tools)
}

fn read_tool(raw: &RawValue, reader: &mut Reader) -> Result<Option<Tool>, Fault> {
    let mut fields = object(raw)?;
    let kind: Option<String> = fields.take("type")?;
    if let Some(kind) = kind.filter(|kind| kind != "custom") {
        reader.note(format!("tools.{}", undated(&kind)), true);
        return Ok(None);
    }
    let schema: &RawValue = fields.require("input_schema")?;
    if !schema.get().starts_with('{') {
        return Err(Fault::unfit("an object").within("input_schema"));
    }
    let tool = Tool {
        name: fields.require("name")?,
        description: fields.take("description")?,
        parameters: Some(Json::keep(schema)),
        strict: fields.take("strict")?,
        cache: read_cache(&mut fields)?,
    };
    // How soon its arguments are sent is no part of what is asked for.
    fields.take_raw("eager_input_streaming");
    if fields.take_raw("allowed_callers").is_some_and(|callers| !callers.get().contains("\"direct\"")) {
        reader.note("tools.allowed_callers", false);
    }
    reader.note_rest("tools", fields);
    Ok(Some(tool))
}

/// The kind of a tool without the date of its version: `web_search` for `web_search_20250305`.
fn undated(kind: &str) -> &str {
    match kind.rsplit_once('_') {
        Some((name, date)) if date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => kind,
    }
}

/// Reads `tool_choice`.
pub(super) fn read_choice(raw: &RawValue) -> Result<Choice, Fault> {
    let expected = "an object with a `type` of `auto`, `any`, `tool` or `none`";
    let wire: WireChoice = serde_json::from_str(raw.get()).map_err(|_| Fault::unfit(expected))?;
    let tools = match (wire.r#type.as_str(), wire.name) {
        ("auto", _) => ToolChoice::Auto,
        ("any", _) => ToolChoice::Required,
        ("none", _) => ToolChoice::Forbidden,
        ("tool", Some(name)) => ToolChoice::Tool(name),
        ("tool", None) => return Err(Fault::unfit("the name of a tool").within("name")),
        _ => return Err(Fault::unfit(expected)),
    };
    let parallel = (wire.disable_parallel_tool_use == Some(true)).then_some(false);
    Ok(Choice { tools: Some(tools), parallel })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_tool_of_anthropics_is_essential_and_named_without_its_date() {
        let mut reader = Reader::default();
        let tools = r#"[
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
            {"type": "mcp_toolset", "mcp_server_name": "x"},
            {"type": "custom", "name": "f", "input_schema": {"type": "object"}, "strict": true, "defer_loading": true,
             "eager_input_streaming": true, "allowed_callers": ["direct"], "cache_control": {"type": "ephemeral"}}
        ]"#;
        let tools = read_tools(raw(tools), &mut reader).unwrap();
        assert_eq!(tools.len(), 1);
        assert_eq!((tools[0].name.as_str(), tools[0].strict), ("f", Some(true)));
        assert_eq!(tools[0].parameters.as_ref().unwrap().text(), r#"{"type": "object"}"#);
        let others: Vec<_> = reader.into_others().into_iter().map(|other| (other.name, other.essential)).collect();
        let expected = [("tools.defer_loading", false), ("tools.mcp_toolset", true), ("tools.web_search", true)];
        assert_eq!(others, expected.map(|(name, essential)| (name.to_owned(), essential)));
    }

    #[test]
    fn every_choice() {
        let read = |text| read_choice(raw(text)).map(|choice| (choice.tools.unwrap(), choice.parallel)).ok();
        assert_eq!(read(r#"{"type":"auto"}"#), Some((ToolChoice::Auto, None)));
        assert_eq!(
            read(r#"{"type":"any","disable_parallel_tool_use":true}"#),
            Some((ToolChoice::Required, Some(false)))
        );
        assert_eq!(read(r#"{"type":"none"}"#), Some((ToolChoice::Forbidden, None)));
        assert_eq!(read(r#"{"type":"tool","name":"f"}"#), Some((ToolChoice::Tool("f".into()), None)));
        for text in [r#"{"type":"tool"}"#, r#"{"type":"some"}"#, r#""auto""#, "{}"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
