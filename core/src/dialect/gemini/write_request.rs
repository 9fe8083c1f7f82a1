//! A request in the shared terms, written for Gemini.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Number;

use super::contents::{Turn, contents};
use crate::dialect::chat::{
    Abilities, Effort, Format, Json, Request, Thinking, Tool, ToolChoice, Unsupported, Written,
};

/// The most texts that may end an answer.
const STOP_SEQUENCES_MAX: usize = 5;

/// The most answers to one prompt.
const CANDIDATES_MAX: u32 = 8;

/// `GenerateContentRequest`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    /// Said in the path, save where tokens are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Turn<'a>>,
    contents: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<[Tools<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<ToolConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation_config: Option<GenerationConfig<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tools<'a> {
    function_declarations: Vec<FunctionDeclaration<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FunctionDeclaration<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters_json_schema: Option<&'a Json>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolConfig<'a> {
    function_calling_config: FunctionCallingConfig<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FunctionCallingConfig<'a> {
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_function_names: Option<[&'a str; 1]>,
}

#[derive(Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_sequences: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<ThinkingConfig>,
}

#[derive(PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ThinkingConfig {
    include_thoughts: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_level: Option<&'static str>,
}

/// Writes a request for `generateContent` or `streamGenerateContent`. The model is in the path.
///
/// # Errors
///
/// What Gemini, or this target, cannot honour and must not ignore.
pub fn write_request(request: &Request, abilities: &Abilities) -> Result<Written, Unsupported> {
    abilities.check(request)?;
    let mut dropped = Vec::new();
    let mut body = prompt(request, abilities, &mut dropped)?;
    let config = generation_config(request, abilities, &mut dropped)?;
    body.generation_config = (config != GenerationConfig::default()).then_some(config);
    if request.parallel_tools == Some(false) {
        dropped.push("parallel_tool_calls".to_owned());
    }
    if request.user.is_some() {
        dropped.push("user".to_owned());
    }
    if let Some(other) = request.others.iter().find(|other| other.essential) {
        return Err(Unsupported(other.name.clone()));
    }
    dropped.extend(request.others.iter().map(|other| other.name.clone()));
    Ok(Written { body: bytes(&body), dropped })
}

/// Writes a request for `countTokens`: the prompt alone, as the model `upstream` would be given it.
///
/// # Errors
///
/// As for [`write_request`].
pub fn write_count(request: &Request, upstream: &str, abilities: &Abilities) -> Result<Written, Unsupported> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Count<'a> {
        generate_content_request: Body<'a>,
    }

    let mut dropped = Vec::new();
    let mut body = prompt(request, abilities, &mut dropped)?;
    body.model = Some(format!("models/{upstream}"));
    Ok(Written { body: bytes(&Count { generate_content_request: body }), dropped })
}

fn bytes(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body).expect("our own types always have a JSON form").into()
}

/// The part of a request that is read, and not how the answer is to be.
fn prompt<'a>(request: &'a Request, abilities: &Abilities, dropped: &mut Vec<String>) -> Result<Body<'a>, Unsupported> {
    let contents = contents(&request.messages, abilities)?;
    if contents.drops_detail {
        dropped.push("messages.image_url.detail".to_owned());
    }
    let has_tools = !request.tools.is_empty();
    if has_tools && !abilities.tools {
        return Err(Unsupported("tools".to_owned()));
    }
    let declare = |tool: &'a Tool| FunctionDeclaration {
        name: &tool.name,
        description: tool.description.as_deref(),
        parameters_json_schema: tool.parameters.as_ref(),
    };
    Ok(Body {
        model: None,
        system_instruction: contents.system,
        contents: contents.turns,
        tools: has_tools.then(|| [Tools { function_declarations: request.tools.iter().map(declare).collect() }]),
        tool_config: has_tools.then(|| tool_config(request)).flatten(),
        generation_config: None,
    })
}

