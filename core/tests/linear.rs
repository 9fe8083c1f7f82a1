//! Whatever comes in takes time in proportion to its size: requests, answers and streams of every dialect, for every client.
//!
//! Each case is timed at one size and at ten times that. What is linear takes ten times as long, or somewhat longer where the
//! larger no longer fits into the processor's caches; what is quadratic takes a hundred times. On a machine that is busy with
//! other things both vary, so the line is drawn between, and a ratio beyond it is measured again. The ratios are printed: `cargo test -p tidegate-core --test linear -- --nocapture`.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "what takes time is timed; the core reads no clock"
)]

use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidegate_core::config::{Config, Parameters, TargetId};
use tidegate_core::dialect::chat::Stamp;
use tidegate_core::dialect::{Dialect, Event, Prepared, Reader, Reading, Request, Surface, prepare};
use tidegate_core::time::Timestamp;

/// How much longer ten times the input may take.
const RATIO_MAX: f64 = 35.0;
/// How often a ratio is measured before it is believed to be too large.
const TRIES: usize = 20;

/// Every vendor has something that it refuses and something that it calls otherwise, so that bodies are searched for them.
const CONFIG: &str = r#"{
  "vendors": {
    "openai": { "dialect": "openai", "base_url": "http://o.test/v1", "keys": [{ "env": "O" }], "unsupported": ["seed"], "rename": { "user": "safety_identifier" } },
    "anthropic": { "dialect": "anthropic", "base_url": "http://a.test", "keys": [{ "env": "A" }], "unsupported": ["top_k"] },
    "gemini": { "dialect": "gemini", "base_url": "http://g.test/v1beta", "keys": [{ "env": "G" }] }
  },
  "models": { "openai/m": {}, "anthropic/m": {}, "gemini/m": {} },
  "routes": { "all": { "models": ["openai/m", "anthropic/m", "gemini/m"] } }
}"#;

fn config() -> Config {
    Config::from_json(CONFIG, "linear.json", &|_| Some("a-made-up-key-for-this-test".to_owned()))
        .expect("a sound config")
}

/// One case is measured at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Checks that `work` on an input of `make(10 * size)` takes no more than its share.
fn is_linear<T>(name: &str, size: usize, make: impl Fn(usize) -> T, work: impl Fn(&T)) {
    let _alone = ALONE.lock();
    let (small, large) = (make(size), make(10 * size));
    let time = |input: &T, times: u32| {
        let begun = Instant::now();
        (0..times).for_each(|_| work(input));
        begun.elapsed() / times
    };
    // Ten of the small ones take as long as the large one should: whoever else wants the processor disturbs both alike. It only
    // ever makes them longer, so the shortest of several is the truest.
    let (mut short, mut long) = (Duration::MAX, Duration::MAX);
    let mut ratio = f64::INFINITY;
    for _ in 0..TRIES {
        (short, long) = (short.min(time(&small, 10)), long.min(time(&large, 1)));
        ratio = long.as_secs_f64() / short.as_secs_f64();
        if ratio < RATIO_MAX {
            println!("{ratio:>6.1}  {name}: {long:.1?}");
            return;
        }
    }
    panic!("{name}: ten times the input takes {ratio:.0} times as long, {short:?} and {long:?}");
}

// === Requests ===

const BODY_BYTES: usize = 100 << 10;

/// Repeats pieces of a JSON list until it has that many bytes.
fn list(bytes: usize, mut piece: impl FnMut(usize) -> String) -> String {
    let mut all = String::with_capacity(bytes + 256);
    for n in 0.. {
        if all.len() >= bytes {
            break;
        }
        let comma = if n > 0 { "," } else { "" };
        write!(all, "{comma}{}", piece(n)).expect("a String takes all");
    }
    all
}

/// Text with what has to be escaped, and what is more than a byte.
fn text(bytes: usize) -> String {
    r#"The \"tide\" é is out.\n"#.repeat(bytes / 24)
}

