//! D: health checks, and failover by health and speed.

use serde_json::{Value, json};
use tidegate_core::sim::{Script, World};
use tidegate_core::time::Millis;

use super::{answer, ask, ask_once, breaker, config, down, good, reaching, seconds, served_by, target, world};

const PRESET: &str = include_str!("../../../presets/systems/health-failover.toml");

/// Checked by its list of models.
const GPT: &str = "openai/gpt-4.1";
/// Checked by small completions.
const CLAUDE: &str = "anthropic/claude-sonnet-4";
/// Not checked at all: live traffic tells.
const DEEPSEEK: &str = "deepseek/deepseek-v3";

fn health(world: &World, name: &str) -> String {
    target(world, name)["health"].as_str().unwrap().to_owned()
}

/// The status of an endpoint after each of these attempts.
fn statuses(world: &mut World, name: &str, scripts: impl IntoIterator<Item = Script>) -> Vec<String> {
    let after = |script| {
        world.script(name, [script]);
        ask_once(world, name);
        health(world, name)
    };
    scripts.into_iter().map(after).collect()
}

fn route(world: &World, name: &str) -> Value {
    let now = world.now();
    let status = serde_json::to_value(world.gateway().status(now)).unwrap();
    status["routes"].as_array().unwrap().iter().find(|route| route["route"] == name).unwrap().clone()
}

#[test]
fn d1_three_good_results_make_healthy_and_three_bad_unhealthy() {
    let mut world = world(PRESET);
    assert_eq!(health(&world, DEEPSEEK), "unknown");
    assert_eq!(statuses(&mut world, DEEPSEEK, [good(50), good(50), good(50)]), ["unknown", "unknown", "healthy"]);
    assert_eq!(statuses(&mut world, DEEPSEEK, [down(), down(), down()]), ["healthy", "healthy", "unhealthy"]);
    assert_eq!(breaker(&world, DEEPSEEK), "closed", "an opinion is quicker than a decision");
    let back = statuses(&mut world, DEEPSEEK, [good(50), good(50), good(50)]);
    assert_eq!(back.last().unwrap(), "healthy", "{back:?}");
}

#[test]
fn d1_slower_than_three_seconds_is_degraded_and_than_five_unhealthy() {
    for (ms, status) in [(3000, "healthy"), (3001, "degraded"), (5000, "degraded"), (5001, "unhealthy")] {
        let mut world = world(PRESET);
        let told = statuses(&mut world, DEEPSEEK, [good(ms), good(ms), good(ms)]);
        assert_eq!(told.last().unwrap(), status, "{ms} ms: {told:?}");
    }
}

#[test]
fn d1_every_change_of_status_is_told() {
    let mut world = world(PRESET);
    let scripts = [good(50), good(50), good(50), down(), down(), down()];
    statuses(&mut world, DEEPSEEK, scripts);
    let changes: Vec<String> = world.story().into_iter().filter(|line| line.contains(" health ")).collect();
    let told = |nth: usize| changes[nth].split_once(" health ").unwrap().1;
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert_eq!(told(0), format!("{DEEPSEEK} unknown healthy"));
    assert_eq!(told(1), format!("{DEEPSEEK} healthy unhealthy"));
}

#[test]
fn d1_a_check_is_made_every_thirty_seconds_and_given_ten() {
    let config = config(PRESET);
    assert!(config.targets.iter().all(|target| target.health.every == seconds(30)));
    assert!(config.targets.iter().all(|target| target.health.timeout == seconds(10)));
    let mut world = world(PRESET);
    world.run_for(seconds(600));
    let probes = world.probes(GPT);
    assert!((15..=30).contains(&probes), "about 20 in ten minutes: {probes}");
    assert_eq!(health(&world, GPT), "healthy", "nobody had to ask it");
    assert_eq!(world.probes(DEEPSEEK), 0, "live traffic alone");
    world.probed(GPT, Script::hang());
    world.run_for(seconds(120));
    assert_eq!(health(&world, GPT), "unhealthy", "no answer within the limit");
    assert_eq!(world.attempts(GPT), 0);
}

