//! Answers in the terms that all dialects share: whole, or as what happens in a stream.

use bytes::Bytes;

use super::{Content, Json};
use crate::dialect::VendorError;
use crate::dialect::sse::EventTooLarge;
use crate::price::{self, Picodollars, Price, Usage};
use crate::time::Timestamp;

/// An answer that is not streamed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reply {
    /// The vendor's name for it.
    pub id: String,
    /// The model that answered, as the vendor says.
    pub model: String,
    /// At least one, in their order.
    pub choices: Vec<Choice>,
    /// The tokens that it took.
    pub usage: Option<Usage>,
}

/// One of the answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Thinking, text, refusals and tool calls, in their order.
    pub parts: Vec<Content>,
    /// Why it ended.
    pub stop: Stop,
    /// Log probabilities in `OpenAI`'s form: `{"content":[{"token","logprob","bytes","top_logprobs"}]}`.
    pub logprobs: Option<Json>,
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// It was complete.
    End,
    /// It met one of the texts that end it; which, where the vendor says.
    Sequence(Option<String>),
    /// It was as long as it may be.
    Length,
    /// It calls tools and waits for them.
    Tools,
    /// The vendor's content filter stopped it.
    Filtered,
    /// The model declined.
    Refusal,
    /// The vendor paused a long turn: the client is to send it back to go on (Anthropic's `pause_turn`).
    Pause,
}

/// What happens in a stream. A stream that is translated has one choice.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// It begins. Comes once, before anything else but pings.
    Begin {
        /// The vendor's name for the answer.
        id: String,
        /// The model that answers, as the vendor says.
        model: String,
        /// What the vendor has counted so far, where it says: Anthropic tells the prompt's tokens here.
        usage: Option<Usage>,
    },
    /// The vendor is still there.
    Ping,
    /// More of the answer's text.
    Text(String),
    /// More of the model's thinking.
    Thinking(String),
    /// The proof of the thinking so far.
    Signature(String),
    /// A whole block of thinking in encrypted form.
    RedactedThinking(String),
    /// More of a refusal.
    Refusal(String),
    /// A call of a tool begins. Calls are counted from 0.
    ToolCall {
        /// Which call.
        call: u32,
        /// What its result refers to.
        id: String,
        /// The tool.
        name: String,
        /// As in [`ToolCall::signature`](super::ToolCall::signature).
        signature: Option<String>,
    },
    /// More of a call's arguments, as text.
    Arguments {
        /// Which call.
        call: u32,
        /// A piece of a JSON object.
        json: String,
    },
    /// Log probabilities of the text just before it, in `OpenAI`'s form.
    Logprobs(Json),
    /// Why it ended. Nothing of the answer comes after it, but usage may.
    Stop(Stop),
    /// What the vendor counted in all; the last one counts.
    Usage(Usage),
    /// An error inside the stream.
    Error(VendorError),
}

impl Delta {
    /// Whether it is a piece of the answer: a beginning or a ping is not.
    pub fn is_content(&self) -> bool {
        match self {
            Self::Text(text) | Self::Thinking(text) | Self::Refusal(text) => !text.is_empty(),
            Self::RedactedThinking(_) | Self::ToolCall { .. } | Self::Arguments { .. } => true,
            _ => false,
        }
    }
}

/// A vendor's stream, read as it arrives: bytes in, [`Delta`]s out. Bounded in memory; what does not read is counted.
pub trait Decode: std::fmt::Debug + Send {
    /// Takes the next piece, of any size. Take all deltas before the next one is pushed.
    fn push(&mut self, piece: Bytes);

    /// The next thing that happened.
    ///
    /// # Errors
    ///
    /// An event that is larger than an event may be: the stream cannot be read on.
    fn next_delta(&mut self) -> Result<Option<Delta>, EventTooLarge>;

    /// Whether the vendor has said that nothing comes any more: `[DONE]`, `message_stop`.
    fn is_done(&self) -> bool;

    /// Events that did not read, and were left out.
    fn malformed(&self) -> u32;
}

/// A client's stream, written as it happens.
pub trait Encode: std::fmt::Debug + Send {
    /// Writes what a delta comes to in the client's dialect; may be nothing yet. Errors and usage are not for it: the first end
    /// the stream, the second is for [`end`](Self::end).
    fn encode(&mut self, delta: &Delta, out: &mut Vec<u8>);

    /// Writes the stream's good end: what was held back for it, the usage, the terminator.
    fn end(&mut self, usage: Option<Usage>, out: &mut Vec<u8>);

    /// Another vendor goes on with the answer: what is counted from here on is its, at its price.
    fn hand_over(&mut self, price: Option<Price>);

    /// Writes how a stream ends that breaks off, where the dialect has more to say than one event that stands for itself.
    /// `false`: it has not, and nothing was written.
    fn fail(&mut self, kind: &str, code: &str, message: &str, out: &mut Vec<u8>) -> bool {
        let _ = (kind, code, message, out);
        false
    }
}

/// What an answer is marked with, beside what the vendor said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The gateway's name for the request, for dialects whose ids the vendor did not give.
    pub request_id: String,
    /// When the request came.
    pub at: Timestamp,
    /// What the target's tokens cost, for `usage.cost`.
    pub price: Option<Price>,
    /// Whether an `OpenAI` client asked for the usage at the end of its stream.
    pub wants_usage: bool,
}

impl Stamp {
    /// What `usage` cost, where that is known.
    pub fn cost(&self, usage: Usage) -> Option<Picodollars> {
        price::cost(self.price, usage)
    }

    /// When the request came, in seconds since the Unix epoch.
    pub fn created(&self) -> u64 {
        self.at.0 / 1000
    }
}
