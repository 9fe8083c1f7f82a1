//! A client's chat completion request, read into the shared terms.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::read_messages::read_messages;
use crate::dialect::BadRequest;
use crate::dialect::chat::{Cache, Effort, Format, Json, Other, Request, Thinking, Tool, ToolChoice};
use crate::dialect::fields::{Fields, unreadable};

/// Reads a body: what `OpenAI` documents, and what others who speak the dialect have added to it.
pub fn read_request(body: &[u8]) -> Result<Request, BadRequest> {
    let mut fields = Fields::read(body)?;
    let mut others = Others::default();
    let mut request = sampling(&mut fields)?;
    request.messages = read_messages(fields.require("messages")?, &mut others)?;
    request.tools = tools(&mut fields, &mut others)?;
    request.tool_choice = tool_choice(&mut fields, &mut others)?;
    request.parallel_tools = fields.take("parallel_tool_calls")?;
    request.format = format(&mut fields, &mut others)?;
    let max_tokens: Option<u64> = fields.take("max_tokens")?;
    request.max_tokens = fields.take("max_completion_tokens")?.or(max_tokens);
    let alternatives: Option<u32> = fields.take("top_logprobs")?;
    request.logprobs = fields.take("logprobs")?.unwrap_or(false).then(|| alternatives.unwrap_or(0));
    request.thinking = thinking(&mut fields, &mut others)?;
    others.rest(fields);
    request.others = others.0;
    Ok(request)
}

/// The parameters that the completions of old have as well.
pub(super) fn sampling(fields: &mut Fields<'_>) -> Result<Request, BadRequest> {
    // The gateway has read these two: the model is its route's to choose, and the usage is always asked for.
    fields.take_raw("model");
    fields.take_raw("stream_options");
    let user: Option<String> = fields.take("user")?;
    // Some switch it off with −1 or 0.
    let top_k: Option<i64> = fields.take("top_k")?;
    Ok(Request {
        stop: fields.take_raw("stop").map(stop).transpose()?.unwrap_or_default(),
        temperature: fields.take("temperature")?,
        top_p: fields.take("top_p")?,
        top_k: top_k.and_then(|top_k| u64::try_from(top_k).ok()).filter(|top_k| *top_k > 0),
        frequency_penalty: fields.take("frequency_penalty")?,
        presence_penalty: fields.take("presence_penalty")?,
        seed: fields.take("seed")?,
        choices: fields.take("n")?,
        user: fields.take("safety_identifier")?.or(user),
        stream: fields.take("stream")?.unwrap_or(false),
        ..Request::default()
    })
}

fn stop(raw: &RawValue) -> Result<Vec<String>, BadRequest> {
    let texts = if raw.get().starts_with('"') {
        serde_json::from_str(raw.get()).map(|text| vec![text])
    } else {
        serde_json::from_str(raw.get())
    };
    texts.map_err(|error| unreadable("stop", &error))
}

// === Tools ===

#[derive(Deserialize)]
struct WireFunction<'a> {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(borrow, default)]
    parameters: Option<&'a RawValue>,
    #[serde(default)]
    strict: Option<bool>,
    #[serde(borrow, default)]
    cache_control: Option<&'a RawValue>,
}

fn tools(fields: &mut Fields<'_>, others: &mut Others) -> Result<Vec<Tool>, BadRequest> {
    let mut tools = Vec::new();
    for mut wire in fields.take::<Vec<Fields<'_>>>("tools")?.unwrap_or_default() {
        let kind: Option<String> = wire.take("type")?;
        match kind.as_deref() {
            None | Some("function") => {
                let hint = wire.take_raw("cache_control").and_then(cache);
                let tool = tool(wire.require("function")?);
                tools.push(Tool { cache: hint.or(tool.cache), ..tool });
            }
            // Tools that the vendor runs, and those with a grammar for their input.
            Some(kind) => others.essential(format!("tools.{kind}")),
        }
    }
    // Their name before there were other tools than functions.
    let functions: Option<Vec<WireFunction<'_>>> = fields.take("functions")?;
    tools.extend(functions.unwrap_or_default().into_iter().map(tool));
    Ok(tools)
}

fn tool(wire: WireFunction<'_>) -> Tool {
    Tool {
        name: wire.name,
        description: wire.description,
        parameters: wire.parameters.map(Json::keep),
        strict: wire.strict,
        cache: wire.cache_control.and_then(cache),
    }
}

