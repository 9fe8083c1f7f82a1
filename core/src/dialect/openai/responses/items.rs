//! The items of a response, as clients read them.

use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::echo::Echo;
use crate::dialect::chat::{Json, Stamp};

/// How far a response or an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    InProgress,
    Completed,
    Incomplete,
    Failed,
}

/// Something that the model brought forth.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Item {
    Reasoning {
        id: String,
        status: Status,
        summary: Vec<Piece>,
        encrypted_content: Option<String>,
    },
    Message {
        id: String,
        status: Status,
        role: &'static str,
        content: Vec<Piece>,
    },
    FunctionCall {
        id: String,
        status: Status,
        call_id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        name: String,
        arguments: String,
    },
}

/// A part of an item.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Piece {
    SummaryText { text: String },
    OutputText { text: String, annotations: [u8; 0], logprobs: Vec<Scored> },
    Refusal { refusal: String },
}

/// A token, how likely it was, and what else was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Scored {
    token: String,
    logprob: Number,
    /// Chat completions may have `null` here, which this API does not know.
    #[serde(default)]
    bytes: Option<Vec<u8>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<Vec<Self>>,
}

/// The names of the events about a part, in their order.
pub(super) struct Names {
    pub(super) added: &'static str,
    pub(super) delta: &'static str,
    pub(super) done: &'static str,
    pub(super) part_done: &'static str,
}

/// Names items after the request and their place, and functions as the client does.
pub(super) struct Namer<'a> {
    pub(super) stamp: &'a Stamp,
    pub(super) echo: &'a Echo,
}

impl Item {
    pub(super) fn reasoning(namer: &Namer<'_>, place: usize) -> Self {
        let id = namer.name("rs", place);
        Self::Reasoning { id, status: Status::InProgress, summary: Vec::new(), encrypted_content: None }
    }

    pub(super) fn message(namer: &Namer<'_>, place: usize) -> Self {
        let id = namer.name("msg", place);
        Self::Message { id, status: Status::InProgress, role: "assistant", content: Vec::new() }
    }

    /// A call by the vendor's id, or by ours where it gave none: a result could not refer to it otherwise.
    pub(super) fn call(namer: &Namer<'_>, place: usize, call_id: &str, name: &str, arguments: String) -> Self {
        let (namespace, name) = match namer.echo.spaced.get(name) {
            Some(spaced) => (Some(spaced.namespace.clone()), &*spaced.name),
            None => (None, name),
        };
        Self::FunctionCall {
            id: namer.name("fc", place),
            status: Status::InProgress,
            call_id: if call_id.is_empty() { namer.name("call", place) } else { call_id.to_owned() },
            namespace,
            name: name.to_owned(),
            arguments,
        }
    }

    pub(super) fn id(&self) -> &str {
        match self {
            Self::Reasoning { id, .. } | Self::Message { id, .. } | Self::FunctionCall { id, .. } => id,
        }
    }

    pub(super) fn set_status(&mut self, to: Status) {
        match self {
            Self::Reasoning { status, .. } | Self::Message { status, .. } | Self::FunctionCall { status, .. } => {
                *status = to;
            }
        }
    }

    /// The parts of what is said or thought; a call has none.
    pub(super) fn pieces_mut(&mut self) -> Option<&mut Vec<Piece>> {
        match self {
            Self::Reasoning { summary: pieces, .. } | Self::Message { content: pieces, .. } => Some(pieces),
            Self::FunctionCall { .. } => None,
        }
    }

    pub(super) fn pieces(&self) -> &[Piece] {
        match self {
            Self::Reasoning { summary: pieces, .. } | Self::Message { content: pieces, .. } => pieces,
            Self::FunctionCall { .. } => &[],
        }
    }

    /// Whether a vendor's proof says that it is whole, however the answer went on.
    pub(super) fn is_sealed(&self) -> bool {
        matches!(self, Self::Reasoning { encrypted_content: Some(_), .. })
    }

    /// Gives reasoning what the client is to keep; nothing else has a place for it.
    pub(super) fn set_encrypted(&mut self, written: String) {
        if let Self::Reasoning { encrypted_content, .. } = self {
            *encrypted_content = Some(written);
        }
    }
}

impl Piece {
    pub(super) fn summary() -> Self {
        Self::SummaryText { text: String::new() }
    }

    pub(super) fn text() -> Self {
        Self::OutputText { text: String::new(), annotations: [], logprobs: Vec::new() }
    }

    pub(super) fn refusal() -> Self {
        Self::Refusal { refusal: String::new() }
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self, Self::OutputText { .. })
    }

    /// What the events about it are called.
    pub(super) fn names(&self) -> Names {
        let (added, part_done) = match self {
            Self::SummaryText { .. } => {
                ("response.reasoning_summary_part.added", "response.reasoning_summary_part.done")
            }
            Self::OutputText { .. } | Self::Refusal { .. } => {
                ("response.content_part.added", "response.content_part.done")
            }
        };
        let (delta, done) = match self {
            Self::SummaryText { .. } => {
                ("response.reasoning_summary_text.delta", "response.reasoning_summary_text.done")
            }
            Self::OutputText { .. } => ("response.output_text.delta", "response.output_text.done"),
            Self::Refusal { .. } => ("response.refusal.delta", "response.refusal.done"),
        };
        Names { added, delta, done, part_done }
    }

    pub(super) fn saying(mut self, words: &str) -> Self {
        self.words_mut().push_str(words);
        self
    }

    pub(super) fn logprobs_mut(&mut self) -> Option<&mut Vec<Scored>> {
        if let Self::OutputText { logprobs, .. } = self { Some(logprobs) } else { None }
    }

    pub(super) fn words(&self) -> &str {
        match self {
            Self::SummaryText { text } | Self::OutputText { text, .. } | Self::Refusal { refusal: text } => text,
        }
    }

    pub(super) fn words_mut(&mut self) -> &mut String {
        match self {
            Self::SummaryText { text } | Self::OutputText { text, .. } | Self::Refusal { refusal: text } => text,
        }
    }

    /// Whether both are of one kind, so that what is said goes on in the piece that is there.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl Scored {
    /// Reads log probabilities in the form of chat completions. What does not read is left out: it never spoils an answer.
    pub(super) fn read(json: &Json) -> Vec<Self> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default)]
            content: Option<Vec<Scored>>,
        }
        let wire = serde_json::from_str::<Wire>(json.text()).ok();
        let mut found = wire.and_then(|wire| wire.content).unwrap_or_default();
        for logprob in &mut found {
            logprob.top_logprobs.get_or_insert_default().iter_mut().for_each(Self::complete);
            logprob.complete();
        }
        found
    }

    fn complete(&mut self) {
        self.bytes.get_or_insert_with(|| self.token.as_bytes().to_vec());
    }
}

impl Namer<'_> {
    pub(super) fn response(&self) -> String {
        format!("resp_{}", self.stamp.request_id)
    }

    fn name(&self, kind: &str, place: usize) -> String {
        format!("{kind}_{}_{place}", self.stamp.request_id)
    }
}
