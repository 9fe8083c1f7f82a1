//! What translating a stream costs beside passing it through: `cargo run --release -p tidegate-core --example translation`.
//!
//! The core's whole work with one request whose answer is 20 chunks, from the request's bytes to the last of the answer's: reading
//! it, writing it for the vendor, and reading and writing the stream piece by piece. Figures are medians of rounds in which
//! all pairs take turns, in nanoseconds. With the name of a pair and a number, only that pair runs, so many times, and nothing is
//! timed: for tools that count instructions, which repeat where time does not:
//! `valgrind --tool=callgrind target/release/examples/translation anthropic-chat 1000`.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark reads the clock; the core does not"
)]

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use tidegate_core::config::{Config, Parameters, TargetId};
use tidegate_core::dialect::chat::Stamp;
use tidegate_core::dialect::{Dialect, Event, Reader, Request, Surface, prepare};
use tidegate_core::time::Timestamp;

const ROUNDS: usize = 41;
const TIMES: u32 = 500;
/// Pieces of text in an answer, each in a piece of its own as a model would write them.
const CHUNKS: usize = 20;

const CONFIG: &str = r#"{
  "vendors": {
    "openai": { "dialect": "openai", "base_url": "http://o.test/v1", "keys": [{ "env": "O" }] },
    "anthropic": { "dialect": "anthropic", "base_url": "http://a.test", "keys": [{ "env": "A" }] },
    "gemini": { "dialect": "gemini", "base_url": "http://g.test/v1beta", "keys": [{ "env": "G" }] }
  },
  "models": {
    "openai/m": { "price": { "input": 1.0, "output": 2.0 } },
    "anthropic/m": { "price": { "input": 1.0, "output": 2.0 } },
    "gemini/m": { "price": { "input": 1.0, "output": 2.0 } }
  },
  "routes": { "openai": { "models": ["openai/m"] }, "anthropic": { "models": ["anthropic/m"] }, "gemini": { "models": ["gemini/m"] } }
}"#;

/// Who answers, and in what words it was asked. The first one of each surface is what the others are compared with.
const PAIRS: [(Dialect, Surface, &str); 8] = [
    (Dialect::OpenAi, Surface::Chat, "openai-chat"),
    (Dialect::Anthropic, Surface::Chat, "anthropic-chat"),
    (Dialect::Gemini, Surface::Chat, "gemini-chat"),
    (Dialect::Anthropic, Surface::Messages, "anthropic-messages"),
    (Dialect::OpenAi, Surface::Messages, "openai-messages"),
    (Dialect::Gemini, Surface::Messages, "gemini-messages"),
    (Dialect::OpenAi, Surface::Responses, "openai-responses"),
    (Dialect::Anthropic, Surface::Responses, "anthropic-responses"),
];

fn main() {
    let secret = |name: &str| Some(format!("a-made-up-key-for-the-benchmark-{name}"));
    let config = Config::from_json(CONFIG, "translation.json", &secret).expect("the benchmark's own config is sound");
    let pairs: Vec<Pair<'_>> = PAIRS.iter().map(|(vendor, surface, _)| Pair::new(&config, *vendor, *surface)).collect();
    let mut args = std::env::args().skip(1);
    if let (Some(name), Some(times)) = (args.next(), args.next()) {
        let at = PAIRS.iter().position(|(.., known)| *known == name).expect("the name of a pair");
        return (0..times.parse().expect("a number")).for_each(|_| drop(pairs[at].carry()));
    }
    let mut rounds = vec![Vec::with_capacity(ROUNDS); pairs.len()];
    for _ in 0..ROUNDS {
        for (pair, times) in pairs.iter().zip(&mut rounds) {
            let begun = Instant::now();
            (0..TIMES).for_each(|_| drop(black_box(pair.carry())));
            times.push(begun.elapsed().as_nanos() / u128::from(TIMES));
        }
    }
    println!("a stream of {CHUNKS} chunks         ns");
    for ((.., name), times) in PAIRS.iter().zip(&mut rounds) {
        times.sort_unstable();
        println!("{name:<24} {:>9}", times[ROUNDS / 2]);
    }
}

/// One vendor's stream for one kind of client.
struct Pair<'c> {
    config: &'c Config,
    target: TargetId,
    surface: Surface,
    asked: Bytes,
    pieces: Vec<Bytes>,
}

impl<'c> Pair<'c> {
    fn new(config: &'c Config, vendor: Dialect, surface: Surface) -> Self {
        let is_of = |target: &usize| config.vendor_of(TargetId(*target)).dialect == vendor;
        let target = TargetId((0..config.targets.len()).find(is_of).expect("each dialect has a vendor in the config"));
        let (opening, closing) = ends(vendor);
        let chunks = (0..CHUNKS).map(|n| Bytes::from(chunk(vendor, n)));
        let pieces = std::iter::once(Bytes::from(opening)).chain(chunks).chain([Bytes::from(closing)]);
        let pair = Self { config, target, surface, asked: asked(surface), pieces: pieces.collect() };
        // A benchmark of something that does not work would measure nothing.
        let answer = pair.carry().concat();
        let said = |n| String::from_utf8_lossy(&answer).contains(&format!(" word{n:02}"));
        assert!((0..CHUNKS).all(said), "all words arrive");
        pair
    }

