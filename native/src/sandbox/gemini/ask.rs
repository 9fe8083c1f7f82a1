//! Reading a request for content as strictly as Gemini does, in its words for what is wrong.

use serde_json::Value;

use super::super::answer::VendorError;
use super::super::ask::{Ask, Format, Speaker, Tool, ToolChoice};
use super::super::dialect::{Operation, Request};
use super::contents::{self, Part};
use super::error::{invalid, wrong_type};
use super::fields::{at, check_schema, join, known, list};
use super::generate::Reading;

const FIELDS: [&str; 11] = [
    "cachedContent",
    "contents",
    "continuationToken",
    "generationConfig",
    "model",
    "safetySettings",
    "serviceTier",
    "store",
    "systemInstruction",
    "toolConfig",
    "tools",
];
const CONFIG_FIELDS: [&str; 24] = [
    "audioTranscriptionConfig",
    "candidateCount",
    "enableEnhancedCivicAnswers",
    "frequencyPenalty",
    "imageConfig",
    "logprobs",
    "maxOutputTokens",
    "mediaResolution",
    "presencePenalty",
    "responseFormat",
    "responseJsonSchema",
    "_responseJsonSchema",
    "responseLogprobs",
    "responseMimeType",
    "responseModalities",
    "responseSchema",
    "seed",
    "speechConfig",
    "stopSequences",
    "temperature",
    "thinkingConfig",
    "topK",
    "topP",
    "translationConfig",
];
const TOOL_FIELDS: [&str; 9] = [
    "codeExecution",
    "computerUse",
    "fileSearch",
    "functionDeclarations",
    "googleMaps",
    "googleSearch",
    "googleSearchRetrieval",
    "mcpServers",
    "urlContext",
];
const DECLARATION_FIELDS: [&str; 7] =
    ["behavior", "description", "name", "parameters", "parametersJsonSchema", "response", "responseJsonSchema"];
const THINKING_LEVELS: [&str; 6] = ["THINKING_LEVEL_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"];
/// More than any documented limit, and few enough to look a name up in.
const TOOLS_MAX: usize = 512;
const CANDIDATES_MAX: u64 = 8;
const STOPS_MAX: usize = 5;

/// Checks a request for content, and reads it.
pub(super) fn read(request: &Request<'_>) -> Result<Reading, VendorError> {
    let body = request.body;
    known(body, &FIELDS, "")?;
    let mut ask = Ask::new(request.model);
    ask.stream = request.operation == Operation::ChatStream;
    let thoughts_shown = config(at(body, "generationConfig"), &mut ask)?;
    for (number, tool) in list(body, "tools", "")?.iter().enumerate() {
        read_tool(tool, &format!("tools[{number}]"), &mut ask.tools)?;
    }
    if ask.tools.len() > TOOLS_MAX {
        return Err(invalid(format!("At most {TOOLS_MAX} function declarations can be specified.")));
    }
    ask.tool_choice = tool_choice(at(body, "toolConfig"), &ask.tools)?;
    let system = at(body, "systemInstruction");
    for part in contents::parts(system, "system_instruction")? {
        match part {
            Part::Text(text) => ask.hear(Speaker::System, text.to_owned()),
            _ => return Err(invalid("system_instruction: only text is supported")),
        }
    }
    contents::hear(list(body, "contents", "")?, &mut ask)?;
    Ok(Reading { ask, thoughts_shown, sse: request.query.split('&').any(|pair| pair == "alt=sse") })
}

/// The count of a prompt's tokens, which may come as a whole request.
pub(super) fn count(request: &Request<'_>) -> Result<usize, VendorError> {
    let body = request.body;
    known(body, &["contents", "generateContentRequest", "model"], "")?;
    let inner = at(body, "generateContentRequest");
    if !inner.is_null() {
        let inner = Request { body: inner, ..*request };
        return read(&inner).map(|reading| reading.ask.prompt_tokens());
    }
    let mut ask = Ask::new(request.model);
    contents::hear(list(body, "contents", "")?, &mut ask)?;
    Ok(ask.prompt_tokens())
}

