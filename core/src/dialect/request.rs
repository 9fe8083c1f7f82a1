//! A client's request, whatever it speaks: read once, changed as little as possible.
//!
//! Only the envelope is read, in one pass over the body. What has to change for a vendor (the model's name, and that a
//! stream must report its usage) is spliced into the original bytes, so that everything else, known to us or not, goes
//! through as it came. What is meant for the gateway itself is taken out. The conversation is read only if a vendor of
//! another dialect is to be asked, and then once.

use std::cell::OnceCell;
use std::ops::Range;

use bytes::Bytes;
use http::HeaderMap;
use memchr::memmem;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::chat::{self, Json};
use super::fields::Fields;
use super::prepare::{finish_object, write_member};
use super::{BadRequest, Dialect, Operation, Surface, anthropic, openai};
use crate::tokens::{self, Weight};

/// A request.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the request")]
pub struct Request {
    /// The API that the client speaks.
    pub surface: Surface,
    /// The route, target or alias that the client named.
    pub model: String,
    /// Whether the answer is to come as events.
    pub stream: bool,
    /// Whether the client asked for the usage at the end of a stream.
    pub wants_usage: bool,
    /// Whether it asked for a single answer, as nearly all do (`n` absent or 1).
    pub one_choice: bool,
    /// What it asks of the gateway itself, by the names in `CONTROLS`; no vendor sees it.
    pub controls: Controls,
    /// Whether its bytes cannot be passed through: its history holds thinking that is not Anthropic's, or what is asked is
    /// not what they say.
    rewritten: bool,
    /// Headers for a vendor of the client's own dialect.
    pub forwarded: HeaderMap,
    body: Bytes,
    /// Where the value of `model` stands in `body`.
    model_at: Range<usize>,
    /// What makes a stream report its usage, if anything must change.
    usage_edit: Option<Edit>,
    /// Where the value of `metadata` stands in `body`.
    metadata_at: Option<Range<usize>>,
    // Boxed: most requests never read it, and all of them are moved about.
    chat: OnceCell<Box<Result<chat::Request, BadRequest>>>,
    weight: OnceCell<Weight>,
}

/// What a request asks of the gateway itself, by name.
pub type Controls = Vec<(&'static str, Json)>;

/// Members of a body that are meant for a gateway: our own, and those of `OpenRouter` and `LiteLLM` that apps already send.
const CONTROLS: [&str; 7] = ["models", "fallbacks", "disable_fallbacks", "provider", "route", "tidegate", "usage"];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Edit {
    at: Range<usize>,
    text: &'static str,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    model: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    stream: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    stream_options: Option<&'a RawValue>,
    #[serde(borrow, default)]
    n: Option<&'a RawValue>,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
    // Whether any of CONTROLS is there.
    #[serde(borrow, default, deserialize_with = "present")]
    models: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    fallbacks: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    disable_fallbacks: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    provider: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    route: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    tidegate: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct StreamOptions<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    include_usage: Option<&'a RawValue>,
}

/// Tells a `null` that is there from a key that is not.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Envelope<'_> {
    fn has_controls(&self) -> bool {
        let controls =
            [self.models, self.fallbacks, self.disable_fallbacks, self.provider, self.route, self.tidegate, self.usage];
        controls.iter().any(Option::is_some)
    }
}

