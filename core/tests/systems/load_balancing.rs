//! C: load over models by weight, failover lists, and a choice by what a request needs.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use tidegate_core::config::Limits;
use tidegate_core::dialect::Surface;
use tidegate_core::sim::{Answer, Profile, RequestId, Script, World};
use tidegate_core::time::Millis;

use super::{answer, ask, breaker, config, down, good, reaching, seconds, served_by, target, world};

const PRESET: &str = include_str!("../../../presets/systems/load-balancing.toml");

const GPT: &str = "openai/gpt-4.1";
const GPT_4O: &str = "openai/gpt-4o";
const MINI: &str = "openai/gpt-4o-mini";
const CLAUDE: &str = "anthropic/claude-sonnet-4-20250514";
const DEEPSEEK: &str = "deepseek/deepseek-chat";

/// C1's endpoints with their weights.
const WEIGHTS: [(&str, u64); 4] = [(GPT, 2), (GPT_4O, 3), (MINI, 4), (CLAUDE, 2)];

/// How many of `times` requests each endpoint serves, one a second, so that no limit is met.
fn shares(world: &mut World, times: u64) -> [u64; 4] {
    let before = WEIGHTS.map(|(name, _)| world.attempts(name));
    for _ in 0..times {
        ask(world, "balanced");
        world.run_for(seconds(1));
    }
    let mut shares = WEIGHTS.map(|(name, _)| world.attempts(name));
    shares.iter_mut().zip(before).for_each(|(share, before)| *share -= before);
    shares
}

#[test]
fn c1_requests_are_spread_by_weight_over_those_that_are_well() {
    let mut world = world(PRESET);
    for ((name, weight), share) in WEIGHTS.into_iter().zip(shares(&mut world, 5500)) {
        assert!(share.abs_diff(weight * 500) < 110, "{name}: {share}");
    }
    world.usually(MINI, down());
    shares(&mut world, 60);
    assert_eq!(breaker(&world, MINI), "open");
    let by_mini = shares(&mut world, 10)[2];
    assert!(by_mini <= 2, "none but a probe: {by_mini}");
    // The rest by the same weights, 2 to 3 to 2.
    let [gpt, gpt_4o, _, claude] = shares(&mut world, 3500);
    for (share, expected) in [(gpt, 1000), (gpt_4o, 1500), (claude, 1000)] {
        assert!(share.abs_diff(expected) < 130, "{share} for {expected}");
    }
}

#[test]
fn c1_an_endpoint_takes_five_hundred_requests_a_minute() {
    let of = |name: &str| config(PRESET).targets.iter().find(|target| target.name == name).unwrap().limits;
    for (name, _) in WEIGHTS {
        assert_eq!(of(name), Limits { rpm: Some(500), tpm: Some(150_000), concurrency: None });
    }
    let mut world = world(PRESET);
    let asked = reaching(&mut world, MINI, |world| {
        (0..600).for_each(|_| {
            ask(world, MINI);
        });
    });
    assert!(asked <= 500, "{asked}");
    world.run();
}

#[test]
fn c1_five_failures_open_it_for_thirty_seconds_and_latency_is_smoothed() {
    let mut world = world(PRESET);
    world.script(GPT, (0..5).map(|_| down()));
    (0..5).for_each(|_| {
        answer(&mut world, "gpt-4.1");
    });
    assert_eq!(breaker(&world, GPT), "open");
    let left = target(&world, GPT)["breaker"]["retry_in_ms"].as_u64().unwrap();
    assert!((15_000..=30_000).contains(&left), "{left}");
    world.script(GPT_4O, [good(1000), good(2000)]);
    let before = target(&world, GPT_4O)["total"]["ewma_ms"].as_u64().unwrap();
    served_by(&mut world, "gpt-4o");
    let once = before * 7 / 10 + 300;
    assert!(target(&world, GPT_4O)["total"]["ewma_ms"].as_u64().unwrap().abs_diff(once) <= 1, "0.7 old + 0.3 new");
}

/// C2's lists.
const FALLBACKS: [(&str, &[&str]); 5] = [
    ("gpt-4.1", &[GPT, GPT_4O, MINI, CLAUDE]),
    ("gpt-4o", &[GPT_4O, MINI, CLAUDE]),
    ("gpt-4o-mini", &[MINI, CLAUDE, DEEPSEEK]),
    ("claude-sonnet-4-20250514", &[CLAUDE, GPT_4O, MINI]),
    ("deepseek-chat", &[DEEPSEEK, MINI, GPT_4O]),
];

#[test]
fn c2_each_model_has_its_list() {
    for failure in [Script::status(429), Script::status(500), Script::status(503), Script::hang()] {
        for (model, list) in FALLBACKS {
            let mut world = world(PRESET);
            for name in list {
                assert_eq!(served_by(&mut world, model), *name, "{model}");
                world.usually(name, failure.clone());
            }
        }
    }
}

#[test]
fn c2_sixty_seconds_are_a_timeout_and_the_callers_faults_are_returned_at_once() {
    let mut world = world(PRESET);
    world.usually(GPT, Script::hang());
    let began = world.now();
    assert_eq!(served_by(&mut world, "gpt-4.1"), GPT_4O);
    assert_eq!(world.now().since(began), Millis(60_050));
    for status in [400, 404, 413, 422] {
        let mut world = super::world(PRESET);
        world.usually(GPT, Script::status(status));
        assert_eq!(answer(&mut world, "gpt-4.1").status.unwrap(), status);
        assert_eq!(world.attempts(GPT_4O), 0, "{status}");
    }
}