fn tool_choice(fields: &mut Fields<'_>, others: &mut Others) -> Result<Option<ToolChoice>, BadRequest> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }

    let new = fields.take_raw("tool_choice").map(|raw| ("tool_choice", raw));
    let Some((name, raw)) = new.or_else(|| fields.take_raw("function_call").map(|raw| ("function_call", raw))) else {
        return Ok(None);
    };
    match raw.get() {
        "\"auto\"" => return Ok(Some(ToolChoice::Auto)),
        "\"none\"" => return Ok(Some(ToolChoice::Forbidden)),
        // `any` is Mistral's word for it.
        "\"required\"" | "\"any\"" => return Ok(Some(ToolChoice::Required)),
        _ => {}
    }
    let mut choice: Fields<'_> = serde_json::from_str(raw.get()).map_err(|error| unreadable(name, &error))?;
    let kind: Option<String> = choice.take("type")?;
    match kind.as_deref() {
        None if name == "function_call" => Ok(Some(ToolChoice::Tool(choice.require("name")?))),
        None | Some("function") => Ok(Some(ToolChoice::Tool(choice.require::<Named>("function")?.name))),
        Some(kind) => {
            others.essential(format!("tool_choice.{kind}"));
            Ok(None)
        }
    }
}

/// A hint in Anthropic's words, which `OpenRouter` and `LiteLLM` take over.
pub(super) fn cache(raw: &RawValue) -> Option<Cache> {
    #[derive(Deserialize)]
    struct Control {
        #[serde(default)]
        ttl: Option<String>,
    }

    let control: Option<Control> = serde_json::from_str(raw.get()).ok()?;
    Some(match control?.ttl.as_deref() {
        // The second is of `OpenAI`'s own `prompt_cache_breakpoint`, whose other lifetime is half an hour.
        Some("1h" | "12h") => Cache::Long,
        _ => Cache::Short,
    })
}

// === The answer's form, and the thinking before it ===

#[derive(Deserialize)]
struct WireSchema<'a> {
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
    let Some(mut format) = fields.take::<Fields<'_>>("response_format")? else { return Ok(None) };
    let kind: String = format.require("type")?;
    Ok(match kind.as_str() {
        "text" => None,
        "json_object" => Some(Format::Json),
        "json_schema" => {
            let wire: WireSchema<'_> = format.require("json_schema")?;
            // Without one, any object fits.
            let schema = wire.schema.map_or_else(|| Json::of(&serde_json::Map::new()), Json::keep);
            Some(Format::Schema { name: wire.name, description: wire.description, schema, strict: wire.strict })
        }
        kind => {
            others.essential(format!("response_format.{kind}"));
            None
        }
    })
}

/// `reasoning_effort` is `OpenAI`'s, `reasoning` is `OpenRouter`'s, `thinking` is Anthropic's and `DeepSeek`'s.
fn thinking(fields: &mut Fields<'_>, others: &mut Others) -> Result<Option<Thinking>, BadRequest> {
    let mut found: Option<Thinking> = None;
    if let Some(word) = fields.take::<String>("reasoning_effort")? {
        match Effort::named(&word) {
            Some(effort) => found.get_or_insert_default().effort = Some(effort),
            None => others.note("reasoning_effort"),
        }
    }
    if let Some(mut reasoning) = fields.take::<Fields<'_>>("reasoning")? {
        let wanted = found.get_or_insert_default();
        let word: Option<String> = reasoning.take("effort")?;
        wanted.effort = word.as_deref().and_then(Effort::named).or(wanted.effort);
        wanted.budget_tokens = reasoning.take("max_tokens")?;
        match reasoning.take("enabled")? {
            Some(false) => *wanted = Thinking { effort: Some(Effort::None), budget_tokens: None },
            // It says no more than that nothing is asked for.
            None if *wanted == Thinking::default() => found = None,
            _ => {}
        }
        for (name, _) in reasoning.rest().filter(|(_, value)| !says_nothing(value)) {
            others.note(&format!("reasoning.{name}"));
        }
    }
    if let Some(mut thinking) = fields.take::<Fields<'_>>("thinking")? {
        let wanted = found.get_or_insert_default();
        let kind: Option<String> = thinking.take("type")?;
        if kind.as_deref() == Some("disabled") {
            *wanted = Thinking { effort: Some(Effort::None), budget_tokens: None };
        } else {
            wanted.budget_tokens = thinking.take("budget_tokens")?.or(wanted.budget_tokens);
        }
    }
    Ok(found)
}

// === What has no form in the shared terms ===

/// Parameters without a form of their own, each named once.
#[derive(Debug, Default)]
pub(super) struct Others(pub(super) Vec<Other>);

impl Others {
    /// More than any request has: looking one up goes through all of them.
    const MAX: usize = 64;

    /// One that may be left out.
    pub(super) fn note(&mut self, name: &str) {
        if self.0.len() < Self::MAX && !self.0.iter().any(|other| other.name == name) {
            self.0.push(Other { name: name.to_owned(), essential: false });
        }
    }

    /// One that must not be left out. Beyond the bound, one of them says as much as many.
    pub(super) fn essential(&mut self, name: String) {
        let is_known = |other: &Other| other.essential && (other.name == name || self.0.len() >= Self::MAX);
        if !self.0.iter().any(is_known) {
            self.0.push(Other { name, essential: true });
        }
    }

