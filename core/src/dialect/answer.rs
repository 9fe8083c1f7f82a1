//! A vendor's answer on its way to a client: what it says, and the bytes that the client is sent.

use bytes::Bytes;

use super::chat::{Choice, Content, Decode, Delta, Encode, Reply, Stamp, Stop};
use super::openai::{completions, responses};
use super::{
    Dialect, Operation, Prepared, Reading, Remains, Request, Rescue, Stream, Surface, VendorError, anthropic, gemini,
    openai,
};
use crate::price::Usage;
use crate::time::Timestamp;

/// How the answer to one attempt is read, and written for the client. Settled by who asks, and who is asked.
#[derive(Debug)]
pub struct Reader {
    surface: Surface,
    dialect: Dialect,
    operation: Operation,
    goes_through: bool,
    one_choice: bool,
    /// Whether streams are kept track of, for another vendor to go on with.
    tracks: bool,
    stamp: Stamp,
    /// What the answer repeats of the request.
    repeats: Repeats,
}

/// What an answer in the client's dialect repeats of its request.
#[derive(Debug)]
enum Repeats {
    Nothing,
    Embeddings { shape: gemini::EmbedShape, model: String },
    Responses(Box<responses::Echo>),
}

/// The whole body of an answer to `request` that consists of `text` and took no tokens, in the client's dialect.
pub fn say(request: &Request, request_id: String, at: Timestamp, text: &str) -> Bytes {
    let stamp = Stamp { request_id, at, price: None, wants_usage: request.wants_usage };
    let nothing = Prepared { operation: request.operation(), body: Bytes::new(), dropped: Vec::new() };
    let reader = Reader::new(request, &nothing, Dialect::OpenAi, &request.model, stamp);
    let (id, model) = (format!("chatcmpl-{}", reader.stamp.request_id), request.model.clone());
    if !request.stream {
        let choice = Choice { parts: vec![Content::Text(text.to_owned())], stop: Stop::End, logprobs: None };
        return reader.write(&Reply { id, model, choices: vec![choice], usage: Some(Usage::default()) });
    }
    let (mut encoder, mut events) = (reader.encoder(), Vec::new());
    for delta in [Delta::Begin { id, model, usage: None }, Delta::Text(text.to_owned()), Delta::Stop(Stop::End)] {
        encoder.encode(&delta, &mut events);
    }
    encoder.end(Some(Usage::default()), &mut events);
    events.into()
}

impl Dialect {
    /// Reads an error.
    pub fn read_error(self, body: &[u8]) -> VendorError {
        match self {
            Self::OpenAi => openai::read_error(body),
            Self::Anthropic => anthropic::read_error(body),
            Self::Gemini => gemini::read_error(body),
        }
    }
}

impl Reader {
    /// A reader for the answer of a vendor of this dialect, who calls its model `upstream` and was asked `prepared`.
    pub fn new(request: &Request, prepared: &Prepared, dialect: Dialect, upstream: &str, stamp: Stamp) -> Self {
        let goes_through = request.goes_through(dialect);
        let repeats = match request.surface {
            Surface::Embeddings if !goes_through => match gemini::embed_shape(request.body()) {
                Ok(shape) => Repeats::Embeddings { shape, model: upstream.to_owned() },
                Err(_) => Repeats::Nothing,
            },
            Surface::Responses => Repeats::Responses(Box::new(responses::Echo::read(request.body()))),
            _ => Repeats::Nothing,
        };
        let (surface, operation, one_choice) = (request.surface, prepared.operation, request.one_choice);
        Self { surface, dialect, operation, goes_through, one_choice, tracks: false, stamp, repeats }
    }

    /// The same, but keeping track of streams, so that another vendor can go on with them. That takes our own encoder, also
    /// where both speak one dialect; a stream of several choices has none.
    #[must_use]
    pub fn tracking(self) -> Self {
        Self { tracks: self.one_choice, ..self }
    }

    /// Whether the vendor's own bytes go to the client.
    pub fn goes_through(&self) -> bool {
        self.goes_through
    }

    /// Reads an error.
    pub fn error(&self, body: &[u8]) -> VendorError {
        self.dialect.read_error(body)
    }

    /// Reads a whole answer, and says what the client is sent if it is one.
    pub fn whole(&self, body: Bytes) -> (Reading, Bytes) {
        match self.operation {
            Operation::CountTokens => self.count(body),
            _ if self.goes_through => self.pass(body),
            Operation::Chat | Operation::Stream => self.translate(body),
            Operation::Embed | Operation::EmbedMany => self.embeddings(body),
        }
    }

    /// Begins to read a stream.
    pub fn stream(&self) -> Stream {
        let Stamp { wants_usage, price, .. } = self.stamp;
        if self.tracks {
            return Stream::tracked(self.decoder(), self.encoder());
        }
        match (self.goes_through, self.dialect) {
            (true, Dialect::OpenAi) => Stream::OpenAi(openai::Watcher::new(wants_usage, self.one_choice, price)),
            (true, Dialect::Anthropic) => Stream::Anthropic(anthropic::Watcher::new(price)),
            (true, Dialect::Gemini) | (false, _) => Stream::translated(self.decoder(), self.encoder()),
        }
    }

