//! Targets that fall ill and get well, and the probes that find out: in a world with a clock of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::Config;
use crate::dialect::Surface;
use crate::gateway::tests::{admit, settlement};
use crate::health::ProbeId;
use crate::keeper::Keeper;
use crate::sim::{BEGINNING, Script, World};

/// Two vendors under the default policies, `a` with two models, and a route over both.
fn document() -> Value {
    json!({
        "vendors": {
            "a": {"dialect": "openai", "base_url": "http://a.test/v1", "keys": [{"env": "A"}]},
            "b": {"dialect": "openai", "base_url": "http://b.test/v1", "keys": [{"env": "B"}]},
        },
        "models": {"a/m": {}, "a/n": {}, "b/m": {}},
        "routes": {"chain": {"models": ["a/m", "b/m"]}, "other": {"models": ["a/n", "b/m"]}},
    })
}

fn config_with(change: impl FnOnce(&mut Value)) -> Config {
    let mut document = document();
    change(&mut document);
    let secret = |name: &str| Some(format!("a-secret-that-nobody-sees-{name}"));
    Config::from_json(&document.to_string(), "h.json", &secret).unwrap_or_else(|errors| panic!("{errors}"))
}

fn world_with(seed: u64, change: impl FnOnce(&mut Value)) -> World {
    World::new(config_with(change), seed)
}

fn ask(world: &mut World, model: &str) -> crate::sim::RequestId {
    world.ask(Surface::Chat, format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]}}"#))
}

fn health(world: &World, index: usize) -> Status {
    let now = world.now();
    world.gateway().health(now, TargetId(index))
}

/// Whom a request on `chain` would be sent to first.
fn first(world: &World) -> String {
    let now = world.now();
    let status = world.gateway().status(now);
    status.routes.iter().find(|route| route.route == "chain").unwrap().order[0].clone()
}

const SECOND: Millis = Millis::from_secs(1);

/// What came of an outage of a minute.
struct Outage {
    /// Attempts that reached the dead target.
    wasted: u64,
    /// From the end of the outage until it would be asked first again.
    back_in: Millis,
    errors: usize,
}

/// A minute of `down` at vendor `a`, under a request every `pace`, and a keeper that hears all of it and tells it back.
fn outage(seed: u64, pace: Millis, down: &Script, change: impl FnOnce(&mut Value)) -> Outage {
    let mut world = world_with(seed, change);
    let mut asked = Vec::new();
    let mut keeper = Keeper::default();
    let mut pass = |world: &mut World, asked: &mut Vec<_>, length: Millis| {
        for _ in 0..length.0 / pace.0 {
            asked.push(ask(world, "chain"));
            world.run_for(pace);
            confer(world, &mut keeper);
        }
    };
    pass(&mut world, &mut asked, Millis(60_000));
    let before = world.attempts("a/m");
    for target in ["a/m", "a/n"] {
        world.usually(target, down.clone());
    }
    pass(&mut world, &mut asked, Millis(60_000));
    let wasted = world.attempts("a/m") - before;
    for target in ["a/m", "a/n"] {
        world.usually(target, Script::answer(50));
    }
    let healed_at = world.now();
    let mut back_in = None;
    for step in 0..3000_u64 {
        if step % (pace.0 / 20).max(1) == 0 {
            asked.push(ask(&mut world, "chain"));
        }
        world.run_for(Millis(20));
        confer(&mut world, &mut keeper);
        if back_in.is_none() && first(&world) == "a/m" {
            back_in = Some(world.now().since(healed_at));
        }
    }
    world.run();
    let errors = asked.iter().filter(|id| world.answer(**id).status.is_none_or(|status| !status.is_success())).count();
    Outage { wasted, back_in: back_in.expect("traffic returns within a minute"), errors }
}

/// Tells the keeper what has changed, and hears what it knows.
fn confer(world: &mut World, keeper: &mut Keeper) {
    let now = world.now();
    let mut gateway = world.gateway();
    if let Some(report) = gateway.poll_report(now) {
        keeper.handle_report(now, &report);
    }
    gateway.handle_view(now, &keeper.view(now));
}

