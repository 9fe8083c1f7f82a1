//! D2: failover by how well and how quick endpoints are, and back again.

use std::collections::BTreeSet;

use serde_json::json;
use tidegate_tests::http::{Reply, Request};
use tidegate_tests::preset::Preset;
use tidegate_tests::wait;
use tidegate_tests::world::question;

const FIRST: &str = "openai/gpt-4.1";
const SECOND: &str = "anthropic/claude-sonnet-4";
const THIRD: &str = "deepseek/deepseek-v3";

fn target(reply: &Reply) -> &str {
    reply.header("x-tidegate-target")
}

pub(crate) async fn d2_fails_over_and_back(preset: &Preset) {
    let first = preset.vendor("openai");
    assert_eq!(target(&preset.ask("first-choice").await.expect(200)), FIRST);

    // It is down altogether, which the check that lists its models sees as well.
    first.answers("gpt-4.1", 503).await;
    first.path_answers("/v1/models", 503).await;
    for _ in 0..10 {
        assert_eq!(target(&preset.ask("first-choice").await.expect(200)), SECOND, "no client sees an error");
    }
    let status = preset.target(FIRST).await;
    let failures = status["attempts"]["failures"].as_u64().unwrap();
    assert!(
        (1..=5).contains(&failures),
        "an endpoint that is not well is asked last, before its breaker opens: {status}"
    );
    assert_eq!(first.count("gpt-4.1").await, 1 + failures, "and from then on nothing reaches it");
    let second = preset.target(SECOND).await;
    assert!(second["attempts"]["successes"].as_u64() >= Some(10), "statistics for each endpoint: {second}");

    first.heal("gpt-4.1").await;
    first.heal_path("/v1/models").await;
    wait::until("traffic to come back", async || {
        let served = preset.ask("first-choice").await.expect(200);
        (target(&served) == FIRST).then_some(())
    })
    .await;
    for _ in 0..5 {
        assert_eq!(target(&preset.ask("first-choice").await.expect(200)), FIRST, "without flapping");
    }
}

pub(crate) async fn d2_the_quickest_of_those_that_are_well(preset: &Preset) {
    // Each takes a while, so that one which this machine held up when it was measured is slower by a small factor only.
    for target in [FIRST, SECOND, THIRD] {
        let (vendor, model) = target.split_once('/').unwrap();
        preset.vendor(vendor).fault(model, json!({"kind": "latency", "ms": 40})).await;
    }
    let mut served = BTreeSet::new();
    wait::until("each to get its share", async || {
        served.insert(target(&preset.ask("failover").await.expect(200)).to_owned());
        (served.len() == 3).then_some(())
    })
    .await;
    preset.order(SECOND, "open").await;
    let explained = preset.send(Request::post("/admin/explain", &question("failover"))).await.expect(200).json();
    let candidates = explained["candidates"].as_array().unwrap();
    let shut = candidates.iter().find(|candidate| candidate["target"] == SECOND).unwrap();
    assert_eq!(shut["rejected"]["reason"], "breaker_open", "{explained}");
    for _ in 0..10 {
        assert_ne!(target(&preset.ask("failover").await.expect(200)), SECOND);
    }
    preset.order(SECOND, "reset").await;
}