impl Request {
    /// Reads a body. One pass: the rest of it is only checked for being JSON.
    pub fn read(surface: Surface, body: Bytes) -> Result<Self, BadRequest> {
        let unreadable = |why: &dyn std::fmt::Display| BadRequest {
            message: format!("The request body is not a JSON object that can be read: {why}."),
            param: None,
        };
        // A list would do for serde, field by field.
        if body.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
            // As gzip and zstd begin, which some clients are configured to send.
            let is_packed = body.starts_with(b"\x1f\x8b") || body.starts_with(b"\x28\xb5\x2f\xfd");
            return Err(unreadable(if is_packed {
                &"it is compressed, send it as it is"
            } else {
                &"it does not begin with `{`"
            }));
        }
        // Checked once for all of it, which is cheaper than string by string.
        let text = str::from_utf8(&body).map_err(|error| unreadable(&error))?;
        let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
        if envelope.has_controls() {
            let (controls, body) = take_controls(&body)?;
            return Ok(Self { controls, ..Self::read(surface, body)? });
        }
        let raw_model = envelope.model.ok_or_else(|| BadRequest {
            message: "You must provide a `model`: the name of a route or of a model, see GET /v1/models.".into(),
            param: Some("model"),
        })?;
        let model: String = serde_json::from_str(raw_model.get())
            .map_err(|_| BadRequest { message: "`model` must be a string.".into(), param: Some("model") })?;
        let stream = match envelope.stream.map(RawValue::get) {
            None | Some("null" | "false") => false,
            Some("true") => true,
            Some(_) => {
                return Err(BadRequest { message: "`stream` must be true or false.".into(), param: Some("stream") });
            }
        };
        let one_choice = envelope.n.is_none_or(|n| n.get() == "1");
        let model_at = place(&body, raw_model);
        let (wants_usage, usage_edit) = match surface {
            Surface::Chat | Surface::Completions if stream => usage_edit(&body, envelope.stream_options),
            _ => (false, None),
        };
        Ok(Self {
            surface,
            model,
            stream: stream && !matches!(surface, Surface::Embeddings | Surface::CountTokens),
            wants_usage,
            one_choice,
            controls: Vec::new(),
            rewritten: surface == Surface::Messages && has_foreign_thinking(&body),
            forwarded: HeaderMap::new(),
            model_at,
            usage_edit,
            metadata_at: envelope.metadata.map(|metadata| place(&body, metadata)),
            chat: OnceCell::new(),
            weight: OnceCell::new(),
            body,
        })
    }

    /// The client's body, less what was meant for the gateway.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// What the client has marked it with, beside the gateway's own hints: `metadata.tags`, as `LiteLLM` has it, or
    /// `metadata.tag`, for APIs in which metadata are texts.
    pub fn tags(&self) -> Vec<String> {
        #[derive(Deserialize)]
        struct Metadata {
            tags: Option<Vec<String>>,
            tag: Option<String>,
        }
        let metadata = self.metadata_at.as_ref().and_then(|at| self.body.get(at.clone()));
        let read = metadata.and_then(|metadata| serde_json::from_slice::<Metadata>(metadata).ok());
        read.map_or_else(Vec::new, |Metadata { tags, tag }| tags.into_iter().flatten().chain(tag).collect())
    }

    /// What a vendor is asked.
    pub fn operation(&self) -> Operation {
        match self.surface {
            Surface::Embeddings => Operation::EmbedMany,
            Surface::CountTokens => Operation::CountTokens,
            _ if self.stream => Operation::Stream,
            _ => Operation::Chat,
        }
    }

    /// Whether it is a conversation that waits for an answer.
    pub fn is_chat(&self) -> bool {
        matches!(self.operation(), Operation::Chat | Operation::Stream)
    }

    /// Whether a vendor of this dialect takes it as it is.
    pub fn goes_through(&self, dialect: Dialect) -> bool {
        match self.surface {
            // Anthropic refuses a signature that it did not write: such a block has to be left out.
            Surface::Chat | Surface::Messages if self.rewritten => false,
            Surface::Chat | Surface::Embeddings => dialect == Dialect::OpenAi,
            Surface::Messages | Surface::CountTokens => dialect == Dialect::Anthropic,
            Surface::Completions | Surface::Responses => false,
        }
    }

    /// The conversation in the terms that all dialects share. Read when it is first asked for.
    ///
    /// # Errors
    ///
    /// Why it cannot be understood.
    pub fn chat(&self) -> Result<&chat::Request, BadRequest> {
        let read = || match self.surface {
            Surface::Chat | Surface::Embeddings => openai::read_request(&self.body),
            Surface::Completions => openai::completions::read_request(&self.body),
            Surface::Responses => openai::responses::read_request(&self.body),
            Surface::Messages => anthropic::read_request(&self.body),
            Surface::CountTokens => anthropic::read_count_request(&self.body),
        };
        let chat: &Result<_, _> = self.chat.get_or_init(|| Box::new(read()));
        chat.as_ref().map_err(Clone::clone)
    }

    /// What its text weighs. Reads all of it when it is first asked for.
    pub fn weight(&self) -> &Weight {
        self.weight.get_or_init(|| tokens::weigh(&self.body))
    }

    /// Takes for granted what it weighs: it stands for another request.
    pub(crate) fn presume_weight(&mut self, weight: Weight) {
        self.weight = OnceCell::from(weight);
    }

    /// What its text weighs, if anybody has asked.
    pub fn weighed(&self) -> Option<Weight> {
        self.weight.get().copied()
    }

    /// The same request, but for a vendor that is to go on from this beginning of its answer. White space at its end is left
    /// out: vendors refuse it, and models put it there by themselves.
    ///
    /// # Errors
    ///
    /// Why the conversation cannot be understood.
    pub fn continued(&self, text: &str) -> Result<Self, BadRequest> {
        let mut chat = self.chat()?.clone();
        chat.begin_answer(text.trim_end());
        Ok(Self { rewritten: true, chat: OnceCell::from(Box::new(Ok(chat))), ..self.clone() })
    }

    /// The same request with more members, each followed by a comma, before its own.
    pub(super) fn with_members(&self, members: &str) -> Option<Self> {
        let begin = self.body.iter().position(|byte| *byte == b'{')? + 1;
        let body = [&self.body[..begin], members.as_bytes(), &self.body[begin..]].concat();
        let request = Self { wants_usage: self.wants_usage, ..Self::read(self.surface, body.into()).ok()? };
        if !self.rewritten {
            return Some(request);
        }
        let mut chat = request.chat().ok()?.clone();
        chat.messages.clone_from(&self.chat().ok()?.messages);
        Some(Self { rewritten: true, chat: OnceCell::from(Box::new(Ok(chat))), ..request })
    }

    /// The body for a vendor that calls the model `upstream`. The client's own bytes where nothing differs.
    pub fn body_for(&self, upstream: &str) -> Bytes {
        let name =
            (upstream != self.model).then(|| serde_json::to_string(upstream).expect("a string always has a JSON form"));
        let mut edits: Vec<(Range<usize>, &str)> = Vec::with_capacity(2);
        edits.extend(name.as_deref().map(|name| (self.model_at.clone(), name)));
        edits.extend(self.usage_edit.as_ref().map(|edit| (edit.at.clone(), edit.text)));
        if edits.is_empty() {
            return self.body.clone();
        }
        edits.sort_by_key(|(at, _)| at.start);
        let grown: usize = edits.iter().map(|(_, text)| text.len()).sum();
        let mut body = Vec::with_capacity(self.body.len() + grown);
        let mut done = 0;
        for (at, text) in edits {
            body.extend_from_slice(&self.body[done..at.start]);
            body.extend_from_slice(text.as_bytes());
            done = at.end;
        }
        body.extend_from_slice(&self.body[done..]);
        body.into()
    }
}