#[test]
fn c2_embeddings_several_texts_at_once_within_thirty_seconds() {
    let body = json!({"model": "text-embedding-3-small", "input": ["one", "two", "three"]}).to_string();
    let mut world = world(PRESET);
    let id = world.ask(Surface::Embeddings, body.clone());
    world.run();
    let reply = world.answer(id);
    assert_eq!((reply.status.unwrap().as_u16(), reply.header("x-tidegate-attempts")), (200, "1"));
    let name = "openai/text-embedding-3-small";
    assert_eq!(world.attempts(name), 1, "three texts in one call");
    world.usually(name, Script::hang());
    let began = world.now();
    let id = world.ask(Surface::Embeddings, body);
    world.run_for(Millis(29_999));
    assert!(!world.is_over(id) && world.now().since(began) < seconds(30));
    world.run();
    assert_eq!(world.answer(id).status.unwrap(), 504);
}

/// One request of a kind, by its hints.
fn ask_with(world: &mut World, hints: &[(&'static str, &str)], words: usize) -> RequestId {
    let hint =
        |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    let headers: HeaderMap = hints.iter().map(hint).collect();
    let said = "tide ".repeat(words);
    let body = json!({"model": "by-context", "max_tokens": 500, "messages": [{"role": "user", "content": said}]});
    world.ask_with(Surface::Chat, headers, body.to_string())
}

fn answer_with(world: &mut World, hints: &[(&'static str, &str)], words: usize) -> Answer {
    let id = ask_with(world, hints, words);
    world.run();
    world.answer(id)
}

#[test]
fn c3_a_request_goes_where_its_context_fits() {
    let task = |task| [("x-tidegate-task", task)];
    for (hints, words, expected) in [
        (&[][..], 100, MINI),
        (&task("code_generation"), 100, GPT),
        (&task("code"), 100, DEEPSEEK),
        (&task("multimodal"), 100, GPT_4O),
        (&task("analysis"), 100, CLAUDE),
        (&task("simple_tasks"), 100, MINI),
        // Too long for those of 128k and of 64k, whatever they are good at.
        (&task("code"), 140_000, CLAUDE),
        (&[("x-tidegate-task", "analysis"), ("x-tidegate-max-latency", "3500")], 100, MINI),
        (&[("x-tidegate-task", "analysis"), ("x-tidegate-max-cost", "0.002")], 100, MINI),
        (&[("x-tidegate-task", "code_generation"), ("x-tidegate-max-latency", "5s")], 100, GPT),
    ] {
        let mut world = world(PRESET);
        let reply = answer_with(&mut world, hints, words);
        assert_eq!(reply.header("x-tidegate-target"), expected, "{hints:?}: {}", reply.json());
    }
}

#[test]
fn c3_who_takes_longer_than_ten_seconds_is_left_out() {
    let mut world = world(PRESET);
    world.script(MINI, [good(12_000)]);
    served_by(&mut world, MINI);
    assert_eq!(answer_with(&mut world, &[], 100).header("x-tidegate-target"), DEEPSEEK);
    let none = answer_with(&mut world, &[("x-tidegate-max-cost", "0.0000001")], 100);
    assert_eq!(none.status.unwrap(), 400);
    assert_eq!(none.json()["error"]["code"], "no_target_left");
}

#[test]
fn c3_a_flash_sale_is_survived() {
    let mut world = World::quiet(config(PRESET), 1);
    let usual = [(GPT, 5000), (GPT_4O, 3000), (MINI, 1500), (CLAUDE, 4000), (DEEPSEEK, 2000)];
    for (name, ms) in usual {
        world.behaves(name, Profile::new(ms, ms * 2));
    }
    // The usual traffic: a request every two seconds.
    let (mut served, mut refused) = (0, 0);
    for _ in 0..60 {
        ask_with(&mut world, &[], 50);
        world.run_for(seconds(2));
    }
    // Midnight: fifty times as many, while the favourite takes ten times as long and bears twenty at once.
    world.behaves(MINI, Profile { capacity: Some(20), ..Profile::new(15_000, 30_000) });
    let mut asked = Vec::new();
    for nth in 0..3000 {
        let task = ["chat", "code", "analysis", "multimodal"][nth % 4];
        asked.push(ask_with(&mut world, &[("x-tidegate-task", task)], 50));
        world.run_for(Millis(40));
    }
    world.run_for(seconds(300));
    for id in asked {
        let reply = world.take_answer(id).expect("every request has an end");
        match reply.status.unwrap().as_u16() {
            200 => served += 1,
            429 | 503 => refused += i32::from(!reply.header("retry-after").is_empty()),
            other => panic!("nobody is told {other}"),
        }
    }
    assert_eq!(served + refused, 3000, "served, or told when to come back");
    // What all of them together take in these two minutes is what five hundred a minute each allow.
    assert!(served >= 2850, "{served} were served");
    let by_mini = world.attempts(MINI);
    assert!(by_mini < 400, "who has become slow is left: {by_mini}");
}