/// Reads the configuration into `ask`; gives whether thoughts are shown.
fn config(config: &Value, ask: &mut Ask) -> Result<bool, VendorError> {
    const PLACE: &str = "generation_config";
    known(config, &CONFIG_FIELDS, PLACE)?;
    let number = |name: &str| {
        let value = at(config, name);
        if value.is_null() || value.is_number() {
            Ok(value)
        } else {
            Err(wrong_type(value, "TYPE_FLOAT", &join(PLACE, name)))
        }
    };
    for name in ["temperature", "topP", "topK", "presencePenalty", "frequencyPenalty", "seed"] {
        number(name)?;
    }
    if number("temperature")?.as_f64().is_some_and(|heat| !(0.0..=2.0).contains(&heat)) {
        return Err(invalid(
            "* GenerateContentRequest.generation_config.temperature: temperature must be in the range [0.0, 2.0].\n",
        ));
    }
    let candidates = number("candidateCount")?.as_u64().unwrap_or(1);
    if !(1..=CANDIDATES_MAX).contains(&candidates) {
        return Err(invalid(format!(
            "The specified candidate count {candidates} is not supported, it must be from 1 to {CANDIDATES_MAX}."
        )));
    }
    ask.choices = usize::try_from(candidates).unwrap_or(1);
    let limit = number("maxOutputTokens")?;
    if limit.as_i64().is_some_and(|limit| limit <= 0) {
        return Err(invalid(
            "* GenerateContentRequest.generation_config.max_output_tokens: max_output_tokens must be positive.\n",
        ));
    }
    ask.limit(limit.as_u64().and_then(|limit| usize::try_from(limit).ok()));
    let stops = list(config, "stopSequences", PLACE)?;
    if stops.len() > STOPS_MAX {
        return Err(invalid(format!(
            "* GenerateContentRequest.generation_config.stop_sequences: the number of stop_sequences must not exceed {STOPS_MAX}.\n"
        )));
    }
    ask.stops = stops.iter().filter_map(Value::as_str).filter(|stop| !stop.is_empty()).map(str::to_owned).collect();
    ask.format = format(config)?;
    thinking(at(config, "thinkingConfig"), ask)
}

fn format(config: &Value) -> Result<Format, VendorError> {
    let kind = at(config, "responseMimeType").as_str().unwrap_or("text/plain");
    let (open, json) = (at(config, "responseSchema"), at(config, "responseJsonSchema"));
    if !open.is_null() && !json.is_null() {
        return Err(invalid("Only one of response_schema and response_json_schema can be set."));
    }
    check_schema(open, "generation_config.response_schema", 0)?;
    let schema = if open.is_null() { json } else { open };
    match kind {
        "application/json" if schema.is_null() => Ok(Format::Json),
        "text/plain" | "text/x.enum" if schema.is_null() => Ok(Format::Text),
        "application/json" | "text/x.enum" => Ok(Format::Schema(schema.clone())),
        "text/plain" => Err(invalid(
            "Function calling config or response schema is set, but response_mime_type is not application/json.",
        )),
        _ => Err(invalid(
            "* GenerateContentRequest.generation_config.response_mime_type: allowed mimetypes are `text/plain`, \
             `application/json`, `application/xml`, `application/yaml` and `text/x.enum`.\n",
        )),
    }
}

/// Thinks if there is a level, a budget or a wish to see it.
fn thinking(config: &Value, ask: &mut Ask) -> Result<bool, VendorError> {
    known(config, &["includeThoughts", "thinkingBudget", "thinkingLevel"], "generation_config.thinking_config")?;
    let (budget, level) = (at(config, "thinkingBudget"), at(config, "thinkingLevel"));
    if !budget.is_null() && !level.is_null() {
        return Err(invalid("You can only set only one of thinking budget and thinking level."));
    }
    if let Some(word) = level.as_str()
        && !THINKING_LEVELS.contains(&word.to_ascii_uppercase().as_str())
    {
        return Err(wrong_type(level, "ThinkingLevel", "generation_config.thinking_config.thinking_level"));
    }
    let shown = *at(config, "includeThoughts") == true;
    ask.thinking = budget.as_i64() != Some(0) && (shown || !budget.is_null() || !level.is_null());
    Ok(shown && ask.thinking)
}

fn read_tool(tool: &Value, place: &str, tools: &mut Vec<Tool>) -> Result<(), VendorError> {
    known(tool, &TOOL_FIELDS, place)?;
    for (number, declaration) in list(tool, "functionDeclarations", place)?.iter().enumerate() {
        let place = format!("{place}.function_declarations[{number}]");
        known(declaration, &DECLARATION_FIELDS, &place)?;
        let name = declaration["name"].as_str().unwrap_or_default();
        let fits = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !begins || name.len() > 128 || !name.chars().all(fits) {
            return Err(invalid(format!(
                "* GenerateContentRequest.{place}.name: Invalid function name. Must start with a letter or an \
                 underscore. Must be alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes \
                 (-), with a maximum length of 128.\n"
            )));
        }
        let (open, json) = (at(declaration, "parameters"), at(declaration, "parametersJsonSchema"));
        if !open.is_null() && !json.is_null() {
            return Err(invalid(format!("{place}: only one of parameters and parameters_json_schema can be set.")));
        }
        check_schema(open, &join(&place, "parameters"), 0)?;
        let schema = if open.is_null() { json } else { open };
        tools.push(Tool { name: name.to_owned(), schema: schema.clone() });
    }
    Ok(())
}

