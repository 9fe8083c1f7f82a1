//! Every key that is accepted does something: setting it to something else gives another [`Config`].
//!
//! The list of keys is asked of the reader itself, by planting an unknown key in each table and reading the remedy. So a
//! new key fails here until it has a case, and until the example shows it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{all_set, whole_example};
use crate::config::{Config, toml_to_json};

type Case = (&'static str, Value);

/// For each key a value that is not the example's, by the end of the path of its table.
fn cases() -> Vec<Case> {
    [of_policies(), of_vendors_and_models(), of_routes_and_the_rest()].concat()
}

fn of_policies() -> Vec<Case> {
    vec![
        ("", json!({ "aliases": { "other": "default" }, "clients": { "team-a": { "key": { "env": "OTHER" } } } })),
        (
            "server",
            json!({
                "listen": "127.0.0.1:9", "body_max": "1MiB", "reply_max": "1MiB", "request_head": "1s",
                "client_stall": "1s", "keep_alive": "1s", "connections_max": 1, "drain": "1s", "records": 7,
                "admin_key": { "env": "OTHER" },
            }),
        ),
        (
            "timeouts",
            json!({
                "connect": "7s", "head": "7s", "answer": "7s", "first_token": "7s", "gap": "7s", "total": "7s",
            }),
        ),
        (
            "retry",
            json!({
                "attempts": 7, "deadline": "7s", "same_target": 7, "wait": "7s", "base": "7s", "max": "7s",
                "quarantine": "7s", "share": 0.007,
            }),
        ),
        (
            "breaker",
            json!({
                "window": "leaky", "min_requests": 7, "failure_rate": 0.007, "failures": 7, "slow_first_token": "7s",
                "slow_rate": 0.007, "open": "7s", "open_max": "11s", "probes": 7, "successes": 7, "ramp": "7s",
            }),
        ),
        (
            "health",
            json!({
                "probe": "none", "path": "/other", "every": "7s", "timeout": "7s", "healthy": 7, "unhealthy": 7,
                "degraded": "700ms", "too_slow": "7s", "success_rate": 0.7,
            }),
        ),
    ]
}

fn of_vendors_and_models() -> Vec<Case> {
    vec![
        (
            "vendors/*",
            json!({
                "dialect": "gemini", "base_url": "http://127.0.0.1:7", "keys": [{ "env": "OTHER" }], "timeouts": { "gap": "7s" },
                "retry": { "attempts": 7 }, "breaker": { "failures": 7 }, "health": { "healthy": 7 }, "unsupported": ["other"],
                "rename": { "other": "another" }, "concurrency": { "start": 7 }, "prices": "groq",
            }),
        ),
        ("defaults", json!({ "rpm": 7, "tpm": 7 })),
        ("concurrency", json!({ "start": 7, "min": 2, "max": 77, "queue": 7, "decrease_to": 0.7 })),
        ("keys/*", json!({ "env": "OTHER", "rpm": 7, "tpm": 7, "concurrency": 7, "weight": 7 })),
        ("admin_key", json!({ "env": "OTHER" })),
        (
            "models/*",
            json!({
                "upstream": "other", "context": 7, "typical_first_token": "7s", "typical_answer": "7s", "strengths": ["other"],
                "price": { "input": 7, "output": 7 }, "timeouts": { "gap": "7s" },
                "retry": { "attempts": 7 }, "breaker": { "failures": 7 }, "health": { "healthy": 7 }, "capabilities": ["prefill"], "lacks": ["thinking"],
                "unsupported": ["other"], "rename": { "other": "another" }, "max_output": 7,
                "default_parameters": { "temperature": 1.5, "top_p": 0.5, "max_tokens": 7 },
                "concurrency": { "start": 7 }, "rpm": 7, "tpm": 7,
            }),
        ),
        ("default_parameters", json!({ "temperature": 1.5, "top_p": 0.5, "max_tokens": 7 })),
        ("after", json!({ "timeout": "openai/gpt-4.1", "connection": "openai/gpt-4.1" })),
        (
            "price",
            json!({
                "input": 7, "cached_input": 7, "cache_write": 7, "cache_write_1h": 7, "output": 7,
                "tiers": [{ "above": 7, "input": 7, "output": 7 }],
            }),
        ),
        (
            "price/tiers/*",
            json!({ "above": 7, "input": 7, "cached_input": 7, "cache_write": 7, "cache_write_1h": 7, "output": 7 }),
        ),
        ("prices", json!({ "file": "other.toml" })),
    ]
}

fn of_routes_and_the_rest() -> Vec<Case> {
    vec![
        (
            "routes/*",
            json!({
                "strategy": "latency", "models": ["gemini/gemini-3.5-flash", "anthropic/claude-sonnet-5-5"], "content_filter": "reroute", "parameters": "strict",
                "ejected_max": 0.5, "exhausted": "panic", "canned": "Later.", "stream_cut": "restart",
                "after": { "timeout": "gemini/gemini-3.5-flash" },
                "timeouts": { "gap": "7s" }, "retry": { "attempts": 7 }, "breaker": { "failures": 7 },
                "hedge": { "share": 0.007 }, "cache": { "ttl": "7s" },
                "tasks": { "general": { "normal": ["openai/gpt-4.1"] } },
                "when": [{ "tag": "other", "strategy": "latency" }],
                "canary": { "model": "openai/gpt-4.1", "share": 0.007 },
                "score": { "price": 7 }, "sticky": "client", "shadow": { "strategy": "latency" },
            }),
        ),
        ("store", json!({ "kind": "memory", "path": "other.db", "flush": "7s", "lines_max": 777, "keep": "7d" })),
        ("routes/*/models/*", json!({ "model": "gemini/gemini-3.5-flash", "weight": 7 })),
        ("tasks/*", json!({ "fast": ["openai/gpt-4.1"], "normal": ["openai/gpt-4.1"], "high": ["openai/gpt-4.1"] })),
        (
            "when/*",
            json!({
                "client": "team-b", "tag": "other", "kind": "count_tokens", "strategy": "inverse_latency",
                "models": ["openai/gpt-4.1"],
            }),
        ),
        ("canary", json!({ "model": "openai/gpt-4.1", "share": 0.007 })),
        ("score", json!({ "strengths": 7, "price": 7, "latency": 7, "max_cost": 7, "max_latency": "7s" })),
        ("shadow", json!({ "strategy": "latency", "models": ["openai/gpt-4.1"] })),
        ("cache", json!({ "ttl": "7s", "size": "7KiB", "shared": true })),
        ("hedge", json!({ "after": "7s", "after_min": "7s", "min_samples": 7, "share": 0.007 })),
        (
            "clients/*",
            json!({
                "key": { "env": "OTHER" }, "routes": ["fast"], "rpm": 7, "tpm": 7, "concurrency": 7,
                "budget": { "usd": 7.0, "per": "7d" },
            }),
        ),
        ("budget", json!({ "usd": 7.0, "per": "7d", "soft": 0.7 })),
        (
            "queue",
            json!({
                "jobs_max": 7, "client_jobs_max": 7, "body_max": "7KiB", "bytes_max": "7MiB", "at_once": 7, "attempts": 7,
                "base": "7s", "max": "7s", "expiry": "7s", "keep": "7s", "webhook": { "env": "OTHER_WEBHOOK" },
                "webhook_key": { "env": "OTHER_KEY_OF_A_QUEUE" }, "key": { "env": "OTHER_KEY_OF_A_QUEUE" },
            }),
        ),
        ("queue/webhook", json!({ "env": "OTHER_WEBHOOK" })),
        ("queue/webhook_key", json!({ "env": "OTHER_KEY_OF_A_QUEUE" })),
        ("queue/key", json!({ "env": "OTHER_KEY_OF_A_QUEUE" })),
        ("clients/*/key", json!({ "env": "OTHER" })),
        (
            "alerts",
            json!({
                "first_token": "7s", "answer": "7s", "error_rate": 0.007, "failures": 7, "window": "7s", "min_requests": 7,
                "clear_after": "7s", "webhook": { "env": "OTHER_WEBHOOK" },
                "webhook_key": { "env": "OTHER_KEY_OF_A_QUEUE" },
            }),
        ),
        ("alerts/webhook", json!({ "env": "OTHER_WEBHOOK" })),
        ("alerts/webhook_key", json!({ "env": "OTHER_KEY_OF_A_QUEUE" })),
    ]
}

/// The case for `key` in `table`, with the key of the case itself.
fn other_value(table: &str, key: &str) -> Option<((&'static str, String), Value)> {
    let cases = cases();
    let fits = |end: &str| table == end || (!end.is_empty() && table.ends_with(&format!("/{end}")));
    // The longest end that fits: the `key` of a client is a table of another kind than `keys`.
    let (end, values) = cases.iter().filter(|(end, _)| fits(end)).max_by_key(|(end, _)| end.len())?;
    Some(((*end, key.to_owned()), values.get(key)?.clone()))
}

/// Tables whose keys are names of the operator's choice.
const NAMED: [&str; 8] =
    ["vendors", "vendors/*/rename", "models", "models/*/rename", "routes", "routes/*/tasks", "aliases", "clients"];

#[test]
fn every_accepted_key_changes_the_config() {
    let example = example();
    let before = load(&example).unwrap();
    let mut tried = BTreeSet::new();
    for (pointer, table) in tables(&example) {
        for key in known_keys(&example, &pointer) {
            let place = format!("{table}/{key} at {pointer}");
            if let Some((case, other)) = other_value(&table, &key) {
                if example.pointer(&pointer).unwrap().get(&key) == Some(&other) {
                    continue; // Another table of its kind has to show that the key does something.
                }
                let changed = with(&example, &pointer, &key, other);
                // What is for one strategy is refused with another: a table that has it shows that the key does something.
                let Ok(after) = load(&changed) else { continue };
                assert!(after != before, "{place} changes nothing");
                tried.insert(case);
            } else {
                let walked = example.pointer(&pointer).unwrap().get(&key).is_some_and(Value::is_object);
                assert!(walked, "{place} has no case");
            }
        }
    }
    for (end, values) in cases() {
        for key in values.as_object().unwrap().keys() {
            assert!(tried.contains(&(end, key.clone())), "the reader does not know {end}/{key}");
        }
    }
}

#[test]
fn the_example_shows_every_accepted_key() {
    let example = example();
    let tables = tables(&example);
    let shown: BTreeSet<&String> =
        tables.iter().flat_map(|(pointer, _)| example.pointer(pointer).unwrap().as_object().unwrap().keys()).collect();
    for (pointer, table) in &tables {
        for key in known_keys(&example, pointer) {
            assert!(shown.contains(&key), "the example does not show {table}/{key}");
        }
    }
}

fn example() -> Value {
    let json = toml_to_json(&whole_example(), "tidegate.toml").unwrap_or_else(|errors| panic!("{errors}"));
    serde_json::from_str(&json).unwrap()
}

fn load(document: &Value) -> Result<Config, String> {
    Config::from_json(&document.to_string(), "t", &all_set).map_err(|errors| errors.to_string())
}

/// Every table of `document` with keys of its own, as its pointer and its kind: `vendors/*/timeouts`.
fn tables(document: &Value) -> Vec<(String, String)> {
    fn walk(value: &Value, pointer: &str, kind: &str, found: &mut Vec<(String, String)>) {
        let children: Vec<(String, &Value)> = match value {
            Value::Object(entries) => entries.iter().map(|(key, value)| (key.clone(), value)).collect(),
            Value::Array(items) => items.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect(),
            _ => return,
        };
        let chosen_names = NAMED.contains(&kind) || value.is_array();
        if !chosen_names {
            found.push((pointer.to_owned(), kind.to_owned()));
        }
        for (key, child) in children {
            let step = if chosen_names { "*" } else { &key };
            let slash = if kind.is_empty() { "" } else { "/" };
            let escaped = key.replace('~', "~0").replace('/', "~1");
            walk(child, &format!("{pointer}/{escaped}"), &format!("{kind}{slash}{step}"), found);
        }
    }
    let mut found = Vec::new();
    walk(document, "", "", &mut found);
    found
}

/// The keys that the reader knows in the table at `pointer`, from what it says about one that it does not.
fn known_keys(document: &Value, pointer: &str) -> Vec<String> {
    let errors = Config::from_json(&with(document, pointer, "?!", json!(1)).to_string(), "t", &all_set).unwrap_err();
    let [error] = errors.iter().collect::<Vec<_>>()[..] else { panic!("one unknown key, many errors: {errors}") };
    assert!(error.path.ends_with("\"?!\"") && error.problem == "unknown key", "{error}");
    let list = error.remedy.strip_prefix("Known here: `").and_then(|list| list.strip_suffix("`."));
    list.unwrap_or_else(|| panic!("{error}")).split("`, `").map(str::to_owned).collect()
}

fn with(document: &Value, pointer: &str, key: &str, value: Value) -> Value {
    let mut changed = document.clone();
    changed.pointer_mut(pointer).unwrap()[key] = value;
    changed
}