#[test]
fn at_low_traffic_few_requests_reach_the_dead_and_traffic_returns_within_seconds() {
    for down in [Script::status(503), Script::refuse(5), Script::reset(30), Script::status(500)] {
        for seed in 0..10 {
            let Outage { wasted, back_in, errors } = outage(seed, Millis(4000), &down, |_| {});
            assert!(wasted <= 5, "{wasted} of {down:?}");
            assert!(back_in <= Millis(5000), "back in {back_in} after {down:?}");
            assert_eq!(errors, 0);
        }
    }
}

#[test]
fn at_high_traffic_it_is_the_same() {
    for seed in 0..5 {
        let Outage { wasted, back_in, errors } = outage(seed, Millis(20), &Script::status(503), |_| {});
        assert!(wasted <= 10, "{wasted}: five, and those that were under way with them");
        assert!(back_in <= Millis(5000), "back in {back_in}");
        assert_eq!(errors, 0);
    }
}

/// A model that fails where its vendor is up: its list of models tells nothing, and is not believed.
#[test]
fn probes_that_see_nothing_do_no_harm() {
    for pace in [Millis(4000), Millis(100)] {
        for seed in 0..5 {
            let blind = |document: &mut Value| document["models"]["b/x"] = json!({});
            let run = |probe: &str| {
                let mut world = world_with(seed, |document| {
                    blind(document);
                    document["defaults"] = json!({"health": {"probe": probe}});
                });
                // `a/n` goes on well, so that the vendor's list does.
                world.usually("a/m", Script::status(503));
                for _ in 0..600_000 / pace.0 {
                    ask(&mut world, "chain");
                    world.run_for(pace);
                }
                world.attempts("a/m")
            };
            let (with, without) = (run("models"), run("none"));
            assert!(with <= without + 8, "{with} attempts with probes, {without} without, every {pace}");
        }
    }
}

#[test]
fn health_alone_never_turns_a_request_away() {
    let mut world = world_with(1, |document| {
        document["defaults"] = json!({"breaker": {"failures": 0, "failure_rate": 0}, "retry": {"attempts": 2}});
    });
    for target in ["a/m", "a/n", "b/m"] {
        world.usually(target, Script::status(503));
    }
    for _ in 0..20 {
        ask(&mut world, "chain");
        world.run_for(SECOND);
    }
    assert_eq!([health(&world, 0), health(&world, 2)], [Status::Unhealthy; 2]);
    assert_eq!((world.attempts("a/m"), world.attempts("b/m")), (20, 20), "both are asked every time");
    world.usually("b/m", Script::answer(50));
    let id = ask(&mut world, "chain");
    world.run();
    assert!(world.answer(id).status.unwrap().is_success());
}

#[test]
fn a_target_alone_on_its_route_is_asked_whatever_is_thought_of_it_and_probed_only_to_close_its_breaker() {
    let mut world = world_with(1, |document| document["routes"] = json!({"chain": {"models": ["a/m"]}}));
    world.run_for(Millis::from_secs(300));
    assert_eq!(world.probes("a/m"), 0, "no decision depends on it");
    for target in ["a/m", "a/n"] {
        world.usually(target, Script::status(503));
    }
    for _ in 0..10 {
        ask(&mut world, "chain");
        world.run_for(Millis(100));
    }
    world.run_for(Millis::from_secs(10));
    assert!(world.probes("a/m") > 0, "its breaker is open");
    for target in ["a/m", "a/n"] {
        world.usually(target, Script::answer(50));
    }
    let attempts = world.attempts("a/m");
    world.run_for(Millis::from_secs(5));
    let now = world.now();
    assert_eq!(world.gateway().breaker(TargetId(0).into()).state(now), State::HalfOpen, "{:#?}", world.story());
    assert_eq!(world.attempts("a/m"), attempts, "no client was asked to");
    ask(&mut world, "chain");
    world.run_for(SECOND);
    let now = world.now();
    assert_eq!(world.gateway().breaker(TargetId(0).into()).state(now), State::Closed);
    let probes = world.probes("a/m");
    world.run_for(Millis::from_secs(300));
    assert_eq!(world.probes("a/m"), probes);
}

