//! A random configuration, with limits so short that a storm of a minute meets all of them.

use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::rng::Rng;
use crate::time::Millis;

/// The longest that an attempt may take, in every configuration.
pub(super) const TOTAL: Millis = Millis(8000);

/// What routes say that have words of their own.
pub(super) const CANNED: &str = "1";

/// What it is checked against comes from here too, so that nothing in it is taken for granted.
pub(super) fn terms(rng: &mut Rng) -> Config {
    let document = document(rng).to_string();
    let secret = |name: &str| Some(format!("made-up-key-of-the-swarm-{name}"));
    let config = Config::from_json(&document, "swarm.json", &secret);
    config.unwrap_or_else(|errors| panic!("a swarm's own config is sound: {errors}\n{document}"))
}

fn document(rng: &mut Rng) -> Value {
    let (mut vendors, mut models, mut names) = (Map::new(), Map::new(), Vec::new());
    for vendor in &["a", "b", "c", "d"][..=below(rng, 4)] {
        let dialect = pick(rng, &["openai", "openai", "anthropic", "gemini"]);
        let keys: Vec<Value> =
            (0..=below(rng, 3)).map(|nth| json!({"env": format!("{}{nth}", vendor.to_uppercase())})).collect();
        let url = format!("http://{vendor}.test/v1");
        vendors.insert((*vendor).to_owned(), json!({"dialect": dialect, "base_url": url, "keys": keys}));
        for model in &["big", "small"][..=below(rng, 2)] {
            let name = format!("{vendor}/{model}");
            let mut target = json!({"price": {"input": 1.0, "output": 2.0}, "capabilities": ["tools", "prefill"]});
            sometimes(rng, &mut target, "breaker", breaker);
            sometimes(rng, &mut target, "concurrency", concurrency);
            models.insert(name.clone(), target);
            names.push(name);
        }
    }
    let routes = ["one", "two", "three"][..=below(rng, 3)].iter();
    let routes: Map<_, _> = routes.map(|name| ((*name).to_owned(), route(rng, &names))).collect();
    let keep_alive = pick(rng, &["0s", "300ms", "15s"]);
    json!({
        "server": {"keep_alive": keep_alive},
        "defaults": {
            "timeouts": timeouts(rng), "retry": retry(rng), "breaker": breaker(rng), "health": health(rng),
        },
        "vendors": vendors, "models": models, "routes": routes, "store": {"kind": "memory"},
        "alerts": {
            "first_token": "500ms", "answer": "1s", "error_rate": 0.3, "failures": 3, "window": "5s", "min_requests": 5,
            "clear_after": "2s",
        },
    })
}

fn route(rng: &mut Rng, names: &[String]) -> Value {
    let mut left = names.to_vec();
    let count = 1 + below(rng, left.len());
    let models: Vec<String> = (0..count).map(|_| left.swap_remove(below(rng, left.len()))).collect();
    let exhausted = pick(rng, &["error", "soonest", "panic", "canned"]);
    let content_filter = pick(rng, &["return", "reroute"]);
    // Less than one of them is refused: it would be none.
    let ejected_max = pick(rng, &[if count > 1 { 0.5 } else { 0.0 }, 1.0, 1.0]);
    let strategy = pick(rng, &["ordered", "ordered", "latency", "inverse_latency", "weighted", "cost", "context"]);
    let stream_cut = pick(rng, &["error", "continue", "restart"]);
    let mut route = json!({
        "models": models, "strategy": strategy, "exhausted": exhausted, "content_filter": content_filter,
        "stream_cut": stream_cut, "canned": CANNED, "ejected_max": ejected_max,
    });
    sometimes(rng, &mut route, "breaker", breaker);
    sometimes(rng, &mut route, "hedge", hedge);
    route
}

fn hedge(rng: &mut Rng) -> Value {
    let after = if below(rng, 2) == 0 { "p95".to_owned() } else { between(rng, 30, 500) };
    json!({"after": after, "share": pick(rng, &[0.05, 0.5, 1.0])})
}

fn concurrency(rng: &mut Rng) -> Value {
    let start = 1 + below(rng, 5);
    json!({
        "start": start, "min": 1, "max": start + below(rng, 10), "decrease_to": pick(rng, &[0.5, 0.9]),
        "queue": below(rng, 8),
    })
}

/// A table in one of four.
fn sometimes(rng: &mut Rng, of: &mut Value, name: &str, table: fn(&mut Rng) -> Value) {
    if below(rng, 4) == 0 {
        of[name] = table(rng);
    }
}

fn timeouts(rng: &mut Rng) -> Value {
    json!({
        "head": between(rng, 200, 2000), "answer": between(rng, 500, 4000), "first_token": between(rng, 300, 3000),
        "gap": between(rng, 300, 2000), "total": TOTAL.to_string(),
    })
}

fn retry(rng: &mut Rng) -> Value {
    json!({
        "attempts": 1 + below(rng, 5), "deadline": between(rng, 500, 15_000), "same_target": below(rng, 3),
        "wait": between(rng, 0, 2000), "base": between(rng, 0, 300), "max": between(rng, 300, 2000),
        "quarantine": between(rng, 1000, 10_000), "share": pick(rng, &[0.0, 0.2, 1.0]),
    })
}

fn breaker(rng: &mut Rng) -> Value {
    let window = if below(rng, 4) == 0 { "leaky".to_owned() } else { between(rng, 1000, 20_000) };
    let open = 200 + rng.below(3000);
    json!({
        "window": window, "min_requests": 1 + below(rng, 20), "failure_rate": pick(rng, &[0.0, 0.2, 0.5, 1.0]),
        "failures": pick(rng, &[0, 1, 3, 5]), "slow_first_token": between(rng, 200, 1500),
        "slow_rate": pick(rng, &[0.0, 0.3, 0.8]), "open": format!("{open}ms"),
        "open_max": format!("{}ms", open + rng.below(8000)), "probes": 1 + below(rng, 3), "successes": 1 + below(rng, 4),
        "ramp": pick(rng, &["0s", "1s"]),
    })
}

fn health(rng: &mut Rng) -> Value {
    json!({
        "probe": pick(rng, &["models", "chat", "none"]), "every": between(rng, 1000, 20_000),
        "timeout": between(rng, 100, 3000), "healthy": 1 + below(rng, 3), "unhealthy": 1 + below(rng, 3),
        "degraded": between(rng, 200, 1000), "too_slow": between(rng, 1000, 3000),
        "success_rate": pick(rng, &[0.0, 0.5, 0.9]),
    })
}

fn between(rng: &mut Rng, low: u64, high: u64) -> String {
    rng.between(Millis(low), Millis(high)).to_string()
}

fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[below(rng, of.len())]
}

fn below(rng: &mut Rng, n: usize) -> usize {
    usize::try_from(rng.below(n as u64)).expect("below a usize")
}
