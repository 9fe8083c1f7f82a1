//! E: several vendors behind one interface.

use serde_json::{Value, json};
use tidegate_core::config::{Config, ProbeKind, TargetId};
use tidegate_core::price::Picodollars;
use tidegate_core::sim::{BEGINNING, Script, World};
use tidegate_core::time::{Millis, Timestamp};

use super::{
    answer, ask, ask_once, ask_stream, breaker, config, down, good, made_up_key, seconds, served_by, target, world,
};

const PRESET: &str = include_str!("../../../presets/systems/several-vendors.toml");

const GPT: &str = "openai/gpt-4.1";
const CLAUDE: &str = "anthropic/claude-sonnet-4-20250514";
const DEEPSEEK: &str = "deepseek/deepseek-v3-0324";
const GEMINI: &str = "google/gemini-2.0-flash-001";

/// The route's order.
const ORDER: [&str; 4] = [GPT, GEMINI, DEEPSEEK, CLAUDE];

#[test]
fn e1_short_names_stand_for_the_vendors_own() {
    let mut world = world(PRESET);
    for (alias, name) in
        [("gpt-4.1", GPT), ("claude-sonnet-4", CLAUDE), ("deepseek-v3", DEEPSEEK), ("gemini-flash", GEMINI)]
    {
        assert_eq!(served_by(&mut world, alias), name);
        assert_eq!(served_by(&mut world, name), name);
    }
}

#[test]
fn e1_one_shape_whoever_serves() {
    let mut world = world(PRESET);
    for name in ORDER {
        let answer = answer(&mut world, name).json();
        assert_eq!(answer["object"], "chat.completion", "{name}");
        assert!(answer["choices"][0]["message"]["content"].is_string(), "{name}: {answer}");
        assert!(answer["usage"]["total_tokens"].is_u64(), "{name}: {answer}");
    }
}

#[test]
fn e1_throttling_and_server_errors_move_to_another_vendor_and_callers_faults_do_not() {
    for status in [429, 500, 502, 503, 529] {
        let mut world = world(PRESET);
        world.usually(GPT, Script::status(status));
        assert_eq!(served_by(&mut world, "assistant"), GEMINI, "{status}");
    }
    for status in [400, 404, 422] {
        let mut world = world(PRESET);
        world.usually(GPT, Script::status(status));
        assert_eq!(answer(&mut world, "assistant").status.unwrap(), status);
        assert_eq!(world.attempts(GEMINI), 0, "{status}");
    }
}

#[test]
fn e1_sixty_seconds_are_the_limit() {
    for stream in [false, true] {
        let mut world = world(PRESET);
        world.usually(GPT, Script::hang());
        let id = if stream { ask_stream(&mut world, "assistant") } else { ask(&mut world, "assistant") };
        world.run_for(Millis(59_999));
        assert_eq!(world.attempts(GEMINI), 0);
        world.run_for(seconds(1));
        assert_eq!(world.attempts(GEMINI), 1);
        world.run();
        assert_eq!(world.answer(id).status.unwrap(), 200);
    }
}

#[test]
fn e1_answers_cost_what_the_preset_says() {
    let config = config(PRESET);
    let usd = |cents: u64| Picodollars(cents * 10_000);
    for (name, input, output) in [(GPT, 800, 800), (CLAUDE, 1500, 1500), (GEMINI, 250, 250), (DEEPSEEK, 42, 168)] {
        let id = TargetId(config.targets.iter().position(|target| target.name == name).unwrap());
        let price = config.price(id, BEGINNING).unwrap();
        assert_eq!((price.input, price.output), (usd(input), usd(output)), "{name}");
    }
    // Of the world's 7 tokens in and 3 out.
    assert_eq!(answer(&mut world(PRESET), "gpt-4.1").header("x-tidegate-cost"), "0.00008");
}

/// The status of a vendor's model after each of these answers.
fn health_after(world: &mut World, name: &str, scripts: impl IntoIterator<Item = Script>) -> Value {
    for script in scripts {
        world.script(name, [script]);
        ask_once(world, name);
    }
    target(world, name)["health"].take()
}

#[test]
fn e2_well_is_who_answers_ninety_five_in_a_hundred_within_five_seconds() {
    let nine = || (0..9).map(|_| good(50));
    let mut world = world(PRESET);
    assert_eq!(
        health_after(&mut world, GPT, nine().chain([down()]).chain(nine()).chain([good(50)])),
        "healthy",
        "19 of 20"
    );
    assert_eq!(health_after(&mut world, GPT, [down()]), "unhealthy", "18 of 20");
    assert_ne!(served_by(&mut world, "assistant"), GPT, "it is asked last");
    assert_eq!(health_after(&mut world, CLAUDE, [good(5000), good(5000), good(5000)]), "degraded");
    assert_eq!(health_after(&mut world, DEEPSEEK, [good(5001), good(5001), good(5001)]), "unhealthy");
    let config = config(PRESET);
    let health = &config.targets[0].health;
    assert_eq!((health.every, health.timeout, health.probe), (seconds(60), seconds(10), ProbeKind::Chat));
}

#[test]
fn e2_the_best_has_the_lowest_mean_of_its_last_ten_of_three_at_least() {
    let mut world = world(PRESET);
    health_after(&mut world, GPT, (0..3).map(|_| good(400)));
    assert_eq!(quickest(&world), GPT);
    health_after(&mut world, GEMINI, (0..2).map(|_| good(100)));
    assert_eq!(quickest(&world), GPT, "two samples say too little");
    health_after(&mut world, GEMINI, [good(100)]);
    assert_eq!(quickest(&world), GEMINI);
    // Ten slow answers are all that counts, whatever was before.
    health_after(&mut world, GEMINI, (0..10).map(|_| good(500)));
    assert_eq!(quickest(&world), GPT);
}

