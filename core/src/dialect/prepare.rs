//! A client's request, made ready for one target: passed through where both speak one dialect, written anew where they do
//! not, and in both cases without what the target is known to refuse.

use bytes::Bytes;
use memchr::memmem;
use serde_json::value::RawValue;

use super::chat::{Abilities, Unsupported, Written};
use super::fields::Fields;
use super::{BadRequest, Dialect, Operation, Request, Surface, anthropic, gemini, openai};
use crate::config::{Parameters, Target, Vendor};

/// A request as one target is to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// What it is asked.
    pub operation: Operation,
    /// The body to send.
    pub body: Bytes,
    /// The client's parameters that were left out, by its own names for them.
    pub dropped: Vec<String>,
}

/// Why a target cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// It cannot honour this, and it must not be left out.
    Unsupported(String),
    /// The request cannot be understood, whoever is asked.
    Bad(BadRequest),
}

/// Makes a request ready for a target.
///
/// # Errors
///
/// Why the target cannot be asked: another may well be able to.
pub fn prepare(request: &Request, vendor: &Vendor, target: &Target, parameters: Parameters) -> Result<Prepared, Unfit> {
    let extended = target.default_parameters.added_to(request);
    let request = extended.as_ref().unwrap_or(request);
    let mut prepared = if request.goes_through(vendor.dialect) {
        check_abilities(request, &target.abilities)?;
        let body = request.body_for(&target.upstream);
        Prepared { operation: request.operation(), body, dropped: Vec::new() }
    } else {
        translate(request, vendor.dialect, target)?
    };
    let unheard = unheard_thinking(request, vendor.dialect, &target.abilities);
    avoid_quirks(&mut prepared, request, target, unheard)?;
    match prepared.dropped.first() {
        Some(name) if parameters == Parameters::Strict => Err(Unfit::Unsupported(name.clone())),
        _ => Ok(prepared),
    }
}

/// A request's body, but that it asks for a whole answer and no stream.
pub(crate) fn unstreamed(body: &Bytes) -> Bytes {
    const OF_STREAMS: [&str; 2] = ["stream", "stream_options"];
    // It has been read before: what cannot be taken apart never gets here.
    let Ok(fields) = Fields::read(body) else { return body.clone() };
    let mut whole = Vec::with_capacity(body.len());
    for (name, value) in fields.all().filter(|(name, _)| !OF_STREAMS.contains(&name.as_str())) {
        write_member(&mut whole, &name, value);
    }
    finish_object(&mut whole);
    whole.into()
}

fn translate(request: &Request, dialect: Dialect, target: &Target) -> Result<Prepared, Unfit> {
    let missing = |what: &str| Err(Unfit::Unsupported(what.to_owned()));
    let abilities = &target.abilities;
    let upstream = &target.upstream;
    let written = match (request.surface, dialect) {
        (Surface::Embeddings, Dialect::Gemini) => {
            let (operation, Written { body, dropped }) = gemini::write_embed(request.body(), upstream)?;
            return Ok(Prepared { operation, body, dropped });
        }
        (Surface::Embeddings, _) => return missing("embeddings"),
        (Surface::CountTokens, Dialect::Gemini) => gemini::write_count(request.chat()?, upstream, abilities)?,
        (Surface::CountTokens, _) => return missing("count_tokens"),
        (_, Dialect::OpenAi) => openai::write_request(request.chat()?, upstream, abilities)?,
        (_, Dialect::Anthropic) => anthropic::write_request(request.chat()?, upstream, abilities)?,
        (_, Dialect::Gemini) => gemini::write_request(request.chat()?, abilities)?,
    };
    let dropped = written.dropped.into_iter().map(|name| clients_name(request.surface, name)).collect();
    Ok(Prepared { operation: request.operation(), body: written.body, dropped })
}

