//! What all requests share, one attempt at a time.

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};

use super::keys::{THROTTLE_DEFAULT, THROTTLE_MIN};
use super::*;
use crate::breaker::Trip;
use crate::classify::Failure;
use crate::concurrency::Claim;
use crate::config::Candidate;
use crate::dialect::{Request, Surface};
use crate::explain::Inquiry;
use crate::hints::Hints;
use crate::keeper::{Keeper, Open, View};
use crate::route::{self, Rejection};

mod ejection;
mod ledger;

const NOW: Timestamp = Timestamp(1_000_000);
const DOWN: Outcome = Outcome::HardFailure(Failure::Status(503));

/// `a` has two keys and two models, `b` one of each, `free` no key and no price.
fn gateway() -> Gateway {
    gateway_with(|_| {})
}

fn gateway_with(change: impl FnOnce(&mut Value)) -> Gateway {
    let mut document = json!({
        "defaults": {"breaker": {"failures": 2, "open": "4s", "open_max": "30s", "probes": 1, "successes": 1}, "health": {"probe": "none", "unhealthy": 1000}},
        "vendors": {
            "a": {"dialect": "openai", "base_url": "http://a.test/v1", "keys": [{"env": "A1"}, {"env": "A2"}]},
            "b": {"dialect": "openai", "base_url": "http://b.test/v1", "keys": [{"env": "B"}]},
            "free": {"dialect": "openai", "base_url": "http://free.test/v1"},
        },
        "models": {
            "a/m": {"price": {"input": 1.0, "output": 2.0}}, "a/n": {},
            "b/m": {"price": {"input": 1.0, "output": 2.0}}, "free/m": {},
        },
        "routes": {"chain": {"models": ["a/m", "b/m", "free/m"]}},
    });
    change(&mut document);
    let secret = |name: &str| Some(format!("a-secret-that-nobody-sees-{name}"));
    let config =
        Config::from_json(&document.to_string(), "gateway.json", &secret).unwrap_or_else(|errors| panic!("{errors}"));
    Gateway::new(Arc::new(config), 1, NOW)
}

const A_M: TargetId = TargetId(0);
const A_N: TargetId = TargetId(1);
const B_M: TargetId = TargetId(2);
const FREE: TargetId = TargetId(3);

pub(super) fn settlement(outcome: Outcome) -> Settlement {
    Settlement { stream: true, quarantine: Millis(60_000), ..Settlement::new(outcome, Millis(100)) }
}

fn at(ms: u64) -> Timestamp {
    NOW + Millis(ms)
}

pub(super) fn admit(gateway: &mut Gateway, now: Timestamp, id: TargetId) -> Result<Permit, Rejection> {
    let candidate = gateway.config().candidate(id);
    gateway.admit(now, &candidate, Millis(30_000), &Claim::LAST)
}

fn would_admit(gateway: &Gateway, now: Timestamp, id: TargetId) -> Result<(), Rejection> {
    gateway.would_admit(now, &gateway.config().candidate(id))
}

/// Makes an attempt that ends at once.
fn attempt(gateway: &mut Gateway, now: Timestamp, id: TargetId, outcome: Outcome) {
    let permit = admit(gateway, now, id).unwrap();
    gateway.settle(now, permit, &settlement(outcome));
}

/// The variable whose key the next attempt would carry.
fn key(gateway: &mut Gateway, now: Timestamp, id: TargetId) -> String {
    let permit = admit(gateway, now, id).unwrap();
    let headers = gateway.headers_for(&permit);
    gateway.settle(now, permit, &settlement(Outcome::Neutral));
    let bearer = headers.get(AUTHORIZATION).map_or("", |value| value.to_str().unwrap());
    bearer.trim_start_matches("Bearer a-secret-that-nobody-sees-").to_owned()
}

fn notices(gateway: &mut Gateway) -> Vec<Notice> {
    std::iter::from_fn(|| gateway.poll_notice()).collect()
}

fn limited(ms: u64) -> Outcome {
    Outcome::RateLimited(Some(Millis(ms)))
}

