//! A client's request for a response, read into the shared terms.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::read_request::{Others, sampling};
use super::echo::joined_name;
use super::read_items::read_items;
use crate::dialect::BadRequest;
use crate::dialect::chat::{Content, Effort, Format, Json, Message, Part, Request, Role, Thinking, Tool, ToolChoice};
use crate::dialect::fields::{Fields, unreadable};

/// Reads a body. What would need a memory on the vendor's side is refused.
pub fn read_request(body: &[u8]) -> Result<Request, BadRequest> {
    let mut fields = Fields::read(body)?;
    refuse_state(&mut fields)?;
    let mut others = Others::default();
    let mut request = sampling(&mut fields)?;
    if request.choices.is_some_and(|choices| choices > 1) {
        return Err(bad("n", "A response has one answer: leave `n` out."));
    }
    let instructions: Option<String> = fields.take("instructions")?;
    request.messages = read_items(fields.require("input")?)?;
    if let Some(text) = instructions.filter(|text| !text.is_empty()) {
        let part = Part { content: Content::Text(text), cache: None };
        request.messages.insert(0, Message { role: Role::System, parts: vec![part] });
    }
    request.tools = tools(&mut fields, &mut others)?;
    request.tool_choice = tool_choice(&mut fields, &mut request.tools, &mut others)?;
    request.parallel_tools = fields.take("parallel_tool_calls")?;
    request.format = format(&mut fields, &mut others)?;
    request.max_tokens = fields.take("max_output_tokens")?;
    request.logprobs = fields.take("top_logprobs")?;
    if include(&mut fields, &mut others)? {
        request.logprobs.get_or_insert(0);
    }
    request.thinking = thinking(&mut fields, &mut others)?;
    // It is for the client alone, who gets it back in the response.
    fields.take_raw("metadata");
    if fields.take::<String>("truncation")?.is_some_and(|truncation| truncation != "disabled") {
        others.note("truncation");
    }
    others.rest(fields);
    request.others = others.0;
    Ok(request)
}

fn bad(param: &'static str, message: &str) -> BadRequest {
    BadRequest { message: message.to_owned(), param: Some(param) }
}

/// The gateway stores nothing, and the vendor that answers next time need not be the one that answers now.
fn refuse_state(fields: &mut Fields<'_>) -> Result<(), BadRequest> {
    for (param, remedy) in [
        ("previous_response_id", "send the earlier items in `input`"),
        ("conversation", "send the earlier items in `input`"),
        ("prompt", "send its text in `instructions` and `input`"),
    ] {
        if fields.take_raw(param).is_some() {
            let message =
                format!("`{param}` refers to what this service would have to store, which it does not: {remedy}.");
            return Err(BadRequest { message, param: Some(param) });
        }
    }
    if fields.take("background")? == Some(true) {
        return Err(bad("background", "Nothing runs in the background here, as no response is stored: use `stream`."));
    }
    if fields.take("store")? == Some(true) {
        let message =
            "No response is stored here: leave `store` out or set it to false, and send earlier items in `input`.";
        return Err(bad("store", message));
    }
    Ok(())
}

// === Tools ===

#[derive(Deserialize)]
struct WireTool<'a> {
    r#type: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(borrow, default)]
    parameters: Option<&'a RawValue>,
    #[serde(default)]
    strict: Option<bool>,
    /// Those of a namespace.
    #[serde(borrow, default)]
    tools: Option<Vec<Self>>,
}

fn tools(fields: &mut Fields<'_>, others: &mut Others) -> Result<Vec<Tool>, BadRequest> {
    let mut tools = Vec::new();
    for wire in fields.take::<Vec<WireTool<'_>>>("tools")?.unwrap_or_default() {
        match (wire.r#type.as_str(), wire.name.as_deref(), wire.tools) {
            ("namespace", Some(namespace), Some(members)) => {
                for member in members {
                    tools.extend(tool(member, Some(namespace), others)?);
                }
            }
            (_, _, members) => tools.extend(tool(WireTool { tools: members, ..wire }, None, others)?),
        }
    }
    Ok(tools)
}

