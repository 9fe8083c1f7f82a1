//! A: a circuit breaker for each of several models.

use serde_json::{Value, json};
use tidegate_core::sim::{Script, World};
use tidegate_core::time::Millis;

use super::{answer, ask, ask_stream, breaker, config, down, good, reaching, seconds, served_by, target, world};

const PRESET: &str = include_str!("../../../presets/systems/circuit-breaker.toml");

/// A model's own name, its fallback, failures that open it, successes that close it, seconds that it is open, and probes.
const MODELS: [(&str, &str, u32, u32, u64, u32); 4] = [
    ("openai/gpt-4.1", "anthropic/claude-sonnet-4", 5, 3, 60, 3),
    ("anthropic/claude-sonnet-4", "google/gemini-2.5-flash", 4, 2, 45, 3),
    ("google/gemini-2.5-flash", "deepseek/deepseek-v3", 6, 2, 30, 5),
    ("deepseek/deepseek-v3", "openai/gpt-4.1", 3, 2, 90, 2),
];

const GPT: &str = "openai/gpt-4.1";

/// The route of a model: its own name without the vendor's.
fn route(name: &str) -> &str {
    name.split_once('/').unwrap().1
}

fn asked(world: &mut World, model: &str, times: u32) {
    (0..times).for_each(|_| {
        served_by(world, model);
    });
}

/// How long until a breaker lets a probe through.
fn retry_in(world: &World, name: &str) -> Option<u64> {
    target(world, name)["breaker"]["retry_in_ms"].as_u64()
}

#[test]
fn a1_failures_count_up_successes_down_and_five_open_it() {
    let mut world = world(PRESET);
    world.script(GPT, (0..4).map(|_| down()).chain([good(50)]).chain((0..2).map(|_| down())));
    asked(&mut world, "gpt-4.1", 6);
    assert_eq!(breaker(&world, GPT), "closed", "4 up, 1 down, 1 up: that is 4");
    asked(&mut world, "gpt-4.1", 1);
    assert_eq!(breaker(&world, GPT), "open");
    assert!((30_000..=60_000).contains(&retry_in(&world, GPT).unwrap()));
    assert_eq!(reaching(&mut world, GPT, |world| asked(world, "gpt-4.1", 20)), 0, "nothing passes");
}

#[test]
fn a1_a_late_failure_does_not_stretch_the_open_time() {
    let mut world = world(PRESET);
    world.script(GPT, [Script::reset(20_000)]);
    let late = ask(&mut world, GPT);
    world.script(GPT, (0..5).map(|_| down()));
    for _ in 0..5 {
        ask(&mut world, "gpt-4.1");
        world.run_for(Millis(100));
    }
    let before = world.now() + Millis(retry_in(&world, GPT).unwrap());
    world.run_for(seconds(21));
    assert!(world.is_over(late));
    assert_eq!(world.now() + Millis(retry_in(&world, GPT).unwrap()), before);
}

#[test]
fn a1_half_open_admits_three_and_three_successes_close_it() {
    let mut world = world(PRESET);
    world.script(GPT, (0..5).map(|_| down()));
    asked(&mut world, "gpt-4.1", 5);
    world.run_for(seconds(60));
    assert_eq!(breaker(&world, GPT), "half_open");
    world.usually(GPT, good(5000));
    let probes = reaching(&mut world, GPT, |world| {
        (0..10).for_each(|_| {
            ask(world, "gpt-4.1");
        });
    });
    assert_eq!(probes, 3, "there, any number of calls passed");
    world.run();
    assert_eq!(breaker(&world, GPT), "closed");
}

#[test]
fn a1_a_failure_in_half_open_reopens() {
    let mut world = world(PRESET);
    world.script(GPT, (0..5).map(|_| down()).chain([good(50), good(50), down()]));
    asked(&mut world, "gpt-4.1", 5);
    world.run_for(seconds(60));
    asked(&mut world, "gpt-4.1", 3);
    assert_eq!(breaker(&world, GPT), "open", "two good probes are not three");
    assert!((30_000..=60_000).contains(&retry_in(&world, GPT).unwrap()), "as long as before");
}

#[test]
fn a1_what_is_no_fault_of_the_model_does_not_count() {
    let mut world = world(PRESET);
    world.usually(GPT, Script::status(400));
    (0..20).for_each(|_| assert_eq!(answer(&mut world, "gpt-4.1").status.unwrap(), 400));
    assert_eq!(breaker(&world, GPT), "closed");
}

#[test]
fn a2_each_model_has_a_breaker_of_its_own_numbers() {
    for (name, fallback, failures, successes, open_s, probes) in MODELS {
        let mut world = world(PRESET);
        world.script(name, (0..failures).map(|_| down()));
        asked(&mut world, route(name), failures - 1);
        assert_eq!(breaker(&world, name), "closed", "{name}");
        assert_eq!(served_by(&mut world, route(name)), fallback);
        assert_eq!(breaker(&world, name), "open", "{name}");
        let left = retry_in(&world, name).unwrap();
        assert!((open_s * 500..=open_s * 1000).contains(&left), "{name}: {left}");

        world.run_for(seconds(open_s));
        world.usually(name, good(1000));
        let at_once = reaching(&mut world, name, |world| {
            (0..10).for_each(|_| {
                ask(world, route(name));
            });
        });
        assert_eq!(at_once, u64::from(probes), "{name}");
        world.run();
        assert_eq!(breaker(&world, name), "closed", "{name}");

        // And just as many successes as it takes, one by one.
        world.script(name, (0..failures).map(|_| down()));
        asked(&mut world, route(name), failures);
        world.run_for(seconds(open_s));
        asked(&mut world, route(name), successes - 1);
        assert_eq!(breaker(&world, name), "half_open", "{name}");
        asked(&mut world, route(name), 1);
        assert_eq!(breaker(&world, name), "closed", "{name}");
    }
}