/// What a client calls a parameter that a writer names as chat completions do.
fn clients_name(surface: Surface, name: String) -> String {
    let theirs = match (surface, name.as_str()) {
        (Surface::Messages | Surface::CountTokens, "user") => "metadata.user_id",
        (Surface::Messages | Surface::CountTokens, "reasoning_effort") => "output_config.effort",
        (Surface::Messages | Surface::CountTokens, "parallel_tool_calls") => "tool_choice.disable_parallel_tool_use",
        (Surface::Messages | Surface::CountTokens, "stop") => "stop_sequences",
        (Surface::Responses, "reasoning_effort" | "thinking") => "reasoning",
        (Surface::Responses, "logprobs") => "top_logprobs",
        (Surface::Responses, "messages.image_url.detail") => "input.input_image.detail",
        _ => return name,
    };
    theirs.to_owned()
}

/// What passes through unread is read after all where the target lacks something that it might ask for.
fn check_abilities(request: &Request, abilities: &Abilities) -> Result<(), Unsupported> {
    let Abilities { tools, vision, json_schema, forced_tools, .. } = *abilities;
    if (tools && vision && json_schema && forced_tools) || !request.is_chat() {
        return Ok(());
    }
    // A request that cannot be understood is its vendor's to judge: it knows its own dialect best.
    request.chat().map_or(Ok(()), |chat| abilities.check(chat))
}

/// The parameter that says how to think, where the target would refuse what it says.
fn unheard_thinking(request: &Request, dialect: Dialect, abilities: &Abilities) -> Option<&'static str> {
    if (abilities.thinking && abilities.thinking_off) || !request.is_chat() {
        return None;
    }
    // Every dialect asks for it by one of these words: without them the request need not be read.
    let may_ask =
        ["reasoning", "thinking", "effort"].iter().any(|word| memmem::find(request.body(), word.as_bytes()).is_some());
    let thinking = if may_ask { request.chat().ok()?.thinking? } else { return None };
    let parameter = match dialect {
        Dialect::OpenAi => "reasoning_effort",
        Dialect::Anthropic => "thinking",
        // There it is no parameter of its own: whoever writes the request leaves it out.
        Dialect::Gemini => return None,
    };
    (!abilities.can_think(thinking)).then_some(parameter)
}

/// Leaves out what the target is known to refuse, and calls things what it calls them.
fn avoid_quirks(
    prepared: &mut Prepared,
    request: &Request,
    target: &Target,
    unheard: Option<&str>,
) -> Result<(), Unsupported> {
    /// What the gateway itself adds is nothing that the client misses.
    const ADDED: &str = "stream_options";
    let refused = target.unsupported.iter().map(String::as_str).chain(unheard);
    let renamed = target.rename.iter().map(|(name, _)| name.as_str());
    // Most requests have none of them: a look at the bytes costs next to nothing, and reading the body does not.
    if !refused.clone().chain(renamed).any(|name| mentions(&prepared.body, name)) {
        return Ok(());
    }
    let Ok(fields) = Fields::read(&prepared.body) else { return Ok(()) };
    let fields: Vec<_> = fields.all().collect();
    let mut body = Vec::with_capacity(prepared.body.len() + 16);
    for (name, value) in &fields {
        let theirs = target.rename.iter().find(|(ours, _)| ours == name).map(|(_, theirs)| theirs);
        if refused.clone().any(|refused| refused == name) {
            match (name.as_str(), value.get()) {
                (_, "null") | ("n", "1") => {}
                // One answer is not what a client wants that asks for several.
                ("n", _) => return Err(Unsupported(name.clone())),
                (ADDED, _) if !mentions(request.body(), ADDED) => {}
                _ => prepared.dropped.push(name.clone()),
            }
        } else if theirs.is_none_or(|theirs| fields.iter().all(|(other, _)| other != theirs)) {
            // Said by both names, the vendor's own counts.
            write_member(&mut body, theirs.unwrap_or(name), value);
        }
    }
    finish_object(&mut body);
    prepared.body = body.into();
    Ok(())
}

