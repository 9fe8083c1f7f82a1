//! The world itself.

use super::*;

const DAY: Millis = Millis::from_secs(24 * 60 * 60);

fn trace_config() -> Config {
    let secret = |name: &str| Some(format!("made-up-key-of-the-trace-{name}"));
    Config::from_json(include_str!("trace.json"), "trace.json", &secret).unwrap()
}

/// Nothing grows with the requests that are over: neither what is due, nor who is known, nor what is told.
#[test]
fn a_quiet_world_forgets_what_is_over() {
    let mut world = World::quiet(trace_config(), 1);
    let mut served = 0;
    for _ in 0..50_000 {
        let stream = served % 2 == 0;
        let body = format!(r#"{{"model":"chain","stream":{stream},"messages":[{{"role":"user","content":"hi"}}]}}"#);
        world.ask(Surface::Chat, body);
        let until = world.now() + Millis(DAY.0 / 50_000);
        while let Some(id) = world.next_end(until) {
            served += u32::from(world.take_answer(id).unwrap().status.unwrap().is_success());
        }
    }
    assert_eq!((served, world.attempts("a/small")), (50_000, 50_000));
    let stage = world.stage.borrow();
    assert!(world.running.is_empty() && stage.clients.is_empty() && stage.ended.is_empty());
    assert!(stage.story().is_empty());
}

#[test]
fn the_same_seed_tells_the_same_story_and_another_another() {
    assert_eq!(trace(7, 60), trace(7, 60));
    assert_ne!(trace(7, 60), trace(8, 60));
}

/// What the twins are compared by is worth nothing if it meets only fair weather.
#[test]
fn a_trace_meets_all_weathers() {
    let text: String = (0..12).map(|seed| trace(seed, 300)).collect();
    for part in [
        " send ",
        " cancel ",
        " pause ",
        " relay 200",
        "[DONE]",
        "error=stream_interrupted",
        " continue",
        " restart",
        " open ",
        " half-open ",
        " close ",
        " quarantine ",
        " throttle ",
        " skip ",
        " leave",
        " hang up",
        "reply 400",
        "reply 404",
        "reply 429",
        "reply 502",
        "reply 503",
        "reply 504",
        "\"changes\"",
        "content_filter",
        "context_length_exceeded",
    ] {
        assert!(text.contains(part), "no trace has {part:?}");
    }
    let is_won = |rest: &str| !rest.starts_with('0');
    assert!(text.split("\"hedges_won\":").skip(1).any(is_won), "no hedge has won");
}