#[test]
fn a2_what_became_of_calls_is_counted_for_each_model() {
    let mut world = world(PRESET);
    let claude = "anthropic/claude-sonnet-4";
    world.script(claude, [good(120), down(), Script::hang(), Script::status(400), good(80)]);
    for _ in 0..5 {
        answer(&mut world, "claude-sonnet-4");
    }
    let status = target(&world, claude);
    let count = |name: &str| status["attempts"][name].as_u64().unwrap();
    assert_eq!((count("attempts"), count("successes"), count("failures")), (5, 2, 1), "{status}");
    assert_eq!((count("silent"), count("caller_faults")), (1, 1), "a timeout is told from an error: {status}");
    assert_eq!(status["total"]["mean_ms"], 100, "{status}");
    assert_eq!(target(&world, "google/gemini-2.5-flash")["attempts"]["successes"], 2, "the fallback's are its own");
}

#[test]
fn a2_thirty_seconds_are_the_limit_for_streams_and_whole_answers() {
    for stream in [false, true] {
        let mut world = world(PRESET);
        world.usually(GPT, Script::hang());
        let id = if stream { ask_stream(&mut world, "gpt-4.1") } else { ask(&mut world, "gpt-4.1") };
        world.run_for(Millis(29_999));
        assert_eq!(world.attempts("anthropic/claude-sonnet-4"), 0);
        world.run_for(Millis(1));
        assert_eq!(world.attempts("anthropic/claude-sonnet-4"), 1, "the fallback takes over");
        world.run();
        assert_eq!(world.answer(id).status.unwrap(), 200);
    }
}

#[test]
fn a2_every_model_has_the_usual_parameters() {
    for target in &config(PRESET).targets {
        let usual = &target.default_parameters;
        assert_eq!((usual.temperature.as_deref(), usual.max_tokens), (Some("0.7"), Some(2048)), "{}", target.name);
    }
}

#[test]
fn a2_open_without_a_fallback_says_when_to_come_back() {
    let mut world = world(PRESET);
    world.usually(GPT, down());
    asked(&mut world, "gpt-4.1", 5);
    let refused = answer(&mut world, GPT);
    assert_eq!(refused.status.unwrap(), 503);
    assert_eq!(refused.json()["error"]["code"], "circuit_open");
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    let left = retry_in(&world, GPT).unwrap();
    assert_eq!(seconds, left.div_ceil(1000));
}

const ORDER: [&str; 4] = ["google/gemini-2.5-flash", "deepseek/deepseek-v3", GPT, "anthropic/claude-sonnet-4"];

#[test]
fn a3_the_first_that_is_not_open_serves_and_all_down_is_one_clear_error() {
    let mut world = world(PRESET);
    for (nth, name) in ORDER.into_iter().enumerate() {
        assert_eq!(served_by(&mut world, "fastest"), name, "the reply says which model served");
        world.usually(name, down());
        let failures = MODELS.iter().find(|model| model.0 == name).unwrap().2;
        for _ in 0..failures {
            answer(&mut world, "fastest");
        }
        assert_eq!(breaker(&world, name), "open", "{name}");
        let reached = reaching(&mut world, name, |world| {
            answer(world, "fastest");
        });
        assert_eq!(reached, 0, "{nth}: it is skipped");
    }
    let refused = answer(&mut world, "fastest");
    assert_eq!((refused.status.unwrap().as_u16(), &refused.json()["error"]["code"]), (503, &json!("circuit_open")));
}

#[test]
fn a3_each_model_shows_its_state_and_the_mean_of_its_last_hundred() {
    let mut world = world(PRESET);
    for ms in 1..=150 {
        world.script(ORDER[0], [good(ms)]);
        served_by(&mut world, "fastest");
    }
    world.script(ORDER[0], (0..6).map(|_| down()));
    asked(&mut world, "fastest", 6);
    let status = target(&world, ORDER[0]);
    assert_eq!(status["total"]["mean_ms"], 100, "of 51 to 150: {status}");
    assert_eq!(status["breaker"]["state"], "open");
    assert_eq!((&status["attempts"]["successes"], &status["attempts"]["failures"]), (&json!(150), &json!(6)));
    assert!(status["breaker"]["retry_in_ms"].as_u64().is_some_and(|ms| ms <= 30_000), "{status}");
    assert_eq!(target(&world, GPT)["total"]["mean_ms"], Value::Null, "nobody has asked it");
}

#[test]
fn a3_the_fastest_by_what_is_measured() {
    let mut world = world(PRESET);
    for (name, ms) in ORDER.into_iter().zip([1200, 900, 300, 2000]) {
        world.usually(name, good(ms));
    }
    let mut by_gpt = 0;
    for nth in 0..120 {
        let served = served_by(&mut world, "quickest");
        by_gpt += u32::from(nth >= 20 && served == GPT);
        world.run_for(seconds(1));
    }
    assert!(by_gpt >= 40, "of two drawn from four the best is one in half of all draws: {by_gpt} of 100");
}