fn tool_config(request: &Request) -> Option<ToolConfig<'_>> {
    let is_strict = request.tools.iter().any(|tool| tool.strict == Some(true));
    let (mode, only) = match request.tool_choice.as_ref() {
        // Either an answer or calls whose arguments fit their schemas; in `ANY` they always do.
        None | Some(ToolChoice::Auto) if is_strict => ("VALIDATED", None),
        None => return None,
        Some(ToolChoice::Auto) => ("AUTO", None),
        Some(ToolChoice::Forbidden) => ("NONE", None),
        Some(ToolChoice::Required) => ("ANY", None),
        Some(ToolChoice::Tool(name)) => ("ANY", Some([name.as_str()])),
    };
    Some(ToolConfig { function_calling_config: FunctionCallingConfig { mode, allowed_function_names: only } })
}

fn generation_config<'a>(
    request: &'a Request,
    abilities: &Abilities,
    dropped: &mut Vec<String>,
) -> Result<GenerationConfig<'a>, Unsupported> {
    let unsupported = |name: &str| Err(Unsupported(name.to_owned()));
    if request.stop.len() > STOP_SEQUENCES_MAX {
        // Any of them left out would let the answer run on.
        return unsupported("stop");
    }
    let candidate_count = request.choices.filter(|choices| *choices != 1);
    if candidate_count.is_some_and(|count| request.stream || count > CANDIDATES_MAX) {
        return unsupported("n");
    }
    let (response_mime_type, response_json_schema) = match &request.format {
        None => (None, None),
        Some(Format::Json) => (Some("application/json"), None),
        // The schema's name and purpose are for the vendor's eyes, and Gemini has none for them.
        Some(Format::Schema { schema, .. }) => (Some("application/json"), Some(schema)),
    };
    let seed = request.seed.and_then(|seed| i32::try_from(seed).ok());
    if seed.is_none() && request.seed.is_some() {
        dropped.push("seed".to_owned());
    }
    Ok(GenerationConfig {
        max_output_tokens: request.max_tokens,
        stop_sequences: (!request.stop.is_empty()).then_some(&request.stop),
        temperature: request.temperature.as_ref(),
        top_p: request.top_p.as_ref(),
        top_k: request.top_k,
        presence_penalty: request.presence_penalty.as_ref(),
        frequency_penalty: request.frequency_penalty.as_ref(),
        seed,
        candidate_count,
        response_logprobs: request.logprobs.is_some().then_some(true),
        logprobs: request.logprobs.filter(|alternatives| *alternatives > 0),
        response_mime_type,
        response_json_schema,
        thinking_config: request.thinking.and_then(|thinking| thinking_config(thinking, abilities, dropped)),
    })
}

