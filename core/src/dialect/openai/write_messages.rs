//! The conversation of the shared terms, written as a chat completion's messages.

use std::borrow::Cow;

use serde::{Serialize, Serializer};

use crate::dialect::chat::{Content, Message as ChatMessage, Part, Role, Source, ToolCall, Unsupported};

/// A message.
#[derive(Debug, Serialize)]
pub(super) struct Message<'a> {
    role: &'static str,
    content: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

impl<'a> Message<'a> {
    fn new(role: &'static str, content: Text<'a>) -> Self {
        Self { role, content, refusal: None, reasoning_content: None, tool_calls: Vec::new(), tool_call_id: None }
    }
}

/// Writes the messages: a result of a tool becomes one of its own.
pub(super) fn write_messages(messages: &[ChatMessage]) -> Result<Vec<Message<'_>>, Unsupported> {
    let mut wires = Vec::with_capacity(messages.len());
    for message in messages {
        match message.role {
            Role::System => wires.push(Message::new("system", Text::of(pieces(&message.parts)?))),
            Role::User => user(&message.parts, &mut wires)?,
            Role::Assistant => wires.push(assistant(&message.parts)?),
        }
    }
    Ok(wires)
}

/// The results first, since nothing may stand between them and their calls; then what else the user says.
fn user<'a>(parts: &'a [Part], wires: &mut Vec<Message<'a>>) -> Result<(), Unsupported> {
    let mut said = Vec::new();
    let mut answers = false;
    for part in parts {
        let Content::ToolResult { id, parts, is_error } = &part.content else {
            said.push(piece(part)?);
            continue;
        };
        answers = true;
        let (texts, shown): (Vec<_>, Vec<_>) = pieces(parts)?.into_iter().partition(Piece::is_text);
        if !shown.is_empty() {
            // A tool's message holds text alone: what it has to show is shown by the user.
            said.push(Piece::Text { text: format!("The tool call {id} returned this:").into() });
            said.extend(shown);
        }
        let content = if *is_error { Text::of_failure(texts) } else { Text::of(texts) };
        wires.push(Message { tool_call_id: Some(id), ..Message::new("tool", content) });
    }
    if !said.is_empty() || !answers {
        wires.push(Message::new("user", Text::of(said)));
    }
    Ok(())
}

fn assistant(parts: &[Part]) -> Result<Message<'_>, Unsupported> {
    let mut said = Vec::new();
    let mut message = Message::new("assistant", Text::None);
    let mut thoughts = String::new();
    for part in parts {
        match &part.content {
            Content::ToolCall(call) => message.tool_calls.push(Call::from(call)),
            Content::Refusal(text) => message.refusal.get_or_insert_default().push_str(text),
            // What is signed was thought by a vendor of another dialect.
            Content::Thinking { text, signature: None } => thoughts.push_str(text),
            Content::Thinking { .. } | Content::RedactedThinking(_) => {}
            _ => said.push(piece(part)?),
        }
    }
    // `DeepSeek` and Moonshot refuse a call without the thinking that led to it. Elsewhere thinking is not sent back, and the
    // stricter vendors (Groq, Mistral) would refuse it.
    message.reasoning_content = Some(thoughts).filter(|text| !text.is_empty() && !message.tool_calls.is_empty());
    if !said.is_empty() || (message.tool_calls.is_empty() && message.refusal.is_none()) {
        message.content = Text::of(said);
    }
    Ok(message)
}

// === Content ===

/// `null`, a string, or a list of parts.
#[derive(Debug)]
enum Text<'a> {
    None,
    Plain(Cow<'a, str>),
    Parts(Vec<Piece<'a>>),
}

impl<'a> Text<'a> {
    /// One text is a string, which everybody can read; not everybody takes a list.
    fn of(mut pieces: Vec<Piece<'a>>) -> Self {
        match pieces.pop() {
            None => Self::Plain("".into()),
            Some(Piece::Text { text }) if pieces.is_empty() => Self::Plain(text),
            Some(last) => {
                pieces.push(last);
                Self::Parts(pieces)
            }
        }
    }

    /// That a tool failed has no form of its own: it is said in words, if it is not already.
    fn of_failure(pieces: Vec<Piece<'a>>) -> Self {
        const WORD: &str = "Error";
        let says_so = |text: &str| text.get(..WORD.len()).is_some_and(|start| start.eq_ignore_ascii_case(WORD));
        match Self::of(pieces) {
            Self::Plain(text) if says_so(&text) => Self::Plain(text),
            Self::Plain(text) => Self::Plain(format!("{WORD}: {text}").into()),
            Self::Parts(mut parts) => {
                parts.insert(0, Piece::Text { text: format!("{WORD}:").into() });
                Self::Parts(parts)
            }
            Self::None => Self::None,
        }
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_none(),
            Self::Plain(text) => serializer.serialize_str(text),
            Self::Parts(parts) => parts.serialize(serializer),
        }
    }
}

/// A part of a message.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Piece<'a> {
    Text { text: Cow<'a, str> },
    ImageUrl { image_url: ImageUrl<'a> },
    File { file: File<'a> },
}

#[derive(Debug, Serialize)]
struct ImageUrl<'a> {
    url: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct File<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<&'a str>,
    file_data: Cow<'a, str>,
}

impl Piece<'_> {
    fn is_text(&self) -> bool {
        matches!(self, Self::Text { .. })
    }
}

fn pieces(parts: &[Part]) -> Result<Vec<Piece<'_>>, Unsupported> {
    parts.iter().map(piece).collect()
}

fn piece(part: &Part) -> Result<Piece<'_>, Unsupported> {
    let refuse = |what: &str| Err(Unsupported(format!("messages.{what}")));
    Ok(match &part.content {
        Content::Text(text) | Content::Refusal(text) => Piece::Text { text: text.into() },
        Content::Image { source, detail } => {
            Piece::ImageUrl { image_url: ImageUrl { url: url(source), detail: detail.as_deref() } }
        }
        // `OpenAI` fetches no documents.
        Content::Document { source: Source::Url(_), .. } => return refuse("document"),
        Content::Document { source, name } => {
            Piece::File { file: File { filename: name.as_deref(), file_data: url(source) } }
        }
        Content::Other(name) => return refuse(name),
        // In a message where neither has a place.
        Content::ToolCall(_) | Content::ToolResult { .. } => return refuse("tool_calls"),
        Content::Thinking { .. } | Content::RedactedThinking(_) => return refuse("thinking"),
    })
}

fn url(source: &Source) -> Cow<'_, str> {
    match source {
        Source::Url(url) => url.into(),
        Source::Base64 { media_type, data } => format!("data:{media_type};base64,{data}").into(),
    }
}

#[derive(Debug, Serialize)]
struct Call<'a> {
    id: &'a str,
    r#type: &'static str,
    function: CallFunction<'a>,
}

#[derive(Debug, Serialize)]
struct CallFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl<'a> From<&'a ToolCall> for Call<'a> {
    /// Its signature stays behind: it is of a vendor of another dialect, and the stricter ones would refuse the field.
    fn from(call: &'a ToolCall) -> Self {
        // A tool without parameters may have been called with nothing at all; some vendors parse what stands here.
        let arguments = if call.arguments.is_empty() { "{}" } else { &call.arguments };
        let function = CallFunction { name: &call.name, arguments };
        Self { id: &call.id, r#type: "function", function }
    }
}