/// A kind of body, and one of so many bytes.
type Body = (&'static str, fn(usize) -> String);

/// Bodies of this surface, each large in its own way.
fn bodies(surface: Surface) -> Vec<Body> {
    match surface {
        Surface::Chat => chats(),
        Surface::Messages | Surface::CountTokens => conversations(),
        Surface::Responses => responses(),
        Surface::Completions => vec![("one text", |bytes| format!(r#"{{"model":"m","prompt":"{}"}}"#, text(bytes)))],
        Surface::Embeddings => vec![("inputs", |bytes| {
            format!(r#"{{"model":"m","input":[{}]}}"#, list(bytes, |n| format!(r#""Text {n}""#)))
        })],
    }
}

fn chats() -> Vec<Body> {
    vec![
        ("one text", |bytes| chat(&format!(r#"{{"role":"user","content":"{}"}}"#, text(bytes)), "")),
        ("turns", |bytes| {
            chat(
                &list(bytes, |n| format!(r#"{{"role":"{}","content":"Hello {n}"}}"#, ["user", "assistant"][n % 2])),
                "",
            )
        }),
        ("system prompts", |bytes| {
            chat(
                &list(bytes, |n| {
                    format!(r#"{{"role":"system","content":"Mind {n}"}},{{"role":"user","content":"Yes"}}"#)
                }),
                "",
            )
        }),
        ("parts", |bytes| {
            let parts = list(bytes, |n| format!(r#"{{"type":"text","text":"Part {n}"}}"#));
            chat(&format!(r#"{{"role":"user","content":[{parts}]}}"#), "")
        }),
        ("calls", |bytes| {
            chat(
                &list(bytes, |n| {
                    format!(
                        r#"{{"role":"assistant","tool_calls":[{{"id":"call{n}","type":"function","function":{{"name":"f","arguments":"{{}}"}}}}]}},{{"role":"tool","tool_call_id":"call{n}","content":"{n}"}}"#
                    )
                }),
                "",
            )
        }),
        ("calls at once", |bytes| {
            let times = bytes / 130;
            let call =
                |n| format!(r#"{{"id":"call{n}","type":"function","function":{{"name":"f","arguments":"{{}}"}}}}"#);
            let result = |n| format!(r#"{{"role":"tool","tool_call_id":"call{n}","content":"{n}"}}"#);
            let calls = (0..times).map(call).collect::<Vec<_>>().join(",");
            let results = (0..times).map(result).collect::<Vec<_>>().join(",");
            chat(&format!(r#"{{"role":"assistant","tool_calls":[{calls}]}},{results}"#), "")
        }),
        ("tools", |bytes| {
            let tools = list(bytes, |n| {
                format!(
                    r#"{{"type":"function","function":{{"name":"f{n}","parameters":{{"type":"object","properties":{{"a":{{"type":"string"}}}}}}}}}}"#
                )
            });
            chat(r#"{"role":"user","content":"Hello"}"#, &format!(r#","tools":[{tools}]"#))
        }),
    ]
}

fn conversations() -> Vec<Body> {
    vec![
        ("one text", |bytes| messages(&format!(r#"{{"role":"user","content":"{}"}}"#, text(bytes)), "")),
        ("turns", |bytes| {
            messages(
                &list(bytes, |n| format!(r#"{{"role":"{}","content":"Hello {n}"}}"#, ["user", "assistant"][n % 2])),
                "",
            )
        }),
        ("parts", |bytes| {
            let parts = list(bytes, |n| format!(r#"{{"type":"text","text":"Part {n}"}}"#));
            messages(&format!(r#"{{"role":"user","content":[{parts}]}}"#), "")
        }),
        ("calls", |bytes| {
            messages(
                &list(bytes, |n| {
                    format!(
                        r#"{{"role":"assistant","content":[{{"type":"tool_use","id":"call{n}","name":"f","input":{{"a":{n}}}}}]}},{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"call{n}","content":"{n}"}}]}}"#
                    )
                }),
                "",
            )
        }),
        ("thinking", |bytes| {
            let turns = list(bytes, |n| {
                format!(
                    r#"{{"role":"assistant","content":[{{"type":"thinking","thinking":"So {n}","signature":"s{n}"}},{{"type":"text","text":"{n}"}}]}},{{"role":"user","content":"On"}}"#
                )
            });
            messages(&turns, "")
        }),
        ("tools", |bytes| {
            let tools = list(bytes, |n| {
                format!(
                    r#"{{"name":"f{n}","input_schema":{{"type":"object","properties":{{"a":{{"type":"string"}}}}}}}}"#
                )
            });
            messages(r#"{"role":"user","content":"Hello"}"#, &format!(r#","tools":[{tools}]"#))
        }),
    ]
}

fn responses() -> Vec<Body> {
    vec![
        ("one text", |bytes| format!(r#"{{"model":"m","store":false,"input":"{}"}}"#, text(bytes))),
        ("turns", |bytes| {
            input(&list(bytes, |n| format!(r#"{{"role":"{}","content":"Hello {n}"}}"#, ["user", "assistant"][n % 2])))
        }),
        ("calls", |bytes| {
            input(&list(bytes, |n| {
                format!(
                    r#"{{"type":"function_call","call_id":"call{n}","name":"f","arguments":"{{}}"}},{{"type":"function_call_output","call_id":"call{n}","output":"{n}"}}"#
                )
            }))
        }),
    ]
}

fn chat(turns: &str, more: &str) -> String {
    format!(r#"{{"model":"m","user":"u","messages":[{turns},{{"role":"user","content":"Hi"}}]{more}}}"#)
}

fn messages(turns: &str, more: &str) -> String {
    format!(r#"{{"model":"m","max_tokens":9,"messages":[{turns},{{"role":"user","content":"Hi"}}]{more}}}"#)
}

fn input(items: &str) -> String {
    format!(r#"{{"model":"m","store":false,"input":[{items},{{"role":"user","content":"Hi"}}]}}"#)
}

#[test]
fn requests() {
    let config = config();
    for surface in Surface::ALL {
        let vendors = if matches!(surface, Surface::Embeddings | Surface::CountTokens) { 2 } else { 3 };
        for (name, body) in bodies(surface) {
            let make = |bytes| Bytes::from(body(bytes));
            is_linear(&format!("{surface:?}, {name}"), BODY_BYTES, make, |body| {
                let request = Request::read(surface, body.clone()).expect("a sound request");
                let written = (0..config.targets.len()).filter_map(|id| prepared(&config, &request, id)).count();
                assert_eq!(written, vendors, "every vendor that has such a thing is asked");
            });
        }
    }
}

fn prepared(config: &Config, request: &Request, target: usize) -> Option<Prepared> {
    let id = TargetId(target);
    prepare(request, config.vendor_of(id), config.target(id), Parameters::Lenient).ok()
}

// === Answers ===

const VENDORS: [Dialect; 3] = [Dialect::OpenAi, Dialect::Anthropic, Dialect::Gemini];
const CLIENTS: [Surface; 4] = [Surface::Chat, Surface::Completions, Surface::Responses, Surface::Messages];

/// How the answer of a vendor to such a client is read.
fn reader(config: &Config, vendor: Dialect, surface: Surface, stream: bool) -> Reader {
    let asked = match surface {
        Surface::Completions => r#""prompt":"Hello""#,
        Surface::Responses => r#""input":"Hello","store":false"#,
        _ => r#""max_tokens":9,"messages":[{"role":"user","content":"Hello"}]"#,
    };
    let body = format!(r#"{{"model":"m","stream":{stream},{asked}}}"#);
    let request = Request::read(surface, body.into()).expect("a sound request");
    let target = (0..config.targets.len()).find(|id| config.vendor_of(TargetId(*id)).dialect == vendor);
    let target = target.expect("each dialect has a vendor");
    let stamp = Stamp { request_id: "r".into(), at: Timestamp(0), price: None, wants_usage: true };
    Reader::new(&request, &prepared(config, &request, target).expect("a request for all"), vendor, "m", stamp)
}

/// A whole answer with a long text and many calls.
fn answer(vendor: Dialect, bytes: usize) -> String {
    let text = text(bytes / 2);
    match vendor {
        Dialect::OpenAi => {
            let calls = list(bytes / 2, |n| {
                format!(r#"{{"id":"c{n}","type":"function","function":{{"name":"f","arguments":"{{}}"}}}}"#)
            });
            format!(
                r#"{{"id":"i","model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}","tool_calls":[{calls}]}},"finish_reason":"stop"}}]}}"#
            )
        }
        Dialect::Anthropic => {
            let calls = list(bytes / 2, |n| format!(r#"{{"type":"tool_use","id":"c{n}","name":"f","input":{{}}}}"#));
            format!(
                r#"{{"id":"i","type":"message","role":"assistant","model":"m","content":[{{"type":"text","text":"{text}"}},{calls}],"stop_reason":"end_turn","usage":{{"input_tokens":1,"output_tokens":1}}}}"#
            )
        }
        Dialect::Gemini => {
            let calls = list(bytes / 2, |n| format!(r#"{{"functionCall":{{"id":"c{n}","name":"f","args":{{}}}}}}"#));
            format!(
                r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}},{calls}],"role":"model"}},"finishReason":"STOP"}}]}}"#
            )
        }
    }
}

#[test]
fn answers() {
    let config = config();
    for vendor in VENDORS {
        for surface in CLIENTS {
            let reader = reader(&config, vendor, surface, false);
            let make = |bytes| Bytes::from(answer(vendor, bytes));
            is_linear(&format!("{vendor:?} to {surface:?}, a whole answer"), BODY_BYTES, make, |body| {
                assert!(matches!(reader.whole(body.clone()), (Reading::Answer(_), _)));
            });
        }
    }
}

// === Streams ===

const CHUNKS: usize = 1000;

/// What a stream is full of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filling {
    Text,
    Thinking,
    /// The arguments of one call, or, where a vendor sends those whole, many calls.
    Arguments,
}

/// How it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pieces {
    /// A piece for each event.
    Events,
    /// All events in one piece.
    One,
    /// All text in one event, which arrives in crumbs.
    Crumbs,
}

/// One event of so much text.
fn event(vendor: Dialect, filling: Filling, text: &str) -> String {
    match (vendor, filling) {
        (Dialect::OpenAi, filling) => {
            let delta = match filling {
                Filling::Text => format!(r#"{{"content":"{text}"}}"#),
                Filling::Thinking => format!(r#"{{"reasoning_content":"{text}"}}"#),
                Filling::Arguments => {
                    format!(r#"{{"tool_calls":[{{"index":0,"function":{{"arguments":"{text}"}}}}]}}"#)
                }
            };
            openai(&format!(r#"{{"index":0,"delta":{delta},"finish_reason":null}}"#))
        }
        (Dialect::Anthropic, filling) => {
            let delta = match filling {
                Filling::Text => format!(r#""type":"text_delta","text":"{text}""#),
                Filling::Thinking => format!(r#""type":"thinking_delta","thinking":"{text}""#),
                Filling::Arguments => format!(r#""type":"input_json_delta","partial_json":"{text}""#),
            };
            anthropic("content_block_delta", &format!(r#","index":0,"delta":{{{delta}}}"#))
        }
        (Dialect::Gemini, Filling::Text) => gemini(&format!(r#"{{"text":"{text}"}}"#), ""),
        (Dialect::Gemini, Filling::Thinking) => gemini(&format!(r#"{{"text":"{text}","thought":true}}"#), ""),
        (Dialect::Gemini, Filling::Arguments) => {
            gemini(&format!(r#"{{"functionCall":{{"name":"f","args":{{"a":"{text}"}}}}}}"#), "")
        }
    }
}

/// What comes before the filling, and what comes after it.
fn ends(vendor: Dialect, filling: Filling) -> (String, String) {
    let call = r#""tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":""}}]"#;
    match vendor {
        Dialect::OpenAi => {
            let more = if filling == Filling::Arguments { call } else { r#""content":"""# };
            let begin = openai(&format!(r#"{{"index":0,"delta":{{"role":"assistant",{more}}},"finish_reason":null}}"#));
            let end = openai(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#);
            (begin, format!("{end}data: [DONE]\n\n"))
        }
        Dialect::Anthropic => {
            let block = match filling {
                Filling::Text => r#""type":"text","text":"""#,
                Filling::Thinking => r#""type":"thinking","thinking":"","signature":"""#,
                Filling::Arguments => r#""type":"tool_use","id":"c","name":"f","input":{}"#,
            };
            let message = r#","message":{"id":"i","model":"m","usage":{"input_tokens":1,"output_tokens":1}}"#;
            let begin = anthropic("message_start", message);
            let start = anthropic("content_block_start", &format!(r#","index":0,"content_block":{{{block}}}"#));
            let stop = anthropic("content_block_stop", r#","index":0"#);
            let end = r#","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":1}"#;
            let end = anthropic("message_delta", end);
            (begin + &start, stop + &end + &anthropic("message_stop", ""))
        }
        Dialect::Gemini => (String::new(), gemini(r#"{"text":""}"#, r#","finishReason":"STOP""#)),
    }
}

fn openai(choice: &str) -> String {
    format!("data: {{\"id\":\"i\",\"object\":\"chat.completion.chunk\",\"model\":\"m\",\"choices\":[{choice}]}}\n\n")
}

fn anthropic(name: &str, members: &str) -> String {
    format!("event: {name}\ndata: {{\"type\":\"{name}\"{members}}}\n\n")
}

fn gemini(part: &str, more: &str) -> String {
    let content = format!(r#"{{"parts":[{part}],"role":"model"}}"#);
    format!(
        "data: {{\"candidates\":[{{\"content\":{content},\"index\":0{more}}}],\"responseId\":\"i\",\"modelVersion\":\"m\"}}\r\n\r\n"
    )
}

/// A stream of `chunks` chunks.
fn stream(vendor: Dialect, filling: Filling, pieces: Pieces, chunks: usize) -> Vec<Bytes> {
    const CRUMB_BYTES: usize = 16;
    let (begin, end) = ends(vendor, filling);
    // Arguments are a list that never ends before the stream does: nothing but its end tells that they are whole.
    let word = if filling == Filling::Arguments && vendor != Dialect::Gemini { "[1, " } else { " tide" };
    if pieces == Pieces::Crumbs {
        // 100 KB, and then 1 MB.
        let whole = Bytes::from([begin, event(vendor, filling, &word.repeat(20 * chunks)), end].concat());
        return (0..whole.len())
            .step_by(CRUMB_BYTES)
            .map(|at| whole.slice(at..whole.len().min(at + CRUMB_BYTES)))
            .collect();
    }
    let all = std::iter::once(begin).chain(std::iter::repeat_n(event(vendor, filling, word), chunks)).chain([end]);
    match pieces {
        Pieces::One => vec![Bytes::from(all.collect::<String>())],
        _ => all.filter(|event| !event.is_empty()).map(Bytes::from).collect(),
    }
}

fn streams_of(surface: Surface) {
    let config = config();
    for vendor in VENDORS {
        let reader = reader(&config, vendor, surface, true);
        for filling in [Filling::Text, Filling::Thinking, Filling::Arguments] {
            for pieces in [Pieces::Events, Pieces::One, Pieces::Crumbs] {
                let name = format!("{vendor:?} to {surface:?}, {filling:?}, {pieces:?}");
                let make = |chunks| stream(vendor, filling, pieces, chunks);
                is_linear(&name, CHUNKS, make, |pieces| carry(&reader, pieces));
            }
        }
    }
}

/// Takes a stream from its first byte to its last.
fn carry(reader: &Reader, pieces: &[Bytes]) {
    let mut stream = reader.stream();
    for piece in pieces {
        stream.push(piece.clone());
        while let Some(event) = stream.next_event().expect("no event is too large") {
            assert!(!matches!(event, Event::Error(_)), "{event:?}");
        }
    }
    assert!(stream.is_finished() && stream.malformed() == 0);
    stream.farewell();
}

#[test]
fn streams_for_chat_completions() {
    streams_of(Surface::Chat);
}

#[test]
fn streams_for_completions() {
    streams_of(Surface::Completions);
}

#[test]
fn streams_for_responses() {
    streams_of(Surface::Responses);
}

#[test]
fn streams_for_messages() {
    streams_of(Surface::Messages);
}