/// Whether a conversation holds thinking that this gateway has passed on from a vendor other than Anthropic: signed in
/// Gemini's name, or not at all. An accidental match costs a translation that changes nothing.
fn has_foreign_thinking(body: &[u8]) -> bool {
    let marks = [&br#""gemini:"#[..], br#""signature":"""#, br#""signature": """#];
    marks.iter().any(|mark| memmem::find(body, mark).is_some())
}

/// Parts what is meant for the gateway from what is meant for a vendor. The values of both stay as they were written.
fn take_controls(body: &[u8]) -> Result<(Controls, Bytes), BadRequest> {
    let mut controls = Vec::new();
    let mut rest = Vec::with_capacity(body.len());
    let mut has_model = false;
    for (name, value) in Fields::read(body)?.all() {
        if let Some(control) = CONTROLS.iter().find(|control| **control == name) {
            controls.push((*control, Json::keep(value)));
        } else {
            has_model |= name == "model";
            write_member(&mut rest, &name, value);
        }
    }
    // `OpenRouter` takes a list of models in place of one.
    let models = controls.iter().find(|(name, _)| *name == "models").filter(|_| !has_model);
    let first: Option<Vec<&RawValue>> = models.and_then(|(_, models)| serde_json::from_str(models.text()).ok());
    if let Some(first) = first.as_ref().and_then(|models| models.first()) {
        write_member(&mut rest, "model", first);
    }
    finish_object(&mut rest);
    Ok((controls, rest.into()))
}

/// Whether the client asked for usage, and what to change so that the vendor is asked.
fn usage_edit(body: &[u8], options: Option<&RawValue>) -> (bool, Option<Edit>) {
    let Some(raw) = options else {
        let start = body.iter().position(|byte| *byte == b'{').expect("an object has been read") + 1;
        return (false, Some(Edit { at: start..start, text: r#""stream_options":{"include_usage":true},"# }));
    };
    let at = place(body, raw);
    if raw.get() == "null" {
        return (false, Some(Edit { at, text: r#"{"include_usage":true}"# }));
    }
    let is_object = raw.get().starts_with('{');
    let Some(options) = is_object.then(|| serde_json::from_str::<StreamOptions<'_>>(raw.get()).ok()).flatten() else {
        // The vendor will say what is wrong to the caller better than we can.
        return (false, None);
    };
    match options.include_usage {
        Some(asked) if asked.get() == "true" => (true, None),
        Some(asked) => (false, Some(Edit { at: place(body, asked), text: "true" })),
        None => {
            let empty = raw.get()[1..].trim_ascii_start().starts_with('}');
            let text = if empty { r#""include_usage":true"# } else { r#""include_usage":true,"# };
            (false, Some(Edit { at: at.start + 1..at.start + 1, text }))
        }
    }
}

/// Where a value that was borrowed from `body` stands in it.
fn place(body: &[u8], value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr().addr() - body.as_ptr().addr();
    start..start + value.get().len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn tags_are_read_where_apps_have_them() {
        let tags = |metadata: &str| {
            let body = format!(r#"{{"model":"m","metadata":{metadata}}}"#);
            read(&body).unwrap().tags()
        };
        assert_eq!(tags(r#"{"tags":["a","b"],"trace":1}"#), ["a", "b"]);
        assert_eq!(tags(r#"{"tag":"a"}"#), ["a"]);
        for none in ["null", "{}", r#"{"tags":"a"}"#, r#""tags""#, "[]", r#"{"tag":7}"#] {
            assert_eq!(tags(none), [""; 0], "{none}");
        }
        assert_eq!(read(r#"{"model":"m"}"#).unwrap().tags(), [""; 0]);
    }

    fn read(body: &str) -> Result<Request, BadRequest> {
        Request::read(Surface::Chat, Bytes::copy_from_slice(body.as_bytes()))
    }

    fn sent(body: &str, upstream: &str) -> String {
        String::from_utf8(read(body).unwrap().body_for(upstream).to_vec()).unwrap()
    }

    #[test]
    fn the_same_model_and_no_stream_is_the_same_bytes() {
        let body = Bytes::from_static(br#"{"model":"gpt-x", "n":1e400}"#);
        let request = Request::read(Surface::Chat, body.clone()).unwrap();
        assert_eq!(request.body_for("gpt-x").as_ptr(), body.as_ptr());
    }

    #[test]
    fn what_is_no_text_is_refused_wherever_it_stands() {
        let body = Bytes::from_static(b"{\"model\":\"m\",\"messages\":[{\"content\":\"\xff\"}]}");
        let error = Request::read(Surface::Chat, body).unwrap_err();
        assert!(error.message.ends_with("invalid utf-8 sequence of 1 bytes from index 37."), "{}", error.message);
    }

    #[test]
    fn only_the_name_changes() {
        let body =
            r#"{ "messages":[{"model":"no"}],"model" : "default" ,"seed":12345678901234567890123, "x":"\u00e9"}"#;
        assert_eq!(sent(body, "gpt-\"x"), body.replace("\"default\"", "\"gpt-\\\"x\""));
    }

    #[test]
    fn a_stream_always_asks_for_usage() {
        for (given, expected) in [
            (
                r#"{"model":"m","stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"model":"m","stream":true}"#,
            ),
            (
                r#"{"model":"m","stream":true,"stream_options":null}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"model":"m","stream":true,"stream_options":{ }}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true }}"#,
            ),
            (
                r#"{"model":"m","stream":true,"stream_options":{"a":1}}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true,"a":1}}"#,
            ),
            (
                r#"{"stream_options":{"include_usage":false},"stream":true,"model":"m"}"#,
                r#"{"stream_options":{"include_usage":true},"stream":true,"model":"m"}"#,
            ),
        ] {
            let request = read(given).unwrap();
            assert!(request.stream && !request.wants_usage, "{given}");
            assert_eq!(request.body_for("m"), expected.as_bytes());
        }
        let asked = read(r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#).unwrap();
        assert!(asked.wants_usage);
        assert_eq!(asked.body_for("m").as_ptr(), asked.body.as_ptr());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (body, part, param) in [
            ("", "EOF", None),
            ("[]", "does not begin", None),
            ("[\"m\",true]", "does not begin", None),
            ("null", "does not begin", None),
            ("{\"model\":\"m\"", "EOF", None),
            ("{\"model\":\"m\",\"model\":\"n\"}", "duplicate", None),
            ("{}", "must provide a `model`", Some("model")),
            ("{\"model\":7}", "must be a string", Some("model")),
            ("{\"model\":\"m\",\"stream\":\"yes\"}", "true or false", Some("stream")),
        ] {
            let bad = read(body).unwrap_err();
            assert!(bad.message.contains(part), "{body}: {}", bad.message);
            assert_eq!(bad.param, param, "{body}");
        }
        for packed in [&b"\x1f\x8b\x08\x00"[..], &b"\x28\xb5\x2f\xfd\x04"[..]] {
            let bad = Request::read(Surface::Chat, Bytes::from_static(packed)).unwrap_err();
            assert!(bad.message.contains("it is compressed"), "{}", bad.message);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::read(Surface::Chat, body.into());
        }

        /// Whatever else the body holds, what is sent is the same object but for the two edits.
        #[test]
        fn the_rest_goes_through(model in ".*", upstream in ".*", extra in ".*", number: i64, stream: bool) {
            let mut expected = json!({"a": extra, "model": model, "z": {"n": number, "model": extra}, "stream": stream});
            let request = read(&expected.to_string()).unwrap();
            let sent: Value = serde_json::from_slice(&request.body_for(&upstream)).unwrap();
            expected["model"] = upstream.into();
            if stream {
                expected["stream_options"] = json!({"include_usage": true});
            }
            prop_assert_eq!(sent, expected);
        }
    }
}