#[test]
fn one_answer_is_for_all_targets_of_a_vendor_and_nobody_is_asked_while_requests_tell() {
    let mut world = world_with(1, |_| {});
    world.run_for(Millis::from_secs(300));
    assert_eq!([0, 1, 2].map(|index| health(&world, index)), [Status::Healthy; 3]);
    let probes = world.probes("a/m");
    assert!((8..=14).contains(&probes), "three at once, then every 30 s for both: {probes}");
    assert_eq!(world.probes("a/n"), 0);
    for _ in 0..30 {
        ask(&mut world, "chain");
        ask(&mut world, "other");
        world.run_for(Millis::from_secs(10));
    }
    assert_eq!(world.probes("a/m"), probes, "their requests tell more");
    assert!(world.probes("b/m") > 5, "nobody calls it");
}

#[test]
fn every_change_is_told_and_shown() {
    let mut world = world_with(3, |_| {});
    world.run_for(Millis::from_secs(60));
    for target in ["a/m", "a/n"] {
        world.usually(target, Script::refuse(1));
    }
    world.run_for(Millis::from_secs(60));
    for target in ["a/m", "a/n"] {
        world.usually(target, Script::answer(3500));
    }
    world.run_for(Millis::from_secs(60));
    let story = world.story();
    let changes = story.iter().filter_map(|line| line.split_once(' ').unwrap().1.strip_prefix("health a/m "));
    let changes: Vec<&str> = changes.collect();
    assert_eq!(changes, ["unknown healthy", "healthy unhealthy", "unhealthy degraded"], "{story:#?}");
    let now = world.now();
    assert_eq!(serde_json::to_value(world.gateway().status(now)).unwrap()["targets"][0]["health"], "degraded");
    assert!(world.gateway().is_ready());
}

/// The next answer of one that hangs is `timeout` and `every` away: by then the last must not be forgotten.
#[test]
fn who_never_answers_is_found_unwell_however_long_that_is_waited_for() {
    for timeout in ["1s", "5s", "30s"] {
        let mut world = world_with(1, |document| {
            document["defaults"] = json!({"health": {"every": "1s", "timeout": timeout}});
        });
        for target in ["a/m", "a/n"] {
            world.probed(target, Script::hang());
        }
        world.run_for(Millis::from_secs(300));
        assert_eq!(health(&world, 0), Status::Unhealthy, "{timeout}");
        let changes = world.story().iter().filter(|line| line.contains("health a/m ")).count();
        assert_eq!(changes, 1, "and that is no news the next time: {timeout}");
    }
}

#[test]
fn a_vendors_retry_after_is_waited_for() {
    let mut world = world_with(1, |document| {
        document["defaults"] = json!({"breaker": {"failures": 2, "open_max": "5m"}});
    });
    let down = Script::status(503).with_header("retry-after", "60");
    for target in ["a/m", "a/n"] {
        world.usually(target, down.clone());
    }
    let (first_id, ()) = (ask(&mut world, "chain"), world.run_for(SECOND));
    let _ = (ask(&mut world, "chain"), world.run_for(SECOND), first_id);
    for target in ["a/m", "a/n"] {
        world.usually(target, Script::answer(50));
    }
    world.run_for(Millis::from_secs(50));
    let now = world.now();
    assert_eq!(world.gateway().breaker(TargetId(0).into()).state(now), State::Open);
    world.run_for(Millis::from_secs(15));
    let now = world.now();
    assert_eq!(world.gateway().breaker(TargetId(0).into()).state(now), State::HalfOpen);
}

#[test]
fn keys_that_may_not_list_models_leave_it_to_clients() {
    let mut world = world_with(1, |_| {});
    for target in ["a/m", "a/n"] {
        world.probed(target, Script::status(401));
    }
    world.run_for(Millis::from_secs(120));
    assert_eq!(health(&world, 0), Status::Unknown, "it says nothing about the target");
    world.usually("a/m", Script::status(503));
    for _ in 0..5 {
        ask(&mut world, "a/m");
        world.run_for(Millis(100));
    }
    world.usually("a/m", Script::answer(50));
    world.run_for(Millis::from_secs(10));
    let attempts = world.attempts("a/m");
    ask(&mut world, "chain");
    world.run_for(SECOND);
    assert_eq!(world.attempts("a/m"), attempts + 1, "the client's request is the probe, as without any");
}

