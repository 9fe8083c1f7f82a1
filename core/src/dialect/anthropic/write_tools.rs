//! The tools of a request, in Anthropic's words.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::write_messages::CacheControl;
use super::write_request::Dropped;
use crate::dialect::chat::{Abilities, Json, Request, Tool, ToolChoice, Unsupported};
use crate::dialect::fields::Fields;
use crate::dialect::schema;

#[derive(Serialize)]
pub(super) struct WireTool<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    input_schema: Cow<'a, Json>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    strict: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

#[derive(Serialize)]
pub(super) struct WireChoice<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disable_parallel_tool_use: bool,
}

/// Writes a tool. Strict arguments are a matter of structured output, which not all models have, and not for all schemas.
pub(super) fn write_tool<'a>(
    tool: &'a Tool,
    abilities: &Abilities,
    dropped: &mut Dropped,
) -> Result<WireTool<'a>, Unsupported> {
    let open = input_schema(tool.parameters.as_ref()).ok_or_else(|| Unsupported("tools".into()))?;
    let wanted = tool.strict == Some(true);
    let closed = if wanted && abilities.json_schema { schema::closed(&open).map(Cow::into_owned) } else { None };
    let strict = closed.is_some();
    if wanted && !strict {
        dropped.note("strict");
    }
    Ok(WireTool {
        name: &tool.name,
        description: tool.description.as_deref().filter(|text| !text.is_empty()),
        input_schema: closed.map_or(open, Cow::Owned),
        strict,
        cache_control: tool.cache.map(CacheControl::from),
    })
}

/// The schema of a tool's arguments. Anthropic wants it to say that they are an object, which others take for granted.
/// `None`: it is no schema of anything.
fn input_schema(parameters: Option<&Json>) -> Option<Cow<'_, Json>> {
    let Some(schema) = parameters else {
        return Some(Cow::Owned(Json::of(&json!({ "type": "object", "properties": {} }))));
    };
    let members = schema.text().strip_prefix('{')?;
    if Fields::read(schema.text().as_bytes()).ok()?.all().any(|(name, _)| name == "type") {
        return Some(Cow::Borrowed(schema));
    }
    let comma = if members.trim_start().starts_with('}') { "" } else { "," };
    let text = format!("{{\"type\":\"object\"{comma}{members}");
    let raw: &RawValue = serde_json::from_str(&text).ok()?;
    Some(Cow::Owned(Json::keep(raw)))
}

/// Writes which tools must be called. Without tools there is nothing to choose, and Anthropic refuses a choice.
pub(super) fn write_choice(request: &Request) -> Option<WireChoice<'_>> {
    if request.tools.is_empty() {
        return None;
    }
    let one_by_one = request.parallel_tools == Some(false);
    let (r#type, name) = match &request.tool_choice {
        None if !one_by_one => return None,
        None | Some(ToolChoice::Auto) => ("auto", None),
        Some(ToolChoice::Forbidden) => ("none", None),
        Some(ToolChoice::Required) => ("any", None),
        Some(ToolChoice::Tool(name)) => ("tool", Some(name.as_str())),
    };
    Some(WireChoice { r#type, name, disable_parallel_tool_use: one_by_one && r#type != "none" })
}