    /// Begins to read a stream that goes on where another vendor's broke off.
    pub fn resume(&self, mut remains: Remains, rescue: Rescue) -> Stream {
        remains.encoder.hand_over(self.stamp.price);
        Stream::resumed(self.decoder(), remains, rescue)
    }

    fn decoder(&self) -> Box<dyn Decode> {
        match self.dialect {
            Dialect::OpenAi => Box::new(openai::Decoder::default()),
            Dialect::Anthropic => Box::new(anthropic::Decoder::default()),
            Dialect::Gemini => Box::new(gemini::Decoder::default()),
        }
    }

    fn encoder(&self) -> Box<dyn Encode> {
        let stamp = self.stamp.clone();
        match (self.surface, &self.repeats) {
            (Surface::Messages | Surface::CountTokens, _) => Box::new(anthropic::Encoder::new(stamp)),
            (Surface::Completions, _) => Box::new(completions::Encoder::new(stamp)),
            (Surface::Responses, Repeats::Responses(echo)) => {
                Box::new(responses::Encoder::new((**echo).clone(), stamp))
            }
            (Surface::Chat | Surface::Embeddings | Surface::Responses, _) => Box::new(openai::Encoder::new(stamp)),
        }
    }

    /// Passes an answer on as it came, with what it cost put in.
    fn pass(&self, body: Bytes) -> (Reading, Bytes) {
        // Readers look at what they need of it alone. A client reads all, and JSON that is no text is none.
        let Ok(text) = str::from_utf8(&body) else { return (Reading::Malformed, body) };
        let (reading, place) = match self.dialect {
            Dialect::OpenAi => openai::read_reply_and_place(self.operation, text),
            _ => (self.light(&body), None),
        };
        let usage = match &reading {
            Reading::Answer(usage) | Reading::Filtered(usage) => *usage,
            _ => None,
        };
        let body = match (usage.and_then(|usage| self.stamp.cost(usage)), self.dialect, place) {
            (Some(cost), Dialect::OpenAi, Some(place)) => openai::with_cost_at(&body, place, cost),
            (Some(cost), Dialect::Anthropic, _) => anthropic::with_cost(body, cost),
            _ => body,
        };
        (reading, body)
    }

    /// What an answer is, without a look at what it says.
    fn light(&self, body: &[u8]) -> Reading {
        match self.dialect {
            Dialect::OpenAi => openai::read_reply(self.operation, body),
            Dialect::Anthropic => anthropic::read_reply(body),
            Dialect::Gemini => gemini::read_reply(body),
        }
    }

    fn translate(&self, body: Bytes) -> (Reading, Bytes) {
        let reply = match self.dialect {
            Dialect::OpenAi => openai::read_chat(&body),
            Dialect::Anthropic => anthropic::read_chat(&body),
            Dialect::Gemini => gemini::read_chat(&body),
        };
        // What is no answer is looked at again, for what it is instead.
        let Some(reply) = reply else {
            let reading = match self.light(&body) {
                Reading::Answer(_) => Reading::Malformed,
                reading => reading,
            };
            return (reading, body);
        };
        let is_filtered = reply.choices.iter().any(|choice| choice.stop == Stop::Filtered);
        let reading = if is_filtered { Reading::Filtered(reply.usage) } else { Reading::Answer(reply.usage) };
        (reading, self.write(&reply))
    }

    fn write(&self, reply: &Reply) -> Bytes {
        match (self.surface, &self.repeats) {
            (Surface::Messages | Surface::CountTokens, _) => anthropic::write_reply(reply, &self.stamp),
            (Surface::Completions, _) => completions::write_reply(reply, &self.stamp),
            (Surface::Responses, Repeats::Responses(echo)) => responses::write_reply(reply, echo, &self.stamp),
            (Surface::Chat | Surface::Embeddings | Surface::Responses, _) => openai::write_reply(reply, &self.stamp),
        }
    }

    fn count(&self, body: Bytes) -> (Reading, Bytes) {
        let counted = match self.dialect {
            Dialect::Gemini => gemini::read_count(&body),
            Dialect::Anthropic | Dialect::OpenAi => anthropic::read_count(&body),
        };
        match counted {
            Some(_) if self.goes_through => (Reading::Answer(None), body),
            Some(tokens) => (Reading::Answer(None), anthropic::write_count(tokens)),
            None if body.trim_ascii().is_empty() => (Reading::Empty, body),
            None => (Reading::Malformed, body),
        }
    }

    fn embeddings(&self, body: Bytes) -> (Reading, Bytes) {
        let read = match &self.repeats {
            Repeats::Embeddings { shape, model } => gemini::read_embed(&body, *shape, model, &self.stamp),
            Repeats::Nothing | Repeats::Responses(_) => None,
        };
        match read {
            Some((list, usage)) => (Reading::Answer(usage), list),
            None if body.trim_ascii().is_empty() => (Reading::Empty, body),
            None => (Reading::Malformed, body),
        }
    }
}
