//! Requests as stories: what the vendors do, and line by line what the gateway makes of it.

use serde_json::{Value, json};

use crate::breaker::State;
use crate::config::{Config, RouteId, TargetId};
use crate::dialect::Surface;
use crate::sim::{RequestId, Script, World};
use crate::time::Millis;

mod allowing;
mod breaker;
mod dialects;
mod exhausted;
mod failover;
mod hedging;
mod keep_alive;
mod leaving;
mod limits;
mod long_tail;
mod properties;
mod queued;
mod queueing;
mod refusals;
mod rescue;
mod stream;

/// Two vendors, `a` with two keys, `b` with one, and a route `chain` over both. Backoff has no jitter to speak of: it is
/// always the 10 ms that any pause takes at least.
fn document() -> Value {
    json!({
        "defaults": {
            "timeouts": {"head": "1s", "answer": "1s", "first_token": "2s", "gap": "1s", "total": "1m"},
            "retry": {"attempts": 4, "deadline": "10s", "base": "0ms", "quarantine": "1m"},
            "breaker": {"failures": 100, "failure_rate": 0},
            "health": {"probe": "none", "unhealthy": 1000},
        },
        "vendors": {
            "a": {"dialect": "openai", "base_url": "http://a.test/v1", "keys": [{"env": "A1"}, {"env": "A2"}]},
            "b": {"dialect": "openai", "base_url": "http://b.test/v1", "keys": [{"env": "B"}]},
        },
        "models": {
            "a/m": {"context": 1000, "price": {"input": 1.0, "output": 2.0}},
            "b/m": {"context": 2000, "price": {"input": 1.0, "output": 2.0}},
        },
        "routes": {"chain": {"models": ["a/m", "b/m"]}},
    })
}

fn config(document: &Value) -> Config {
    let secret = |name: &str| Some(bearer(name).split_off("Bearer ".len()));
    Config::from_json(&document.to_string(), "story.json", &secret).unwrap_or_else(|errors| panic!("{errors}"))
}

fn bearer(key: &str) -> String {
    format!("Bearer the-made-up-secret-{key}")
}

/// The world of [`document`], changed.
fn world_with(change: impl FnOnce(&mut Value)) -> World {
    let mut document = document();
    change(&mut document);
    World::new(config(&document), 1)
}

fn world() -> World {
    world_with(|_| {})
}

fn ask(world: &mut World, model: &str) -> RequestId {
    world.ask(Surface::Chat, format!(r#"{{"model":"{model}","messages":[]}}"#))
}

fn ask_stream(world: &mut World, model: &str) -> RequestId {
    world.ask(Surface::Chat, format!(r#"{{"model":"{model}","messages":[],"stream":true}}"#))
}

/// One request on `chain`, to its end.
fn plain(world: &mut World) -> RequestId {
    let id = ask(world, "chain");
    world.run();
    id
}

/// One streamed request on `chain`, to its end.
fn stream(world: &mut World) -> RequestId {
    let id = ask_stream(world, "chain");
    world.run();
    id
}

fn state(world: &World, target: usize) -> State {
    let now = world.now();
    world.gateway().breaker(TargetId(target).into()).state(now)
}

/// Every attempt that was sent has been settled exactly once, and no probe's place is still taken, nor a slot.
fn assert_settled(world: &World) {
    let now = world.now();
    let gateway = world.gateway();
    for id in (0..gateway.config().targets.len()).map(TargetId) {
        let tally = gateway.stats(id).tally();
        let settled = tally.successes
            + tally.failures
            + tally.silent
            + tally.rate_limited
            + tally.credential_faults
            + tally.caller_faults
            + tally.filtered
            + tally.neutral;
        assert_eq!(tally.attempts, settled, "{tally:?}");
        let load = gateway.load(now, id).map(|load| (load.in_flight, load.waiting));
        assert!(load.is_none_or(|load| load == (0, 0)), "{load:?}");
    }
}

fn total(world: &World, target: usize, of: impl Fn(&crate::stats::Tally) -> u64) -> u64 {
    of(world.gateway().stats(TargetId(target)).tally())
}

fn seconds(seconds: u64) -> Millis {
    Millis::from_secs(seconds)
}
