//! Random days, recorded and lived through again; recordings that somebody has had their hands on.

use serde_json::Value;

use super::*;
use crate::record::{Header, Line};
use crate::rng::Rng;
use crate::sim::BEGINNING;
use crate::time::Millis;

/// Two vendors, one with two keys, breakers that trip and recover, hedging, and little patience.
fn document() -> Value {
    json!({
        "server": {"records": 1000},
        "defaults": {
            "timeouts": {"head": "1s", "answer": "1s", "first_token": "2s", "gap": "1s", "total": "20s"},
            "retry": {"attempts": 4, "deadline": "10s", "base": "200ms", "quarantine": "3s"},
            "breaker": {"failures": 3, "min_requests": 8, "failure_rate": 0.5, "open": "1s", "open_max": "8s"},
        },
        "vendors": {
            "a": {"dialect": "openai", "base_url": "http://a.test/v1", "keys": [{"env": "A1"}, {"env": "A2"}]},
            "b": {"dialect": "anthropic", "base_url": "http://b.test/v1", "keys": [{"env": "B"}]},
            "c": {"dialect": "gemini", "base_url": "http://c.test/v1", "keys": [{"env": "C"}]},
        },
        "models": {
            "a/m": {"context": 1000, "price": {"input": 1.0, "output": 2.0}},
            "b/m": {"context": 2000},
            "c/m": {"price": {"input": 3.0, "output": 6.0}},
        },
        "routes": {
            "chain": {"models": ["a/m", "b/m", "c/m"]},
            "hedged": {"models": ["a/m", "b/m"], "hedge": {"after": "100ms"}},
        },
    })
}

fn config(document: &Value) -> Config {
    let read = Config::from_json(&document.to_string(), "replay.json", &crate::config::assumed_secret);
    read.unwrap_or_else(|errors| panic!("{errors}"))
}

/// One of the things that vendors do.
fn deed(rng: &mut Rng) -> Script {
    let ms = rng.below(900);
    match rng.below(16) {
        0 => Script::status(503).after(ms),
        1 => Script::status(500).with_header("retry-after-ms", "700"),
        2 => Script::status(429).with_header("retry-after", "2"),
        3 => Script::status(401),
        4 => Script::status(400).after(ms),
        5 => Script::hang(),
        6 => Script::reset(ms),
        7 => Script::refuse(ms),
        8 => Script::answer(ms).cut_after(2),
        9 => Script::answer(ms).stall_after(1),
        10 => Script::answer(ms).filtered(),
        11 => Script::answer(ms).first_token_after(2500),
        12 => Script::answer(ms).error_after(0, "server_error", "server_error"),
        13 => Script::status(400).saying("invalid_request_error", "context_length_exceeded"),
        _ => Script::answer(ms).pace(rng.below(300)).tokens(3),
    }
}

/// A day of a hundred requests in which anything may happen, as it would be written.
fn recorded(seed: u64) -> Recording {
    recorded_with(seed, &document(), &["chain", "chain", "hedged", "a/m"])
}

/// Such a day with another configuration, in which these models are asked for.
fn recorded_with(seed: u64, document: &Value, models: &[&str]) -> Recording {
    let mut world = World::quiet(config(document), seed);
    let mut rng = Rng::from_seed(seed);
    for target in ["a/m", "b/m", "c/m"] {
        let deeds: Vec<Script> = (0..300).map(|_| deed(&mut rng)).collect();
        world.script(target, deeds);
    }
    for _ in 0..100 {
        let model = models[usize::try_from(rng.below(models.len() as u64)).unwrap()];
        let stream = rng.below(2) == 0;
        let said = ["words", "other words", "still others"][world.running() % 3];
        let body = json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": said}]});
        let id = world.ask(Surface::Chat, body.to_string());
        world.run_for(Millis(rng.below(400)));
        if rng.below(10) == 0 {
            world.leave(id);
        }
    }
    world.run();
    let gateway = world.gateway();
    let (records, lost) = gateway.records_since(&mut 0, usize::MAX);
    assert_eq!((records.len(), lost), (100, 0));
    let requests = records.iter().map(|record| record.account(gateway.config())).collect();
    Recording { header: Header::new(document.to_string(), seed, BEGINNING), requests, lost }
}

