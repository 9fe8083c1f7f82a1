//! The conversation, written for Gemini: turns of `user` and `model`, and apart from them what the app has to say.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::own_signature;
use crate::dialect::chat::{self, Abilities, Message, Role, Source, ToolCall, Unsupported};

/// What Gemini takes in a function call's `thoughtSignature` where another model made the call, as documented for
/// conversations that are carried over: calls of the current turn without a signature are refused with a 400.
const FOREIGN_CALL: &str = "skip_thought_signature_validator";

/// `Content`: one turn.
#[derive(Serialize)]
pub(super) struct Turn<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    parts: Vec<Part<'a>>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thought: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thought_signature: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inline_data: Option<Blob<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_data: Option<FileData<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<FunctionCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_response: Option<FunctionResponse<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Blob<'a> {
    mime_type: &'a str,
    data: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileData<'a> {
    mime_type: &'static str,
    file_uri: &'a str,
}

#[derive(Serialize)]
struct FunctionCall<'a> {
    id: &'a str,
    name: &'a str,
    args: Args<'a>,
}

#[derive(Serialize)]
struct FunctionResponse<'a> {
    id: &'a str,
    name: &'a str,
    response: Outcome<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parts: Vec<Part<'a>>,
}

/// What came of a call, under the key that Gemini knows it by.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome<'a> {
    Output(Said<'a>),
    Error(Said<'a>),
}

/// What a tool said: objects and lists as such, so that the model need not read JSON within a string.
enum Said<'a> {
    Json(&'a RawValue),
    Text(Cow<'a, str>),
}

impl Serialize for Said<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Json(json) => json.serialize(serializer),
            Self::Text(text) => text.serialize(serializer),
        }
    }
}

/// A call's arguments, which must be an object. Those that are none, having been cut, are kept as the text they are.
enum Args<'a> {
    Object(&'a RawValue),
    Broken(&'a str),
    None,
}

impl Serialize for Args<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Object(object) => object.serialize(serializer),
            Self::Broken(text) => BTreeMap::from([("arguments", text)]).serialize(serializer),
            Self::None => BTreeMap::<&str, &str>::new().serialize(serializer),
        }
    }
}

/// The conversation in Gemini's form.
pub(super) struct Contents<'a> {
    /// What the app says, from wherever it stood: Gemini has one place for it.
    pub(super) system: Option<Turn<'a>>,
    /// What user and model say, by turns.
    pub(super) turns: Vec<Turn<'a>>,
    /// Whether a hint on how closely to look at an image was left out.
    pub(super) drops_detail: bool,
}

/// Writes a conversation.
pub(super) fn contents<'a>(messages: &'a [Message], abilities: &Abilities) -> Result<Contents<'a>, Unsupported> {
    let mut writer = Writer { abilities: *abilities, calls: BTreeMap::new(), drops_detail: false };
    let (mut system, mut turns) = (Vec::new(), Vec::<Turn<'_>>::new());
    for message in messages {
        let role = match message.role {
            Role::System => {
                writer.write(message, &mut system)?;
                continue;
            }
            Role::User => "user",
            Role::Assistant => "model",
        };
        // Results must follow their calls in one turn, however many messages they came in; so turns of one role are merged.
        match turns.last_mut() {
            Some(turn) if turn.role == Some(role) => writer.write(message, &mut turn.parts)?,
            _ => {
                let mut parts = Vec::new();
                writer.write(message, &mut parts)?;
                if !parts.is_empty() {
                    turns.push(Turn { role: Some(role), parts });
                }
            }
        }
    }
    if turns.is_empty() && !system.is_empty() {
        // There is no request without a turn: an app that only instructs is taken to ask.
        turns.push(Turn { role: Some("user"), parts: std::mem::take(&mut system) });
    }
    if turns.last().is_some_and(|turn| turn.role == Some("model")) && !abilities.prefill {
        return Err(unsupported("prefill"));
    }
    let system = (!system.is_empty()).then_some(Turn { role: None, parts: system });
    Ok(Contents { system, turns, drops_detail: writer.drops_detail })
}

struct Writer<'a> {
    abilities: Abilities,
    /// The tools that were called so far, by the calls' ids: results do not say which tool they are of.
    calls: BTreeMap<&'a str, &'a str>,
    drops_detail: bool,
}

impl<'a> Writer<'a> {
    fn write(&mut self, message: &'a Message, parts: &mut Vec<Part<'a>>) -> Result<(), Unsupported> {
        for part in &message.parts {
            if let Some(part) = self.part(&part.content, parts)? {
                parts.push(part);
            }
        }
        Ok(())
    }

