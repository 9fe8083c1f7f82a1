//! The completions of old: a prompt is one message of a chat.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::DONE;
use super::encode::{append, chunk_head};
use super::read_request::{Others, sampling};
use super::reasoning;
use super::usage::WireUsage;
use super::write_reply::{finish_reason, id};
use crate::dialect::BadRequest;
use crate::dialect::chat::{Choice, Content, Delta, Encode, Json, Message, Part, Reply, Request, Role, Stamp, Stop};
use crate::dialect::fields::Fields;
use crate::price::{Price, Usage};

/// How long an answer is whose client sets no limit, in tokens: `OpenAI`'s default.
const MAX_TOKENS: u64 = 16;

/// Reads a body.
pub fn read_request(body: &[u8]) -> Result<Request, BadRequest> {
    let mut fields = Fields::read(body)?;
    let mut request = sampling(&mut fields)?;
    let missing = || bad("prompt", "You must provide `prompt`.");
    let text = prompt(fields.take_raw("prompt").ok_or_else(missing)?)?;
    request.messages =
        vec![Message { role: Role::User, parts: vec![Part { content: Content::Text(text), cache: None }] }];
    request.max_tokens = Some(fields.take("max_tokens")?.unwrap_or(MAX_TOKENS));
    request.logprobs = fields.take("logprobs")?;
    if fields.take("echo")?.unwrap_or(false) {
        return Err(bad("echo", "`echo` is not supported: put the prompt before the answer yourself."));
    }
    if fields.take::<String>("suffix")?.is_some_and(|suffix| !suffix.is_empty()) {
        return Err(bad(
            "suffix",
            "`suffix` is not supported: no chat model is asked for what stands between two texts.",
        ));
    }
    let best_of: Option<u32> = fields.take("best_of")?;
    if best_of.is_some_and(|best_of| best_of > request.choices.unwrap_or(1)) {
        return Err(bad("best_of", "`best_of` is not supported: ask for all of them with `n` and choose."));
    }
    let mut others = Others::default();
    others.rest(fields);
    request.others = others.0;
    Ok(request)
}

fn prompt(raw: &RawValue) -> Result<String, BadRequest> {
    if let Some(text) = reasoning::text(raw) {
        return Ok(text);
    }
    let Ok(mut texts) = serde_json::from_str::<Vec<String>>(raw.get()) else {
        let message = "`prompt` must be a string: tokens mean nothing to the models that can be asked here.";
        return Err(bad("prompt", message));
    };
    match (texts.pop(), texts.is_empty()) {
        (Some(only), true) => Ok(only),
        _ => Err(bad("prompt", "`prompt` must be one text: send one request for each.")),
    }
}

fn bad(param: &'static str, message: &str) -> BadRequest {
    BadRequest { message: message.to_owned(), param: Some(param) }
}

// === Answers ===

#[derive(Serialize)]
struct WireReply<'a> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<WireChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<WireUsage>,
}

#[derive(Default, Serialize)]
struct WireChoice<'a> {
    text: &'a str,
    index: usize,
    logprobs: Option<Columns<'a>>,
    finish_reason: Option<&'static str>,
}

/// Writes a whole answer. Thinking and calls have no place in it.
pub fn write_reply(reply: &Reply, stamp: &Stamp) -> Bytes {
    let texts: Vec<String> = reply.choices.iter().map(text).collect();
    let choices = reply.choices.iter().zip(&texts).enumerate().map(|(index, (choice, text))| WireChoice {
        text,
        index,
        logprobs: choice.logprobs.as_ref().and_then(|logprobs| Columns::read(logprobs, &mut 0)),
        finish_reason: Some(why(&choice.stop)),
    });
    let wire = WireReply {
        id: id(&reply.id, "cmpl", stamp),
        object: "text_completion",
        created: stamp.created(),
        model: &reply.model,
        choices: choices.collect(),
        usage: reply.usage.map(|usage| WireUsage::new(usage, stamp)),
    };
    serde_json::to_vec(&wire).expect("our own types always have a JSON form").into()
}