/// A function. Tools that the vendor runs and those whose input is not JSON have no form.
fn tool(wire: WireTool<'_>, namespace: Option<&str>, others: &mut Others) -> Result<Option<Tool>, BadRequest> {
    if wire.r#type != "function" {
        others.essential(format!("tools.{}", wire.r#type));
        return Ok(None);
    }
    let name = wire.name.ok_or_else(|| bad("tools", "A function among `tools` has no `name`."))?;
    let name = namespace.map(|namespace| joined_name(namespace, &name)).unwrap_or(name);
    let parameters = wire.parameters.filter(|raw| raw.get() != "null").map(Json::keep);
    Ok(Some(Tool { name, description: wire.description, parameters, strict: wire.strict, cache: None }))
}

#[derive(Deserialize)]
struct WireChoice {
    r#type: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    tools: Vec<Self>,
}

impl WireChoice {
    /// The function, by the name under which the model knows it.
    fn function(&self) -> Option<String> {
        let name = self.name.as_deref()?;
        Some(self.namespace.as_deref().map_or_else(|| name.to_owned(), |namespace| joined_name(namespace, name)))
    }
}

/// A choice among some of the tools leaves only those.
fn tool_choice(
    fields: &mut Fields<'_>,
    tools: &mut Vec<Tool>,
    others: &mut Others,
) -> Result<Option<ToolChoice>, BadRequest> {
    let Some(raw) = fields.take_raw("tool_choice") else { return Ok(None) };
    let by_word = |word: &str| match word {
        "auto" => Ok(Some(ToolChoice::Auto)),
        "none" => Ok(Some(ToolChoice::Forbidden)),
        "required" => Ok(Some(ToolChoice::Required)),
        _ => Err(bad("tool_choice", "`tool_choice` must be auto, none, required or an object.")),
    };
    if let Ok(word) = serde_json::from_str::<String>(raw.get()) {
        return by_word(&word);
    }
    let choice: WireChoice = serde_json::from_str(raw.get()).map_err(|error| unreadable("tool_choice", &error))?;
    match (choice.r#type.as_str(), choice.function()) {
        ("function", Some(name)) => Ok(Some(ToolChoice::Tool(name))),
        ("function", None) => Err(bad("tool_choice", "`tool_choice` names no function: `name` is missing.")),
        ("allowed_tools", _) if choice.tools.iter().all(|tool| tool.r#type == "function") => {
            let allowed: BTreeSet<_> = choice.tools.iter().filter_map(WireChoice::function).collect();
            tools.retain(|tool| allowed.contains(&tool.name));
            by_word(choice.mode.as_deref().unwrap_or("auto"))
        }
        (kind, _) => {
            others.essential(format!("tool_choice.{kind}"));
            Ok(None)
        }
    }
}

// === The answer's form, what comes with it, and the thinking before it ===

#[derive(Deserialize)]
struct WireFormat<'a> {
    r#type: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(borrow, default)]
    schema: Option<&'a RawValue>,
    #[serde(default)]
    strict: Option<bool>,
}

fn format(fields: &mut Fields<'_>, others: &mut Others) -> Result<Option<Format>, BadRequest> {
    let Some(mut text) = fields.take::<Fields<'_>>("text")? else { return Ok(None) };
    let raw = text.take_raw("format");
    for (name, _) in text.rest() {
        others.note(&format!("text.{name}"));
    }
    let Some(raw) = raw else { return Ok(None) };
    let wire: WireFormat<'_> = serde_json::from_str(raw.get()).map_err(|error| unreadable("text", &error))?;
    match wire.r#type.as_str() {
        "text" => Ok(None),
        "json_object" => Ok(Some(Format::Json)),
        "json_schema" => {
            let schema = wire.schema.ok_or_else(|| bad("text", "`text.format` has no `schema`."))?;
            let (name, description, strict) = (wire.name, wire.description, wire.strict);
            Ok(Some(Format::Schema { name, description, schema: Json::keep(schema), strict }))
        }
        kind => {
            others.essential(format!("text.format.{kind}"));
            Ok(None)
        }
    }
}

/// Whether log probabilities are to come with the answer. Encrypted reasoning always does.
fn include(fields: &mut Fields<'_>, others: &mut Others) -> Result<bool, BadRequest> {
    let mut logprobs = false;
    for name in fields.take::<Vec<String>>("include")?.unwrap_or_default() {
        match name.as_str() {
            "message.output_text.logprobs" => logprobs = true,
            "reasoning.encrypted_content" => {}
            _ => others.note(&format!("include.{name}")),
        }
    }
    Ok(logprobs)
}

