//! Limits on what is used: keys that are skipped, targets that are left alone, and clients that are told to wait.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::*;
use crate::dialect::Request;
use crate::exchange::Exchange;
use crate::hints::Hints;
use crate::route::{Asker, plan};
use crate::sim::Answer;
use crate::time::Timestamp;

const OK: Option<StatusCode> = Some(StatusCode::OK);
const REFUSED: Option<StatusCode> = Some(StatusCode::TOO_MANY_REQUESTS);

/// A world with one client, `team`, and what else `change` makes of it.
fn world_of_team(limits: &Value, change: impl FnOnce(&mut Value)) -> World {
    world_with(|document| {
        document["clients"] = json!({"team": limits});
        document["clients"]["team"]["key"] = json!({"env": "TEAM"});
        change(document);
    })
}

fn ask_as_team(world: &mut World, body: &str) -> RequestId {
    let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer("TEAM").parse().unwrap())]);
    world.ask_with(Surface::Chat, headers, body.to_owned())
}

/// One request of the client's on `chain`, to its end.
fn team(world: &mut World) -> Answer {
    let id = ask_as_team(world, r#"{"model":"chain","messages":[],"max_tokens":100}"#);
    world.run();
    world.answer(id)
}

fn code(answer: &Answer) -> String {
    answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
}

fn spent(world: &World) -> String {
    let now = world.now();
    world.gateway().status(now).clients[0].budget.as_ref().unwrap().spent_usd.clone()
}

fn limit_keys(document: &mut Value, limits: [Value; 2]) {
    for (key, limits) in document["vendors"]["a"]["keys"].as_array_mut().unwrap().iter_mut().zip(limits) {
        key.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
    }
}

// === Keys and targets ===

#[test]
fn a_key_at_its_limit_is_skipped_and_then_its_target() {
    let mut world = world_with(|document| limit_keys(document, [json!({"rpm": 2}), json!({"rpm": 1})]));
    for _ in 0..4 {
        plain(&mut world);
    }
    assert_eq!(world.seen("a/m"), [bearer("A1"), bearer("A1"), bearer("A2")]);
    assert_eq!(world.attempts("b/m"), 1, "and nothing was refused: {:?}", world.story());
    world.run_for(seconds(30));
    plain(&mut world);
    assert_eq!(world.seen("a/m")[3], bearer("A1"), "half a minute is one of two");
    assert_settled(&world);
}

#[test]
fn a_limit_is_a_keys_for_all_models_and_a_models_for_all_keys() {
    let mut world = world_with(|document| {
        document["models"]["a/n"] = json!({"rpm": 1});
        limit_keys(document, [json!({"rpm": 2}), json!({})]);
    });
    for model in ["a/m", "a/n", "a/m"] {
        ask(&mut world, model);
        world.run();
    }
    assert_eq!((world.seen("a/m"), world.seen("a/n")), (vec![bearer("A1"), bearer("A2")], vec![bearer("A1")]));
    let id = ask(&mut world, "a/n");
    world.run();
    let last = world.story().pop().unwrap();
    assert!(last.contains("reply 429 attempts=0 rate_limit_exceeded retry-after="), "{last}");
    assert_eq!(world.answer(id).status, REFUSED);
}

#[test]
fn where_all_are_at_their_limits_a_request_waits_for_the_first_if_it_can() {
    let mut world = world_with(|document| {
        document["vendors"]["a"]["keys"] = json!([{"env": "A1", "rpm": 10}]);
        document["models"]["b/m"]["rpm"] = json!(5);
    });
    for _ in 0..15 {
        plain(&mut world);
    }
    world.take_story();
    plain(&mut world);
    let story = world.story();
    assert!(story[0].contains("pause") && story.last().unwrap().contains("reply 200 a/m attempts=1"), "{story:?}");
}

#[test]
fn tokens_are_reserved_before_they_are_counted() {
    let at_once = |tpm: u32| {
        let mut world = world_with(|document| document["models"]["a/m"]["tpm"] = json!(tpm));
        for _ in 0..5 {
            ask(&mut world, "chain");
        }
        world.run();
        (world.attempts("a/m"), world.attempts("b/m"))
    };
    // Each is expected to come to about five hundred: together they would have found the same room five times.
    assert_eq!(at_once(1200), (2, 3));
    assert_eq!(at_once(100), (1, 4), "a request that is larger than the limit is served by all of it");
}

#[test]
fn tokens_are_settled_by_what_the_vendor_counted() {
    let mut world = world_with(|document| document["models"]["a/m"]["tpm"] = json!(1200));
    world.usually("a/m", Script::answer(50).counting(20, 10));
    for _ in 0..20 {
        plain(&mut world);
    }
    assert_eq!(world.attempts("b/m"), 0, "thirty each");
    world.usually("a/m", Script::answer(50).counting(3000, 10));
    plain(&mut world);
    plain(&mut world);
    assert_eq!(world.attempts("b/m"), 1, "far more than was expected is owed");
}

#[test]
fn what_was_never_sent_is_given_back() {
    let mut world = world_with(|document| {
        document["models"]["a/m"]
            .as_object_mut()
            .unwrap()
            .extend([("rpm".into(), json!(1)), ("tpm".into(), json!(600))]);
    });
    world.script("a/m", [Script::refuse(5)]);
    plain(&mut world);
    plain(&mut world);
    assert_eq!((world.attempts("a/m"), world.attempts("b/m")), (2, 1));
    let story = world.story();
    assert!(story.last().unwrap().contains("reply 200 a/m"), "{story:?}");
}

#[test]
fn no_more_are_under_way_with_a_key_than_it_bears() {
    let mut world = world_with(|document| limit_keys(document, [json!({"concurrency": 2}), json!({"concurrency": 1})]));
    let asked: Vec<RequestId> = (0..5).map(|_| ask(&mut world, "chain")).collect();
    assert_eq!(world.seen("a/m"), [bearer("A1"), bearer("A1"), bearer("A2")]);
    world.hang_up(asked[2]);
    ask(&mut world, "chain");
    assert_eq!(world.seen("a/m")[3], bearer("A2"), "who hangs up makes room");
    world.run();
    assert_settled(&world);
}

#[test]
fn a_key_rests_that_its_vendor_says_is_used_up() {
    let mut world = world();
    let last = Script::body(200, r#"{"choices":[{"message":{"content":"yes"},"finish_reason":"stop"}]}"#);
    let last = last.with_header("x-ratelimit-remaining-requests", "0");
    world.script("a/m", [last.with_header("x-ratelimit-reset-requests", "20s")]);
    for _ in 0..3 {
        plain(&mut world);
    }
    assert_eq!(world.seen("a/m"), [bearer("A1"), bearer("A2"), bearer("A2")]);
    world.run_for(seconds(20));
    plain(&mut world);
    assert_eq!(world.seen("a/m")[3], bearer("A1"));
}

#[test]
fn keys_with_weights_are_drawn_by_them() {
    let mut world = world_with(|document| limit_keys(document, [json!({"weight": 3}), json!({})]));
    for _ in 0..400 {
        plain(&mut world);
    }
    let first = world.seen("a/m").iter().filter(|key| **key == bearer("A1")).count();
    assert!((270..=330).contains(&first), "{first} of 400");
    let mut again = world_with(|document| limit_keys(document, [json!({"weight": 3}), json!({})]));
    for _ in 0..400 {
        plain(&mut again);
    }
    assert_eq!(world.seen("a/m"), again.seen("a/m"), "the same seed, the same keys");
}

/// Coming back does not mend that a target does not suit a request: it has no say in whether and when to come back.
#[test]
fn whoever_is_turned_away_is_told_of_those_that_would_suit() {
    let mut world = world_with(|document| {
        document["models"]["a/m"]["rpm"] = json!(1);
        document["models"]["b/m"] = json!({});
    });
    let mut ask = || {
        let cap = (HeaderName::from_static("x-tidegate-max-cost"), HeaderValue::from_static("1"));
        let body = r#"{"model":"chain","messages":[]}"#.to_owned();
        let id = world.ask_with(Surface::Chat, HeaderMap::from_iter([cap]), body);
        world.run();
        world.answer(id)
    };
    assert_eq!(ask().status, OK);
    let refused = ask();
    assert_eq!(
        (refused.status, code(&refused)),
        (REFUSED, "rate_limit_exceeded".into()),
        "and not the one without a price"
    );
    assert_eq!(refused.header("retry-after"), "60");
}

// === Clients ===

#[test]
fn a_client_at_its_limit_is_told_when_to_come_back() {
    let mut world = world_of_team(&json!({"rpm": 2}), |_| {});
    assert_eq!(team(&mut world).header("x-ratelimit-remaining-requests"), "1");
    let last = team(&mut world);
    assert_eq!((last.status, last.header("x-ratelimit-remaining-requests")), (OK, "0"));
    let refused = team(&mut world);
    assert_eq!((refused.status, code(&refused)), (REFUSED, "rate_limit_exceeded".into()));
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
    assert_eq!((refused.header("retry-after"), refused.header("x-ratelimit-limit-requests")), ("30", "2"));
    assert_eq!(refused.header("x-tidegate-attempts"), "0");
    world.run_for(seconds(30));
    assert_eq!(team(&mut world).status, OK);
    assert_eq!(world.attempts("a/m"), 3);
}

#[test]
fn a_clients_tokens_are_those_of_all_its_requests() {
    let mut world = world_of_team(&json!({"tpm": 1000}), |_| {});
    world.usually("a/m", Script::answer(50).counting(300, 100));
    let answer = team(&mut world);
    assert_eq!(answer.header("x-ratelimit-limit-tokens"), "1000");
    team(&mut world);
    assert_eq!(team(&mut world).status, OK, "two hundred are left, and it is expected to need no more");
    let refused = team(&mut world);
    assert_eq!(refused.status, REFUSED);
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("tokens a minute"), "{}", refused.json());
}

#[test]
fn a_client_has_as_many_under_way_as_it_may() {
    let mut world = world_of_team(&json!({"concurrency": 1}), |_| {});
    let body = r#"{"model":"chain","messages":[]}"#;
    let first = ask_as_team(&mut world, body);
    let second = ask_as_team(&mut world, body);
    assert_eq!(world.answer(second).status, REFUSED);
    world.hang_up(first);
    let third = ask_as_team(&mut world, body);
    world.run();
    assert_eq!(world.answer(third).status, OK);
    assert_eq!(team(&mut world).status, OK);
    assert_settled(&world);
}

#[test]
fn a_request_that_nobody_could_be_asked_for_is_not_charged() {
    let mut world = world_of_team(&json!({"rpm": 2}), |document| {
        document["vendors"]["a"]["keys"] = json!([{"env": "A1", "rpm": 1}]);
        document["routes"]["chain"] = json!({"models": ["a/m"], "retry": {"deadline": "1s"}});
    });
    assert_eq!(team(&mut world).status, OK);
    for _ in 0..5 {
        let refused = team(&mut world);
        assert_eq!(refused.header("x-ratelimit-remaining-requests"), "0", "as long as it is under way it counts");
    }
    world.run_for(seconds(60));
    assert_eq!(team(&mut world).status, OK);
}

#[test]
fn anthropics_clients_are_told_in_their_own_headers() {
    let mut world = world_of_team(&json!({"rpm": 1}), |_| {});
    let mut ask = || {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer("TEAM").parse().unwrap())]);
        let body = r#"{"model":"chain","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}"#;
        let id = world.ask_with(Surface::Messages, headers, body);
        world.run();
        world.answer(id)
    };
    assert_eq!(ask().header("anthropic-ratelimit-requests-remaining"), "0");
    let refused = ask();
    assert_eq!((refused.status, &refused.json()["error"]["type"]), (REFUSED, &json!("rate_limit_error")));
    assert!(refused.header("anthropic-ratelimit-requests-reset").ends_with('Z'));
}

