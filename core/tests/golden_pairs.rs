//! What clients of each API ask and are answered when the vendor behind speaks each dialect, by the way that requests take.
//!
//! What clients send and what vendors answer stands in `tests/data/golden/pairs/clients` and `…/vendors`, as it is
//! documented; what comes of it, in one directory for each pair:
//!
//! * `CASE.request.json` is what the vendor is asked, and what was left out;
//! * `CASE.reply.json` and `CASE.stream.sse` are what the client gets for the vendor's answer of that name.
//!
//! `GOLDEN_UPDATE=1 cargo test --test golden_pairs` writes these anew. Every change to them is to be read: they are what
//! the two vendors' documentations come to, and no other test compares with that.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]
#![expect(clippy::disallowed_methods, reason = "the golden files are read here, and not by the core")]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fmt, fs};

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use tidegate_core::config::{Config, Parameters, Target, TargetId, Vendor};
use tidegate_core::dialect::chat::Stamp;
use tidegate_core::dialect::{Dialect, Event, Operation, Prepared, Reader, Reading, Request, Surface, prepare};
use tidegate_core::price::Usage;
use tidegate_core::time::Timestamp;

/// A client's API, a vendor's dialect, the requests (and which model is asked), the answers.
struct Pair {
    surface: Surface,
    client: &'static str,
    vendor: &'static str,
    /// Each with the model that is asked.
    requests: &'static [(&'static str, &'static str)],
    answers: &'static [&'static str],
}

macro_rules! pairs {
    ($($name:ident: $surface:ident $client:literal $vendor:literal $requests:expr => $answers:expr;)+) => {$(
        #[test]
        fn $name() {
            let (requests, answers): (&[_], &[_]) = (&$requests, &$answers);
            check(&Pair { surface: Surface::$surface, client: $client, vendor: $vendor, requests, answers });
        }
    )+};
}

const BOTH: [&str; 2] = ["tools", "text"];
const OPENAI: [(&str, &str); 2] = [("conversation", "openai/gpt-5.4-mini"), ("forced", "openai/gpt-5.4-mini")];
/// The later kind of Anthropic's models is asked the first, and the earlier kind, which takes more, the second.
const ANTHROPIC: [(&str, &str); 2] =
    [("conversation", "anthropic/claude-haiku-5-5"), ("forced", "anthropic/claude-haiku-4-5")];
const GEMINI: [(&str, &str); 2] = [("conversation", "gemini/gemini-3.8-flash"), ("forced", "gemini/gemini-3.8-flash")];

pairs! {
    chat_openai: Chat "chat" "openai" OPENAI => BOTH;
    chat_anthropic: Chat "chat" "anthropic" ANTHROPIC => BOTH;
    chat_gemini: Chat "chat" "gemini" GEMINI => BOTH;
    completions_openai: Completions "completions" "openai" [OPENAI[0]] => ["text"];
    completions_anthropic: Completions "completions" "anthropic" [ANTHROPIC[0]] => ["text"];
    completions_gemini: Completions "completions" "gemini" [GEMINI[0]] => ["text"];
    responses_openai: Responses "responses" "openai" OPENAI => BOTH;
    responses_anthropic: Responses "responses" "anthropic" ANTHROPIC => BOTH;
    responses_gemini: Responses "responses" "gemini" GEMINI => BOTH;
    messages_openai: Messages "messages" "openai" OPENAI => BOTH;
    messages_anthropic: Messages "messages" "anthropic" ANTHROPIC => BOTH;
    messages_gemini: Messages "messages" "gemini" GEMINI => BOTH;
    embeddings_gemini: Embeddings "embeddings" "gemini" [("batch", "gemini/gemini-embedding-001")] => ["embeddings"];
    count_gemini: CountTokens "count" "gemini" [GEMINI[0]] => ["count"];
}

fn check(pair: &Pair) {
    let config = config();
    for (case, model) in pair.requests {
        let (vendor, target) = target(&config, model);
        let body = given(&format!("clients/{}.{case}.json", pair.client));
        let prepared = ask(pair, &body, vendor, target);
        let dropped = serde_json::to_string(&prepared.dropped).unwrap();
        let asked = format!("{{\"body\":{},\"dropped\":{dropped}}}", text(&prepared.body));
        compare(pair, &format!("{case}.request.json"), &pretty(&asked));
        if prepared.operation == Operation::Chat {
            compare_streamed(pair, &body, vendor, target, &prepared);
        }
    }
    let (case, model) = pair.requests[0];
    let (vendor, target) = target(&config, model);
    let request = given(&format!("clients/{}.{case}.json", pair.client));
    for answer in pair.answers {
        let path = format!("vendors/{}/{answer}", pair.vendor);
        check_reply(pair, answer, &reader(pair, &request, vendor, target).0, &given(&format!("{path}.json")));
        if matches!(pair.surface, Surface::Embeddings | Surface::CountTokens) {
            continue;
        }
        let streaming = streaming(&request);
        let (reader, request) = reader(pair, &streaming, vendor, target);
        assert!(request.stream);
        check_stream(pair, answer, &reader, &given(&format!("{path}.sse")));
    }
}