#[test]
fn the_same_configuration_decides_the_same_again() {
    for seed in 0..40 {
        let recording = recorded(seed);
        let report = replay(&recording, recording.config().unwrap());
        assert!(report.is_identical() && report.requests == 100, "seed {seed}: {report}");
        assert_eq!((report.guessed, report.unknown), (0, 0));
        assert_eq!(report.recorded, report.replayed, "seed {seed}");
    }
}

#[test]
fn what_routes_go_by_is_recorded() {
    let mut document = document();
    let all = json!(["a/m", "b/m", "c/m"]);
    document["models"]["b/m"]["price"] = json!({"input": 2.0, "output": 1.0});
    document["routes"] = json!({
        "sticky": {"models": all, "strategy": "weighted", "sticky": "prefix", "canary": {"model": "c/m", "share": 0.2}},
        "weighted": {"models": [{"model": "a/m", "weight": 3}, "b/m"], "strategy": "weighted"},
        "cost": {"models": all, "strategy": "cost", "shadow": {"strategy": "latency"}},
        "context": {"models": all, "strategy": "context", "score": {"max_latency": "3s"}},
    });
    for seed in 0..20 {
        let recording = recorded_with(seed, &document, &["sticky", "weighted", "cost", "context"]);
        let report = replay(&recording, recording.config().unwrap());
        assert!(report.is_identical() && report.requests == 100, "seed {seed}: {report}");
        let shadows =
            |recording: &Recording| recording.requests.iter().filter(|account| account.shadow.is_some()).count();
        assert!(shadows(&recording) > 0, "seed {seed}");
    }
}

#[test]
fn what_was_kept_is_answered_with_again() {
    let mut document = document();
    document["routes"]["chain"]["cache"] = json!({"ttl": "20s"});
    let mut hits = 0;
    for seed in 0..8 {
        let recording = recorded_with(seed, &document, &["chain", "chain", "hedged"]);
        let cached = recording.requests.iter().filter(|account| account.ending.how == How::Cached);
        hits += cached.clone().count();
        assert!(cached.clone().all(|account| account.attempts.is_empty() && account.ending.target.is_some()));
        let report = replay(&recording, recording.config().unwrap());
        assert!(report.is_identical() && report.requests == 100, "seed {seed}: {report}");
        // Where nothing is kept, they are asked like any other.
        let mut other = document.clone();
        other["routes"]["chain"].as_object_mut().unwrap().remove("cache");
        let report = replay(&recording, config(&other));
        assert_eq!(report.is_identical(), cached.count() == 0, "seed {seed}: {report}");
    }
    assert!(hits > 50, "{hits}");
}

#[test]
fn what_was_queued_is_queued_again_and_its_jobs_are_run_again() {
    let mut document = document();
    document["routes"]["chain"]["exhausted"] = json!("queue");
    document["queue"] = json!({"base": "1s"});
    let mut world = World::quiet(config(&document), 3);
    for target in ["a/m", "b/m", "c/m"] {
        world.script(target, (0..6).map(|_| Script::status(503)));
    }
    for _ in 0..4 {
        world.ask(Surface::Chat, json!({"model": "chain", "messages": []}).to_string());
        world.run_for(Millis(1500));
    }
    world.run_for(Millis(60_000));
    let gateway = world.gateway();
    let (records, lost) = gateway.records_since(&mut 0, usize::MAX);
    let requests: Vec<_> = records.iter().map(|record| record.account(gateway.config())).collect();
    let count = |how: How| requests.iter().filter(|account| account.ending.how == how).count();
    assert!(count(How::Queued) > 0 && count(How::Answered) >= count(How::Queued), "{requests:#?}");
    let recording = Recording { header: Header::new(document.to_string(), 3, BEGINNING), requests, lost };
    let report = replay(&recording, recording.config().unwrap());
    assert!(report.is_identical(), "{report}");
}