/// To read all of a long conversation takes time.
#[test]
fn what_is_to_be_weighed_is_weighed_before_the_gateway_is_asked() {
    let mut document = document();
    document["clients"] = json!({"team": {"key": {"env": "TEAM"}, "tpm": 1000}});
    document["routes"]["kept"] = json!({"models": ["a/m"], "cache": {}});
    let config = Arc::new(config(&document));
    let is_weighed = |surface: Surface, model: &str, client: Option<usize>| {
        let body = json!({"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
        let request = Request::read(surface, body.to_string().into()).unwrap();
        let (asker, hints) = (Asker { client, kind: surface.into(), ..Asker::default() }, Hints::default());
        let plan = plan(&config, asker, model, &hints).unwrap();
        let mut exchange = Exchange::new(Arc::clone(&config), Timestamp(0), "tg-1".to_owned(), request, plan);
        exchange.try_cache(client, &hints, &HeaderMap::new());
        exchange.note_asker(client, hints);
        exchange.request.weighed().is_some()
    };
    assert!(is_weighed(Surface::Chat, "kept", Some(0)), "its limits are asked before it is written for anybody");
    assert!(!is_weighed(Surface::Chat, "kept", None), "nobody asks");
    assert!(is_weighed(Surface::CountTokens, "chain", None), "the answer is our own estimate");
}

// === Budgets ===

/// Two dollars a million: an answer of a thousand and five hundred tokens costs two tenths of a cent.
const BUDGET: &str = r#"{"budget": {"usd": 0.01, "per": "1d", "soft": 0.5}}"#;

fn world_with_budget(change: impl FnOnce(&mut Value)) -> World {
    let mut world = world_of_team(&serde_json::from_str(BUDGET).unwrap(), change);
    world.usually("a/m", Script::answer(50).counting(1000, 500));
    world
}

#[test]
fn a_budget_is_spent_to_its_end_and_told_of_in_between() {
    let mut world = world_with_budget(|_| {});
    let answers: Vec<Answer> = (0..6).map(|_| team(&mut world)).collect();
    let served = answers.iter().filter(|answer| answer.status == OK).count();
    assert_eq!((served, spent(&world)), (5, "0.01".to_owned()));
    let refused = answers.last().unwrap();
    assert_eq!((refused.status, code(refused)), (REFUSED, "insufficient_quota".into()));
    assert_eq!(refused.header("x-should-retry"), "false");
    assert!(!refused.header("retry-after").is_empty());
    let story = world.story();
    let notices: Vec<_> = story.iter().filter(|line| line.contains("budget team")).collect();
    assert_eq!(notices.len(), 1, "{notices:?}");
}

#[test]
fn requests_at_one_moment_cannot_all_spend_the_same_rest() {
    let mut world = world_with_budget(|_| {});
    world.usually("a/m", Script::answer(50).counting(100, 2400));
    world.usually("b/m", Script::answer(50).counting(100, 2400));
    let body = r#"{"model":"chain","messages":[],"max_tokens":2400}"#;
    // The first answer teaches how long they are; each is expected to cost about half a cent from then on.
    for _ in 0..60 {
        let id = ask_as_team(&mut world, body);
        world.run();
        if world.answer(id).status == REFUSED {
            break;
        }
    }
    world.run_for(seconds(86_400));
    let asked: Vec<RequestId> = (0..20).map(|_| ask_as_team(&mut world, body)).collect();
    world.run();
    let served = asked.iter().filter(|id| world.answer(**id).status == OK).count();
    assert!((1..=12).contains(&served), "{served} of twenty, at 0.0049 each of 0.01");
}

#[test]
fn where_the_dear_one_does_not_fit_the_cheap_one_serves_and_where_nobody_has_a_price_nobody() {
    let mut world = world_with_budget(|document| {
        document["models"]["b/m"]["price"] = json!({"input": 0, "output": 0});
        document["models"]["b/x"] = json!({});
        document["routes"]["dark"] = json!({"models": ["b/x"]});
    });
    let answers: Vec<Answer> = (0..8).map(|_| team(&mut world)).collect();
    assert!(answers.iter().all(|answer| answer.status == OK));
    assert_eq!((world.attempts("a/m"), world.attempts("b/m")), (5, 3));
    let id = ask_as_team(&mut world, r#"{"model":"dark","messages":[]}"#);
    world.run();
    let refused = world.answer(id);
    assert_eq!((refused.status, code(&refused)), (Some(StatusCode::FORBIDDEN), "model_not_priced".into()));
    assert_eq!(refused.header("retry-after"), "", "waiting does not help");
}

#[test]
fn whoever_has_spent_its_budget_is_told_of_the_next_whatever_others_have_no_price() {
    let mut world = world_with_budget(|document| document["models"]["b/m"] = json!({}));
    let answers: Vec<Answer> = (0..6).map(|_| team(&mut world)).collect();
    let refused = answers.last().unwrap();
    assert_eq!((refused.status, code(refused)), (REFUSED, "insufficient_quota".into()));
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 60, "{}", refused.header("retry-after"));
}

#[test]
fn what_was_spent_before_a_restart_is_spent() {
    let mut world = world_with_budget(|_| {});
    let now = world.now();
    {
        let mut gateway = world.gateway();
        let began = gateway.budget_began(now, "team").unwrap();
        gateway.restore_spent(now, "team", began, crate::price::Picodollars(9_000_000_000));
        gateway.restore_spent(now, "nobody", began, crate::price::Picodollars(9_000_000_000));
    }
    assert_eq!(team(&mut world).status, OK);
    assert_eq!(team(&mut world).status, REFUSED);
}

/// As the ledger has it: a vendor that fails to answer is not paid, or an outage would use up what a client may spend.
#[test]
fn what_nobody_answered_is_not_spent() {
    for script in [Script::hang(), Script::reset(10), Script::body(200, "<html>"), Script::answer(10).cut_after(1)] {
        let mut world = world_with_budget(|document| document["routes"]["chain"]["models"] = json!(["a/m"]));
        world.usually("a/m", script.clone());
        team(&mut world);
        assert_eq!(spent(&world), "0", "{script:?}");
    }
}

#[test]
fn what_was_left_in_the_middle_counts_as_expected_and_its_line_says_so() {
    let mut world = world_with_budget(|document| document["store"] = json!({"kind": "memory"}));
    world.usually("a/m", Script::answer(50).stall_after(1));
    let id = ask_as_team(&mut world, r#"{"model":"chain","messages":[],"stream":true,"max_tokens":100}"#);
    world.run_for(Millis(200));
    world.leave(id);
    world.run();
    let now = world.now();
    let [line] = &world.gateway().take_lines(now, 9)[..] else { panic!("one attempt, one line") };
    assert_eq!(line.cost, None);
    let presumed = line.presumed.expect("a budget paid for it").to_string();
    assert!(presumed != "0" && presumed == spent(&world), "{presumed}");
}
