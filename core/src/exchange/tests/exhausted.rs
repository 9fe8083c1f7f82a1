//! What a route does when all of its targets are shut off.

use super::*;
use crate::breaker::Order;

/// Breakers that open on the first failure and stay open for long, and a route that does so when all have.
fn shut_off(exhausted: &str) -> World {
    let mut world = world_with(|document| {
        document["defaults"]["breaker"] = json!({"failures": 1, "failure_rate": 0, "open": "1m", "open_max": "1m"});
        document["defaults"]["retry"]["attempts"] = json!(2);
        document["routes"]["chain"]["exhausted"] = json!(exhausted);
        document["routes"]["chain"]["canned"] = json!("Back soon.");
    });
    world.script("a/m", [Script::status(503)]);
    // It asks for the longest time there is, so that the other comes back first, whatever was drawn for it.
    world.script("b/m", [Script::status(503).with_header("retry-after", "60")]);
    plain(&mut world);
    world.run_for(seconds(1));
    assert_eq!((state(&world, 0), state(&world, 1)), (State::Open, State::Open));
    world.take_story();
    world
}

#[test]
fn an_error_says_when_to_come_back() {
    let mut world = shut_off("error");
    let id = plain(&mut world);
    assert_eq!(world.answer(id).json()["error"]["code"], "circuit_open");
    assert!(!world.answer(id).header("retry-after").is_empty());
}

#[test]
fn the_soonest_gets_its_probe_now() {
    let mut world = shut_off("soonest");
    let id = plain(&mut world);
    assert_eq!(world.answer(id).header("x-tidegate-target"), "a/m", "it comes back first");
    assert_eq!(state(&world, 1), State::Open, "nobody else is disturbed");
    assert_settled(&world);
}

#[test]
fn a_probe_that_fails_is_the_only_one_for_this_request() {
    let mut world = shut_off("soonest");
    world.usually("a/m", Script::status(503));
    let id = plain(&mut world);
    assert_eq!(world.answer(id).status.map(|status| status.as_u16()), Some(502));
    assert_eq!(world.seen("a/m").len(), 2, "one before the outage was known, one now");
    assert_settled(&world);
}

#[test]
fn a_panic_starts_afresh_with_all() {
    let mut world = shut_off("panic");
    world.script("a/m", [Script::status(503)]);
    let id = plain(&mut world);
    assert_eq!(world.answer(id).header("x-tidegate-target"), "b/m");
    assert_eq!((state(&world, 0), state(&world, 1)), (State::Open, State::Closed));
    assert_settled(&world);
}

#[test]
fn what_an_operator_shut_off_no_last_resort_asks() {
    for exhausted in ["soonest", "panic"] {
        let mut world = shut_off(exhausted);
        let now = world.now();
        world.gateway().order(now, TargetId(0), Order::Open(Millis::from_secs(1800)));
        let id = plain(&mut world);
        assert_eq!(world.answer(id).header("x-tidegate-target"), "b/m", "{exhausted}");
        assert_eq!((state(&world, 0), world.seen("a/m").len()), (State::Open, 1), "{exhausted}");
        world.gateway().order(now, TargetId(1), Order::Open(Millis::from_secs(1800)));
        let id = plain(&mut world);
        assert_eq!(world.answer(id).json()["error"]["code"], "circuit_open", "{exhausted}");
        assert_settled(&world);
    }
}

#[test]
fn a_canned_answer_comes_in_the_clients_dialect_and_costs_nothing() {
    let mut world = shut_off("canned");
    let id = plain(&mut world);
    let answer = world.answer(id);
    assert_eq!(answer.status.map(|status| status.as_u16()), Some(200));
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "Back soon.");
    assert_eq!((answer.header("x-tidegate-canned"), answer.header("x-tidegate-cost")), ("true", "0"));
    let id = stream(&mut world);
    assert_eq!(world.answer(id).stream_summary().as_deref(), Some("Back soon. [DONE]"));
    assert_eq!(world.answer(id).header("x-tidegate-canned"), "true");
    let body = r#"{"model":"chain","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
    let id = world.ask(Surface::Messages, body);
    world.run();
    assert_eq!(world.answer(id).json()["content"][0]["text"], "Back soon.");
    let id = world.ask(Surface::Embeddings, r#"{"model":"chain","input":"x"}"#);
    world.run();
    assert_eq!(world.answer(id).status.map(|status| status.as_u16()), Some(503), "a vector cannot be canned");
}

#[test]
fn what_is_the_callers_fault_is_not_canned() {
    let mut world = shut_off("canned");
    world.run_for(seconds(90));
    world.usually("a/m", Script::status(400));
    let id = plain(&mut world);
    assert_eq!(world.answer(id).status.map(|status| status.as_u16()), Some(400));
}