fn tool_choice(config: &Value, tools: &[Tool]) -> Result<ToolChoice, VendorError> {
    const PLACE: &str = "tool_config.function_calling_config";
    known(config, &["functionCallingConfig", "includeServerSideToolInvocations", "retrievalConfig"], "tool_config")?;
    let calling = at(config, "functionCallingConfig");
    known(calling, &["allowedFunctionNames", "mode"], PLACE)?;
    let mode = calling["mode"].as_str().unwrap_or("AUTO");
    let names = list(calling, "allowedFunctionNames", PLACE)?;
    // Each name once makes no more names than there are tools; the rest would be looked up for nothing.
    let names = &names[..names.len().min(tools.len() + 1)];
    let names: Vec<String> = names.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if let Some(name) = names.iter().find(|name| !tools.iter().any(|tool| tool.name == **name)) {
        return Err(invalid(format!(
            "* GenerateContentRequest.{PLACE}.allowed_function_names: allowed function {name} is not declared.\n"
        )));
    }
    match mode {
        "AUTO" | "MODE_UNSPECIFIED" if !names.is_empty() => {
            Err(invalid("Allowed function names should only be set when function calling mode is ANY or VALIDATED."))
        }
        "AUTO" | "MODE_UNSPECIFIED" => Ok(ToolChoice::Any),
        "ANY" | "VALIDATED" if tools.is_empty() => {
            Err(invalid("Function calling config is set without function_declarations."))
        }
        "ANY" | "VALIDATED" if names.is_empty() => Ok(ToolChoice::Any),
        "ANY" | "VALIDATED" => Ok(ToolChoice::Of(names)),
        "NONE" => Ok(ToolChoice::Never),
        _ => Err(wrong_type(&calling["mode"], "FunctionCallingConfig.Mode", &join(PLACE, "mode"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::sample::{self, request};
    use super::*;
    use serde_json::json;

    fn with(more: &Value) -> Value {
        sample::with(json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}), more)
    }

    fn refused(body: &Value) -> String {
        let error = read(&request(body)).unwrap_err();
        assert_eq!((&error.error["code"], &error.error["status"]), (&json!(400), &json!("INVALID_ARGUMENT")));
        error.error["message"].as_str().unwrap().to_owned()
    }

    #[test]
    fn what_is_not_documented_is_refused() {
        for name in ["models", "fallbacks", "messages", "max_tokens", "stream", "tidegate"] {
            let expected = format!("Invalid JSON payload received. Unknown name \"{name}\": Cannot find field.");
            assert_eq!(refused(&with(&json!({name: 1}))), expected);
        }
        for (config, place) in [
            (json!({"max_tokens": 1}), "\"max_tokens\" at 'generation_config'"),
            (json!({"thinkingConfig": {"effort": 1}}), "\"effort\" at 'generation_config.thinking_config'"),
            (
                json!({"responseMimeType": "application/json", "responseSchema": {"$ref": "#"}}),
                "\"$ref\" at 'generation_config.response_schema'",
            ),
        ] {
            let message = refused(&with(&json!({"generationConfig": config})));
            assert!(message.contains(place), "{message}");
        }
        let tools = json!([{"functionDeclarations": [{"name": "f", "input_schema": {}}]}]);
        assert!(refused(&with(&json!({"tools": tools}))).contains("at 'tools[0].function_declarations[0]'"));
    }

    #[test]
    fn values_are_checked() {
        for (config, part) in [
            (json!({"temperature": 3}), "temperature must be in the range"),
            (json!({"temperature": "1"}), "Invalid value at 'generation_config.temperature'"),
            (json!({"candidateCount": 9}), "candidate count 9"),
            (json!({"maxOutputTokens": 0}), "max_output_tokens must be positive"),
            (json!({"stopSequences": "x"}), "Invalid value at 'generation_config.stop_sequences'"),
            (json!({"responseSchema": {"type": "STRING"}}), "response_mime_type is not application/json"),
            (json!({"responseMimeType": "image/png"}), "allowed mimetypes"),
            (json!({"thinkingConfig": {"thinkingBudget": 1, "thinkingLevel": "LOW"}}), "only one of thinking budget"),
        ] {
            let message = refused(&with(&json!({"generationConfig": config})));
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn functions_are_chosen_by_mode_and_name() {
        let tools = json!([{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}]);
        for (config, expected) in [
            (json!({"mode": "ANY"}), Some(ToolChoice::Any)),
            (json!({"mode": "ANY", "allowedFunctionNames": ["g"]}), Some(ToolChoice::Of(vec!["g".to_owned()]))),
            (json!({"mode": "NONE"}), Some(ToolChoice::Never)),
            (json!({"mode": "ANY", "allowedFunctionNames": ["h"]}), None),
            (json!({"mode": "AUTO", "allowedFunctionNames": ["g"]}), None),
            (json!({"mode": "required"}), None),
        ] {
            let body = with(&json!({"tools": tools, "toolConfig": {"functionCallingConfig": config}}));
            assert_eq!(read(&request(&body)).ok().map(|reading| reading.ask.tool_choice), expected, "{body}");
        }
    }
}
