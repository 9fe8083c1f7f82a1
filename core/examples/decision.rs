//! What a decision costs: `cargo run --release -p tidegate-core --example decision`.
//!
//! The median of several rounds, in nanoseconds: admitting and settling one attempt, and carrying a whole request that is
//! not streamed, and a streamed one, through an exchange without any I/O.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark reads the clock; the core does not"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};
use tidegate_core::classify::Outcome;
use tidegate_core::concurrency::Claim;
use tidegate_core::config::{Config, TargetId};
use tidegate_core::dialect::{Request, Surface};
use tidegate_core::drive::{Action, AttemptId, Event};
use tidegate_core::exchange::Exchange;
use tidegate_core::gateway::{Gateway, Settlement};
use tidegate_core::hints::Hints;
use tidegate_core::price::Usage;
use tidegate_core::route::{self, Asker};
use tidegate_core::time::{Millis, Timestamp};

const ROUNDS: usize = 21;
const DECISIONS: u64 = 100_000;
const REQUESTS: u64 = 20_000;

const CONFIG: &str = r#"{
  "vendors": {
    "a": { "dialect": "openai", "base_url": "http://a.test/v1", "keys": [{ "env": "A" }] },
    "b": { "dialect": "openai", "base_url": "http://b.test/v1", "keys": [{ "env": "B" }] }
  },
  "models": {
    "a/m": { "price": { "input": 1.0, "output": 2.0 } },
    "b/m": { "price": { "input": 1.0, "output": 2.0 } }
  },
  "routes": { "chain": { "models": ["a/m", "b/m"] } }
}"#;

const ASKED: &str =
    r#"{"model":"chain","messages":[{"role":"user","content":"What is a tide gate, in one sentence?"}]}"#;
const ASKED_AS_STREAM: &str =
    r#"{"model":"chain","stream":true,"messages":[{"role":"user","content":"What is a tide gate, in one sentence?"}]}"#;
const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"m","choices":[{"index":0,
"message":{"role":"assistant","content":"A gate that lets water out at low tide and keeps the sea out at high tide."},
"finish_reason":"stop"}],"usage":{"prompt_tokens":17,"completion_tokens":18,"total_tokens":35}}"#;
const ROLE: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n";
const TOKEN: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" tide\"},\"finish_reason\":null}]}\n\n";
const END: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":17,\"completion_tokens\":18}}\n\ndata: [DONE]\n\n";

/// Tokens of a streamed answer, each in a piece of its own.
const TOKENS: usize = 18;

fn main() {
    let secret = |name: &str| Some(format!("a-made-up-key-for-the-benchmark-{name}"));
    let config =
        Arc::new(Config::from_json(CONFIG, "decision.json", &secret).expect("the benchmark's own config is sound"));
    let mut gateway = Gateway::new(Arc::clone(&config), 1, Timestamp(0));
    let mut clock = 0;
    let admit = median(DECISIONS, || {
        clock += 1;
        decide(&mut gateway, Timestamp(clock / 10));
    });
    let pieces: Vec<Bytes> = std::iter::once(ROLE)
        .chain(std::iter::repeat_n(TOKEN, TOKENS))
        .chain([END])
        .map(|piece| Bytes::from_static(piece.as_bytes()))
        .collect();
    let whole = [Bytes::from_static(ANSWER.as_bytes())];
    let plain = median(REQUESTS, || exchange(&config, &mut gateway, ASKED, "application/json", &whole));
    let streamed = median(REQUESTS, || exchange(&config, &mut gateway, ASKED_AS_STREAM, "text/event-stream", &pieces));
    println!("admit + settle                    {admit:>7} ns");
    println!("a whole plain request             {plain:>7} ns");
    println!("a whole stream of {TOKENS} tokens       {streamed:>7} ns");
}

/// Nanoseconds that one `step` takes: the median of the rounds' means.
fn median(steps: u64, mut step: impl FnMut()) -> u128 {
    let mut rounds: Vec<u128> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            (0..steps).for_each(|_| step());
            begun.elapsed().as_nanos() / u128::from(steps)
        })
        .collect();
    rounds.sort_unstable();
    rounds[ROUNDS / 2]
}

fn decide(gateway: &mut Gateway, now: Timestamp) {
    let candidate = gateway.config().candidate(TargetId(0));
    let permit = gateway.admit(now, &candidate, Millis(60_000), &Claim::LAST).expect("nothing has failed");
    let settlement = Settlement {
        stream: true,
        outcome: Outcome::Success,
        first_token: Some(Millis(200)),
        took: Millis(900),
        usage: Some(Usage { input: 17, output: 18, ..Usage::default() }),
        weight: None,
        retry_after: None,
        remaining: None,
        used_up: None,
        malformed: 0,
        quarantine: Millis(300_000),
    };
    black_box(gateway.settle(now, permit, &settlement));
}

/// From the request's bytes to the end of its answer.
fn exchange(config: &Arc<Config>, gateway: &mut Gateway, asked: &'static str, kind: &'static str, pieces: &[Bytes]) {
    let now = Timestamp(1_000_000);
    let id = gateway.request_id();
    gateway.note_request(now);
    let request = Request::read(Surface::Chat, Bytes::from_static(asked.as_bytes())).expect("a sound request");
    let plan = route::plan(config, Asker::default(), &request.model, &Hints::default()).expect("a route of the config");
    let mut exchange = Exchange::new(Arc::clone(config), now, id, request, plan);
    let attempt = AttemptId(0);
    let head = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
    let mut events = [Event::Head { attempt, status: StatusCode::OK, headers: head }]
        .into_iter()
        .chain(pieces.iter().map(|bytes| Event::Piece { attempt, bytes: bytes.clone() }))
        .chain([Event::End { attempt }]);
    loop {
        match black_box(exchange.poll_action()) {
            Action::Consult => exchange.consult(gateway),
            Action::Wait(_) => exchange.handle(now, events.next().expect("the exchange ends with its events")),
            Action::Finish => return,
            _ => {}
        }
    }
}