    /// All that nobody has taken.
    pub(super) fn rest(&mut self, fields: Fields<'_>) {
        for (name, value) in fields.rest() {
            match (name.as_str(), value.get()) {
                // These ask for what is done anyway.
                ("modalities", modalities) if is_text_alone(modalities) => {}
                ("service_tier", "\"auto\"" | "\"default\"") => {}
                _ if says_nothing(value) && name != "web_search_options" => {}
                ("modalities" | "audio" | "web_search_options" | "plugins" | "moderation", _) => self.essential(name),
                _ => self.note(&name),
            }
        }
    }
}

/// A value that asks for nothing: leaving it out changes nothing either.
fn says_nothing(value: &RawValue) -> bool {
    matches!(value.get(), "false" | "{}" | "[]" | "\"\"")
}

fn is_text_alone(modalities: &str) -> bool {
    serde_json::from_str::<Vec<String>>(modalities).is_ok_and(|list| list.iter().all(|modality| modality == "text"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A request with one message and these members beside it.
    fn read(members: &str) -> Result<Request, BadRequest> {
        read_request(format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],{members}}}"#).as_bytes())
    }

    fn others(members: &str) -> Vec<(String, bool)> {
        read(members).unwrap().others.into_iter().map(|other| (other.name, other.essential)).collect()
    }

    #[test]
    fn sampling_is_read_to_the_last_digit() {
        let request = read(
            r#""temperature":0.70,"top_p":1,"top_k":40,"frequency_penalty":-0.5,"presence_penalty":2,"seed":-7,"n":2,
               "max_tokens":5,"max_completion_tokens":9,"stop":"END","logprobs":true,"top_logprobs":3,"stream":true,
               "user":"old","safety_identifier":"new","stream_options":{"include_usage":true}"#,
        )
        .unwrap();
        assert_eq!(request.temperature.unwrap().to_string(), "0.7");
        assert_eq!(request.top_p.unwrap().to_string(), "1");
        assert_eq!((request.top_k, request.seed, request.choices), (Some(40), Some(-7), Some(2)));
        assert_eq!((request.max_tokens, request.logprobs, request.stream), (Some(9), Some(3), true));
        assert_eq!((request.stop, request.user), (vec!["END".to_owned()], Some("new".to_owned())));
        assert_eq!(request.others, []);
        assert_eq!(read(r#""logprobs":false,"top_k":-1,"stop":["a","b"]"#).unwrap().stop, ["a", "b"]);
    }

    #[test]
    fn tools_new_and_old() {
        let request = read(
            r#""tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type": "object"},"strict":true},
                         "cache_control":{"type":"ephemeral","ttl":"1h"}}],
               "functions":[{"name":"g"}],"tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":false"#,
        )
        .unwrap();
        let parameters = serde_json::from_str(r#"{"type": "object"}"#).unwrap();
        let f = Tool {
            name: "f".into(),
            description: Some("d".into()),
            parameters: Some(parameters),
            strict: Some(true),
            cache: Some(Cache::Long),
        };
        let g = Tool { name: "g".into(), description: None, parameters: None, strict: None, cache: None };
        assert_eq!(request.tools, [f, g]);
        assert_eq!((request.tool_choice, request.parallel_tools), (Some(ToolChoice::Tool("f".into())), Some(false)));
        for (members, choice) in [
            (r#""tool_choice":"none""#, ToolChoice::Forbidden),
            (r#""tool_choice":"required""#, ToolChoice::Required),
            (r#""function_call":"auto""#, ToolChoice::Auto),
            (r#""function_call":{"name":"g"}"#, ToolChoice::Tool("g".into())),
        ] {
            assert_eq!(read(members).unwrap().tool_choice, Some(choice), "{members}");
        }
    }

    #[test]
    fn thinking_in_everybodys_words() {
        let of = |effort, budget_tokens| Some(Thinking { effort, budget_tokens });
        for (members, thinking) in [
            (r#""reasoning_effort":"minimal""#, of(Some(Effort::Minimal), None)),
            (r#""reasoning_effort":"xhigh""#, of(Some(Effort::Max), None)),
            (r#""reasoning":{"effort":"low","exclude":true}"#, of(Some(Effort::Low), None)),
            (r#""reasoning":{"max_tokens":2000}"#, of(None, Some(2000))),
            (r#""reasoning":{"enabled":true}"#, of(None, None)),
            (r#""reasoning":{"enabled":false}"#, of(Some(Effort::None), None)),
            (r#""reasoning":{}"#, None),
            (r#""thinking":{"type":"enabled","budget_tokens":4096}"#, of(None, Some(4096))),
            (r#""thinking":{"type":"disabled"},"reasoning_effort":"high""#, of(Some(Effort::None), None)),
            (r#""thinking":{"type":"enabled"},"reasoning_effort":"high""#, of(Some(Effort::High), None)),
            (r#""reasoning_effort":null"#, None),
        ] {
            assert_eq!(read(members).unwrap().thinking, thinking, "{members}");
        }
        assert_eq!(others(r#""reasoning":{"effort":"low","exclude":true}"#), [("reasoning.exclude".into(), false)]);
    }

    #[test]
    fn formats() {
        assert_eq!(read(r#""response_format":{"type":"text"}"#).unwrap().format, None);
        assert_eq!(read(r#""response_format":{"type":"json_object"}"#).unwrap().format, Some(Format::Json));
        let schema = r#""response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"b":1, "a":2},"strict":true}}"#;
        let Some(Format::Schema { name, schema, strict, .. }) = read(schema).unwrap().format else {
            panic!("a schema")
        };
        assert_eq!((name.as_deref(), schema.text(), strict), (Some("n"), r#"{"b":1, "a":2}"#, Some(true)));
    }

    #[test]
    fn what_has_no_form_is_named_and_weighed() {
        let named = |name: &str, essential| vec![(name.to_owned(), essential)];
        for (members, expected) in [
            (r#""store":true"#, named("store", false)),
            (r#""metadata":{"a":"b"}"#, named("metadata", false)),
            (r#""prediction":{"type":"content","content":"x"}"#, named("prediction", false)),
            (r#""something_new":[1]"#, named("something_new", false)),
            (r#""store":false,"metadata":{},"logit_bias":null,"service_tier":"auto","modalities":["text"]"#, vec![]),
            (r#""modalities":["text","audio"]"#, named("modalities", true)),
            (r#""audio":{"voice":"alloy","format":"wav"}"#, named("audio", true)),
            (r#""web_search_options":{}"#, named("web_search_options", true)),
            (r#""tools":[{"type":"custom","custom":{"name":"c"}}]"#, named("tools.custom", true)),
            (
                r#""tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[]}}"#,
                named("tool_choice.allowed_tools", true),
            ),
            (r#""response_format":{"type":"grammar","grammar":"x"}"#, named("response_format.grammar", true)),
        ] {
            assert_eq!(others(members), expected, "{members}");
        }
    }

    #[test]
    fn however_many_there_are_they_have_a_bound_and_the_essential_is_kept() {
        let unknown: Vec<_> = (0..200).map(|at| format!(r#""x{at}":1"#)).collect();
        let tools: Vec<_> = (0..500).map(|at| format!(r#"{{"type":"t{at}"}}"#)).collect();
        let found = others(&format!(r#"{},"tools":[{}]"#, unknown.join(","), tools.join(",")));
        assert_eq!(found.len(), Others::MAX);
        assert!(found[0].1);
        let mut notes = Others::default();
        for at in 0..100 {
            notes.note(&at.to_string());
        }
        notes.essential("audio".into());
        assert!(notes.0.last().unwrap().essential);
    }

    #[test]
    fn what_does_not_read_is_said_with_its_name() {
        for (members, param) in [
            (r#""temperature":"hot""#, "temperature"),
            (r#""max_tokens":-1"#, "max_tokens"),
            (r#""stop":7"#, "stop"),
            (r#""tools":{}"#, "tools"),
            (r#""tools":[{"type":"function"}]"#, "function"),
            (r#""tool_choice":7"#, "tool_choice"),
            (r#""response_format":{}"#, "type"),
            (r#""n":-1"#, "n"),
        ] {
            assert_eq!(read(members).unwrap_err().param, Some(param), "{members}");
        }
        assert_eq!(read_request(br#"{"model":"m"}"#).unwrap_err().param, Some("messages"));
    }

    proptest! {
        #[test]
        fn any_bytes_read_as_something(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_request(&body);
        }

        /// A body that is nearly a request: every member may be of any kind.
        #[test]
        fn any_kind_of_member_reads_as_something(
            name in prop::sample::select(vec!["messages", "tools", "tool_choice", "stop", "response_format", "reasoning", "thinking"]),
            value in prop::sample::select(vec![
                "null", "1", "\"x\"", "[]", "{}", "[1]", "[{}]", "[[]]", r#"[{"role":"user","content":[{"type":"text"}]}]"#,
                r#"[{"role":"tool"}]"#, r#"{"type":"function"}"#, r#"{"type":7}"#, r#"[{"type":"function","function":[]}]"#,
                r#"[{"role":"assistant","tool_calls":[{}]}]"#, r#"[{"role":"assistant","content":7}]"#,
            ]),
        ) {
            let _ = read_request(format!(r#"{{"{name}":{value}}}"#).as_bytes());
            let _ = read(&format!(r#""{name}":{value}"#));
        }
    }
}