fn text(choice: &Choice) -> String {
    let texts = choice.parts.iter().filter_map(|part| match part {
        Content::Text(text) | Content::Refusal(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

fn why(stop: &Stop) -> &'static str {
    match stop {
        // Who has sent no tools has no word for a call.
        Stop::Tools => "stop",
        stop => finish_reason(stop, true),
    }
}

/// Log probabilities in the form of old, which was laid out in columns.
#[derive(Debug, Serialize)]
struct Columns<'a> {
    tokens: Vec<String>,
    token_logprobs: Vec<&'a RawValue>,
    top_logprobs: Vec<Top<'a>>,
    /// Where each token begins in the answer, in characters.
    text_offset: Vec<usize>,
}

/// The likeliest tokens and their log probabilities, as the members of an object.
#[derive(Debug)]
struct Top<'a>(Vec<Likely<'a>>);

#[derive(Debug, Deserialize)]
struct Likely<'a> {
    token: String,
    #[serde(borrow)]
    logprob: &'a RawValue,
    #[serde(borrow, default)]
    top_logprobs: Vec<Self>,
}

impl<'a> Columns<'a> {
    /// From the form of chats. `offset` is where the first token begins, and then where the next one will.
    fn read(logprobs: &'a Json, offset: &mut usize) -> Option<Self> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(borrow, default)]
            content: Option<Vec<Likely<'a>>>,
        }

        let wire: Wire<'a> = serde_json::from_str(logprobs.text()).ok()?;
        let mut columns =
            Self { tokens: Vec::new(), token_logprobs: Vec::new(), top_logprobs: Vec::new(), text_offset: Vec::new() };
        for token in wire.content? {
            columns.text_offset.push(*offset);
            *offset += token.token.chars().count();
            columns.tokens.push(token.token);
            columns.token_logprobs.push(token.logprob);
            columns.top_logprobs.push(Top(token.top_logprobs));
        }
        Some(columns)
    }
}

impl Serialize for Top<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|token| (&token.token, token.logprob)))
    }
}

// === Streams ===

/// Writes one stream.
#[derive(Debug)]
pub struct Encoder {
    stamp: Stamp,
    /// What every chunk begins with: `data: {"id":…,"choices":`.
    head: Vec<u8>,
    /// How much has been written, in characters.
    offset: usize,
}

impl Encoder {
    /// For the stream of one answer.
    pub fn new(stamp: Stamp) -> Self {
        Self { head: head("", "", &stamp), stamp, offset: 0 }
    }

    fn write(&self, choice: WireChoice<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        append(&[choice], out);
        out.extend_from_slice(if self.stamp.wants_usage { b",\"usage\":null}\n\n" } else { b"}\n\n" });
    }
}

impl Encode for Encoder {
    fn encode(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        match delta {
            Delta::Begin { id, model, .. } => self.head = head(id, model, &self.stamp),
            Delta::Text(text) | Delta::Refusal(text) => self.write(WireChoice { text, ..WireChoice::default() }, out),
            Delta::Logprobs(logprobs) => {
                if let Some(logprobs) = Columns::read(logprobs, &mut self.offset) {
                    self.write(WireChoice { logprobs: Some(logprobs), ..WireChoice::default() }, out);
                }
            }
            Delta::Stop(stop) => {
                self.write(WireChoice { finish_reason: Some(why(stop)), ..WireChoice::default() }, out);
            }
            // Nothing is written while the model thinks: that keeps the connection, too.
            Delta::Ping | Delta::Thinking(_) => out.extend_from_slice(b": tidegate\n\n"),
            Delta::Signature(_)
            | Delta::RedactedThinking(_)
            | Delta::ToolCall { .. }
            | Delta::Arguments { .. }
            | Delta::Usage(_)
            | Delta::Error(_) => {}
        }
    }

