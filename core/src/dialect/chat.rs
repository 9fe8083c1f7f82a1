//! A chat in the terms that all dialects share.
//!
//! Where client and vendor speak one dialect, bytes pass through and none of this is made. Where they do not, a request is read
//! into a [`Request`] by the client's dialect and written by the vendor's; the answer comes back as a [`Reply`], or as
//! a stream of [`Delta`]s. What both sides can express survives; what the vendor's cannot is named (see
//! [`Written::dropped`]) or, where leaving it out would change what was asked for, refused (see [`Unsupported`]).

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Number;
use serde_json::value::RawValue;

mod answer;

pub use answer::{Choice, Decode, Delta, Encode, Reply, Stamp, Stop};

// === Requests ===

/// What a client asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// The conversation in its order; system messages stand where the client put them.
    pub messages: Vec<Message>,
    /// The tools that the model may call.
    pub tools: Vec<Tool>,
    /// Which of them it must call; `None`: as the vendor likes, which is [`ToolChoice::Auto`].
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several at once; `None`: as the vendor likes.
    pub parallel_tools: Option<bool>,
    /// The form that the answer must have; `None` is free text.
    pub format: Option<Format>,
    /// The longest answer, in tokens.
    pub max_tokens: Option<u64>,
    /// Texts at which the answer ends.
    pub stop: Vec<String>,
    /// As written by the client, so that no digit is lost.
    pub temperature: Option<Number>,
    /// Nucleus sampling.
    pub top_p: Option<Number>,
    /// Sampling among the likeliest tokens.
    pub top_k: Option<u64>,
    /// `OpenAI`'s, −2 to 2.
    pub frequency_penalty: Option<Number>,
    /// `OpenAI`'s, −2 to 2.
    pub presence_penalty: Option<Number>,
    /// For answers that repeat.
    pub seed: Option<i64>,
    /// How many answers (`n`); `None` is one.
    pub choices: Option<u32>,
    /// Log probabilities are asked for, with so many alternatives for each token.
    pub logprobs: Option<u32>,
    /// How the model is to think before it answers; `None`: as the vendor likes.
    pub thinking: Option<Thinking>,
    /// The end user on whose behalf the client asks, as an opaque id.
    pub user: Option<String>,
    /// Whether the answer is to come as events.
    pub stream: bool,
    /// Parameters that the client set and that have no form here.
    pub others: Vec<Other>,
}

impl Request {
    /// Whether a call of a tool is demanded.
    pub fn forces_tools(&self) -> bool {
        let forced = matches!(self.tool_choice, Some(ToolChoice::Required | ToolChoice::Tool(_)));
        forced && !self.tools.is_empty()
    }

    /// Has the answer begin with `text`: behind what the client may itself have begun it with.
    pub fn begin_answer(&mut self, text: &str) {
        let begun = self.messages.last_mut().filter(|message| message.role == Role::Assistant);
        let last = begun.and_then(|message| message.parts.last_mut());
        if let Some(Part { content: Content::Text(beginning), .. }) = last {
            beginning.push_str(text);
        } else {
            let part = Part { content: Content::Text(text.to_owned()), cache: None };
            self.messages.push(Message { role: Role::Assistant, parts: vec![part] });
        }
    }

    /// Whether there is a picture anywhere in the conversation.
    pub fn has_image(&self) -> bool {
        fn any(parts: &[Part]) -> bool {
            parts.iter().any(|part| match &part.content {
                Content::Image { .. } => true,
                Content::ToolResult { parts, .. } => any(parts),
                _ => false,
            })
        }
        self.messages.iter().any(|message| any(&message.parts))
    }
}

/// A parameter without a form here. A vendor of another dialect never sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// The client's name for it: `prediction`.
    pub name: String,
    /// Whether leaving it out would change what was asked for, as with a tool that the vendor runs, or audio.
    pub essential: bool,
}

/// One turn of the conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Whose.
    pub role: Role,
    /// What it says. Results of tools stand in a user's message, before its text.
    pub parts: Vec<Part>,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The app: `system` or `developer`.
    System,
    /// The user, or a tool that answers.
    User,
    /// The model.
    Assistant,
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// What it is.
    pub content: Content,
    /// A hint that the prompt up to here is worth caching. Vendors that cache by themselves need none: it is not missed there.
    pub cache: Option<Cache>,
}