    /// Writes what is said after `before` in the same turn; `None` where there is nothing that Gemini would take.
    fn part(
        &mut self,
        content: &'a chat::Content,
        before: &mut Vec<Part<'a>>,
    ) -> Result<Option<Part<'a>>, Unsupported> {
        Ok(Some(match content {
            chat::Content::Text(text) | chat::Content::Refusal(text) if text.is_empty() => return Ok(None),
            chat::Content::Text(text) | chat::Content::Refusal(text) => Part { text: Some(text), ..Part::default() },
            chat::Content::Image { source, detail } => {
                self.drops_detail |= detail.as_deref().is_some_and(|detail| detail != "auto");
                self.image(source)?
            }
            chat::Content::Document { source, .. } => media(source, "messages.file")?,
            chat::Content::Thinking { text, signature } => return Ok(thinking(text, signature.as_deref())),
            // Another vendor's: Gemini encrypts no thinking.
            chat::Content::RedactedThinking(_) => return Ok(None),
            chat::Content::ToolCall(call) => self.call(call, before)?,
            chat::Content::ToolResult { id, parts, is_error } => self.result(id, parts, *is_error)?,
            chat::Content::Other(name) => return Err(unsupported(&format!("messages.{name}"))),
        }))
    }

    fn image(&self, source: &'a Source) -> Result<Part<'a>, Unsupported> {
        if self.abilities.vision { media(source, "messages.image_url") } else { Err(unsupported("vision")) }
    }

    fn call(&mut self, call: &'a ToolCall, before: &mut Vec<Part<'a>>) -> Result<Part<'a>, Unsupported> {
        if !self.abilities.tools {
            return Err(unsupported("tools"));
        }
        self.calls.insert(&call.id, &call.name);
        // Clients whose calls bear no signature bring it with the thinking just before, whose it is as well.
        let own = call.signature.as_deref();
        let is_proof = |part: &mut Part<'_>| {
            let proof = part.thought_signature.filter(|_| part.function_call.is_none());
            proof.is_some_and(|proof| own.is_none_or(|own| own == proof))
        };
        let signature = before.pop_if(is_proof).and_then(|part| part.thought_signature).or(own);
        // Of calls made at once, Gemini signs the first alone, and looks for a signature there alone.
        let is_first = before.iter().rev().all(|part| part.function_call.is_none());
        let thought_signature = signature.or(is_first.then_some(FOREIGN_CALL));
        let args = match call.arguments.trim() {
            "" => Args::None,
            text if text.starts_with('{') => serde_json::from_str(text).map_or(Args::Broken(text), Args::Object),
            text => Args::Broken(text),
        };
        let function_call = Some(FunctionCall { id: &call.id, name: &call.name, args });
        Ok(Part { thought_signature, function_call, ..Part::default() })
    }

    fn result(&self, id: &'a str, parts: &'a [chat::Part], is_error: bool) -> Result<Part<'a>, Unsupported> {
        // Without a name there is no result, and nothing but the call tells it.
        let name = self.calls.get(id).ok_or_else(|| unsupported("messages.tool_call_id"))?;
        let (mut text, mut attached) = (Cow::Borrowed(""), Vec::new());
        for part in parts {
            match &part.content {
                chat::Content::Text(more) if text.is_empty() => text = Cow::Borrowed(more),
                chat::Content::Text(more) => {
                    let text = text.to_mut();
                    text.push('\n');
                    text.push_str(more);
                }
                chat::Content::Image { source: Source::Base64 { .. }, .. } if !self.abilities.vision => {
                    return Err(unsupported("vision"));
                }
                chat::Content::Image { source: source @ Source::Base64 { .. }, .. }
                | chat::Content::Document { source: source @ Source::Base64 { .. }, .. } => {
                    attached.push(media(source, "messages.tool")?);
                }
                // In a result, media must come along: Gemini fetches none there.
                chat::Content::Image { .. } => return Err(unsupported("messages.image_url")),
                chat::Content::Document { .. } => return Err(unsupported("messages.file")),
                chat::Content::Other(name) => return Err(unsupported(&format!("messages.{name}"))),
                _ => {}
            }
        }
        let said = match text {
            Cow::Borrowed(text) => json(text).map_or(Said::Text(Cow::Borrowed(text)), Said::Json),
            owned @ Cow::Owned(_) => Said::Text(owned),
        };
        let response = if is_error { Outcome::Error(said) } else { Outcome::Output(said) };
        let function_response = Some(FunctionResponse { id, name, response, parts: attached });
        Ok(Part { function_response, ..Part::default() })
    }
}

/// An object or a list, where `text` is one.
fn json(text: &str) -> Option<&RawValue> {
    let text = text.trim();
    text.starts_with(['{', '[']).then(|| serde_json::from_str(text).ok())?
}

/// Thinking that Gemini signed goes back; what others thought, or what bears no proof, is nothing to it. A proof without words
/// is that of the text before it, and goes back as it came: in a part of its own, with an empty text (unless a call follows, see
/// [`Writer::call`]).
fn thinking<'a>(text: &'a str, signature: Option<&'a str>) -> Option<Part<'a>> {
    let thought_signature = Some(own_signature(signature?)?);
    let thought = (!text.is_empty()).then_some(true);
    Some(Part { text: Some(text), thought, thought_signature, ..Part::default() })
}

fn media<'a>(source: &'a Source, name: &str) -> Result<Part<'a>, Unsupported> {
    Ok(match source {
        Source::Base64 { media_type, data } => {
            Part { inline_data: Some(Blob { mime_type: media_type, data }), ..Part::default() }
        }
        Source::Url(url) => {
            let mime_type = media_type(url).ok_or_else(|| unsupported(name))?;
            Part { file_data: Some(FileData { mime_type, file_uri: url }), ..Part::default() }
        }
    })
}

/// What is behind a URL, by the end of its path. Gemini fetches public URLs, but wants to be told what it will find.
fn media_type(url: &str) -> Option<&'static str> {
    const TYPES: [(&str, &str); 14] = [
        ("png", "image/png"),
        ("jpg", "image/jpeg"),
        ("jpeg", "image/jpeg"),
        ("webp", "image/webp"),
        ("bmp", "image/bmp"),
        ("heic", "image/heic"),
        ("heif", "image/heif"),
        ("pdf", "application/pdf"),
        ("json", "application/json"),
        ("txt", "text/plain"),
        ("html", "text/html"),
        ("css", "text/css"),
        ("csv", "text/csv"),
        ("xml", "text/xml"),
    ];
    let path = url.split(['?', '#']).next()?;
    let (_, extension) = path.rsplit_once('/')?.1.rsplit_once('.')?;
    let known = TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension))?;
    Some(known.1)
}

fn unsupported(name: &str) -> Unsupported {
    Unsupported(name.to_owned())
}