#[test]
fn an_attempt_carries_the_vendors_key_and_nothing_shows_it() {
    let mut gateway = gateway();
    let permit = admit(&mut gateway, NOW, B_M).unwrap();
    let headers = gateway.headers_for(&permit);
    assert_eq!(headers[AUTHORIZATION], "Bearer a-secret-that-nobody-sees-B");
    assert_eq!(headers[CONTENT_TYPE], "application/json");
    let status = serde_json::to_string(&gateway.status(NOW)).unwrap();
    for shown in [format!("{headers:?}"), format!("{gateway:?}"), status] {
        assert!(!shown.contains("nobody-sees"), "{shown}");
    }
    gateway.settle(NOW, permit, &settlement(Outcome::Neutral));
    assert_eq!(key(&mut gateway, NOW, FREE), "", "a vendor that asks for no key gets none");
}

#[test]
fn a_throttled_key_rests_on_that_target_alone() {
    let mut gateway = gateway();
    attempt(&mut gateway, NOW, A_M, limited(2000));
    assert_eq!(key(&mut gateway, NOW, A_M), "A2");
    assert_eq!(key(&mut gateway, NOW, A_N), "A1", "limits are per model");
    assert_eq!(key(&mut gateway, at(1999), A_M), "A2");
    assert_eq!(key(&mut gateway, at(2000), A_M), "A1");
    let told = Notice::KeyThrottled { target: "a/m".into(), key: "A1".into(), for_ms: Millis(2000) };
    assert_eq!(notices(&mut gateway), [told]);
}

#[test]
fn a_refused_key_rests_everywhere() {
    let mut gateway = gateway();
    attempt(&mut gateway, NOW, A_M, Outcome::CredentialFault);
    assert_eq!(key(&mut gateway, NOW, A_M), "A2");
    assert_eq!(key(&mut gateway, NOW, A_N), "A2", "a key that is refused is refused for all models");
    assert_eq!(key(&mut gateway, at(60_000), A_N), "A1");
    let told = Notice::KeyQuarantined { vendor: "a".into(), key: "A1".into(), for_ms: Millis(60_000) };
    assert_eq!(notices(&mut gateway), [told]);
}

#[test]
fn with_all_keys_resting_the_better_news_is_told() {
    let mut gateway = gateway();
    attempt(&mut gateway, NOW, A_M, limited(9000));
    attempt(&mut gateway, NOW, A_M, limited(5000));
    let rejected = |gateway: &mut Gateway, ms| admit(gateway, at(ms), A_M).unwrap_err();
    assert_eq!(rejected(&mut gateway, 1000), Rejection::RateLimited { retry_in_ms: Millis(4000) });
    assert_eq!(would_admit(&gateway, at(1000), A_M), Err(rejected(&mut gateway, 1000)));
    attempt(&mut gateway, at(1000), A_N, Outcome::CredentialFault);
    assert_eq!(rejected(&mut gateway, 1000), Rejection::RateLimited { retry_in_ms: Millis(4000) });
    attempt(&mut gateway, at(1000), A_N, Outcome::CredentialFault);
    assert_eq!(rejected(&mut gateway, 2000), Rejection::NoCredential { retry_in_ms: Millis(59_000) });
    assert_eq!(gateway.usable_keys(at(2000), A_M), 0);
}

#[test]
fn a_gate_is_only_ever_set_later_and_never_to_nothing() {
    let mut gateway = gateway();
    let (early, late) = (admit(&mut gateway, NOW, B_M).unwrap(), admit(&mut gateway, NOW, B_M).unwrap());
    gateway.settle(at(10), early, &settlement(limited(5000)));
    gateway.settle(at(20), late, &settlement(limited(1000)));
    assert_eq!(would_admit(&gateway, at(20), B_M), Err(Rejection::RateLimited { retry_in_ms: Millis(4990) }));
    attempt(&mut gateway, at(6000), B_M, limited(0));
    assert_eq!(would_admit(&gateway, at(6000), B_M), Err(Rejection::RateLimited { retry_in_ms: THROTTLE_MIN }));
    attempt(&mut gateway, at(7000), B_M, Outcome::RateLimited(None));
    assert_eq!(would_admit(&gateway, at(7000), B_M), Err(Rejection::RateLimited { retry_in_ms: THROTTLE_DEFAULT }));
}