/// How long a part of the prompt is to be cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// Five minutes.
    Short,
    /// An hour.
    Long,
}

/// What a part of a message is.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Text.
    Text(String),
    /// A picture.
    Image {
        /// Where it is.
        source: Source,
        /// `OpenAI`'s hint: `low`, `high`, `auto`.
        detail: Option<String>,
    },
    /// A document, such as a PDF.
    Document {
        /// Where it is.
        source: Source,
        /// Its file name or title.
        name: Option<String>,
    },
    /// The model's thinking.
    Thinking {
        /// In its words; may be empty where the vendor shows none.
        text: String,
        /// The vendor's proof that it is its own, without which it takes none back.
        signature: Option<String>,
    },
    /// Thinking that the vendor shows in encrypted form alone.
    RedactedThinking(String),
    /// The model declines, in its words.
    Refusal(String),
    /// The model calls a tool.
    ToolCall(ToolCall),
    /// A tool answers.
    ToolResult {
        /// The call that it answers.
        id: String,
        /// Text and images.
        parts: Vec<Part>,
        /// Whether the tool failed.
        is_error: bool,
    },
    /// Something with no form here, by the client's name for it: `input_audio`. No vendor of another dialect can be asked.
    Other(String),
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// What its result refers to.
    pub id: String,
    /// The tool.
    pub name: String,
    /// A JSON object as text, as the model wrote it: it may be cut or not be JSON at all.
    pub arguments: String,
    /// The vendor's proof of the thinking behind it (Gemini's `thoughtSignature`).
    pub signature: Option<String>,
}

/// Where an image or a document is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// For the vendor to fetch.
    Url(String),
    /// In the request.
    Base64 {
        /// `image/png`.
        media_type: String,
        /// In base64.
        data: String,
    },
}

impl Source {
    /// A URL for the vendor to fetch, or what a `data:` URL holds.
    pub fn of_url(url: String) -> Self {
        let held = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
        match held {
            Some((kind, data)) => {
                let media_type = kind.split(';').next().unwrap_or_default().to_owned();
                Self::Base64 { media_type, data: data.to_owned() }
            }
            None => Self::Url(url),
        }
    }
}

/// A tool that the client runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// What the model calls it.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The JSON schema of its arguments; `None`: it takes none.
    pub parameters: Option<Json>,
    /// Whether arguments must fit the schema exactly.
    pub strict: Option<bool>,
    /// A hint that the prompt up to here is worth caching.
    pub cache: Option<Cache>,
}

/// Which tools the model must call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    /// As it likes.
    Auto,
    /// None.
    Forbidden,
    /// At least one.
    Required,
    /// This one.
    Tool(String),
}

/// The form of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    /// Any JSON.
    Json,
    /// JSON by a schema.
    Schema {
        /// What the schema is called.
        name: Option<String>,
        /// What it is for.
        description: Option<String>,
        /// The JSON schema.
        schema: Json,
        /// Whether the answer must fit it exactly.
        strict: Option<bool>,
    },
}

/// How a model is to think before it answers. Both `None`: it is to think, as the vendor likes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Thinking {
    /// How hard, in words.
    pub effort: Option<Effort>,
    /// How long, in tokens; 0 is not at all.
    pub budget_tokens: Option<u64>,
}

/// How hard a model is to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Not at all.
    None,
    /// Hardly.
    Minimal,
    /// A little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// As much as the vendor offers (`xhigh`, `max`).
    Max,
}

impl Effort {
    /// The effort that vendors call by this word.
    pub fn named(word: &str) -> Option<Self> {
        Some(match word {
            "none" => Self::None,
            "minimal" => Self::Minimal,
            "low" => Self::Low,
            "medium" => Self::Medium,
            "high" => Self::High,
            "xhigh" | "max" => Self::Max,
            _ => return None,
        })
    }
}