#[test]
fn what_a_probe_carries() {
    let mut gateway = Gateway::new(
        Arc::new(config_with(|document| {
            document["vendors"]["c"] = json!({
                "dialect": "anthropic", "base_url": "http://c.test", "keys": [{"env": "C"}],
                "health": {"probe": "get", "path": "https://status.c.test/up"},
            });
            document["vendors"]["d"] = json!({
                "dialect": "gemini", "base_url": "http://d.test/v1beta", "keys": [{"env": "D"}],
                "health": {"probe": "get", "path": "/health?deep=1"},
            });
            document["models"]["c/m"] = json!({});
            document["models"]["d/m"] = json!({});
            document["routes"]["more"] = json!({"models": ["c/m", "d/m"]});
        })),
        1,
        BEGINNING,
    );
    let mut probes = BTreeMap::new();
    for second in 0..40 {
        gateway.handle_timeout(BEGINNING + Millis::from_secs(second));
        while let Some(probe) = gateway.poll_probe() {
            gateway.handle_probe(BEGINNING + Millis::from_secs(second), probe.id, &Finding::TimedOut);
            probes.insert(probe.url.clone(), probe);
        }
    }
    let urls: Vec<&str> = probes.keys().map(String::as_str).collect();
    let expected = [
        "http://a.test/v1/models",
        "http://b.test/v1/models",
        "http://d.test/health?deep=1",
        "https://status.c.test/up",
    ];
    assert_eq!(urls, expected);
    let has_key = |url: &str| probes[url].headers.values().any(http::HeaderValue::is_sensitive);
    assert!(has_key(expected[0]) && has_key(expected[2]));
    assert!(!has_key(expected[3]), "a stranger's server is sent no key");
    assert!(probes.values().all(|probe| probe.method == Method::GET && probe.body.is_empty()));
}

/// A real answer is asked for where that is what tells, and it is paid for.
#[test]
fn a_completion_is_an_attempt_in_all_but_name() {
    let mut world = world_with(1, |document| {
        document["defaults"] = json!({
            "health": {"probe": "chat", "every": "60s"}, "breaker": {"failures": 3, "open": "30s", "successes": 1},
        });
        document["models"]["a/m"] = json!({"price": {"input": 1.0, "output": 2.0}});
    });
    world.run_for(Millis::from_secs(600));
    assert_eq!([0, 1, 2].map(|index| health(&world, index)), [Status::Healthy; 3]);
    let probes = world.probes("a/m");
    assert!((8..=11).contains(&probes), "one a minute for each target, and no more in any case: {probes}");
    let now = world.now();
    let status = serde_json::to_value(world.gateway().status(now)).unwrap();
    assert_ne!(status["targets"][0]["cost_usd"], "0", "it is charged to the target");
    assert_eq!(status["targets"][0]["attempts"]["successes"], probes);

    world.usually("a/m", Script::answer(50).error_after(1, "server_error", "server_error"));
    world.run_for(Millis::from_secs(300));
    assert_eq!(health(&world, 0), Status::Unhealthy, "an error inside a 200 is none the better");
    assert!(world.story().iter().any(|line| line.contains("open a/m")), "and its breaker hears of it");
    world.usually("a/m", Script::answer(50));
    world.run_for(Millis::from_secs(400));
    assert_eq!(health(&world, 0), Status::Healthy);
    world.usually("a/m", Script::answer(6000));
    world.run_for(Millis::from_secs(300));
    assert_eq!(health(&world, 0), Status::Unhealthy, "too slow is as bad as a failure");
}

/// Something that happens to a gateway.
#[derive(Debug, Clone)]
enum Event {
    Pass(u64),
    Attempt(usize, bool),
    /// Answers the probe that is at this place among those under way.
    Answer(usize, Option<bool>),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => prop_oneof![9 => 0..3000_u64, 1 => 0..400_000_u64].prop_map(Event::Pass),
        3 => (0..4_usize, prop::bool::weighted(0.6)).prop_map(|(target, well)| Event::Attempt(target, well)),
        4 => (0..4_usize, prop_oneof![3 => Just(Some(true)), 2 => Just(Some(false)), 1 => Just(None)])
            .prop_map(|(which, well)| Event::Answer(which, well)),
    ];
    prop::collection::vec(event, 0..200)
}

/// A gateway whose probes are answered by hand.
struct Watched {
    gateway: Gateway,
    now: Timestamp,
    under_way: Vec<(ProbeId, String, Timestamp)>,
    sent: Vec<Timestamp>,
}