fn quickest(world: &World) -> String {
    let now = world.now();
    let status = serde_json::to_value(world.gateway().status(now)).unwrap();
    status["routes"][0]["quickest"].as_str().unwrap().to_owned()
}

#[test]
fn e3_one_vendor_is_out_and_the_next_takes_over() {
    let mut world = world(PRESET);
    for _ in 0..5 {
        assert_eq!(served_by(&mut world, "assistant"), GPT);
    }
    world.usually(GPT, down());
    let began = world.now();
    let id = ask(&mut world, "assistant");
    world.run();
    let taken_over = world.answer(id);
    assert_eq!((taken_over.header("x-tidegate-target"), taken_over.header("x-tidegate-attempts")), (GEMINI, "2"));
    assert!(took(&world, began) <= Millis(100), "the error took 10 ms, the answer 50");
    let (mut good_answers, drill) = (0, 100);
    for _ in 0..drill {
        good_answers += u32::from(answer(&mut world, "assistant").status.unwrap() == 200);
        world.run_for(Millis(500));
    }
    assert_eq!(good_answers, drill, "the summary: every request was served");
    assert!(target(&world, GPT)["attempts"]["failures"].as_u64().unwrap() < 15, "hardly any of them tried it");
    world.usually(GPT, good(50));
    let healed = world.now();
    while served_by(&mut world, "assistant") != GPT {
        world.run_for(Millis(500));
    }
    assert!(took(&world, healed) <= seconds(240), "and back: what is thought of it holds for three times 60 s at most");
}

fn took(world: &World, since: Timestamp) -> Millis {
    world.now().since(since)
}

#[test]
fn e3_all_vendors_are_out_and_the_last_resort_answers() {
    let mut world = world(PRESET);
    for name in ORDER {
        world.usually(name, down());
    }
    for nth in 0..20 {
        let canned = answer(&mut world, "assistant");
        assert_eq!(canned.status.unwrap(), 200, "{nth}");
        assert_eq!((canned.header("x-tidegate-canned"), canned.header("x-tidegate-cost")), ("true", "0"));
        let text = "The assistant is briefly unavailable. Please try again in a minute.";
        assert_eq!(canned.json()["choices"][0]["message"]["content"], text);
    }
    assert!(ORDER.iter().all(|name| breaker(&world, name) == "open"));
    for name in ORDER {
        world.usually(name, good(50));
    }
    world.run_for(seconds(120));
    let recovered = answer(&mut world, "assistant");
    assert_eq!(recovered.header("x-tidegate-canned"), "");
    assert_eq!(recovered.header("x-tidegate-target"), GPT);
}

#[test]
fn e4_throttled_clients_come_back_after_two_four_and_eight_seconds_at_most() {
    let retry = config(PRESET).targets[0].retry;
    assert_eq!((retry.base, retry.max), (seconds(2), seconds(32)));
    // Alone, there is nobody to move to: the same vendor is asked again, later and later.
    let mut world = world(PRESET);
    world.usually(GPT, down());
    let began = world.now();
    answer(&mut world, GPT);
    assert!(world.attempts(GPT) > 1);
    assert!(took(&world, began) <= seconds(2 + 4 + 8), "full jitter: anything up to that");
}

#[test]
fn e4_keys_come_from_the_environment_and_are_checked_at_the_start() {
    let start = |key: &dyn Fn(&str) -> Option<String>| Config::from_toml(PRESET, "preset.toml", key).unwrap_err();
    let missing = start(&|name| made_up_key(name).filter(|_| name != "DEEPSEEK_API_KEY")).to_string();
    assert!(missing.contains("DEEPSEEK_API_KEY is not set"), "{missing}");
    let short = start(&|name| Some(if name == "OPENAI_API_KEY" { "k".repeat(19) } else { "k".repeat(20) })).to_string();
    assert!(short.contains("OPENAI_API_KEY looks cut off: a key here has at least 20 characters"), "{short}");
    assert!(!short.contains("ANTHROPIC_API_KEY") && !short.contains("kkkk"), "{short}");
}

#[test]
fn e4_a_refused_key_is_the_gateways_trouble_and_not_the_clients() {
    for status in [401, 403] {
        let mut world = world(PRESET);
        world.usually(GPT, Script::status(status));
        assert_eq!(served_by(&mut world, "assistant"), GEMINI, "{status}");
        assert_eq!(served_by(&mut world, "assistant"), GEMINI, "{status}");
        assert_eq!(world.attempts(GPT), 1, "{status}: it is left alone for a while");
        let alone = answer(&mut world, GPT);
        assert_eq!(
            (alone.status.unwrap().as_u16(), &alone.json()["error"]["code"]),
            (502, &json!("upstream_credentials"))
        );
    }
}

#[test]
fn e4_a_timeout_leads_to_gemini_and_a_lost_connection_to_deepseek() {
    let mut world = world(PRESET);
    world.script(GPT, [Script::hang()]);
    assert_eq!(served_by(&mut world, "assistant"), GEMINI);
    world.usually(GPT, Script::refuse(5));
    assert_eq!(served_by(&mut world, "assistant"), DEEPSEEK);
}

#[test]
fn e4_an_unknown_model_is_told_the_known_ones() {
    let refused = answer(&mut world(PRESET), "gpt-5000");
    assert_eq!(refused.status.unwrap(), 404);
    let error = &refused.json()["error"];
    assert_eq!(error["code"], "model_not_found");
    for known in ["assistant", "gpt-4.1", "claude-sonnet-4", "deepseek-v3", "gemini-flash"] {
        assert!(error["message"].as_str().unwrap().contains(known), "{error}");
    }
}