impl Thinking {
    /// The budget that stands for it, in tokens; `None` leaves it to the vendor. Where only an effort is known, the numbers are
    /// those of Google's `OpenAI` compatibility: minimal and low are 1024, medium 8192, high 24 576.
    pub fn budget(self) -> Option<u64> {
        let of_effort = |effort| match effort {
            Effort::None => 0,
            Effort::Minimal | Effort::Low => 1024,
            Effort::Medium => 8192,
            Effort::High | Effort::Max => 24_576,
        };
        self.budget_tokens.or_else(|| self.effort.map(of_effort))
    }

    /// The effort that stands for it; `None` leaves it to the vendor. The inverse of [`budget`](Self::budget), rounded up.
    pub fn effort(self) -> Option<Effort> {
        let of_budget = |tokens| match tokens {
            0 => Effort::None,
            1..=1024 => Effort::Low,
            1025..=8192 => Effort::Medium,
            _ => Effort::High,
        };
        self.effort.or_else(|| self.budget_tokens.map(of_budget))
    }

    /// Whether the model is told not to think.
    pub fn is_off(self) -> bool {
        self.effort == Some(Effort::None) || self.budget_tokens == Some(0)
    }
}

/// A JSON value that goes through as it was written: the order of a schema's properties means something to a model.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// Keeps a value that was borrowed from a body.
    pub fn keep(raw: &RawValue) -> Self {
        Self(raw.to_owned())
    }

    /// A value of our own.
    pub fn of(value: &impl Serialize) -> Self {
        Self(serde_json::value::to_raw_value(value).expect("our own types always have a JSON form"))
    }

    /// Its text.
    pub fn text(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

// === What a target can do ===

/// What is known of a target when a request is written for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a capability of its own")]
pub struct Abilities {
    /// It can call tools.
    pub tools: bool,
    /// It can see images.
    pub vision: bool,
    /// It can keep to a JSON schema.
    pub json_schema: bool,
    /// It goes on from an assistant's message at the end of the conversation.
    pub prefill: bool,
    /// It can think before it answers.
    pub thinking: bool,
    /// It can be told not to.
    pub thinking_off: bool,
    /// It can be told that it must call a tool.
    pub forced_tools: bool,
    /// The longest answer to ask for where the dialect demands a limit and the client sets none, in tokens.
    pub max_output: u64,
}

impl Abilities {
    /// What of a request this target is known to refuse, be it in words of its own dialect or of another.
    ///
    /// # Errors
    ///
    /// The first thing that must not be left out.
    pub fn check(&self, request: &Request) -> Result<(), Unsupported> {
        let lacking = if !self.tools && !request.tools.is_empty() {
            "tools"
        } else if !self.vision && request.has_image() {
            "vision"
        } else if !self.json_schema && matches!(request.format, Some(Format::Schema { .. })) {
            "json_schema"
        } else if !self.forced_tools && request.forces_tools() {
            "tool_choice"
        } else {
            return Ok(());
        };
        Err(Unsupported(lacking.to_owned()))
    }

    /// Whether this target can think as it is told to, or not to.
    pub fn can_think(&self, thinking: Thinking) -> bool {
        self.thinking && (self.thinking_off || !thinking.is_off())
    }
}

/// Something that a target cannot honour and that must not be left out: `tools`, `messages.image`, `n`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported(pub String);

/// A request as a vendor takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The body to send.
    pub body: Bytes,
    /// The client's parameters that the vendor has no form for, and that were left out.
    pub dropped: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effort_stands_for_a_budget_and_a_budget_for_an_effort() {
        for (effort, tokens) in [(Effort::None, 0), (Effort::Low, 1024), (Effort::Medium, 8192), (Effort::High, 24_576)]
        {
            let told_effort = Thinking { effort: Some(effort), budget_tokens: None };
            let told_budget = Thinking { effort: None, budget_tokens: Some(tokens) };
            assert_eq!((told_effort.budget(), told_effort.effort()), (Some(tokens), Some(effort)));
            assert_eq!((told_budget.budget(), told_budget.effort()), (Some(tokens), Some(effort)));
        }
        assert_eq!((Thinking::default().budget(), Thinking::default().effort()), (None, None));
    }
}