fn thinking(fields: &mut Fields<'_>, others: &mut Others) -> Result<Option<Thinking>, BadRequest> {
    let Some(mut reasoning) = fields.take::<Fields<'_>>("reasoning")? else { return Ok(None) };
    let word: Option<String> = reasoning.take("effort")?;
    let effort = word.as_deref().and_then(Effort::named);
    if word.is_some() && effort.is_none() {
        others.note("reasoning.effort");
    }
    // What the vendor shows of its thinking is always passed on.
    reasoning.take_raw("summary");
    reasoning.take_raw("generate_summary");
    for (name, _) in reasoning.rest() {
        others.note(&format!("reasoning.{name}"));
    }
    Ok(effort.map(|effort| Thinking { effort: Some(effort), budget_tokens: None }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Number;

    use super::*;
    use crate::dialect::chat::Other;

    fn read(fields: &str) -> Request {
        read_request(format!(r#"{{"model":"m","input":"hi",{fields}}}"#).as_bytes()).unwrap()
    }

    fn other(name: &str, essential: bool) -> Other {
        Other { name: name.into(), essential }
    }

    fn user(text: &str) -> Message {
        let part = Part { content: Content::Text(text.into()), cache: None };
        Message { role: Role::User, parts: vec![part] }
    }

    #[test]
    fn plain_parameters() {
        let request = read(
            r#""instructions":"be brief","max_output_tokens":50,"temperature":0.2,"top_p":1,"top_logprobs":3,
               "parallel_tool_calls":false,"safety_identifier":"u1","user":"u2","stream":true,
               "stream_options":{"include_obfuscation":false},"reasoning":{"effort":"xhigh","summary":"auto"},
               "metadata":{"a":"b"},"store":false,"background":false,"truncation":"disabled","service_tier":"auto",
               "include":["reasoning.encrypted_content"],"previous_response_id":null,"text":{"format":{"type":"text"}}"#,
        );
        let system = Message { role: Role::System, ..user("be brief") };
        let expected = Request {
            messages: vec![system, user("hi")],
            max_tokens: Some(50),
            temperature: Number::from_f64(0.2),
            top_p: Some(1.into()),
            logprobs: Some(3),
            parallel_tools: Some(false),
            user: Some("u1".into()),
            stream: true,
            thinking: Some(Thinking { effort: Some(Effort::Max), budget_tokens: None }),
            ..Request::default()
        };
        assert_eq!(request, expected);
    }

    #[test]
    fn functions_are_tools_and_other_tools_are_not() {
        let request = read(
            r#""tools":[{"type":"function","name":"f","description":"d","parameters":{"z":1, "a":2},"strict":true},
                {"type":"function","name":"g","parameters":null},{"type":"web_search"},{"type":"custom","name":"c"},
                {"type":"namespace","name":"n","description":"d","tools":[{"type":"function","name":"h"},{"type":"custom","name":"i"}]}],
               "tool_choice":{"type":"function","name":"g"}"#,
        );
        let parameters = serde_json::from_str(r#"{"z":1, "a":2}"#).unwrap();
        let tools = [
            Tool {
                name: "f".into(),
                description: Some("d".into()),
                parameters: Some(parameters),
                strict: Some(true),
                cache: None,
            },
            Tool { name: "g".into(), description: None, parameters: None, strict: None, cache: None },
            Tool { name: "n__h".into(), description: None, parameters: None, strict: None, cache: None },
        ];
        assert_eq!(request.tools, tools);
        assert_eq!(request.tool_choice, Some(ToolChoice::Tool("g".into())));
        assert_eq!(request.others, [other("tools.web_search", true), other("tools.custom", true)]);
    }

    #[test]
    fn every_choice_of_tools() {
        let tools = r#""tools":[{"type":"function","name":"f"},{"type":"function","name":"g"}]"#;
        for (choice, expected, left, others) in [
            (r#""auto""#, Some(ToolChoice::Auto), 2, vec![]),
            (r#""none""#, Some(ToolChoice::Forbidden), 2, vec![]),
            (r#""required""#, Some(ToolChoice::Required), 2, vec![]),
            (
                r#"{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"g"}]}"#,
                Some(ToolChoice::Required),
                1,
                vec![],
            ),
            (
                r#"{"type":"allowed_tools","mode":"auto","tools":[{"type":"mcp","server_label":"s"}]}"#,
                None,
                2,
                vec![other("tool_choice.allowed_tools", true)],
            ),
            (r#"{"type":"web_search"}"#, None, 2, vec![other("tool_choice.web_search", true)]),
        ] {
            let request = read(&format!(r#"{tools},"tool_choice":{choice}"#));
            assert_eq!((request.tool_choice, request.tools.len()), (expected, left), "{choice}");
            assert_eq!(request.others, others, "{choice}");
        }
    }

    #[test]
    fn the_forms_of_an_answer() {
        let schema = serde_json::from_str(r#"{"type":"object"}"#).unwrap();
        let by_schema = Format::Schema { name: Some("n".into()), description: None, schema, strict: Some(true) };
        for (format, expected) in [
            (r#"{"type":"text"}"#, None),
            (r#"{"type":"json_object"}"#, Some(Format::Json)),
            (r#"{"type":"json_schema","name":"n","strict":true,"schema":{"type":"object"}}"#, Some(by_schema)),
        ] {
            assert_eq!(read(&format!(r#""text":{{"format":{format}}}"#)).format, expected);
        }
        let grammar = read(r#""text":{"format":{"type":"grammar"},"verbosity":"low"}"#);
        assert_eq!(grammar.others, [other("text.verbosity", false), other("text.format.grammar", true)]);
    }

    #[test]
    fn what_has_no_form_is_named() {
        let request = read(
            r#""truncation":"auto","prompt_cache_key":"k","include":["message.output_text.logprobs","file_search_call.results"],
               "reasoning":{"effort":"ultra","context":"all"},"max_tool_calls":3,"client_metadata":{"x":"y"}"#,
        );
        let names: Vec<_> = request.others.iter().map(|other| (other.name.as_str(), other.essential)).collect();
        let expected = [
            "include.file_search_call.results",
            "reasoning.effort",
            "reasoning.context",
            "truncation",
            "prompt_cache_key",
            "max_tool_calls",
            "client_metadata",
        ];
        assert_eq!(names, expected.map(|name| (name, false)));
        assert_eq!((request.logprobs, request.thinking), (Some(0), None));
    }

    #[test]
    fn what_would_have_to_be_stored_is_refused_with_a_remedy() {
        for (field, param, part) in [
            (r#""previous_response_id":"resp_1""#, "previous_response_id", "earlier items in `input`"),
            (r#""conversation":{"id":"conv_1"}"#, "conversation", "earlier items in `input`"),
            (r#""prompt":{"id":"pmpt_1"}"#, "prompt", "send its text"),
            (r#""background":true"#, "background", "use `stream`"),
            (r#""store":true"#, "store", "leave `store` out"),
            (r#""n":2"#, "n", "one answer"),
            (r#""tool_choice":"any""#, "tool_choice", "must be auto"),
            (r#""tools":[{"type":"function"}]"#, "tools", "no `name`"),
            (r#""text":{"format":{"type":"json_schema"}}"#, "text", "no `schema`"),
        ] {
            let bad = read_request(format!(r#"{{"model":"m","input":"hi",{field}}}"#).as_bytes()).unwrap_err();
            assert!(bad.message.contains(part), "{field}: {}", bad.message);
            assert_eq!(bad.param, Some(param));
        }
        assert_eq!(read_request(br#"{"model":"m"}"#).unwrap_err().param, Some("input"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_request(&body);
        }

        /// Words of the API in any order: closer to a request than bytes are.
        #[test]
        fn any_words_are_read_or_refused(words in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"input\"", "\"type\"", "\"message\"", "\"reasoning\"", "\"content\"", "\"role\"", "\"user\"",
            "\"tools\"", "\"text\"", "\"id\"", "null", "1", "\"\"",
        ]), 0..40)) {
            let _ = read_request(words.concat().as_bytes());
            let _ = read_request(format!(r#"{{"input":[{{{}}}]}}"#, words.concat()).as_bytes());
        }
    }
}
