//! A request that failed over, one that left, one with endless hints: what is kept of them, and how it reads.

use serde_json::json;

use super::*;
use crate::config::Config;
use crate::sim::{RequestId, Script, World};
use crate::time::Millis;

fn world(records: u32) -> World {
    let document = json!({
        "server": {"records": records},
        "defaults": {
            "retry": {"base": "0ms", "quarantine": "1m"},
            "breaker": {"failures": 1, "failure_rate": 0, "open": "10s", "open_max": "10s"},
        },
        "vendors": {
            "a": {"dialect": "openai", "base_url": "http://a.test/v1", "keys": [{"env": "A1"}]},
            "b": {"dialect": "openai", "base_url": "http://b.test/v1", "keys": [{"env": "B"}]},
        },
        "models": {"a/m": {}, "b/m": {"price": {"input": 1.0, "output": 2.0}}},
        "routes": {"chain": {"models": ["a/m", "b/m"]}},
    });
    let secret = |name: &str| Some(format!("the-made-up-secret-{name}"));
    let config = Config::from_json(&document.to_string(), "record.json", &secret);
    World::new(config.unwrap_or_else(|errors| panic!("{errors}")), 1)
}

fn ask(world: &mut World) -> RequestId {
    let body = r#"{"model":"chain","stream":true,"messages":[{"role":"user","content":"my own words"}]}"#;
    world.ask(Surface::Chat, body)
}

fn account_of(world: &World, id: RequestId) -> Account {
    let request_id = world.answer(id).header("x-tidegate-request-id").to_owned();
    let gateway = world.gateway();
    gateway.records().find(&request_id).expect("it is over").account(gateway.config())
}

/// One that fails over, and one that finds the breaker open.
fn failed_over(world: &mut World) -> (RequestId, RequestId) {
    world.script("a/m", [Script::status(503).with_header("retry-after", "2")]);
    let first = ask(world);
    world.run();
    let second = ask(world);
    world.run();
    (first, second)
}

#[test]
fn a_request_that_failed_over_is_accounted_for() {
    let mut world = world(10);
    let (first, second) = failed_over(&mut world);
    let account = account_of(&world, first);
    let [a, b] = &account.attempts[..] else { panic!("{account:#?}") };
    assert_eq!((a.target.as_str(), a.key.as_str(), a.role), ("a/m", "A1", Role::First));
    assert_eq!((a.status, a.outcome.as_str(), a.retry_after_ms), (Some(503), "upstream_status", Some(Millis(2000))));
    assert_eq!((b.target.as_str(), b.role, b.outcome.as_str()), ("b/m", Role::Failover, "success"));
    assert_eq!((b.sent_ms, b.head_ms, b.first_token_ms, b.ended_ms), at(10, 60, 60, 80));
    assert!(b.usage.is_some() && b.cost_picodollars.is_some() && a.ended_turn < b.ended_turn);
    let ending = Ending { at_ms: Millis(80), how: How::Answered, status: Some(200), target: Some("b/m".to_owned()) };
    assert_eq!((account.ending, account.route.as_deref(), account.stream), (ending, Some("chain"), true));

    let account = account_of(&world, second);
    let [passed] = &account.passed_over[..] else { panic!("{account:#?}") };
    assert_eq!(passed.target, "a/m");
    assert!(matches!(passed.why, Rejection::BreakerOpen { .. }), "{passed:?}");
}

fn at(sent: u64, head: u64, first_token: u64, ended: u64) -> (Millis, Option<Millis>, Option<Millis>, Millis) {
    (Millis(sent), Some(Millis(head)), Some(Millis(first_token)), Millis(ended))
}

#[test]
fn an_account_reads_as_a_story() {
    let mut world = world(10);
    let (first, second) = failed_over(&mut world);
    let told = account_of(&world, first).to_string();
    let lines: Vec<&str> = told.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "/v1/chat/completions, streamed, model chain",
            "",
            "      ms  what happened",
            "       0  a/m asked with the key in A1",
            "      10  a/m answers 503",
            "      10  a/m upstream_status, retry after 2s",
            "      10  b/m asked with the key in B, instead",
            "      60  b/m answers 200",
            "      60  b/m first token",
            "      80  b/m success, 7 + 3 tokens, $0.000013",
            "      80  answered by b/m, status 200",
        ]
    );
    let told = account_of(&world, second).to_string();
    assert!(told.contains("       0  a/m passed over: its breaker is open, for "), "{told}");
}

#[test]
fn no_word_and_no_key_is_in_it() {
    let mut world = world(10);
    let (first, _) = failed_over(&mut world);
    let account = account_of(&world, first);
    let told = format!("{:?} {account}", world.gateway().records());
    for secret in ["my own words", "made-up-secret", "1 2 3"] {
        assert!(!told.contains(secret), "{secret}: {told}");
    }
}

#[test]
fn an_account_survives_its_json() {
    let mut world = world(10);
    let (first, second) = failed_over(&mut world);
    for id in [first, second] {
        let account = account_of(&world, id);
        let json = serde_json::to_string(&account).unwrap();
        assert_eq!(serde_json::from_str::<Account>(&json).unwrap(), account);
    }
}

#[test]
fn the_oldest_gives_way_and_none_is_none() {
    let kept = |records| {
        let mut world = world(records);
        for _ in 0..5 {
            ask(&mut world);
            world.run();
        }
        world.gateway().records().latest().count()
    };
    assert_eq!((kept(0), kept(3), kept(10)), (0, 3, 5));
}

#[test]
fn whoever_leaves_is_on_record_wherever_that_was() {
    let mut world = world(10);
    // While it is asked, as an event; and while nobody is: all are throttled, and the request waits.
    let id = ask(&mut world);
    world.leave(id);
    world.run();
    for target in ["a/m", "b/m"] {
        world.script(target, [Script::status(429).with_header("retry-after", "3")]);
    }
    let id = ask(&mut world);
    world.run_for(Millis(1000));
    assert!(!world.is_over(id));
    world.hang_up(id);
    let gateway = world.gateway();
    let hows: Vec<(How, usize, usize)> = gateway
        .records()
        .latest()
        .map(|record| (record.how, record.attempts.len(), record.account(gateway.config()).pauses.len()))
        .collect();
    assert_eq!(hows, [(How::ClientGone, 2, 1), (How::ClientGone, 1, 0)]);
}

#[test]
fn hints_are_kept_unless_they_are_endless() {
    let mut world = world(10);
    for (names, kept) in [(1, true), (1000, false)] {
        let ignore = vec!["c"; names];
        let body = json!({"model": "chain", "messages": [], "provider": {"ignore": ignore}});
        let id = world.ask(Surface::Chat, body.to_string());
        world.run();
        assert_eq!(account_of(&world, id).hints.is_some(), kept, "{names}");
    }
}

#[test]
fn what_is_kept_of_one_request_is_bounded() {
    let mut notes = Notes::default();
    let note = Note::Paused { at: Timestamp(0), until: Timestamp(1) };
    for _ in 0..NOTES_MAX + 5 {
        notes.push(note.clone());
    }
    assert_eq!((notes.list.len(), notes.left_out), (NOTES_MAX, 5));
}