// === Requests ===

fn ask(pair: &Pair, body: &str, vendor: &Vendor, target: &Target) -> Prepared {
    let request = Request::read(pair.surface, Bytes::copy_from_slice(body.as_bytes())).unwrap();
    let prepared = prepare(&request, vendor, target, Parameters::Lenient).unwrap();
    // Who passes over what cannot be honoured does so just where something was left out.
    let strictly = prepare(&request, vendor, target, Parameters::Strict);
    assert_eq!(strictly.is_ok(), prepared.dropped.is_empty());
    if request.goes_through(vendor.dialect) && !request.stream {
        let renamed = body.replacen("\"assistant\"", &format!("{:?}", target.upstream), 1);
        assert_eq!(text(&prepared.body), renamed, "what passes through changes by the model's name alone");
    }
    prepared
}

/// A stream is asked for in the same words, but for those that ask for a stream.
fn compare_streamed(pair: &Pair, body: &str, vendor: &Vendor, target: &Target, plain: &Prepared) {
    let streamed = ask(pair, &streaming(body), vendor, target);
    assert_eq!((streamed.operation, &streamed.dropped), (Operation::Stream, &plain.dropped));
    let (mut streamed, plain): (Value, Value) =
        (serde_json::from_slice(&streamed.body).unwrap(), serde_json::from_slice(&plain.body).unwrap());
    let members = streamed.as_object_mut().unwrap();
    match vendor.dialect {
        Dialect::OpenAi => {
            assert_eq!(members.remove("stream"), Some(true.into()));
            let options = members.remove("stream_options");
            assert_eq!(options, Some(serde_json::json!({"include_usage": true})), "what it took is always asked for");
        }
        Dialect::Anthropic => assert_eq!(members.remove("stream"), Some(true.into())),
        // It is a matter of the path.
        Dialect::Gemini => {}
    }
    assert_eq!(streamed, plain);
}

fn streaming(body: &str) -> String {
    body.replacen('{', "{\n  \"stream\": true,", 1)
}

// === Answers ===

fn reader(pair: &Pair, body: &str, vendor: &Vendor, target: &Target) -> (Reader, Request) {
    let request = Request::read(pair.surface, Bytes::copy_from_slice(body.as_bytes())).unwrap();
    let prepared = prepare(&request, vendor, target, Parameters::Lenient).unwrap();
    let stamp = Stamp {
        request_id: "0123456789abcdef".into(),
        at: Timestamp(1_790_000_000_000),
        price: target.price.as_ref().map(|tariff| tariff.at(Timestamp(0))),
        wants_usage: request.wants_usage,
    };
    (Reader::new(&request, &prepared, vendor.dialect, &target.upstream, stamp), request)
}

fn check_reply(pair: &Pair, answer: &str, reader: &Reader, reply: &str) {
    let (reading, written) = reader.whole(Bytes::copy_from_slice(reply.as_bytes()));
    assert_eq!(reading, Reading::Answer(usage(pair.vendor, answer)), "{answer}");
    compare(pair, &format!("{answer}.reply.json"), &pretty(text(&written)));
}

fn check_stream(pair: &Pair, answer: &str, reader: &Reader, stream: &str) {
    let whole = relay(pair, answer, reader, stream, stream.len());
    for size in [1, 7, 100] {
        assert_eq!(relay(pair, answer, reader, stream, size), whole, "{answer} in pieces of {size}");
    }
    compare(pair, &format!("{answer}.stream.sse"), &whole);
}

/// What the client gets of a stream that comes in pieces of this size.
fn relay(pair: &Pair, answer: &str, reader: &Reader, vendors: &str, size: usize) -> String {
    let mut stream = reader.stream();
    let mut sent = Vec::new();
    for piece in vendors.as_bytes().chunks(size) {
        stream.push(Bytes::copy_from_slice(piece));
        while let Some(event) = stream.next_event().unwrap() {
            match event {
                Event::Content(bytes) | Event::Finish(bytes) | Event::Other(bytes) => sent.extend_from_slice(&bytes),
                Event::Error(error) => panic!("{answer}: {error:?}"),
                Event::Diverged => panic!("{answer}: no stream came before it"),
            }
        }
    }
    assert!(stream.is_finished() && !stream.is_filtered(), "{answer}");
    assert_eq!((stream.usage(), stream.malformed()), (usage(pair.vendor, answer), 0), "{answer}");
    sent.extend(stream.farewell().unwrap_or_default());
    assert!(stream.is_done() && stream.farewell().is_none(), "{answer}");
    String::from_utf8(sent).unwrap()
}