    fn end(&mut self, usage: Option<Usage>, out: &mut Vec<u8>) {
        if let Some(usage) = usage.filter(|_| self.stamp.wants_usage) {
            out.extend_from_slice(&self.head);
            out.extend_from_slice(b"[],\"usage\":");
            append(&WireUsage::new(usage, &self.stamp), out);
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(DONE);
    }

    fn hand_over(&mut self, price: Option<Price>) {
        self.stamp.price = price;
    }
}

fn head(vendors_id: &str, model: &str, stamp: &Stamp) -> Vec<u8> {
    chunk_head(&id(vendors_id, "cmpl", stamp), "text_completion", model, stamp)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::openai::tests::stamp;

    fn read(members: &str) -> Result<Request, BadRequest> {
        read_request(format!(r#"{{"model":"m",{members}}}"#).as_bytes())
    }

    #[test]
    fn a_prompt_is_one_message() {
        let request = read(
            r#""prompt":"Say this is a test","temperature":0,"stop":["\n"],"logprobs":2,"n":2,"best_of":2,"user":"u""#,
        )
        .unwrap();
        let content = Content::Text("Say this is a test".into());
        assert_eq!(request.messages, [Message { role: Role::User, parts: vec![Part { content, cache: None }] }]);
        assert_eq!((request.max_tokens, request.logprobs, request.choices), (Some(16), Some(2), Some(2)));
        assert_eq!((request.stop, request.user, request.others), (vec!["\n".to_owned()], Some("u".into()), vec![]));
        let request =
            read(r#""prompt":["only"],"max_tokens":7,"echo":false,"suffix":null,"logit_bias":{"50256":-100}"#).unwrap();
        assert_eq!((request.max_tokens, request.others[0].name.as_str()), (Some(7), "logit_bias"));
    }

    #[test]
    fn what_no_chat_can_do_is_refused_in_words() {
        for (members, param) in [
            (r#""prompt":[1,2]"#, "prompt"),
            (r#""prompt":[[1]]"#, "prompt"),
            (r#""prompt":["a","b"]"#, "prompt"),
            (r#""prompt":[]"#, "prompt"),
            (r#""temperature":1"#, "prompt"),
            (r#""prompt":"x","echo":true"#, "echo"),
            (r#""prompt":"x","suffix":"y""#, "suffix"),
            (r#""prompt":"x","best_of":3"#, "best_of"),
        ] {
            assert_eq!(read(members).unwrap_err().param, Some(param), "{members}");
        }
    }

    fn logprobs() -> Json {
        Json::of(&json!({"content": [
            {"token": "h", "logprob": -0.5, "bytes": [104], "top_logprobs": [{"token": "h", "logprob": -0.5}, {"token": "H", "logprob": -1.5}]},
            {"token": "é", "logprob": -1, "top_logprobs": []},
        ], "refusal": null}))
    }

    #[test]
    fn an_answer_in_the_form_of_old() {
        let parts = vec![Content::Thinking { text: "hm".into(), signature: None }, Content::Text("hé".into())];
        let reply = Reply {
            id: "x".into(),
            model: "m".into(),
            choices: vec![Choice { parts, stop: Stop::Length, logprobs: Some(logprobs()) }],
            usage: Some(Usage { input: 5, output: 7, ..Usage::default() }),
        };
        let written: Value = serde_json::from_slice(&write_reply(&reply, &stamp())).unwrap();
        let columns = json!({
            "tokens": ["h", "é"], "token_logprobs": [-0.5, -1], "text_offset": [0, 1],
            "top_logprobs": [{"h": -0.5, "H": -1.5}, {}],
        });
        let expected = json!([{"text": "hé", "index": 0, "logprobs": columns, "finish_reason": "length"}]);
        assert_eq!(written["choices"], expected);
        assert_eq!((&written["object"], &written["created"]), (&json!("text_completion"), &json!(1_700_000_000)));
        assert_eq!(written["usage"]["total_tokens"], 12);
    }

    #[test]
    fn a_stream_in_the_form_of_old() {
        let mut encoder = Encoder::new(stamp());
        let mut out = Vec::new();
        for delta in [
            Delta::Begin { id: String::new(), model: "m".into(), usage: None },
            Delta::Thinking("hm".into()),
            Delta::Text("hé".into()),
            Delta::Logprobs(logprobs()),
            Delta::Stop(Stop::Tools),
        ] {
            encoder.encode(&delta, &mut out);
        }
        encoder.end(Some(Usage { input: 1, ..Usage::default() }), &mut out);
        let stream = String::from_utf8(out).unwrap();
        let events: Vec<&str> = stream.trim_end().split("\n\n").collect();
        let head = r#"{"id":"cmpl-req","object":"text_completion","created":1700000000,"model":"m","choices":"#;
        assert_eq!(events[0], ": tidegate");
        let text = r#"[{"text":"hé","index":0,"logprobs":null,"finish_reason":null}],"usage":null}"#;
        assert_eq!(events[1], format!("data: {head}{text}"));
        assert!(events[2].contains(r#""text_offset":[0,1]"#), "{}", events[2]);
        assert!(events[3].ends_with(r#""finish_reason":"stop"}],"usage":null}"#), "{}", events[3]);
        assert!(events[4].contains(r#""choices":[],"usage":{"prompt_tokens":1"#), "{}", events[4]);
        assert_eq!(events[5..], ["data: [DONE]"]);
    }

    proptest! {
        #[test]
        fn any_bytes_read_as_something(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_request(&body);
        }
    }
}