/// Whether the body may have a member of this name: it has, or a string in it happens to read so.
fn mentions(body: &[u8], name: &str) -> bool {
    memmem::find_iter(body, name.as_bytes()).any(|at| {
        at.checked_sub(1).and_then(|before| body.get(before)) == Some(&b'"') && body.get(at + name.len()) == Some(&b'"')
    })
}

/// Adds a member to an object that is being written.
pub(super) fn write_member(body: &mut Vec<u8>, name: &str, value: &RawValue) {
    body.push(if body.is_empty() { b'{' } else { b',' });
    serde_json::to_writer(&mut *body, name).expect("a string always has a JSON form");
    body.push(b':');
    body.extend_from_slice(value.get().as_bytes());
}

/// Ends an object that was written member by member.
pub(super) fn finish_object(body: &mut Vec<u8>) {
    if body.is_empty() {
        body.push(b'{');
    }
    body.push(b'}');
}

impl From<Unsupported> for Unfit {
    fn from(Unsupported(what): Unsupported) -> Self {
        Self::Unsupported(what)
    }
}

impl From<gemini::EmbedError> for Unfit {
    fn from(error: gemini::EmbedError) -> Self {
        match error {
            gemini::EmbedError::Bad(bad) => bad.into(),
            gemini::EmbedError::Unsupported(unsupported) => unsupported.into(),
        }
    }
}