/// What the vendors' answers took: the same, whichever way it is counted.
fn usage(vendor: &str, answer: &str) -> Option<Usage> {
    let (input, output) = match (vendor, answer) {
        (_, "tools") => {
            return Some(Usage { input: 182, cached_input: 128, output: 117, reasoning: 64, ..Usage::default() });
        }
        (_, "count") => return None,
        (_, "embeddings") => (12, 0),
        ("openai", _) => (9, 9),
        ("anthropic", _) => (25, 15),
        _ => (9, 2),
    };
    Some(Usage { input, output, ..Usage::default() })
}

// === Files ===

fn place(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../tests/data/golden/pairs", path].iter().collect()
}

fn given(path: &str) -> String {
    fs::read_to_string(place(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn compare(pair: &Pair, file: &str, written: &str) {
    let path = format!("{}-{}/{file}", pair.client, pair.vendor);
    if env::var_os("GOLDEN_UPDATE").is_some() {
        fs::create_dir_all(place(&path).parent().unwrap()).unwrap();
        fs::write(place(&path), written).unwrap();
    }
    assert_eq!(written, given(&path), "{path}");
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn config() -> Config {
    let vendor = |dialect: &str| {
        let url = format!("https://{dialect}.example");
        serde_json::json!({"dialect": dialect, "base_url": url, "keys": [{"env": "KEY"}]})
    };
    let document = serde_json::json!({
        "vendors": {"openai": vendor("openai"), "anthropic": vendor("anthropic"), "gemini": vendor("gemini")},
        "models": {
            "openai/gpt-5.4-mini": {"price": {"input": 0.75, "cached_input": 0.075, "output": 4.5}},
            "anthropic/claude-haiku-5-5": {},
            "anthropic/claude-haiku-4-5": {"capabilities": ["tools", "vision", "json_schema", "prefill"]},
            "gemini/gemini-3.8-flash": {},
            "gemini/gemini-embedding-001": {},
        },
        "routes": {"default": {"models": ["openai/gpt-5.4-mini"]}},
    });
    let secret = |_: &str| Some("0123456789abcdef0123456789abcdef".to_owned());
    Config::from_json(&document.to_string(), "golden", &secret).unwrap_or_else(|errors| panic!("{errors}"))
}

fn target<'a>(config: &'a Config, name: &str) -> (&'a Vendor, &'a Target) {
    let at = config.targets.iter().position(|target| target.name == name).unwrap();
    (config.vendor_of(TargetId(at)), &config.targets[at])
}

// === JSON for people ===

/// The members of an object in their order, which a model reads a schema in.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
                let mut found = Vec::new();
                while let Some(member) = members.next_entry()? {
                    found.push(member);
                }
                Ok(found)
            }
        }

        deserializer.deserialize_map(InOrder).map(Self)
    }
}

/// Lays out JSON in lines of a readable length. Numbers and strings stay as they were written.
fn pretty(json: &str) -> String {
    let mut out = String::new();
    lay_out(serde_json::from_str(json).unwrap(), 0, &mut out);
    out.push('\n');
    out
}

fn lay_out(json: &RawValue, depth: usize, out: &mut String) {
    const WIDTH: usize = 110;
    let line = on_one_line(json);
    let parts = parts(json);
    if parts.is_empty() || 2 * depth + line.len() <= WIDTH {
        out.push_str(&line);
        return;
    }
    let (open, close) = if json.get().starts_with('{') { ('{', '}') } else { ('[', ']') };
    out.push(open);
    for (at, (name, value)) in parts.into_iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        write!(out, "{comma}\n{:1$}", "", 2 * (depth + 1)).unwrap();
        out.push_str(&name);
        lay_out(value, depth + 1, out);
    }
    write!(out, "\n{:1$}{close}", "", 2 * depth).unwrap();
}

fn on_one_line(json: &RawValue) -> String {
    let parts = parts(json);
    if parts.is_empty() {
        return json.get().to_owned();
    }
    let (open, close) = if json.get().starts_with('{') { ('{', '}') } else { ('[', ']') };
    let parts: Vec<String> = parts.into_iter().map(|(name, value)| name + &on_one_line(value)).collect();
    format!("{open}{}{close}", parts.join(", "))
}

/// The members of an object, each with its name in front, or the items of a list.
fn parts(json: &RawValue) -> Vec<(String, &RawValue)> {
    match json.get().as_bytes()[0] {
        b'{' => {
            let members: Members<'_> = serde_json::from_str(json.get()).unwrap();
            let named = |(name, value)| (format!("{}: ", Value::String(name)), value);
            members.0.into_iter().map(named).collect()
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(json.get()).unwrap();
            items.into_iter().map(|item| (String::new(), item)).collect()
        }
        _ => Vec::new(),
    }
}