/// How to think, in levels: today's models take no budget, and every one of them takes these three levels. None of them can be
/// told not to think at all, so the least is what comes nearest, and that it is not what was asked for is said.
fn thinking_config(thinking: Thinking, abilities: &Abilities, dropped: &mut Vec<String>) -> Option<ThinkingConfig> {
    let is_heard = abilities.thinking != thinking.is_off();
    if !is_heard {
        dropped.push("thinking".to_owned());
    }
    if !abilities.thinking {
        return None;
    }
    let thinking_level = thinking.effort().map(|effort| match effort {
        Effort::None | Effort::Minimal | Effort::Low => "LOW",
        Effort::Medium => "MEDIUM",
        Effort::High | Effort::Max => "HIGH",
    });
    Some(ThinkingConfig { include_thoughts: !thinking.is_off(), thinking_level })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::chat::{Content, Message, Other, Part, Role, Source, ToolCall};
    use crate::dialect::gemini::read_chat;

    const ALL: Abilities = Abilities {
        tools: true,
        vision: true,
        json_schema: true,
        prefill: true,
        thinking: true,
        thinking_off: true,
        forced_tools: true,
        max_output: 1000,
    };

    fn message(role: Role, contents: impl IntoIterator<Item = Content>) -> Message {
        Message { role, parts: contents.into_iter().map(|content| Part { content, cache: None }).collect() }
    }

    fn text(text: &str) -> Content {
        Content::Text(text.into())
    }

    fn call(id: &str, name: &str, arguments: &str, signature: Option<&str>) -> Content {
        let signature = signature.map(str::to_owned);
        Content::ToolCall(ToolCall { id: id.into(), name: name.into(), arguments: arguments.into(), signature })
    }

    fn result(id: &str, contents: impl IntoIterator<Item = Content>, is_error: bool) -> Content {
        Content::ToolResult { id: id.into(), parts: message(Role::User, contents).parts, is_error }
    }

    fn image(source: Source) -> Content {
        Content::Image { source, detail: Some("auto".into()) }
    }

    fn url(url: &str) -> Source {
        Source::Url(url.into())
    }

    fn png(data: &str) -> Source {
        Source::Base64 { media_type: "image/png".into(), data: data.into() }
    }

    fn thinking(text: &str, signature: Option<&str>) -> Content {
        Content::Thinking { text: text.into(), signature: signature.map(str::to_owned) }
    }

    fn schema(text: &str) -> Json {
        serde_json::from_str(text).unwrap()
    }

    fn tool(name: &str) -> Tool {
        Tool { name: name.into(), description: None, parameters: None, strict: None, cache: None }
    }

    fn asks(contents: impl IntoIterator<Item = Content>) -> Request {
        Request { messages: vec![message(Role::User, contents)], ..Request::default() }
    }

    fn written(request: &Request) -> Value {
        serde_json::from_slice(&write_request(request, &ALL).unwrap().body).unwrap()
    }

    /// Why `request` is refused by a target that can do all but what `less` takes away.
    fn refusal(request: &Request, less: impl Fn(&mut Abilities)) -> Option<String> {
        let mut abilities = ALL;
        less(&mut abilities);
        write_request(request, &abilities).err().map(|unsupported| unsupported.0)
    }

    /// A conversation with all that there is in it, and every parameter.
    fn everything() -> Request {
        let weather = Tool {
            description: Some("The weather in a city.".into()),
            parameters: Some(schema(
                r#"{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}"#,
            )),
            ..tool("get_weather")
        };
        Request {
            messages: vec![
                message(Role::System, [text("Be brief.")]),
                message(
                    Role::User,
                    [
                        text("What is this, and how is the weather there?"),
                        image(png("iVBORw0KGgo=")),
                        image(url("https://example.com/a/b.JPG?w=100")),
                        Content::Document { source: url("https://example.com/map.pdf"), name: Some("map".into()) },
                    ],
                ),
                message(
                    Role::Assistant,
                    [
                        thinking("It is Zürich.", Some("gemini:T1dO")),
                        thinking("Another vendor thought so too.", Some("Rm9yZWlnbg==")),
                        thinking("Nobody signed this.", None),
                        Content::RedactedThinking("c2VjcmV0".into()),
                        text("Zürich."),
                        thinking("", Some("gemini:VEVYVA==")),
                        text("Let me look."),
                        call("call_1", "get_weather", " {\"city\": \"Zürich\", \"at\": [1, 2.50]}", Some("U0lHTkVE")),
                    ],
                ),
                message(Role::Assistant, [call("call_2", "now", "", None)]),
                message(Role::User, [result("call_1", [text("{\"celsius\": 21}")], false)]),
                message(Role::System, [text("Metric units.")]),
                message(
                    Role::User,
                    [result("call_2", [text("no clock"), image(png("QUJD")), text("here")], true), text("And Bern?")],
                ),
                message(Role::Assistant, [text(""), call("toolu_3", "get_weather", "{\"city\": \"Be", None)]),
                message(Role::User, [result("toolu_3", [text("12")], false)]),
            ],
            tools: vec![weather, tool("now")],
            tool_choice: Some(ToolChoice::Tool("get_weather".into())),
            format: Some(Format::Schema {
                name: Some("answer".into()),
                description: None,
                schema: schema(r#"{"type":"object","properties":{"z":{"type":"integer"},"a":{"type":"integer"}}}"#),
                strict: Some(true),
            }),
            max_tokens: Some(300),
            stop: vec!["END".into(), "\n\n".into()],
            temperature: Number::from_f64(0.7),
            top_p: Number::from_f64(0.95),
            top_k: Some(40),
            frequency_penalty: Number::from_f64(-0.5),
            presence_penalty: Number::from_f64(0.5),
            seed: Some(42),
            choices: Some(2),
            logprobs: Some(3),
            thinking: Some(Thinking { effort: None, budget_tokens: Some(4000) }),
            ..Request::default()
        }
    }

    #[test]
    fn all_that_there_is() {
        let golden = include_str!("../../../../tests/data/golden/gemini/request.json");
        let request = everything();
        assert_eq!(written(&request), serde_json::from_str::<Value>(golden).unwrap());
        let body = write_request(&request, &ALL).unwrap().body;
        let as_sent = String::from_utf8(body.to_vec()).unwrap();
        assert!(as_sent.contains(r#""z":{"type":"integer"},"a""#), "a schema keeps the order of its properties");
        assert!(as_sent.contains("[1, 2.50]"), "arguments keep their digits");
    }

    #[test]
    fn what_goes_without_saying_is_not_said() {
        assert_eq!(written(&asks([text("Hi")])), json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}));
        let instructs = Request { messages: vec![message(Role::System, [text("Rhyme.")])], ..Request::default() };
        assert_eq!(
            written(&instructs),
            json!({"contents": [{"role": "user", "parts": [{"text": "Rhyme."}]}]}),
            "without a turn there is no request"
        );
    }

    #[test]
    fn what_has_no_form_is_named() {
        let request = Request {
            parallel_tools: Some(false),
            user: Some("u-1".into()),
            seed: Some(1 << 40),
            thinking: Some(Thinking { effort: Some(Effort::None), budget_tokens: None }),
            others: vec![Other { name: "logit_bias".into(), essential: false }],
            messages: vec![message(Role::User, [Content::Image { source: png("QUJD"), detail: Some("low".into()) }])],
            ..Request::default()
        };
        let dropped = write_request(&request, &ALL).unwrap().dropped;
        let expected = ["messages.image_url.detail", "seed", "thinking", "parallel_tool_calls", "user", "logit_bias"];
        assert_eq!(dropped, expected);
        assert!(write_request(&everything(), &ALL).unwrap().dropped.is_empty());
    }

    #[test]
    fn what_must_not_be_left_out_is_refused() {
        let with = |change: &dyn Fn(&mut Request)| {
            let mut request = asks([text("Hi")]);
            change(&mut request);
            refusal(&request, |_| {})
        };
        let essential =
            vec![Other { name: "store".into(), essential: false }, Other { name: "audio".into(), essential: true }];
        assert_eq!(with(&|_| {}), None);
        assert_eq!(with(&|request| request.others.clone_from(&essential)).as_deref(), Some("audio"));
        assert_eq!(with(&|request| request.stop = vec!["x".into(); 5]), None);
        assert_eq!(with(&|request| request.stop = vec!["x".into(); 6]).as_deref(), Some("stop"));
        assert_eq!(with(&|request| request.choices = Some(9)).as_deref(), Some("n"));
        let several = |request: &mut Request| (request.choices, request.stream) = (Some(2), true);
        assert_eq!(with(&several).as_deref(), Some("n"), "a stream that is translated has one choice");
        assert_eq!(with(&|request| (request.choices, request.stream) = (Some(1), true)), None);

        let said = |content: Content| refusal(&asks([content]), |_| {});
        assert_eq!(said(Content::Other("input_audio".into())).as_deref(), Some("messages.input_audio"));
        assert_eq!(said(image(url("https://example.com/cat"))).as_deref(), Some("messages.image_url"));
        let document = Content::Document { source: url("https://example.com/?f=a.pdf"), name: None };
        assert_eq!(said(document).as_deref(), Some("messages.file"));
        assert_eq!(said(result("nobody", [], false)).as_deref(), Some("messages.tool_call_id"));
        let called = |content: Content| {
            let messages = vec![message(Role::Assistant, [call("c", "f", "{}", None)]), message(Role::User, [content])];
            refusal(&Request { messages, ..Request::default() }, |_| {})
        };
        assert_eq!(called(result("c", [], false)), None);
        let fetched = result("c", [image(url("https://example.com/cat.png"))], false);
        assert_eq!(called(fetched).as_deref(), Some("messages.image_url"), "nothing is fetched within a result");
    }

    #[test]
    fn a_target_that_cannot_is_not_asked() {
        let all = everything();
        assert_eq!(refusal(&all, |_| {}), None);
        assert_eq!(refusal(&all, |abilities| abilities.tools = false).as_deref(), Some("tools"));
        assert_eq!(refusal(&all, |abilities| abilities.vision = false).as_deref(), Some("vision"));
        assert_eq!(refusal(&all, |abilities| abilities.json_schema = false).as_deref(), Some("json_schema"));
        let tools = Request { tools: vec![tool("f")], ..asks([text("Hi")]) };
        assert_eq!(refusal(&tools, |abilities| abilities.tools = false).as_deref(), Some("tools"));
        let json = Request { format: Some(Format::Json), ..asks([text("Hi")]) };
        assert_eq!(refusal(&json, |abilities| abilities.json_schema = false), None, "any JSON needs no schema");
        let mut prefilled = asks([text("Hi")]);
        prefilled.messages.push(message(Role::Assistant, [text("Dear")]));
        assert_eq!(refusal(&prefilled, |_| {}), None);
        assert_eq!(refusal(&prefilled, |abilities| abilities.prefill = false).as_deref(), Some("prefill"));
    }

    #[test]
    fn which_tools_it_must_call() {
        let mode = |choice: Option<ToolChoice>, strict: Option<bool>| {
            let tools = vec![tool("f"), Tool { strict, ..tool("g") }];
            let request = Request { tools, tool_choice: choice, ..asks([text("Hi")]) };
            written(&request)["toolConfig"]["functionCallingConfig"]["mode"].as_str().map(str::to_owned)
        };
        for (choice, strict, expected) in [
            (None, None, None),
            (None, Some(true), Some("VALIDATED")),
            (Some(ToolChoice::Auto), Some(false), Some("AUTO")),
            (Some(ToolChoice::Auto), Some(true), Some("VALIDATED")),
            (Some(ToolChoice::Forbidden), Some(true), Some("NONE")),
            (Some(ToolChoice::Required), None, Some("ANY")),
        ] {
            assert_eq!(mode(choice.clone(), strict).as_deref(), expected, "{choice:?}");
        }
        let no_tools = Request { tool_choice: Some(ToolChoice::Required), ..asks([text("Hi")]) };
        assert_eq!(written(&no_tools)["toolConfig"], Value::Null);
    }

    #[test]
    fn how_hard_it_thinks() {
        let config = |effort: Option<Effort>, budget_tokens: Option<u64>| {
            let thinking = Some(Thinking { effort, budget_tokens });
            written(&Request { thinking, ..asks([text("Hi")]) })["generationConfig"]["thinkingConfig"].clone()
        };
        assert_eq!(config(None, None), json!({"includeThoughts": true}));
        assert_eq!(config(None, Some(0)), json!({"includeThoughts": false, "thinkingLevel": "LOW"}));
        assert_eq!(config(Some(Effort::Minimal), None), json!({"includeThoughts": true, "thinkingLevel": "LOW"}));
        assert_eq!(config(Some(Effort::Max), None), json!({"includeThoughts": true, "thinkingLevel": "HIGH"}));
        assert_eq!(config(None, Some(50_000)), json!({"includeThoughts": true, "thinkingLevel": "HIGH"}));
    }

    #[test]
    fn a_model_that_cannot_think_is_not_told_how() {
        let unable = Abilities { thinking: false, ..ALL };
        for (effort, dropped) in [(Effort::High, vec!["thinking"]), (Effort::None, vec![])] {
            let thinking = Some(Thinking { effort: Some(effort), budget_tokens: None });
            let written = write_request(&Request { thinking, ..asks([text("Hi")]) }, &unable).unwrap();
            assert_eq!(written.dropped, dropped);
            let body: Value = serde_json::from_slice(&written.body).unwrap();
            assert_eq!(body.get("generationConfig"), None);
        }
    }

    #[test]
    fn only_the_first_of_several_calls_is_signed() {
        let turn = |calls: Vec<Content>| {
            let messages = vec![message(Role::Assistant, calls)];
            let parts = written(&Request { messages, ..Request::default() })["contents"][0]["parts"].take();
            let sign = |part: &Value| part["thoughtSignature"].as_str().map(str::to_owned);
            parts.as_array().unwrap().iter().map(sign).collect::<Vec<_>>()
        };
        let skip = Some("skip_thought_signature_validator".to_owned());
        assert_eq!(turn(vec![text("So"), call("a", "f", "", None), call("b", "f", "", None)]), [None, skip, None]);
        let own = turn(vec![call("a", "f", "", Some("QQ==")), call("b", "f", "", Some("Qg=="))]);
        assert_eq!(own, [Some("QQ==".to_owned()), Some("Qg==".to_owned())]);
    }

    #[test]
    fn the_proof_just_before_a_call_is_the_calls() {
        let parts = |contents: Vec<Content>| {
            let messages = vec![message(Role::Assistant, contents)];
            written(&Request { messages, ..Request::default() })["contents"][0]["parts"].take()
        };
        let called = |signature: &str| json!({"functionCall": {"id": "a", "name": "f", "args": {}}, "thoughtSignature": signature});
        let brought = parts(vec![thinking("Hm", Some("gemini:QQ==")), call("a", "f", "", None)]);
        assert_eq!(brought, json!([called("QQ==")]), "from a client whose calls have no place for it");
        let twice = parts(vec![thinking("", Some("gemini:QQ==")), call("a", "f", "", Some("QQ=="))]);
        assert_eq!(twice, json!([called("QQ==")]), "from one whose calls and thinking have");
        let apart = parts(vec![thinking("", Some("gemini:Qg==")), call("a", "f", "", Some("QQ=="))]);
        assert_eq!(apart, json!([{"text": "", "thoughtSignature": "Qg=="}, called("QQ==")]));
        let foreign = parts(vec![thinking("Hm", Some("EqQB")), call("a", "f", "", None)]);
        assert_eq!(foreign, json!([called("skip_thought_signature_validator")]));
    }

    /// What Gemini said goes back to it as it was, though the client keeps no signatures of calls.
    #[test]
    fn a_reply_goes_back_as_it_came() {
        let reply = include_str!("../../../../tests/data/golden/gemini/reply.json");
        let mut choice = read_chat(reply.as_bytes()).unwrap().choices.remove(0);
        for part in &mut choice.parts {
            if let Content::ToolCall(call) = part {
                call.signature = None;
            }
        }
        let messages = vec![message(Role::Assistant, choice.parts)];
        let parts = written(&Request { messages, ..Request::default() })["contents"][0]["parts"].take();
        let mut expected = serde_json::from_str::<Value>(reply).unwrap()["candidates"][0]["content"]["parts"].take();
        let list = expected.as_array_mut().unwrap();
        list.drain(..2);
        list[2]["functionCall"]["id"] = json!("call_mAitaLmkHPPlz7IPvtfUqQ4_1");
        list[3]["functionCall"]["id"] = json!("call_mAitaLmkHPPlz7IPvtfUqQ4_2");
        list[3]["functionCall"]["args"] = json!({});
        assert_eq!(parts, expected, "but for the thinking, which bears no proof, and for names that were made up");
    }

    #[test]
    fn results_that_repeat_an_id_are_of_the_latest_call() {
        let turn = |name: &str| {
            [
                message(Role::Assistant, [call("call_0", name, "{}", None)]),
                message(Role::User, [result("call_0", [], false)]),
            ]
        };
        let messages = [turn("f"), turn("g")].concat();
        let contents = &written(&Request { messages, ..Request::default() })["contents"];
        let name = |at: usize| contents[at]["parts"][0]["functionResponse"]["name"].clone();
        assert_eq!((name(1), name(3)), (json!("f"), json!("g")));
        assert_eq!(contents[1]["parts"][0]["functionResponse"]["response"], json!({"output": ""}));
    }

    #[test]
    fn a_count_is_of_the_prompt_alone() {
        let count = write_count(&everything(), "gemini-3.8-flash", &ALL).unwrap();
        let body: Value = serde_json::from_slice(&count.body).unwrap();
        let mut expected = written(&everything());
        expected.as_object_mut().unwrap().remove("generationConfig");
        expected["model"] = json!("models/gemini-3.8-flash");
        assert_eq!(body, json!({"generateContentRequest": expected}));
    }
}