#[test]
fn d1_the_best_is_the_quickest_of_the_healthy_and_the_report_says_all() {
    let mut world = world(PRESET);
    for (name, ms) in [(GPT, 900), (CLAUDE, 300), (DEEPSEEK, 600)] {
        statuses(&mut world, name, [good(ms), good(ms), good(ms)]);
    }
    assert_eq!(route(&world, "failover")["quickest"], CLAUDE);
    world.script(CLAUDE, [down(), down(), down()]);
    (0..3).for_each(|_| ask_once(&mut world, CLAUDE));
    assert_eq!(health(&world, CLAUDE), "unhealthy");
    assert_eq!(route(&world, "failover")["quickest"], DEEPSEEK);
    let mut fresh = super::world(PRESET);
    for ms in [1000, 2000] {
        fresh.script(DEEPSEEK, [good(ms)]);
        ask_once(&mut fresh, DEEPSEEK);
    }
    assert_eq!(target(&fresh, DEEPSEEK)["first_token"]["ewma_ms"], 1300, "0.7 of the old, 0.3 of the new");
}

#[test]
fn d2_among_equals_the_weight_is_one_over_latency_plus_one() {
    let mut world = world(PRESET);
    let endpoints = [(GPT, 99), (CLAUDE, 299), (DEEPSEEK, 599)];
    for (name, ms) in endpoints {
        world.usually(name, good(ms));
        answer(&mut world, name);
    }
    let mut served = [0_u32; 3];
    for _ in 0..3000 {
        let by = served_by(&mut world, "failover");
        served[endpoints.iter().position(|(name, _)| *name == by).unwrap()] += 1;
    }
    for (served, expected) in served.into_iter().zip([2000, 667, 333]) {
        assert!(served.abs_diff(expected) < 120, "{served} for {expected}");
    }
}

#[test]
fn d2_a_half_open_endpoint_gets_its_probes_first() {
    let mut world = world(PRESET);
    world.script(DEEPSEEK, (0..5).map(|_| down()));
    (0..5).for_each(|_| ask_once(&mut world, DEEPSEEK));
    assert_eq!(breaker(&world, DEEPSEEK), "open", "five failures");
    let reached = reaching(&mut world, DEEPSEEK, |world| {
        (0..50).for_each(|_| {
            served_by(world, "failover");
        });
    });
    assert_eq!(reached, 0);
    world.run_for(seconds(60));
    world.usually(DEEPSEEK, good(2000));
    let probes = reaching(&mut world, DEEPSEEK, |world| {
        (0..20).for_each(|_| {
            ask(world, "failover");
        });
    });
    assert_eq!(probes, 3, "the first three of twenty at once, whatever the weights");
    world.run();
    assert_eq!(breaker(&world, DEEPSEEK), "closed");
}

#[test]
fn d2_healthy_before_degraded_before_others() {
    let mut world = world(PRESET);
    statuses(&mut world, CLAUDE, [good(100), good(100), good(100)]);
    statuses(&mut world, GPT, [good(3500), good(3500), good(3500)]);
    statuses(&mut world, DEEPSEEK, [down(), down(), down()]);
    assert_eq!(route(&world, "failover")["order"], json!([CLAUDE, GPT, DEEPSEEK]));
    for _ in 0..5 {
        assert_eq!(served_by(&mut world, "failover"), CLAUDE);
    }
    world.usually(CLAUDE, down());
    assert_eq!(served_by(&mut world, "failover"), GPT, "the degraded one stands in");
}

#[test]
fn d2_as_many_attempts_as_endpoints_and_two_more() {
    let mut world = world(PRESET);
    for name in [GPT, CLAUDE, DEEPSEEK] {
        world.usually(name, Script::status(500));
    }
    let refused = answer(&mut world, "failover");
    assert_eq!(refused.header("x-tidegate-attempts"), "5", "{refused:?}");
}

#[test]
fn d2_traffic_fails_over_and_comes_back_to_the_first_choice() {
    let mut world = world(PRESET);
    assert_eq!(served_by(&mut world, "first-choice"), GPT);
    world.usually(GPT, down());
    for _ in 0..60 {
        assert_eq!(served_by(&mut world, "first-choice"), CLAUDE);
        world.run_for(seconds(1));
    }
    let status = target(&world, GPT);
    let failed = status["attempts"]["failures"].as_u64().unwrap();
    assert!(failed <= 5 + 3, "after that, nobody has to wait for it: {status}");
    assert_eq!(target(&world, CLAUDE)["attempts"]["successes"], 60, "the statistics of the endpoint that stood in");
    world.usually(GPT, good(50));
    let healed = world.now();
    while served_by(&mut world, "first-choice") != GPT {
        world.run_for(seconds(1));
    }
    assert!(world.now().since(healed) <= Millis(120_000), "and back");
    (0..10).for_each(|_| assert_eq!(served_by(&mut world, "first-choice"), GPT, "without flapping"));
}
