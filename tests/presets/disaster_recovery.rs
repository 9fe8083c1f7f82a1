//! B1, B2, B5 and B7: what answers cost, who is asked for what, who is at its limit, and a queue for when all are down.

use std::time::Instant;

use serde_json::json;
use tidegate_tests::http::{Reply, Request};
use tidegate_tests::preset::Preset;
use tidegate_tests::wait;
use tidegate_tests::world::{chat, question};
use tokio::task::JoinSet;

const GPT: &str = "openai/gpt-4.1";
const MINI: &str = "openai/gpt-4.1-mini";
const SONNET: &str = "anthropic/claude-sonnet-4-20250514";
const CLAUDE: &str = "anthropic/claude-3-5-sonnet-latest";
const GEMINI: &str = "google/gemini-2.5-flash-preview-05-20";
const DEEPSEEK: &str = "deepseek/deepseek-chat";

fn target(reply: &Reply) -> &str {
    reply.header("x-tidegate-target")
}

async fn ask_for(preset: &Preset, task: &str, priority: &str) -> Reply {
    let request = chat(&question("assistant")).header("x-tidegate-task", task);
    preset.send(request.header("x-tidegate-priority", priority)).await.expect(200)
}

pub(crate) async fn b1_a_reply_says_who_what_it_took_and_what_it_cost(preset: &Preset) {
    for (name, input, output) in [
        (GPT, 8.0, 32.0),
        (MINI, 1.0, 4.0),
        (SONNET, 4.5, 18.0),
        (CLAUDE, 3.5, 15.0),
        (GEMINI, 2.5, 10.0),
        (DEEPSEEK, 0.42, 1.68),
    ] {
        let reply = preset.ask(name).await.expect(200);
        assert_eq!(target(&reply), name, "{reply}");
        let usage = &reply.json()["usage"];
        let tokens = |kind: &str| usage[kind].as_f64().unwrap();
        let cost = (tokens("prompt_tokens") * input + tokens("completion_tokens") * output) / 1e6;
        let told: f64 = reply.header("x-tidegate-cost").parse().unwrap();
        assert!((told - cost).abs() < 1e-12, "{told} is not {cost}: {reply}");
        let status = preset.target(name).await;
        assert!(status["total"]["mean_ms"].is_u64(), "{status}");
    }
}

pub(crate) async fn b2_task_and_priority_say_who_is_asked(preset: &Preset) {
    for (task, fast, normal, high) in [
        ("simple_qa", DEEPSEEK, DEEPSEEK, MINI),
        ("code_generation", MINI, MINI, GPT),
        ("complex_reasoning", CLAUDE, GPT, GPT),
        ("general", DEEPSEEK, MINI, GPT),
        ("poetry", DEEPSEEK, MINI, GPT),
    ] {
        for (priority, first) in [("fast", fast), ("normal", normal), ("high", high), ("whenever", normal)] {
            let reply = ask_for(preset, task, priority).await;
            assert_eq!(target(&reply), first, "{task} {priority}");
        }
    }
    preset.vendor("deepseek").answers("deepseek-chat", 503).await;
    assert_eq!(target(&ask_for(preset, "simple_qa", "fast").await), GEMINI, "and the next where it fails");
    preset.vendor("deepseek").heal("deepseek-chat").await;
    preset.order(DEEPSEEK, "reset").await;
}

pub(crate) async fn b4_three_failures_in_a_row_are_an_alert(preset: &Preset) {
    let open = async || {
        let page = preset.send(Request::get("/admin/alerts")).await.expect(200).json();
        let mut alerts = page["open"].as_array().unwrap().iter();
        alerts.find(|alert| alert["name"] == SONNET && alert["kind"] == "failures").cloned()
    };
    let anthropic = preset.vendor("anthropic");
    anthropic.answers("claude-sonnet-4-20250514", 503).await;
    let ask = async || preset.send(chat(&question(SONNET)).header("x-tidegate-max-attempts", "1")).await;
    for _ in 0..2 {
        let _ = ask().await.expect(502);
    }
    assert!(open().await.is_none());
    let _ = ask().await.expect(502);
    let alert = wait::until("the alert", open).await;
    assert_eq!(alert["text"], format!("target {SONNET}: 3 failures in a row"), "{alert}");
    anthropic.heal("claude-sonnet-4-20250514").await;
    preset.order(SONNET, "reset").await;
}

pub(crate) async fn b5_a_429_is_waited_for_and_whoever_is_at_its_limit_is_skipped(preset: &Preset) {
    let openai = preset.vendor("openai");
    let before = openai.count("gpt-4.1").await;
    let throttled = json!({"kind": "status", "status": 429, "headers": {"retry-after": "1"}});
    openai.fault_times("gpt-4.1", 1, throttled).await;
    let asked = Instant::now();
    let reply = preset.ask("patient").await.expect(200);
    assert_eq!(reply.header("x-tidegate-attempts"), "2", "{reply}");
    assert!(asked.elapsed().as_millis() >= 1000, "as long as it says");
    assert_eq!(openai.count("gpt-4.1").await, before + 2);

    // It has no limit of its own, so a hundred requests a minute: whoever asks for nobody else waits for there to be room.
    let used_up_since = Instant::now();
    let mut crowd = JoinSet::new();
    for _ in 0..100 {
        crowd.spawn(chat(&question(CLAUDE)).send(preset.gateway.address));
    }
    assert!(crowd.join_all().await.iter().all(|reply| reply.status == 200 && target(reply) == CLAUDE));
    // Room comes for one more in six tenths of a second, and is soon used up.
    let (mut served, mut skipped) = (0, 0);
    wait::until("it to be skipped, again and again", async || {
        let reply = ask_for(preset, "complex_reasoning", "fast").await;
        assert_eq!(reply.header("x-tidegate-attempts"), "1", "whoever is at its limit is not asked: {reply}");
        if target(&reply) == GPT {
            skipped += 1;
        } else {
            served += 1;
        }
        (skipped == 5).then_some(())
    })
    .await;
    let room = used_up_since.elapsed().as_millis() / 600;
    assert!(served <= room + 1, "{served} more than a hundred, where there was room for {room}");
}

pub(crate) async fn b7_when_all_are_down_nothing_is_lost(preset: &Preset) {
    let all = [(DEEPSEEK, "deepseek"), (GEMINI, "google"), (MINI, "openai")];
    let model = |name: &'static str| name.split_once('/').unwrap().1;
    for (name, vendor) in all {
        preset.vendor(vendor).answers(model(name), 503).await;
    }
    let reply = preset.ask("never-lost").await.expect(202);
    assert_eq!(reply.json()["status"], "queued", "{reply}");
    let place = reply.header("location").to_owned();
    let told = preset.send(Request::get(&place)).await.expect(200).json();
    assert!(told["status"] == "pending" || told["status"] == "running", "{told}");
    for (name, vendor) in all {
        preset.vendor(vendor).heal(model(name)).await;
        preset.order(name, "reset").await;
    }
    let done = wait::until("the job to be done", async || {
        let told = preset.send(Request::get(&place)).await.expect(200).json();
        (told["status"] != "pending" && told["status"] != "running").then_some(told)
    })
    .await;
    assert_eq!((&done["status"], &done["reply"]["status"]), (&json!("done"), &json!(200)), "{done}");
    assert_eq!(done["reply"]["body"]["object"], "chat.completion", "{done}");
}