#[test]
fn asking_whether_changes_nothing() {
    let mut gateway = gateway();
    attempt(&mut gateway, NOW, A_M, DOWN);
    attempt(&mut gateway, NOW, A_M, DOWN);
    let before = format!("{gateway:?}");
    for ms in [0, 5000, 100_000] {
        let _ = (would_admit(&gateway, at(ms), A_M), gateway.status(at(ms)), gateway.usable_keys(at(ms), A_M));
        let _ = gateway.explanation(at(ms), &inquiry(&gateway));
    }
    assert_eq!(format!("{gateway:?}"), before);
}

fn inquiry(gateway: &Gateway) -> Inquiry {
    let request = Request::read(Surface::Chat, r#"{"model":"chain","messages":[]}"#.into()).unwrap();
    let plan = route::plan(gateway.config(), route::Asker::default(), "chain", &Hints::default()).unwrap();
    Inquiry::new(gateway.config(), None, request, plan)
}

#[test]
fn a_retry_after_keeps_an_open_breaker_open_for_longer() {
    let mut gateway = gateway();
    attempt(&mut gateway, NOW, A_M, DOWN);
    let permit = admit(&mut gateway, NOW, A_M).unwrap();
    gateway.settle(NOW, permit, &Settlement { retry_after: Some(Millis(20_000)), ..settlement(DOWN) });
    assert_eq!(gateway.breaker(A_M.into()).retry_in(NOW), Some(Millis(20_000)));
}

#[test]
fn time_that_goes_back_stands_still() {
    let mut gateway = gateway();
    attempt(&mut gateway, at(10_000), B_M, limited(2000));
    assert_eq!(would_admit(&gateway, NOW, B_M), Err(Rejection::RateLimited { retry_in_ms: Millis(2000) }));
    attempt(&mut gateway, Timestamp(0), A_M, limited(2000));
    assert_eq!(key(&mut gateway, at(11_999), A_M), "A2", "its rest began when it was latest");
}

#[test]
fn costs_add_up_and_what_is_not_known_is_not_nothing() {
    let mut gateway = gateway();
    let usage = Some(Usage { input: 10, output: 5, ..Usage::default() });
    let mut pay = |id, outcome, usage| {
        let permit = admit(&mut gateway, NOW, id).unwrap();
        gateway.settle(NOW, permit, &Settlement { usage, ..settlement(outcome) })
    };
    assert_eq!(pay(A_M, Outcome::Success, usage), Some(Picodollars(20_000_000)));
    assert_eq!(pay(A_M, DOWN, usage), Some(Picodollars(20_000_000)), "a broken answer is owed too");
    assert_eq!(pay(A_M, Outcome::Success, None), None, "the vendor did not count");
    assert_eq!(pay(A_M, Outcome::CallerFault, None), None, "nothing came of it");
    assert_eq!(pay(FREE, Outcome::Success, usage), None, "nobody knows the price");
    assert_eq!(pay(FREE, Outcome::Success, usage), None);
    assert_eq!(gateway.spending(A_M), Spending { known: Picodollars(40_000_000), unpriced: 1 });
    assert_eq!(gateway.spending(FREE), Spending { known: Picodollars(0), unpriced: 2 });
    assert_eq!(notices(&mut gateway), [Notice::PriceUnknown { target: "free/m".into() }], "said once");
}

#[test]
fn notices_are_bounded_and_those_lost_are_counted() {
    let mut gateway = gateway();
    let nth = |nth: usize| Notice::BreakerClosed { target: nth.to_string() };
    for number in 0..NOTICES_MAX + 3 {
        gateway.notify(nth(number));
    }
    assert_eq!(gateway.poll_notice(), Some(Notice::Lost { count: 3 }));
    assert_eq!(gateway.poll_notice(), Some(nth(3)), "the oldest are gone, the newest are kept");
    assert_eq!(notices(&mut gateway).len(), NOTICES_MAX - 1);
    assert_eq!(gateway.poll_notice(), None);
}

#[test]
fn skipped_events_are_told() {
    let mut gateway = gateway();
    let permit = admit(&mut gateway, NOW, A_M).unwrap();
    gateway.settle(NOW, permit, &Settlement { malformed: 4, ..settlement(Outcome::Success) });
    assert_eq!(notices(&mut gateway), [Notice::EventsSkipped { target: "a/m".into(), count: 4 }]);
}

#[test]
fn retries_are_a_share_of_the_requests_that_came() {
    let mut gateway = gateway();
    (0..100).for_each(|_| gateway.note_request(NOW));
    let granted = (0..100).filter(|_| gateway.allow_retry(NOW)).count();
    assert_eq!(granted, 30, "20 % of a hundred, and the reserve of ten");
}

// === The keeper ===

/// Opens the breaker of a target.
fn trip(gateway: &mut Gateway, now: Timestamp, id: TargetId) {
    attempt(gateway, now, id, DOWN);
    attempt(gateway, now, id, DOWN);
    assert_eq!(gateway.breaker(id.into()).state(now), State::Open);
}

#[test]
fn trips_and_recoveries_are_reported_once() {
    let mut gateway = gateway();
    assert_eq!(gateway.poll_report(NOW), None, "nothing has changed");
    attempt(&mut gateway, NOW, B_M, Outcome::Success);
    assert_eq!(gateway.poll_report(NOW), None, "nor has it now");
    trip(&mut gateway, NOW, A_M);
    let report = gateway.poll_report(at(100)).unwrap();
    assert_eq!((report.sequence, report.changes.len()), (1, 1));
    assert_eq!((report.changes[0].target.as_str(), report.changes[0].breaker.state), ("a/m", State::Open));
    assert_eq!(gateway.poll_report(at(100)), None);
    let probing = at(5000);
    let permit = admit(&mut gateway, probing, A_M).unwrap();
    assert_eq!(gateway.poll_report(probing), None, "half-open is where open leads by itself");
    gateway.settle(probing, permit, &settlement(Outcome::Success));
    let report = gateway.poll_report(probing).unwrap();
    assert_eq!((report.sequence, report.changes[0].breaker.state), (2, State::Closed));
}

#[test]
fn a_view_adds_caution_and_nothing_else() {
    let mut gateway = gateway();
    let open =
        |target: &str, ms| Open { target: target.into(), remaining_ms: Millis(ms), held_ms: Millis::ZERO, trips: 1 };
    gateway.handle_view(NOW, &View { open: vec![open("a/m", 3000), open("nobody/knows", 9000)], ..View::default() });
    assert_eq!(would_admit(&gateway, NOW, A_M), Err(Rejection::BreakerOpen { retry_in_ms: Millis(3000) }));
    let told = Notice::BreakerOpened { target: "a/m".into(), open_ms: Millis(3000), why: Trip::Reported };
    assert_eq!(notices(&mut gateway), [told]);
    assert_eq!(gateway.poll_report(NOW), None, "the keeper knows: it has told");
    gateway.handle_view(at(10), &View { open: vec![open("a/m", 5)], ..View::default() });
    assert_eq!(gateway.breaker(A_M.into()).retry_in(at(10)), Some(Millis(2990)), "never shorter");
    gateway.handle_view(at(10), &View::default());
    assert_eq!(gateway.breaker(A_M.into()).state(at(10)), State::Open, "what a view does not name it does not close");
    gateway.handle_view(at(10), &View { open: vec![open("b/m", u64::MAX)], ..View::default() });
    assert_eq!(gateway.breaker(B_M.into()).retry_in(at(10)), Some(Millis(30_000)), "at most `open_max`");
}

#[test]
fn what_one_gateway_found_another_learns_through_the_keeper() {
    let (mut first, mut keeper) = (gateway(), Keeper::default());
    trip(&mut first, NOW, A_M);
    keeper.handle_report(NOW, &first.poll_report(NOW).unwrap());
    let mut second = gateway();
    second.handle_view(at(1000), &keeper.view(at(1000)));
    let left = |gateway: &Gateway| gateway.breaker(A_M.into()).retry_in(at(1000)).unwrap();
    assert_eq!(left(&first), left(&second));
}

/// A view that was under way when a breaker closed is older than that.
#[test]
fn what_has_just_closed_is_not_opened_by_what_was_known_before() {
    let (mut gateway, mut keeper) = (gateway(), Keeper::default());
    trip(&mut gateway, NOW, A_M);
    let opened = gateway.poll_report(NOW).unwrap();
    keeper.handle_report(NOW, &opened);
    let before = keeper.view_for(NOW, Some(opened.reporter));
    assert_eq!(before.open.len(), 1);
    let permit = admit(&mut gateway, at(5000), A_M).unwrap();
    gateway.settle(at(5000), permit, &settlement(Outcome::Success));
    assert_eq!(gateway.breaker(A_M.into()).state(at(5000)), State::Closed);
    gateway.handle_view(at(5001), &before);
    assert_eq!(gateway.breaker(A_M.into()).state(at(5001)), State::Closed, "it has not been told of yet");
    let closed = gateway.poll_report(at(5002)).unwrap();
    gateway.handle_view(at(5002), &before);
    assert_eq!(gateway.breaker(A_M.into()).state(at(5002)), State::Closed, "it is being told of");
    keeper.handle_report(at(5003), &closed);
    let known = keeper.view_for(at(5003), Some(closed.reporter));
    gateway.handle_view(at(5003), &known);
    assert_eq!(gateway.breaker(A_M.into()).state(at(5003)), State::Closed);

    // What another has found since is news.
    let mut other = acquainted(2, &keeper);
    trip(&mut other, at(9000), A_M);
    keeper.handle_report(at(9000), &other.poll_report(at(9000)).unwrap());
    gateway.handle_view(at(9001), &keeper.view_for(at(9001), Some(closed.reporter)));
    assert_eq!(gateway.breaker(A_M.into()).state(at(9001)), State::Open);
}

/// A gateway that has heard of the keeper before, as all have but those that have just begun.
fn acquainted(seed: u64, keeper: &Keeper) -> Gateway {
    let mut gateway = Gateway::new(Arc::clone(gateway().config()), seed, NOW);
    gateway.handle_view(NOW, &keeper.view(NOW));
    gateway
}

fn by_order(gateway: &Gateway, now: Timestamp, id: TargetId) -> Option<Millis> {
    gateway.breaker(id.into()).retry_in(now).filter(|_| gateway.breaker(id.into()).is_by_order(now))
}

#[test]
fn an_order_reaches_all_gateways_and_so_does_its_end() {
    let mut keeper = Keeper::default();
    let (mut first, mut second) = (acquainted(2, &keeper), acquainted(3, &keeper));
    first.order(NOW, A_M, Order::Open(Millis(1_800_000)));
    let told = Notice::BreakerOpened { target: "a/m".into(), open_ms: Millis(1_800_000), why: Trip::Forced };
    assert_eq!(notices(&mut first), [told], "for as long as was ordered, `open_max` or not");
    keeper.handle_report(NOW, &first.poll_report(NOW).unwrap());
    for gateway in [&mut first, &mut second] {
        gateway.handle_view(at(1000), &keeper.view(at(1000)));
        assert_eq!(by_order(gateway, at(1000), A_M), Some(Millis(1_799_000)));
        assert_eq!(gateway.poll_report(at(1000)), None, "who was told by the keeper need not tell it");
    }
    assert_eq!(notices(&mut first), [], "its own order comes back to it, and is no news");
    assert_eq!(notices(&mut second).len(), 1);
    let mut late = gateway();
    late.handle_view(at(2000), &keeper.view(at(2000)));
    assert_eq!(by_order(&late, at(2000), A_M), Some(Millis(1_798_000)), "who comes later hears of it");

    second.order(at(3000), A_M, Order::Close);
    keeper.handle_report(at(3000), &second.poll_report(at(3000)).unwrap());
    first.handle_view(at(4000), &keeper.view(at(4000)));
    assert_eq!(first.breaker(A_M.into()).state(at(4000)), State::Closed, "whoever gave it, anybody may end it");
    assert_eq!(notices(&mut first), [Notice::BreakerClosed { target: "a/m".into() }]);
    trip(&mut first, at(4000), A_M);
    first.handle_view(at(4001), &keeper.view(at(4001)));
    assert_eq!(first.breaker(A_M.into()).state(at(4001)), State::Open, "an order is obeyed once");
}

#[test]
fn the_keeper_is_asked_now_and_then_by_whoever_has_traffic() {
    let mut gateway = gateway();
    let asked: Vec<u64> = (0..20_000).filter(|ms| gateway.wants_view(at(*ms))).collect();
    assert!((10..=20).contains(&asked.len()), "{asked:?}");
    assert!(asked.windows(2).all(|two| (1000..=2000).contains(&(two[1] - two[0]))), "{asked:?}");
    gateway.handle_view(at(30_000), &View::default());
    assert!(!gateway.wants_view(at(30_999)), "who has just heard need not ask");
}

#[test]
fn closing_by_order_closes_what_others_found_down_too() {
    let mut keeper = Keeper::default();
    let (mut first, mut second) = (acquainted(2, &keeper), acquainted(3, &keeper));
    trip(&mut first, NOW, A_M);
    keeper.handle_report(NOW, &first.poll_report(NOW).unwrap());
    second.order(at(10), A_M, Order::Reset);
    keeper.handle_report(at(10), &second.poll_report(at(10)).expect("nothing changed here, something may elsewhere"));
    first.handle_view(at(20), &keeper.view(at(20)));
    assert_eq!(first.breaker(A_M.into()).state(at(20)), State::Closed);
    let mut new = gateway();
    trip(&mut new, at(30), A_M);
    new.handle_view(at(40), &keeper.view(at(40)));
    assert_eq!(new.breaker(A_M.into()).state(at(40)), State::Open, "it tripped after the order that it now hears of");
}

#[test]
fn neither_panic_nor_haste_undoes_an_order() {
    let mut gateway = gateway();
    gateway.order(NOW, A_M, Order::Open(Millis(60_000)));
    assert!(!gateway.hastens(NOW, A_M.into()) && gateway.hastens(NOW, B_M.into()));
    gateway.hasten(NOW, A_M.into());
    gateway.relent(NOW, A_M.into());
    assert_eq!(by_order(&gateway, NOW, A_M), Some(Millis(60_000)));
    gateway.order(at(10), A_M, Order::Reset);
    assert_eq!(would_admit(&gateway, at(10), A_M), Ok(()));
}

// === Breakers of routes ===

/// `chain` has breakers of its own that open at the first failure; the targets' own take two.
fn gateway_with_a_careful_route() -> Gateway {
    gateway_with(|document| document["routes"]["chain"]["breaker"] = json!({"failures": 1, "open_max": "8s"}))
}

#[test]
fn a_routes_own_breaker_opens_for_the_route_alone() {
    let mut gateway = gateway_with_a_careful_route();
    let on_route = gateway.config().routes[0].candidates[0];
    assert_eq!((on_route.target, gateway.config().guard(on_route.breaker).name.as_str()), (A_M, "a/m on chain"));
    let permit = gateway.admit(NOW, &on_route, Millis(30_000), &Claim::LAST).unwrap();
    gateway.settle(NOW, permit, &settlement(DOWN));
    assert!(gateway.would_admit(NOW, &on_route).is_err());
    assert_eq!(would_admit(&gateway, NOW, A_M), Ok(()), "by its own name it can be called all the same");
    attempt(&mut gateway, NOW, A_M, Outcome::CredentialFault);
    attempt(&mut gateway, NOW, A_M, Outcome::CredentialFault);
    let no_key = would_admit(&gateway, NOW, A_M);
    assert!(matches!(no_key, Err(Rejection::NoCredential { .. })), "keys are the target's, whoever asks: {no_key:?}");
    assert_eq!(gateway.stats(A_M).tally().attempts, 3, "and so are its statistics");
    let Notice::BreakerOpened { target, .. } = notices(&mut gateway).remove(0) else { panic!("it opened") };
    assert_eq!(target, "a/m on chain");
    assert_eq!(gateway.poll_report(NOW).unwrap().changes[0].target, "a/m on chain");
    let status = serde_json::to_value(gateway.status(NOW)).unwrap();
    assert_eq!(status["routes"][0]["breakers"][0]["target"], "a/m");
    assert_eq!(status["routes"][0]["breakers"][0]["breaker"]["state"], "open");
    assert_eq!(status["targets"][0]["breaker"]["state"], "closed");
}

#[test]
fn an_order_is_for_all_breakers_of_the_target() {
    let mut gateway = gateway_with_a_careful_route();
    let on_route = gateway.config().routes[0].candidates[0];
    gateway.order(NOW, A_M, Order::Open(Millis(60_000)));
    for rejected in [would_admit(&gateway, NOW, A_M), gateway.would_admit(NOW, &on_route)] {
        assert_eq!(rejected, Err(Rejection::BreakerOpen { retry_in_ms: Millis(60_000) }));
    }
    let names: Vec<_> = gateway.poll_report(NOW).unwrap().changes.into_iter().map(|change| change.target).collect();
    assert_eq!(names, ["a/m", "a/m on chain"]);
}

// === Pages ===

#[test]
fn the_status_says_what_is_open_since_when_and_in_which_order_is_asked() {
    let mut gateway = gateway();
    trip(&mut gateway, NOW, A_M);
    attempt(&mut gateway, NOW, B_M, Outcome::CredentialFault);
    let permit = admit(&mut gateway, NOW, FREE).unwrap();
    gateway.settle(NOW, permit, &Settlement { first_token: Some(Millis(250)), ..settlement(Outcome::Success) });
    let status: Value = serde_json::to_value(gateway.status(at(10))).unwrap();
    assert_eq!(status["now_ms"], 1_000_010);
    assert_eq!(status["ready"], true);
    let target = |name: &str| status["targets"].as_array().unwrap().iter().find(|one| one["target"] == name).unwrap();
    let a = target("a/m");
    assert_eq!(a["breaker"]["state"], "open");
    assert_eq!(a["breaker"]["retry_in_ms"], gateway.breaker(A_M.into()).retry_in(at(10)).unwrap().0);
    assert_eq!(a["breaker"]["window"]["failures"], 2);
    assert_eq!((&a["attempts"]["attempts"], &a["attempts"]["failures"]), (&json!(2), &json!(2)));
    assert_eq!((&a["keys"], &a["keys_usable"]), (&json!(2), &json!(2)));
    assert_eq!(a["first_token"]["p99_ms"], Value::Null);
    assert_eq!((&target("b/m")["keys"], &target("b/m")["keys_usable"]), (&json!(1), &json!(0)));
    let free = target("free/m");
    assert_eq!((&free["breaker"]["state"], &free["breaker"]["retry_in_ms"]), (&json!("closed"), &Value::Null));
    assert_eq!((&free["first_token"]["mean_ms"], &free["total"]["mean_ms"]), (&json!(250), &json!(100)));
    assert_eq!((&free["unpriced"], &free["cost_usd"]), (&json!(1), &json!("0")));
    let order = json!([
        {
            "route": "chain", "order": ["free/m", "a/m", "b/m"], "quickest": null, "breakers": [], "hedges": 0,
            "hedges_won": 0, "streams_rescued": 0, "shadow": null,
        },
    ]);
    assert_eq!(status["routes"], order, "those that cannot be asked come last");
}

#[test]
fn an_explanation_names_each_candidate_and_its_reason() {
    let mut gateway = gateway();
    trip(&mut gateway, NOW, A_M);
    attempt(&mut gateway, NOW, B_M, limited(3000));
    let retry_in = gateway.breaker(A_M.into()).retry_in(at(1000)).unwrap();
    let told = serde_json::to_value(gateway.explanation(at(1000), &inquiry(&gateway))).unwrap();
    let expected = json!({
        "client": null, "refused": null, "route": "chain", "way": "usual", "strategy": null, "canary": null, "shadow": null,
        "target": "free/m",
        "candidates": [
            {
                "target": "a/m", "taken": false, "health": "unknown", "cost_usd": "0.001003", "score": null,
                "rejected": {"reason": "breaker_open", "retry_in_ms": retry_in},
            },
            {
                "target": "b/m", "taken": false, "health": "unknown", "cost_usd": "0.001003", "score": null,
                "rejected": {"reason": "rate_limited", "retry_in_ms": 2000},
            },
            {"target": "free/m", "taken": true, "health": "unknown", "cost_usd": null, "score": null, "rejected": null},
        ],
    });
    assert_eq!(told, expected);
    trip(&mut gateway, at(1000), FREE);
    assert_eq!(gateway.explanation(at(1000), &inquiry(&gateway)).target, None, "nobody can be asked");
}

#[test]
fn names_have_a_stream_of_their_own_for_each_seed() {
    let (mut one, mut same) = (gateway(), gateway());
    let mut other = Gateway::new(Arc::clone(one.config()), 2, NOW);
    let first = one.request_id();
    assert_eq!(first, same.request_id());
    assert_ne!(first, other.request_id());
    assert_ne!(first, one.request_id());
}
