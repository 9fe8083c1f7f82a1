//! The systems of five write-ups as configs of `presets/systems`, each test named by its row in the README's table, with
//! scripted vendors and a clock that is a number: hours of outages pass in no time.

#![cfg(feature = "toml")]
#![expect(clippy::unwrap_used, reason = "a story that fails says where")]

mod circuit_breaker;
mod disaster_recovery;
mod health_failover;
mod load_balancing;
mod several_vendors;

use serde_json::{Value, json};
use tidegate_core::config::Config;
use tidegate_core::dialect::Surface;
use tidegate_core::sim::{Answer, RequestId, Script, World};
use tidegate_core::time::Millis;

#[expect(clippy::unnecessary_wraps, reason = "it looks up variables as an adapter does, which may not find one")]
fn made_up_key(name: &str) -> Option<String> {
    Some(format!("sk-made-up-for-{name}"))
}

fn config(preset: &str) -> Config {
    Config::from_toml(preset, "preset.toml", &made_up_key).unwrap_or_else(|errors| panic!("{errors}"))
}

fn world(preset: &str) -> World {
    World::new(config(preset), 1)
}

fn ask(world: &mut World, model: &str) -> RequestId {
    world.ask(Surface::Chat, json!({"model": model, "messages": [{"role": "user", "content": "Hi"}]}).to_string())
}

fn ask_stream(world: &mut World, model: &str) -> RequestId {
    let body = json!({"model": model, "stream": true, "messages": [{"role": "user", "content": "Hi"}]});
    world.ask(Surface::Chat, body.to_string())
}

/// One attempt at one target, streamed, to its end.
fn ask_once(world: &mut World, name: &str) {
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let body = json!({"model": name, "stream": true, "messages": messages, "tidegate": {"max_attempts": 1}});
    let attempts = reaching(world, name, |world| {
        world.ask(Surface::Chat, body.to_string());
        world.run();
    });
    assert_eq!(attempts, 1);
}

/// One request, to its end.
fn answer(world: &mut World, model: &str) -> Answer {
    let id = ask(world, model);
    world.run();
    world.answer(id)
}

/// One request, to its end: who served it.
fn served_by(world: &mut World, model: &str) -> String {
    let answer = answer(world, model);
    assert_eq!(answer.status.unwrap(), 200, "{answer:?}");
    answer.header("x-tidegate-target").to_owned()
}

/// `GET /admin/status`, for one target.
fn target(world: &World, name: &str) -> Value {
    let now = world.now();
    let status = serde_json::to_value(world.gateway().status(now)).unwrap();
    status["targets"].as_array().unwrap().iter().find(|target| target["target"] == name).unwrap().clone()
}

fn breaker(world: &World, name: &str) -> String {
    target(world, name)["breaker"]["state"].as_str().unwrap().to_owned()
}

/// How many attempts reach a target while `what` happens.
fn reaching(world: &mut World, name: &str, what: impl FnOnce(&mut World)) -> u64 {
    let before = world.attempts(name);
    what(world);
    world.attempts(name) - before
}

fn good(ms: u64) -> Script {
    Script::answer(ms)
}

fn down() -> Script {
    Script::status(503)
}

fn seconds(seconds: u64) -> Millis {
    Millis::from_secs(seconds)
}
