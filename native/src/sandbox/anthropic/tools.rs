//! The tools of a messages request, and which of them may be used.

use serde_json::Value;

use super::super::answer::VendorError;
use super::super::ask::{Ask, Tool, ToolChoice};
use super::ask::{extra, unlisted};
use super::error::invalid;

/// The fields of a tool of the client's own; those that Anthropic runs have a `type` with a date in it.
const FIELDS: [&str; 10] = [
    "allowed_callers",
    "cache_control",
    "defer_loading",
    "description",
    "eager_input_streaming",
    "input_examples",
    "input_schema",
    "name",
    "strict",
    "type",
];

/// Reads both into `ask`.
pub(super) fn read(body: &Value, ask: &mut Ask) -> Result<(), VendorError> {
    match &body["tools"] {
        Value::Null => {}
        Value::Array(tools) => {
            for (at, tool) in tools.iter().enumerate() {
                ask.tools.extend(read_tool(at, tool)?);
            }
        }
        _ => return Err(invalid("tools: Input should be a valid list")),
    }
    choose(&body["tool_choice"], ask)
}

/// A tool; none if it is one of Anthropic's own, which the client cannot be asked to run.
fn read_tool(at: usize, tool: &Value) -> Result<Option<Tool>, VendorError> {
    let place = format!("tools.{at}.custom.");
    match tool["type"].as_str() {
        None | Some("custom") => {}
        Some(dated) if dated.contains("_20") => return Ok(None),
        Some(other) => {
            return Err(invalid(format!(
                "tools.{at}: Input tag '{other}' found using 'type' does not match any of the expected tags: 'custom', …"
            )));
        }
    }
    extra(unlisted(tool, &FIELDS), &place)?;
    let Some(name) = tool["name"].as_str() else { return Err(invalid(format!("{place}name: Field required"))) };
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > 128 || !name.chars().all(fits) {
        return Err(invalid(format!("{place}name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")));
    }
    let schema = &tool["input_schema"];
    if !schema.is_object() {
        return Err(invalid(format!("{place}input_schema: Field required")));
    }
    if schema["type"] != "object" {
        let what = if schema["type"].is_null() { "Field required" } else { "Input should be 'object'" };
        return Err(invalid(format!("{place}input_schema.type: {what}")));
    }
    Ok(Some(Tool { name: name.to_owned(), schema: schema.clone() }))
}

fn choose(choice: &Value, ask: &mut Ask) -> Result<(), VendorError> {
    if choice.is_null() {
        return Ok(());
    }
    if !choice.is_object() {
        return Err(invalid("tool_choice: Input should be a valid dictionary or object to extract fields from"));
    }
    let kind = choice["type"].as_str().unwrap_or_default();
    let documented: &[&str] = match kind {
        "auto" | "any" => &["disable_parallel_tool_use", "type"],
        "tool" => &["disable_parallel_tool_use", "name", "type"],
        "none" => &["type"],
        other => {
            return Err(invalid(format!(
                "tool_choice: Input tag '{other}' found using 'type' does not match any of the expected tags: 'any', \
                 'auto', 'none', 'tool'"
            )));
        }
    };
    extra(unlisted(choice, documented), &format!("tool_choice.{kind}."))?;
    if ask.tools.is_empty() && kind != "none" {
        return Err(invalid("tool_choice: tool_choice may only be specified while providing tools"));
    }
    ask.parallel_tools = choice["disable_parallel_tool_use"] != true;
    ask.tool_choice = match kind {
        "none" => ToolChoice::Never,
        "tool" => {
            let name = choice["name"].as_str().unwrap_or_default();
            if !ask.tools.iter().any(|tool| tool.name == name) {
                return Err(invalid(format!("Tool '{name}' not found in provided tools")));
            }
            ToolChoice::One(name.to_owned())
        }
        _ => ToolChoice::Any,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read_from(body: &Value) -> Result<Ask, VendorError> {
        let mut ask = Ask::new("m");
        read(body, &mut ask).map(|()| ask)
    }

    fn tool(name: &str) -> Value {
        json!({"name": name, "input_schema": {"type": "object"}})
    }

    #[test]
    fn tools_of_another_dialect_are_refused() {
        for (tools, message) in [
            (json!([{"type": "function", "function": {"name": "f"}}]), "tools.0: Input tag 'function' found"),
            (json!([{"name": "f", "parameters": {}}]), "tools.0.custom.parameters: Extra inputs are not permitted"),
            (json!([tool("f"), {"name": "g"}]), "tools.1.custom.input_schema: Field required"),
            (json!([{"name": "f", "input_schema": {}}]), "tools.0.custom.input_schema.type: Field required"),
            (json!([tool("two words")]), "tools.0.custom.name: String should match pattern"),
        ] {
            let error = read_from(&json!({"tools": tools})).unwrap_err();
            assert!(error.error["message"].as_str().unwrap().starts_with(message), "{error:?}");
        }
        let own = json!({"tools": [{"type": "web_search_20260209", "name": "web_search"}]});
        assert!(read_from(&own).unwrap().tools.is_empty());
    }

    #[test]
    fn choices_are_understood_or_refused() {
        for (choice, expected) in [
            (json!({"type": "auto", "disable_parallel_tool_use": true}), Some(ToolChoice::Any)),
            (json!({"type": "tool", "name": "g"}), Some(ToolChoice::One("g".to_owned()))),
            (json!({"type": "none"}), Some(ToolChoice::Never)),
            (json!({"type": "none", "disable_parallel_tool_use": true}), None),
            (json!({"type": "tool", "name": "h"}), None),
            (json!({"type": "function", "function": {"name": "g"}}), None),
            (json!("auto"), None),
        ] {
            let body = json!({"tools": [tool("f"), tool("g")], "tool_choice": choice});
            assert_eq!(read_from(&body).ok().map(|ask| ask.tool_choice), expected, "{body}");
        }
        assert!(read_from(&json!({"tool_choice": {"type": "auto"}})).is_err());
    }
}
