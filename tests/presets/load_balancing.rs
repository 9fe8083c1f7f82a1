//! C1, C2 and C3: traffic spread by weight, failover lists, and a choice by what a request needs.

use std::collections::BTreeSet;

use serde_json::json;
use tidegate_tests::http::{Reply, Request};
use tidegate_tests::preset::Preset;
use tidegate_tests::wait;
use tidegate_tests::world::{chat, question};

const GPT: &str = "openai/gpt-4.1";
const GPT_4O: &str = "openai/gpt-4o";
const MINI: &str = "openai/gpt-4o-mini";
const CLAUDE: &str = "anthropic/claude-sonnet-4-20250514";
const DEEPSEEK: &str = "deepseek/deepseek-chat";

fn target(reply: &Reply) -> &str {
    reply.header("x-tidegate-target")
}

pub(crate) async fn c1_each_gets_its_share_while_it_is_well(preset: &Preset) {
    let mut served = BTreeSet::new();
    wait::until("each to get its share", async || {
        served.insert(target(&preset.ask("balanced").await.expect(200)).to_owned());
        (served.len() == 4).then_some(())
    })
    .await;
    preset.order(MINI, "open").await;
    for _ in 0..20 {
        assert_ne!(
            target(&preset.ask("balanced").await.expect(200)),
            MINI,
            "it has the largest share, and is shut off"
        );
    }
    preset.order(MINI, "reset").await;
    let limits = &preset.target(GPT).await["limits"];
    assert_eq!((&limits["requests"]["limit"], &limits["tokens"]["limit"]), (&json!(500), &json!(150_000)), "{limits}");
}

pub(crate) async fn c2_each_has_those_who_stand_in_for_it(preset: &Preset) {
    for (model, stand_ins) in [
        ("gpt-4.1", &[GPT, GPT_4O, MINI, CLAUDE][..]),
        ("gpt-4o", &[GPT_4O, MINI, CLAUDE]),
        ("gpt-4o-mini", &[MINI, CLAUDE, DEEPSEEK]),
        ("claude-sonnet-4-20250514", &[CLAUDE, GPT_4O, MINI]),
        ("deepseek-chat", &[DEEPSEEK, MINI, GPT_4O]),
    ] {
        for (nth, name) in stand_ins.iter().enumerate() {
            let reply = preset.ask(model).await.expect(200);
            assert_eq!(
                (target(&reply), reply.header("x-tidegate-attempts")),
                (*name, &*(nth + 1).to_string()),
                "{reply}"
            );
            let (vendor, upstream) = name.split_once('/').unwrap();
            preset.vendor(vendor).answers(upstream, if nth % 2 == 0 { 500 } else { 503 }).await;
        }
        for name in stand_ins {
            let (vendor, upstream) = name.split_once('/').unwrap();
            preset.vendor(vendor).heal(upstream).await;
            preset.order(name, "reset").await;
        }
    }
    let openai = preset.vendor("openai");
    let before = openai.count("gpt-4.1").await;
    openai.answers_times("gpt-4.1", 1, 422).await;
    let refused = preset.ask("gpt-4.1").await.expect(422);
    assert_eq!(refused.header("x-tidegate-attempts"), "1", "the caller's own fault is returned at once: {refused}");
    assert_eq!(openai.count("gpt-4.1").await, before + 1);
    let texts = json!({"model": "text-embedding-3-small", "input": ["one", "two", "three"]});
    let vectors = preset.send(Request::post("/v1/embeddings", &texts)).await.expect(200).json();
    assert_eq!(vectors["data"].as_array().unwrap().len(), 3, "{vectors}");
}

pub(crate) async fn c3_a_request_goes_where_its_context_fits(preset: &Preset) {
    // Before it is measured, a model takes what is typical of it; afterwards all of these are quick.
    let ask = async |task: &str, cap: Option<(&'static str, &str)>| {
        let request = chat(&question("by-context")).header("x-tidegate-task", task);
        let request = match cap {
            Some((name, value)) => request.header(name, value),
            None => request,
        };
        preset.send(request).await
    };
    for (task, expected) in [("analysis", CLAUDE), ("code_generation", GPT), ("multimodal", GPT_4O), ("code", DEEPSEEK)]
    {
        let reply = ask(task, None).await.expect(200);
        assert_eq!(target(&reply), expected, "{task}: {reply}");
    }
    let cheap = ask("analysis", Some(("x-tidegate-max-cost", "0.002"))).await.expect(200);
    assert_ne!(target(&cheap), CLAUDE, "it costs more than that: {cheap}");
    let none = ask("analysis", Some(("x-tidegate-max-cost", "0.0000001"))).await.expect(400);
    assert_eq!(none.json()["error"]["code"], "no_target_left", "{none}");
}