impl From<BadRequest> for Unfit {
    fn from(bad: BadRequest) -> Self {
        Self::Bad(bad)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::{Config, TargetId};

    /// What a model that is described so by `vendor` and `model` is asked.
    fn prepared(surface: Surface, dialect: &str, vendor: &str, model: &str, body: &Value) -> Result<Prepared, Unfit> {
        let (vendor, model): (Value, Value) =
            (serde_json::from_str(vendor).unwrap(), serde_json::from_str(model).unwrap());
        let mut document = json!({
            "vendors": {"v": {"dialect": dialect, "base_url": "http://127.0.0.1:1"}},
            "models": {"v/m": model},
            "routes": {"r": {"models": ["v/m"]}},
        });
        document["vendors"]["v"].as_object_mut().unwrap().extend(vendor.as_object().unwrap().clone());
        let config = Config::from_json(&document.to_string(), "t", &|_| None).unwrap_or_else(|e| panic!("{e}"));
        let request = Request::read(surface, body.to_string().into()).unwrap();
        prepare(&request, config.vendor_of(TargetId(0)), config.target(TargetId(0)), Parameters::Lenient)
    }

    fn body(prepared: &Prepared) -> Value {
        serde_json::from_slice(&prepared.body).unwrap()
    }

    fn asking(more: &Value) -> Value {
        let mut body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    }

    #[test]
    fn what_vendor_and_model_refuse_is_left_out_and_named() {
        let vendor = r#"{"unsupported": ["seed"], "rename": {"max_tokens": "limit"}}"#;
        let model = r#"{"unsupported": ["temperature"]}"#;
        let asked = asking(&json!({"temperature": 0.5, "seed": 7, "top_p": 0.5}));
        let written = prepared(Surface::Chat, "openai", vendor, model, &asked).unwrap();
        let expected = json!({"model": "m", "limit": 9, "messages": [{"role": "user", "content": "Hi"}], "top_p": 0.5});
        assert_eq!((body(&written), written.dropped), (expected, vec!["seed".to_owned(), "temperature".to_owned()]));
    }

    #[test]
    fn what_another_dialect_calls_otherwise_is_missed_as_well() {
        let asked = asking(&json!({"stop_sequences": ["END"]}));
        let model = r#"{"unsupported": ["stop", "stream_options"]}"#;
        let written = prepared(Surface::Messages, "openai", "{}", model, &asked).unwrap();
        assert_eq!(written.dropped, ["stop"]);
        let streamed = asking(&json!({"stream": true}));
        let written = prepared(Surface::Messages, "openai", "{}", model, &streamed).unwrap();
        assert_eq!((body(&written).get("stream_options"), written.dropped.len()), (None, 0), "nobody asked for it");
    }

    #[test]
    fn thinking_is_left_out_where_it_cannot_be_had_as_asked() {
        let openai = |effort: &str| (Surface::Chat, "openai", asking(&json!({"reasoning_effort": effort})));
        let client = |kind: &str| (Surface::Messages, "anthropic", asking(&json!({"thinking": {"type": kind}})));
        for (lacks, (surface, dialect, asked), dropped) in [
            ("thinking", openai("low"), Some("reasoning_effort")),
            ("thinking_off", openai("low"), None),
            ("thinking_off", openai("none"), Some("reasoning_effort")),
            ("thinking", client("adaptive"), Some("thinking")),
            ("thinking_off", client("adaptive"), None),
            ("thinking_off", client("disabled"), Some("thinking")),
        ] {
            let model = format!(r#"{{"lacks": ["{lacks}"]}}"#);
            let written = prepared(surface, dialect, "{}", &model, &asked).unwrap();
            assert_eq!(written.dropped, dropped.as_slice(), "{lacks}: {asked}");
            let mut expected = asked;
            dropped.map(|name| expected.as_object_mut().unwrap().remove(name));
            assert_eq!(body(&written), expected, "{lacks}");
        }
        let across = |lacks: &str, effort: &str| {
            let asked = asking(&json!({"reasoning_effort": effort}));
            prepared(Surface::Chat, "anthropic", "{}", &format!(r#"{{"lacks": ["{lacks}"]}}"#), &asked).unwrap()
        };
        let least = across("thinking_off", "none");
        assert_eq!(body(&least)["output_config"], json!({"effort": "low"}), "the least there is");
        assert_eq!((body(&least).get("thinking"), least.dropped), (None, vec!["reasoning_effort".to_owned()]));
        let none = across("thinking", "high");
        assert_eq!((body(&none).get("thinking"), body(&none).get("output_config")), (None, None));
        assert_eq!(none.dropped, ["reasoning_effort"]);
        assert!(across("thinking", "none").dropped.is_empty(), "it does not think anyway");
    }

    #[test]
    fn a_models_own_parameters_come_where_the_client_says_nothing_in_whatever_dialect() {
        // Without `prefill` it is one of the later Claudes, which take no temperature.
        let model = r#"{"default_parameters": {"temperature": 0.7, "max_tokens": 2048}, "capabilities": ["prefill"]}"#;
        let question = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
        let asked = |dialect: &str| body(&prepared(Surface::Chat, dialect, "{}", model, &question).unwrap());
        for dialect in ["openai", "anthropic"] {
            let body = asked(dialect);
            assert_eq!((&body["temperature"], &body["max_tokens"]), (&json!(0.7), &json!(2048)), "{dialect}");
        }
        let expected = json!({"temperature": 0.7, "maxOutputTokens": 2048});
        assert_eq!(asked("gemini")["generationConfig"], expected);
    }

    #[test]
    fn a_call_is_not_forced_on_who_cannot_be_forced() {
        let forced = |surface: Surface, dialect: &str, choice: Value| {
            let tools = match surface {
                Surface::Chat => json!([{"type": "function", "function": {"name": "f"}}]),
                _ => json!([{"name": "f", "input_schema": {"type": "object"}}]),
            };
            let asked = asking(&json!({"tools": tools, "tool_choice": choice}));
            prepared(surface, dialect, "{}", r#"{"lacks": ["forced_tools"]}"#, &asked).err()
        };
        let refused = Some(Unfit::Unsupported("tool_choice".into()));
        for dialect in ["openai", "anthropic", "gemini"] {
            assert_eq!(forced(Surface::Chat, dialect, json!("required")), refused, "{dialect}");
            assert_eq!(forced(Surface::Chat, dialect, json!("auto")), None, "{dialect}");
            assert_eq!(forced(Surface::Messages, dialect, json!({"type": "tool", "name": "f"})), refused, "{dialect}");
        }
    }
}