#[test]
fn without_a_fallback_more_fails() {
    let recording = recorded(1);
    let mut other = document();
    other["routes"]["chain"]["models"] = json!(["a/m"]);
    let report = replay(&recording, config(&other));
    assert!(!report.is_identical());
    assert!(report.replayed.errors > report.recorded.errors, "{}", report.table());
    assert!(!report.differences.is_empty() && report.differences.len() <= 20);
}

fn text(recording: &Recording) -> String {
    let begin = Line::Begin(recording.header.clone()).text();
    let lines = recording.requests.iter().map(|account| Line::Request(Box::new(account.clone())).text());
    [begin].into_iter().chain(lines).collect()
}

#[test]
fn a_file_holds_it_all() {
    let recording = recorded(2);
    let text = text(&recording);
    assert_eq!(Recording::read_all(&text).as_deref(), Ok(&[recording][..]));
    // A line that was being written when the gateway was killed, and the gateway's next lives.
    let cut = &text[..text.len() - 10];
    let lives = Recording::read_all(&format!("{cut}\n{text}{cut}")).unwrap_or_else(|damaged| panic!("{damaged}"));
    let lengths: Vec<usize> = lives.iter().map(|life| life.requests.len()).collect();
    assert_eq!(lengths, [99, 100, 99]);
}

#[test]
fn a_damaged_file_is_refused_by_its_line() {
    let text = text(&recorded(4));
    let line = |nth: usize| text.lines().nth(nth).unwrap();
    let first = line(0);
    for (damaged, place) in [
        (String::new(), "line 1: nothing"),
        (line(1).to_owned(), "line 1: a recording has to begin"),
        (first.replace("\"form\":1", "\"form\":2"), "line 1: this is form 2"),
        (format!("{first}\nnothing\n{}\n", line(1)), "line 2: expected"),
        (format!("{first}\n{}\n{{}}\n", line(1)), "line 3: "),
        (format!("{first}\n{}\n", line(1).replace("\"at_ms\":17", "\"at_ms\":9017")), "line 2: times that cannot be"),
    ] {
        let told = Recording::read_all(&damaged).unwrap_err().to_string();
        assert!(told.starts_with(place), "{told}");
    }
}

#[test]
fn no_damage_makes_it_panic() {
    let recording = recorded(5);
    let mut short = recording.clone();
    short.requests.truncate(8);
    let text = text(&short);
    let mut rng = Rng::from_seed(5);
    for _ in 0..400 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..=rng.below(3) {
            let at = usize::try_from(rng.below(bytes.len() as u64)).unwrap();
            // Digits make other numbers, which is worse than what does not read at all.
            bytes[at] =
                if bytes[at].is_ascii_digit() { b'9' } else { b"\"{}:,x\n"[usize::try_from(rng.below(7)).unwrap()] };
        }
        let Ok(recordings) = Recording::read_all(&String::from_utf8_lossy(&bytes)) else { continue };
        for recording in recordings {
            if let Ok(config) = recording.config() {
                replay(&recording, config);
            }
        }
    }
}

#[test]
fn what_is_unknown_is_said() {
    let mut recording = recorded(3);
    recording.lost = 7;
    recording.requests[0].api = "/v1/poems".to_owned();
    let mut other = document();
    other["vendors"]["d"] = json!({"dialect": "openai", "base_url": "http://d.test/v1", "keys": [{"env": "D"}]});
    other["models"]["d/m"] = json!({});
    other["routes"]["chain"]["models"] = json!(["d/m"]);
    let report = replay(&recording, config(&other));
    assert!(report.unknown > 0 && report.requests == 99);
    let told = report.table();
    for remark in ["nothing is recorded", "7 requests are missing", "1 requests left out: there is no API at /v1/poems"]
    {
        assert!(told.contains(remark), "{remark}: {told}");
    }
}
