//! A long random story, told in full: what the twins are compared by.

use std::fmt::Write as _;

use http::HeaderMap;

use super::{RequestId, Script, World};
use crate::config::Config;
use crate::dialect::Surface;
use crate::rng::Rng;
use crate::time::Millis;

/// Short limits, so that a story of a few minutes meets all of them.
const CONFIG: &str = include_str!("trace.json");

const TARGETS: [&str; 6] = ["a/big", "a/small", "b/m", "c/m", "d/m", "e/m"];
const MODELS: [&str; 16] = [
    "chain",
    "reroute",
    "patient",
    "mixed",
    "mixed",
    "a/small",
    "m-of-b",
    "nobody",
    "continued",
    "restarted",
    "restarted",
    "hedged",
    "hedged",
    "swift",
    "fair",
    "drawn",
];

/// The story of so many requests to vendors whose weather changes, with everything that was decided, sent and answered.
///
/// It is a function of `seed` and `requests` alone: the same on the host and in wasm, byte for byte.
pub fn trace(seed: u64, requests: u32) -> String {
    let secret = |name: &str| Some(format!("made-up-key-of-the-trace-{name}"));
    let config = Config::from_json(CONFIG, "trace.json", &secret).expect("the trace's own config is sound");
    let mut world = World::new(config, seed);
    // A stream of its own: what the gateway draws must not change the weather.
    let mut rng = Rng::from_seed(!seed);
    let mut asked = Vec::new();
    let mut text = String::new();
    for _ in 0..requests {
        if rng.below(8) == 0 {
            world.usually(pick(&mut rng, &TARGETS), weather(&mut rng));
        }
        let pause = if rng.below(40) == 0 { Millis(5000) } else { Millis(rng.below(300)) };
        world.run_for(pause);
        asked.push(ask(&mut world, &mut rng));
        if rng.below(10) == 0 {
            let id = asked[usize::try_from(rng.below(asked.len() as u64)).expect("below a length")];
            if rng.below(2) == 0 { world.leave(id) } else { world.hang_up(id) }
        }
        report(&mut world, &mut text);
    }
    world.run();
    report(&mut world, &mut text);
    for id in asked {
        tell_answer(&world, id, &mut text);
    }
    let now = world.now();
    let status = serde_json::to_string(&world.gateway().status(now)).expect("our own types always have a JSON form");
    text + &status
}

fn ask(world: &mut World, rng: &mut Rng) -> RequestId {
    let model = pick(rng, &MODELS);
    let stream = rng.below(2) == 0;
    let messages = r#""messages":[{"role":"user","content":"hi"}]"#;
    match rng.below(8) {
        0 => world.ask(Surface::Embeddings, format!(r#"{{"model":"{model}","input":"x"}}"#)),
        1 => world.ask(
            Surface::Messages,
            format!(r#"{{"model":"{model}","max_tokens":9,"stream":{stream},"top_k":5,{messages}}}"#),
        ),
        2 => world.ask(Surface::Responses, format!(r#"{{"model":"{model}","stream":{stream},"input":"hi"}}"#)),
        3 => world.ask(Surface::Completions, format!(r#"{{"model":"{model}","stream":{stream},"prompt":"hi"}}"#)),
        4 => world.ask(Surface::CountTokens, format!(r#"{{"model":"{model}",{messages}}}"#)),
        5 => world.ask(
            Surface::Chat,
            format!(r#"{{"model":"{model}","stream":true,"stream_options":{{"include_usage":true}},{messages}}}"#),
        ),
        _ => world.ask(
            Surface::Chat,
            format!(r#"{{"model":"{model}","stream":{stream},"seed":7,"fallbacks":["e/m"],{messages}}}"#),
        ),
    }
}

/// What a vendor does for a while: well more often than not.
fn weather(rng: &mut Rng) -> Script {
    let token = u32::try_from(rng.below(4)).expect("below four");
    let good = Script::answer(20 + rng.below(200)).tokens(1 + token).pace(rng.below(200));
    match rng.below(27) {
        0 => Script::status(500),
        1 => Script::status(503).with_header("retry-after", "1"),
        2 => Script::status(429).with_header("retry-after-ms", "700"),
        3 => Script::status(429),
        4 => Script::status(401),
        5 => Script::status(400),
        6 => Script::status(400).saying("invalid_request_error", "context_length_exceeded"),
        7 => Script::status(400).saying("invalid_request_error", "content_filter"),
        8 => Script::hang(),
        9 => Script::reset(30),
        10 => Script::refuse(5),
        11 => good.cut_after(token),
        12 => good.stall_after(token),
        13 => good.malformed_after(token),
        14 => good.error_after(token, "server_error", "server_error"),
        15 => good.error_after(token, "rate_limit_error", ""),
        16 => good.error_after(token, "invalid_request_error", "context_length_exceeded"),
        17 => good.without_done(),
        18 => good.without_finish(),
        19 => good.left_open(),
        20 => good.filtered(),
        21 => good.first_token_after(900 + rng.below(900)),
        22 => Script::body(200, ""),
        23 => good.error_after(token, "invalid_request_error", "content_filter"),
        _ => good,
    }
}

fn pick<'n>(rng: &mut Rng, names: &[&'n str]) -> &'n str {
    names[usize::try_from(rng.below(names.len() as u64)).expect("below a length")]
}

/// Writes down what has happened since, and what a keeper would be told of it.
fn report(world: &mut World, text: &mut String) {
    for line in world.take_story() {
        text.push_str(&line);
        text.push('\n');
    }
    let now = world.now();
    if let Some(report) = world.gateway().poll_report(now) {
        text.push_str(&serde_json::to_string(&report).expect("our own types always have a JSON form"));
        text.push('\n');
    }
}

fn tell_answer(world: &World, id: RequestId, text: &mut String) {
    let answer = world.answer(id);
    let status = answer.status.map_or(0, |status| status.as_u16());
    let body = String::from_utf8_lossy(&answer.body);
    write!(text, "#{} {status}\n{}{}\n", id.0, in_lines(&answer.headers), body)
        .expect("a string takes all that is written");
}

/// Headers in the order of their names, which is not the order of a hash.
fn in_lines(headers: &HeaderMap) -> String {
    let mut lines: Vec<String> =
        headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap_or(""))).collect();
    lines.sort_unstable();
    lines.concat()
}