    /// From the request's bytes to the last of its answer's.
    fn carry(&self) -> Vec<Bytes> {
        let mut request = Request::read(self.surface, self.asked.clone()).expect("a sound request");
        request.wants_usage = true;
        let (target, vendor) = (self.config.target(self.target), self.config.vendor_of(self.target));
        let prepared = prepare(&request, vendor, target, Parameters::Lenient).expect("a request for every vendor");
        let stamp = Stamp {
            request_id: "req_0123456789abcdef".to_owned(),
            at: Timestamp(1_790_000_000_000),
            price: target.price.as_ref().map(|tariff| tariff.at(Timestamp(1_790_000_000_000))),
            wants_usage: request.wants_usage,
        };
        let mut stream = Reader::new(&request, &prepared, vendor.dialect, &target.upstream, stamp).stream();
        let mut passed = Vec::with_capacity(2 * self.pieces.len());
        for piece in &self.pieces {
            stream.push(piece.clone());
            while let Some(event) = stream.next_event().expect("no event is too large") {
                match event {
                    Event::Content(raw) | Event::Finish(raw) | Event::Other(raw) => passed.push(raw),
                    Event::Error(error) => panic!("the benchmark's own stream has an error: {error:?}"),
                    Event::Diverged => unreachable!("nothing came before it"),
                }
            }
        }
        assert!(stream.is_finished() && stream.malformed() == 0, "the stream ends well");
        passed.extend(stream.farewell());
        passed
    }
}

fn asked(surface: Surface) -> Bytes {
    let system = "You are a calm harbour master.";
    let question = "Tell me in a few words how the tide works, and why it comes twice a day. ".repeat(3);
    let asked = match surface {
        Surface::Messages => format!(
            r#"{{"model":"m","max_tokens":1024,"system":"{system}","messages":[{{"role":"user","content":"{question}"}}],"temperature":0.2,"stream":true}}"#
        ),
        Surface::Responses => format!(
            r#"{{"model":"m","instructions":"{system}","input":[{{"role":"user","content":"{question}"}}],"temperature":0.2,"stream":true,"store":false}}"#
        ),
        _ => format!(
            r#"{{"model":"m","messages":[{{"role":"system","content":"{system}"}},{{"role":"user","content":"{question}"}}],"temperature":0.2,"stream":true,"stream_options":{{"include_usage":true}}}}"#
        ),
    };
    asked.into()
}

/// What comes before the text, and what comes after it.
fn ends(vendor: Dialect) -> (String, String) {
    let event = |name: &str, data: &str| format!("event: {name}\ndata: {data}\n\n");
    match vendor {
        Dialect::OpenAi => (
            openai(r#"[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null"#),
            [
                openai(r#"[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null"#),
                openai(r#"[],"usage":{"prompt_tokens":42,"completion_tokens":20,"total_tokens":62,"prompt_tokens_details":{"cached_tokens":0}}"#),
                "data: [DONE]\n\n".to_owned(),
            ]
            .concat(),
        ),
        Dialect::Anthropic => (
            [
                event("message_start", r#"{"type":"message_start","message":{"id":"msg_01abcdefghijklmnopqrstuv","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":42,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1}}}"#),
                event("content_block_start", r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#),
                event("ping", r#"{"type":"ping"}"#),
            ]
            .concat(),
            [
                event("content_block_stop", r#"{"type":"content_block_stop","index":0}"#),
                event("message_delta", r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":20}}"#),
                event("message_stop", r#"{"type":"message_stop"}"#),
            ]
            .concat(),
        ),
        Dialect::Gemini => (gemini("", ""), gemini("", r#","finishReason":"STOP""#)),
    }
}

fn chunk(vendor: Dialect, n: usize) -> String {
    match vendor {
        Dialect::OpenAi => openai(&format!(
            r#"[{{"index":0,"delta":{{"content":" word{n:02}"}},"logprobs":null,"finish_reason":null}}],"usage":null"#
        )),
        Dialect::Anthropic => format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\" word{n:02}\"}}}}\n\n"
        ),
        Dialect::Gemini => gemini(&format!(" word{n:02}"), ""),
    }
}

fn openai(choices: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-bench0000000000000000\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\"model\":\"m\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_0123456789\",\"choices\":{choices}}}\n\n"
    )
}

fn gemini(text: &str, finish: &str) -> String {
    format!(
        "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{text}\"}}],\"role\":\"model\"}},\"index\":0{finish}}}],\"usageMetadata\":{{\"promptTokenCount\":42,\"candidatesTokenCount\":20,\"totalTokenCount\":62,\"promptTokensDetails\":[{{\"modality\":\"TEXT\",\"tokenCount\":42}}]}},\"modelVersion\":\"m\",\"responseId\":\"abcdefghijklmnopqrstuv\"}}\r\n\r\n"
    )
}