impl Watched {
    fn new(seed: u64) -> Self {
        let config = config_with(|document| {
            document["models"]["b/n"] = json!({"health": {"probe": "get", "path": "/up"}});
            document["routes"]["third"] = json!({"models": ["a/m", "b/n"]});
        });
        let gateway = Gateway::new(Arc::new(config), seed, BEGINNING);
        Self { gateway, now: BEGINNING, under_way: Vec::new(), sent: Vec::new() }
    }

    fn step(&mut self, event: &Event) {
        match event {
            Event::Pass(ms) => {
                // In the small steps that timers make of it.
                let until = self.now + Millis(*ms);
                for _ in 0..2000 {
                    let next = self.gateway.poll_timeout().filter(|at| *at <= until);
                    self.now = next.unwrap_or(until).max(self.now);
                    self.attend();
                    if next.is_none() {
                        break;
                    }
                }
                self.now = until;
                self.attend();
            }
            Event::Attempt(target, well) => {
                let outcome = if *well { Outcome::Success } else { Outcome::Silent };
                if let Ok(permit) = admit(&mut self.gateway, self.now, TargetId(*target)) {
                    self.gateway.settle(self.now, permit, &settlement(outcome));
                }
            }
            Event::Answer(which, well) if !self.under_way.is_empty() => {
                let (id, ..) = self.under_way.remove(which % self.under_way.len());
                let finding = match well {
                    Some(well) => Finding::Reply {
                        status: if *well { http::StatusCode::OK } else { http::StatusCode::BAD_GATEWAY },
                        headers: HeaderMap::new(),
                        body: bytes::Bytes::new(),
                    },
                    None => Finding::TimedOut,
                };
                self.gateway.handle_probe(self.now, id, &finding);
                self.gateway.handle_probe(self.now, id, &Finding::TimedOut);
            }
            Event::Answer(..) => {}
        }
        self.attend();
    }

    /// Takes the probes that are due, and holds them against their bounds.
    fn attend(&mut self) {
        self.gateway.handle_timeout(self.now);
        // The gateway has given up those that were never answered.
        let now = self.now;
        self.under_way.retain(|(.., until)| now < *until + FORGOTTEN_AFTER);
        while let Some(probe) = self.gateway.poll_probe() {
            assert!(self.under_way.iter().all(|(_, url, _)| *url != probe.url), "{} is asked twice at once", probe.url);
            self.under_way.push((probe.id, probe.url, probe.until));
            self.sent.push(self.now);
            assert!(self.under_way.len() <= 4);
        }
        let next = self.gateway.poll_timeout();
        self.gateway.handle_timeout(self.now);
        assert_eq!(self.gateway.poll_timeout(), next, "once more does nothing");
        assert!(next.is_none_or(|at| at > self.now), "what is due has been done");
    }
}

proptest! {
    /// Never too many at once, never one twice at once, never too many in any time.
    #[test]
    fn probes_keep_to_their_budget(seed: u64, events in events()) {
        let mut watched = Watched::new(seed);
        for event in &events {
            watched.step(event);
        }
        for (index, from) in watched.sent.iter().enumerate() {
            let within = watched.sent[index..].iter().take_while(|at| at.since(*from) <= SECOND).count();
            prop_assert!(within <= 14, "{within} in a second");
        }
    }

    /// From any state, all that is watched is healthy and let through in time, if all goes well from now on.
    #[test]
    fn whoever_is_well_is_found_well(seed: u64, events in events()) {
        let mut watched = Watched::new(seed);
        for event in &events {
            watched.step(event);
        }
        for _ in 0..600 {
            watched.step(&Event::Pass(500));
            while !watched.under_way.is_empty() {
                watched.step(&Event::Answer(0, Some(true)));
            }
        }
        for index in 0..4 {
            let id = TargetId(index);
            let breaker = watched.gateway.breaker(id.into()).clone();
            prop_assert!(breaker.state(watched.now) != State::Open);
            let health = watched.gateway.health(watched.now, id);
            prop_assert!(health == Status::Healthy || breaker.state(watched.now) == State::HalfOpen, "{health}");
        }
    }

    #[test]
    fn the_same_seed_and_events_give_the_same_probes(seed: u64, events in events()) {
        let run = || {
            let mut watched = Watched::new(seed);
            for event in &events {
                watched.step(event);
            }
            watched.sent
        };
        prop_assert_eq!(run(), run());
    }
}
